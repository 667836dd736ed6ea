"""The predictor that learns in context: layers of attention that regress on the transitions seen."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from qdyn.attention.in_context import Conjugate, Descent, in_context_predictions, refined_states
from qdyn.attention.readout import LOSSES, read_out
from qdyn.attention.transitions import length, transition_pairs
from qdyn.checks import check_choice, qubits_of_dimension
from qdyn.circuits.ansatz import ansatz
from qdyn.data.sequences import SequenceDataset, SequenceMetadata
from qdyn.errors import ConfigError
from qdyn.models.base import Predictor
from qdyn.models.in_context_config import InContextConfig

# A schedule is a parabola in log2 of the number of states seen, in units of 32 states.
_SCHEDULE_TERMS = 3
# Adam moves all parameters at one pace, and schedules have further to go than the angles of V.
_PACE = 5.0
_FIT_STEPS = 400


class InContextMatrices(NamedTuple):
    """What the angles stand for.

    Attributes:
        value: V, (d, d).
        scores: W_l of every block, (blocks, layers, d, d), or None.
    """

    value: Tensor
    scores: Tensor | None


class InContextPredictor(nn.Module, Predictor):
    """Layers of attention to transitions, a completion by unitarity, and blocks that filter noise.

    What a block computes stands in `qdyn.attention.in_context`. Its numbers are schedules: parabolas in the
    logarithm of how many states have been seen, squashed to the range in which no layer can diverge. With
    phases "transport" a phase of any one state changes no forecast but by a phase.

    Args:
        config: The model section of a preset.
        metadata: Of the data: quantum states of 2^n amplitudes.
        seed: Fixes the initial parameters, with nothing else drawn from it.

    Attributes:
        config: As given.
        angles: Parameters of V; a buffer where it is not trained.
        step_logits: Schedules of the regression: sizes eta_l, (blocks, layers, 3), or for conjugate gradients
            the ridge, (blocks, 1, 3).
        momentum_logits: Schedules of beta_l, (blocks, layers, 3), or None.
        completion_logits: Schedules of the completion, like step_logits, or None.
        restoration_logit: Of gamma, (blocks,), or None.
        trust_logits: Schedules of kappa, (blocks - 1, 3), or None.
        score_angles: Parameters of W_l, (blocks, layers, *shape of the ansatz), or None.
        kernel_logits: Of the coefficients c_p, (blocks, degree + 1), or None.

    Raises:
        ConfigError: the data are no quantum states.

    Source: ours; see docs/in_context_attention.md.

    Example:
        >>> metadata = SequenceMetadata("example", "quantum_state", 4, phase_convention="first_real")
        >>> model = InContextPredictor(InContextConfig(layers=2), metadata, seed=0)
        >>> model.rollout(torch.eye(4, dtype=torch.complex64)[None, :3], steps=5).shape
        torch.Size([1, 5, 4])
    """

    angles: Tensor

    def __init__(self, config: InContextConfig, metadata: SequenceMetadata, *, seed: int = 0) -> None:
        super().__init__()
        if metadata.kind != "quantum_state":
            raise ConfigError(
                f"Argument `model.kind` 'in_context' forecasts quantum states, but the data are of kind "
                f"{metadata.kind!r}."
            )
        self.config = config
        self.metadata = metadata
        self._held: InContextMatrices | None = None
        self._family = ansatz(config.unitaries)
        self._n_qubits = qubits_of_dimension("dimension", metadata.dimension)
        for_value, for_steps, for_scores = (
            np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(part,))) for part in range(3)
        )
        angles = self._initial_angles(for_value)
        if config.train_value:
            self.angles = nn.Parameter(angles)
        else:
            self.register_buffer("angles", angles)
        blocks = config.blocks

        def schedule(*shape: int, start: float) -> nn.Parameter:
            logits = for_steps.normal(scale=0.1, size=(*shape, _SCHEDULE_TERMS))
            logits[..., 0] += start
            return nn.Parameter(torch.from_numpy(logits / _PACE).float())

        descent = config.steps == "descent"
        start = 1.5 if descent else -3.0
        self.step_logits = schedule(blocks, config.layers if descent else 1, start=start)
        self.momentum_logits = schedule(blocks, config.layers, start=-0.85) if config.momentum else None
        self.completion_logits, self.restoration_logit = None, None
        if config.completion_layers:
            self.completion_logits = schedule(blocks, config.completion_layers if descent else 1, start=start)
            self.restoration_logit = nn.Parameter(torch.full((blocks,), 2.0 / _PACE))
        self.trust_logits = schedule(blocks - 1, start=-2.0) if blocks > 1 else None
        self.score_angles = None
        if config.score_unitaries:
            starts = [self._initial_angles(for_scores) for _ in range(blocks * config.layers)]
            stacked = torch.stack(starts).reshape(blocks, config.layers, *angles.shape)
            self.score_angles = nn.Parameter(0.1 * stacked)
        self.kernel_logits = None
        if config.kernel_degree:
            self.kernel_logits = nn.Parameter(torch.zeros(blocks, config.kernel_degree + 1))
        self.name = "in-context"
        self.label = f"in-context attention, {config.layers} layers"
        if blocks > 1:
            self.label += f", {blocks} blocks"

    def _initial_angles(self, generator: np.random.Generator) -> Tensor:
        return self._family.initial(
            n_qubits=self._n_qubits,
            layers=self.config.circuit_layers,
            scale=self.config.initial_angle,
            generator=generator,
        )

    def matrices(self) -> InContextMatrices:
        """V and W_l as functions of the parameters."""
        if self._held is not None:
            return self._held
        scores = None if self.score_angles is None else self._family.unitary(self.score_angles)
        return InContextMatrices(self._family.unitary(self.angles), scores)

    def regression(self, block: int, n_steps: int) -> Descent | Conjugate:
        """How one block regresses on sequences of ``n_steps`` states."""
        if self.config.steps == "conjugate":
            return _conjugate(self.config.layers, self.step_logits[block], n_steps)
        momentum = self.momentum_logits
        return Descent(
            sizes=2 * torch.sigmoid(_schedule(self.step_logits[block], n_steps)),
            momentum=None if momentum is None else torch.sigmoid(_schedule(momentum[block], n_steps)),
            score_unitaries=None if (scores := self.matrices().scores) is None else scores[block],
        )

    def completion(self, block: int, n_steps: int) -> Descent | Conjugate | None:
        """How one block completes its forecasts."""
        if self.completion_logits is None:
            return None
        if self.config.steps == "conjugate":
            return _conjugate(self.config.completion_layers, self.completion_logits[block], n_steps)
        return Descent(sizes=2 * torch.sigmoid(_schedule(self.completion_logits[block], n_steps)))

    def restoration(self, block: int) -> Tensor | None:
        """The exponent gamma of one block."""
        logit = self.restoration_logit
        return None if logit is None else torch.sigmoid(_PACE * logit[block])

    def loss(self, name: str, inputs: Tensor, targets: Tensor, mask: Tensor | None = None) -> Tensor:
        """The loss of that name of each sequence, (batch,).

        Args:
            name: "L_B", "L_A", "L_half" or "L_1".
            inputs: States (batch, T, d).
            targets: The states that follow, of the same shape.
            mask: (batch, T); transitions and steps where it is False do not count.

        Raises:
            ArgumentError: unknown name.
        """
        check_choice("loss", name, LOSSES)
        predictions = self._predictions(inputs, mask)
        return LOSSES[name](read_out(predictions, self._in_precision(targets), mask=mask))

    def forecast(self, inputs: Tensor, mask: Tensor | None = None) -> Tensor:
        """Teacher-forced forecasts (..., T, d), unit vectors."""
        predictions = self._predictions(inputs, mask)
        return predictions / length(predictions)

    def predict(self, context: Tensor) -> Tensor:
        """The last entry of `forecast`, without the work for those before it in the last block."""
        predictions = self._predictions(context, None, last_only=True)
        return (predictions / length(predictions)).squeeze(-2)

    @torch.no_grad()
    def rollout(self, context: Tensor, steps: int) -> Tensor:
        """Feed forecasts back; see `Predictor.rollout`."""
        with self._hold():
            return super().rollout(context, steps)

    @torch.no_grad()
    def warm_start(self, dataset: SequenceDataset) -> None:
        """Start V from the unitary that maps the training states to their successors best (Procrustes).

        The phases of the transitions are those that the model itself works with. A free unitary takes it
        exactly, a circuit as closely as its angles can be fitted to it.
        """
        if not self.config.warm_start:
            return
        cross: Tensor | float = 0.0
        for start in range(0, len(dataset), 256):
            batch = dataset.batch(range(start, min(start + 256, len(dataset))))
            last = batch.targets[:, -1:], batch.mask[:, -1:]
            states = torch.cat([batch.inputs, last[0]], dim=1).to(torch.complex128)
            mask = torch.cat([batch.mask, last[1]], dim=1)
            keys, values = transition_pairs(states, phases=self.config.phases, mask=mask)
            cross = cross + (values.mT @ keys.conj()).sum(dim=0)
        assert isinstance(cross, Tensor)
        left, _, right = torch.linalg.svd(cross)
        target = left @ right
        found = _generator(target) if self.config.unitaries == "free" else self._fit_circuit(target)
        self.angles.copy_(found)

    @torch.enable_grad()
    def _fit_circuit(self, target: Tensor) -> Tensor:
        """Angles whose circuit is ``target`` up to a phase, as nearly as 400 steps of L-BFGS get."""
        angles = self.angles.detach().double().cpu().requires_grad_()
        optimiser = torch.optim.LBFGS([angles], max_iter=_FIT_STEPS, line_search_fn="strong_wolfe")

        def closure() -> Tensor:
            optimiser.zero_grad()
            overlap = (target.conj() * self._family.unitary(angles)).sum() / len(target)
            distance = 1 - overlap.abs()
            distance.backward()  # type: ignore[no-untyped-call]
            return distance

        optimiser.step(closure)  # type: ignore[no-untyped-call]
        return angles.detach()

    def _predictions(self, inputs: Tensor, mask: Tensor | None, *, last_only: bool = False) -> Tensor:
        states = self._in_precision(inputs)
        seen, n_steps = states, states.shape[-2]
        with self._hold() as matrices:
            for block in range(self.config.blocks):
                predictions = in_context_predictions(
                    seen,
                    matrices.value,
                    self.regression(block, n_steps),
                    completion=self.completion(block, n_steps),
                    restoration=self.restoration(block),
                    phases=self.config.phases,
                    symmetries=self.config.symmetries,
                    kernel=None if self.kernel_logits is None else self.kernel_logits[block].softmax(dim=-1),
                    mask=mask,
                    last_only=last_only and block + 1 == self.config.blocks,
                )
                if self.trust_logits is not None and block < len(self.trust_logits):
                    trust = 2 * torch.sigmoid(_schedule(self.trust_logits[block], n_steps))
                    seen = refined_states(states, predictions, trust, mask=mask)
        return predictions

    def _in_precision(self, states: Tensor) -> Tensor:
        return states.to(self.step_logits.dtype.to_complex())

    @contextmanager
    def _hold(self) -> Iterator[InContextMatrices]:
        """Build the matrices once for all that happens inside."""
        outer = self._held
        self._held = self.matrices()
        try:
            yield self._held
        finally:
            self._held = outer


def _conjugate(layers: int, logits: Tensor, n_steps: int) -> Conjugate:
    # exp of a bounded number: a ridge of 1e-6 is none in single precision, and one of 20 forbids everything.
    return Conjugate(layers, torch.exp(_schedule(logits[0], n_steps).clamp(-14.0, 3.0)))


def _schedule(coefficients: Tensor, n_steps: int) -> Tensor:
    """(..., T): 5 sum_k a_k u_j^k with u_j = log2(j + 1) / 5 from coefficients (..., 3)."""
    seen = torch.arange(1, n_steps + 1, dtype=coefficients.dtype, device=coefficients.device)
    place = torch.log2(seen) / math.log2(32)
    powers = torch.stack([place**power for power in range(_SCHEDULE_TERMS)])
    return _PACE * (coefficients @ powers)


def _generator(unitary: Tensor) -> Tensor:
    """The parameters (2, d, d) of a free unitary: the Hermitian H with exp(iH) equal to ``unitary``."""
    values, vectors = torch.linalg.eig(unitary)
    hermitian = (vectors * values.angle()) @ torch.linalg.inv(vectors)
    hermitian = (hermitian + hermitian.mH) / 2
    return torch.stack([hermitian.real, hermitian.imag])
