"""Quantum self-attention whose training loss is measured on circuits rather than computed in closed form."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call

from qdyn.attention.qsa.measured_loss import loss_from_results
from qdyn.checks import check_integer
from qdyn.circuits.ansatz.variational import ansatz
from qdyn.circuits.executors.execution import run_circuit
from qdyn.data.sequences import SequenceMetadata
from qdyn.errors import ArgumentError, ConfigError
from qdyn.models.config import ModelConfig
from qdyn.models.qsa.circuits import differentiable_loss_circuits
from qdyn.models.qsa.predictor import QSAPredictor


@dataclass(frozen=True)
class MeasuredQSAConfig(ModelConfig):
    """A QSA predictor and the device that measures its loss.

    Attributes:
        kind: "measured_qsa".
        executor: "torch", our state vector, or "cudaq".
        target: CUDA-Q target, such as "qpp-cpu" or "nvidia"; None takes "qpp-cpu".
        shots: Readings of the circuit of mu and of that of zeta, for each value that is measured; None
            measures exactly.
        gradient: "parameter_shift" (exact on average, two circuits a rotation) or "spsa" (two circuits in
            all); None is autograd, which only exact measurements on torch have.
    """

    kind: str = "measured_qsa"
    executor: Literal["torch", "cudaq"] = "cudaq"
    target: str | None = None
    shots: int | None = None
    gradient: Literal["parameter_shift", "spsa"] | None = "parameter_shift"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not ansatz(self.unitaries).is_circuit or self.kernel == "softmax":
            raise ConfigError(
                "Argument `model.kind` 'measured_qsa' needs circuits: unitaries other than 'free', and a "
                f"kernel other than 'softmax', but they are {self.unitaries!r} and {self.kernel!r}."
            )
        if self.phases != "trained":
            raise ConfigError(
                "Argument `model.phases` must be 'trained' for the kind 'measured_qsa': the optimal phases "
                "follow from amplitudes, which a device does not show."
            )
        if self.shots is not None:
            check_integer("model.shots", self.shots, minimum=1)
        if self.executor == "torch" and self.target is not None:
            raise ConfigError("Argument `model.target` is for the executor 'cudaq', but it is 'torch'.")
        if self.gradient is None and (self.executor == "cudaq" or self.shots is not None):
            raise ConfigError(
                "Argument `model.gradient` must be 'parameter_shift' or 'spsa' on CUDA-Q and with shots."
            )


class MeasuredQSAPredictor(QSAPredictor):
    """A QSA predictor whose loss L_B comes from circuits alone, as on a quantum computer.

    L_B = -log( (T+1)/(2T) mu/zeta ), with mu and zeta measured for every sequence of a batch, and gradients
    by further circuits. Forecasts, and the metrics that validation reports, remain the closed form.

    Shots are drawn from a seed that the parameters and the data fix: a run can be repeated and resumed.

    Example: measured exactly, it is the closed form.
        >>> import qdyn
        >>> metadata = SequenceMetadata("example", "quantum_state", 2, phase_convention="raw")
        >>> config = MeasuredQSAConfig(
        ...     layers=1, degree=1, phases="trained", phase_steps=2, executor="torch", gradient=None
        ... )
        >>> model = MeasuredQSAPredictor(config, metadata, seed=0)
        >>> states = qdyn.haar_random_states(n_qubits=1, batch=3, seed=0)
        >>> closed = model(states[None, :2], states[None, 1:]).loss_b
        >>> bool(torch.isclose(model.loss("L_B", states[None, :2], states[None, 1:]), closed, atol=1e-5))
        True
    """

    config: MeasuredQSAConfig

    def __init__(self, config: MeasuredQSAConfig, metadata: SequenceMetadata, *, seed: int = 0) -> None:
        super().__init__(config, metadata, seed=seed)
        self.label = f"{self.label} measured"
        self.name = self.label.lower().replace(" ", "-")

    def loss(self, name: str, inputs: Tensor, targets: Tensor, mask: Tensor | None = None) -> Tensor:
        """The loss of each sequence, (batch,); L_B is measured.

        Raises:
            ArgumentError: a loss other than L_B is to be differentiated.
        """
        if name != "L_B":
            if torch.is_grad_enabled():
                raise ArgumentError(
                    f"Argument `training.loss` must be 'L_B', which is measured, not {name!r}."
                )
            return super().loss(name, inputs, targets, mask)
        if mask is None:
            mask = torch.ones(inputs.shape[:2], dtype=torch.bool, device=inputs.device)
        names, parameters = zip(*self.named_parameters(), strict=True)
        record = _Record(self, names)
        return _MeasuredLoss.apply(record, inputs, targets, mask, *parameters)  # type: ignore[no-untyped-call]

    def measure(self, inputs: Tensor, targets: Tensor, mask: Tensor, *, seed: int) -> Tensor:
        """L_B of each sequence by running circuits, (batch,), differentiable in the parameters.

        Args:
            inputs: As in `loss`.
            targets: As in `loss`.
            mask: (batch, T); a sequence is measured as the steps where it is True.
            seed: Of the shots.
        """
        if bool(mask.all()):
            return self._measure_batch(inputs, targets, seed=seed)
        rows = []
        for place, own in enumerate(mask):
            x, y = inputs[place, own], targets[place, own]
            rows.append(
                self._measure_batch(
                    x[None], y[None], seed=_combine(seed, place), places=torch.nonzero(own)[:, 0]
                )
            )
        return torch.cat(rows)

    def _measure_batch(
        self, inputs: Tensor, targets: Tensor, *, seed: int, places: Tensor | None = None
    ) -> Tensor:
        config = self.config
        programs = differentiable_loss_circuits(self, inputs, targets, places=places)
        results = [
            run_circuit(
                program,
                backend=config.executor,
                target=config.target,
                shots=config.shots,
                seed=_combine(seed, place),
                gradient=config.gradient,
            )
            for place, program in enumerate(programs)
        ]
        return loss_from_results(*results, steps=inputs.shape[1]).loss_b


class _Measurement(nn.Module):
    """Calls ``model.measure`` from ``forward``, where functional_call can reach it."""

    def __init__(self, model: MeasuredQSAPredictor) -> None:
        super().__init__()
        self.model = model

    def forward(self, *data: Tensor, seed: int) -> Tensor:
        return self.model.measure(*data, seed=seed)


@dataclass
class _Record:
    """What one measurement needs, and what its derivative needs later."""

    model: MeasuredQSAPredictor
    names: tuple[str, ...]
    leaves: tuple[Tensor, ...] = ()
    losses: Tensor | None = None

    def again(self) -> _Record:
        return _Record(self.model, self.names)


class _MeasuredLoss(torch.autograd.Function):
    """Measures one member of an ensemble after another: circuits cannot run inside vmap."""

    @staticmethod
    def forward(
        record: _Record, inputs: Tensor, targets: Tensor, mask: Tensor, *parameters: Tensor
    ) -> Tensor:
        with torch.enable_grad():
            record.leaves = tuple(tensor.detach().requires_grad_() for tensor in parameters)
            named = dict(zip((f"model.{name}" for name in record.names), record.leaves, strict=True))
            record.losses = functional_call(
                _Measurement(record.model),
                named,
                (inputs, targets, mask),
                {"seed": _seed_of(*parameters, inputs)},
            )
        return record.losses.detach().to(parameters[0])

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.record = inputs[0]

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        record = ctx.record
        weights = upstream[0].to(record.losses)
        found = torch.autograd.grad(record.losses, record.leaves, weights, allow_unused=True)
        return (None, None, None, None, *found)

    @staticmethod
    def vmap(  # noqa: PLR0917
        info: Any,
        in_dims: tuple[int | None, ...],
        record: _Record,
        inputs: Tensor,
        targets: Tensor,
        mask: Tensor,
        *parameters: Tensor,
    ) -> tuple[Tensor, int]:
        tensors = (inputs, targets, mask, *parameters)
        rows = []
        for member in range(info.batch_size):
            own = [
                tensor if axis is None else tensor.select(axis, member)
                for tensor, axis in zip(tensors, in_dims[1:], strict=True)
            ]
            rows.append(_MeasuredLoss.apply(record.again(), *own))  # type: ignore[no-untyped-call]
        return torch.stack(rows), 0


def _seed_of(*tensors: Tensor) -> int:
    """A seed that the values of some tensors fix."""
    digest = hashlib.blake2b(digest_size=8)
    for tensor in tensors:
        digest.update(tensor.detach().cpu().resolve_conj().numpy().tobytes())
    return int.from_bytes(digest.digest(), "little")


def _combine(seed: int, place: int) -> int:
    return int(np.random.SeedSequence(seed, spawn_key=(place,)).generate_state(1)[0])
