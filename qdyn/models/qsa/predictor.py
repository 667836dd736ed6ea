"""The quantum self-attention predictor: two trained unitaries, overlap attention and an overlap read-out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from qdyn.attention.kernels import SeriesKernel, make_kernel
from qdyn.attention.qsa import diagnostics, overlap
from qdyn.attention.qsa.observables import QSAObservables, collect
from qdyn.attention.qsa.readout import LOSSES, Readout, prefix_norms, read_out
from qdyn.checks import check_choice, qubits_of_dimension
from qdyn.circuits.ansatz.variational import Ansatz, ansatz
from qdyn.data.sequences import SequenceDataset, SequenceMetadata
from qdyn.errors import ArgumentError, ConfigError
from qdyn.models.base import Predictor
from qdyn.models.baselines.common import training_part
from qdyn.models.config import ModelConfig
from qdyn.models.embeddings import Embedding, IdentityEmbedding, ParsevalEmbedding

LOSS_NAMES = (*LOSSES, "v1")
_TOKEN_DIMENSION = 16


class Matrices(NamedTuple):
    """What the parameters stand for.

    Attributes:
        query_key: W, (d, d).
        value: V, (d, d).
        frame: The embedding's frame (D, d), or None.
        readout: The frame of the read-out (D, d), or None.
    """

    query_key: Tensor
    value: Tensor
    frame: Tensor | None
    readout: Tensor | None


class QSAPredictor(nn.Module, Predictor):
    """Overlap attention between the present element and those before it, z_j = sum_{i<=j} g(s_ij) V |x_i>.

    The forecast of step j is z_j / ||z_j||; it needs no target. For tokens it is the distribution
    p_l = |<x^(l)|z_j>|^2 / ||z_j||^2, for real data a real unit vector.

    No loss sees the global phase of the forecasts. Data with first_real phases fix it whenever a forecast is
    fed back. For raw phases and for real data (where it is a sign) `calibrate_phase` measures one constant
    phase on training data, and every forecast carries it.

    Args:
        config: The model section of a preset.
        metadata: Of the data: kind, dimension, phase convention.
        seed: Fixes the initial parameters, with nothing else drawn from it.

    Attributes:
        config: As given.
        angles: Parameters of W, of V unless it is a free matrix, and of the rotation of the read-out if there
            is one, (unitaries, *shape of the ansatz).
        value_matrix: Real and imaginary part of a free V, (2, d, d), or None.
        phases: Trained phases phi_j, (phase_steps,), or None.
        embedding: From elements to states.
        readout_embedding: The frame of a free read-out, or None.
        kernel: g.

    Raises:
        ConfigError: what the configuration asks for does not suit the kind of data.

    Source: arXiv:2602.06699.

    Example:
        >>> metadata = SequenceMetadata("example", "quantum_state", 4, phase_convention="first_real")
        >>> model = QSAPredictor(ModelConfig(layers=2), metadata, seed=0)
        >>> context = torch.eye(4, dtype=torch.complex64)[None, :3]
        >>> model.rollout(context, steps=5).shape
        torch.Size([1, 5, 4])
    """

    forecast_phase: Tensor

    def __init__(self, config: ModelConfig, metadata: SequenceMetadata, *, seed: int = 0) -> None:
        super().__init__()
        self.config = config
        self.metadata = metadata
        dimension = _dimension(config, metadata)
        family = ansatz(config.unitaries)
        n_qubits = qubits_of_dimension("dimension", dimension)
        for_angles, for_embedding, for_value = (
            np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(part,))) for part in range(3)
        )
        self.kernel = make_kernel(config.kernel, degree=config.degree, beta=config.beta, dimension=dimension)
        self.embedding: Embedding = IdentityEmbedding()
        if metadata.kind == "token":
            self.embedding = ParsevalEmbedding(
                metadata.dimension, dimension, field=config.embedding_field, generator=for_embedding
            )
        self.readout_embedding: ParsevalEmbedding | None = None
        if config.readout == "free":
            self.readout_embedding = ParsevalEmbedding(
                metadata.dimension, dimension, field=config.embedding_field, generator=for_embedding
            )
        self._family = family
        self.angles = nn.Parameter(
            torch.stack(
                [
                    family.initial(
                        n_qubits=n_qubits,
                        layers=config.layers,
                        scale=config.initial_angle,
                        generator=for_angles,
                    )
                    for _ in range(1 + config.isometric_value + (config.readout == "rotation"))
                ]
            )
        )
        self.value_matrix: nn.Parameter | None = None
        if not config.isometric_value:
            start = torch.from_numpy(
                for_value.normal(0.0, config.initial_angle / (2 * dimension**0.5), (2, dimension, dimension))
            ).to(torch.float32)
            start[0] += torch.eye(dimension)
            self.value_matrix = nn.Parameter(start)
        self.phases: nn.Parameter | None = None
        if config.phases == "trained":
            assert config.phase_steps is not None
            self.phases = nn.Parameter(torch.zeros(config.phase_steps))
        self.register_buffer("forecast_phase", torch.zeros(()))
        self._held: Matrices | None = None
        self.label = _label(config)
        self.name = self.label.lower().replace(" ", "-")

    @property
    def unitaries(self) -> dict[str, Ansatz]:
        """The parameters that stand for unitaries, and how they do: what some optimisers make use of."""
        return {"angles": self._family}

    def matrices(self) -> Matrices:
        """W, V and the embedding's frame, as functions of the parameters."""
        if self._held is not None:
            return self._held
        unitaries = self._family.unitary(self.angles)
        value = torch.complex(*self.value_matrix) if self.value_matrix is not None else unitaries[1]
        frame = self.embedding.frame()
        readout = frame
        if self.readout_embedding is not None:
            readout = self.readout_embedding.frame()
        elif frame is not None and self.config.readout == "rotation":
            # <x|R z> is the overlap of z with R^H x; the rows of a frame are the components of its vectors.
            readout = frame @ unitaries[-1].conj().to(frame.dtype)
        return Matrices(unitaries[0], value, frame, readout)

    def forward(self, inputs: Tensor, targets: Tensor, mask: Tensor | None = None) -> QSAObservables:
        """All observables of a batch, one number a sequence; see `qdyn.attention.qsa.observables`.

        Args:
            inputs: Elements (batch, T, d), or tokens (batch, T).
            targets: The elements that follow, of the same shape.
            mask: (batch, T); steps where it is False are as if deleted.
        """
        return collect(*self._read_out(inputs, targets, mask, with_norms=True))

    def loss(self, name: str, inputs: Tensor, targets: Tensor, mask: Tensor | None = None) -> Tensor:
        """The loss of that name of each sequence, (batch,).

        Args:
            name: "L_B", "L_A", "L_half", "L_1" or "v1".
            inputs: Elements (batch, T, d), or tokens (batch, T).
            targets: The elements that follow, of the same shape.
            mask: (batch, T); steps where it is False are as if deleted.

        Raises:
            ArgumentError: unknown name, v1 with the softmax kernel, or more steps than trained phases.
        """
        check_choice("loss", name, LOSS_NAMES)
        readout, norms = self._read_out(inputs, targets, mask, with_norms=name == "v1")
        if name != "v1":
            return LOSSES[name](readout)
        if norms is None:
            raise ArgumentError("Argument `loss` 'v1' needs a circuit, but the kernel is 'softmax'.")
        return readout.loss_v1(norms)

    def forecast(self, inputs: Tensor, mask: Tensor | None = None) -> Tensor:
        """Teacher-forced forecasts; the parameters count as constants in a derivative.

        Args:
            inputs: Elements seen, (..., T, d), or (..., T) for tokens.
            mask: (..., T) bool; an element where it is False is as if deleted, and its own row means nothing.

        Returns:
            Unit vectors (..., T, d), or probabilities (..., T, D) for tokens. A row that attends to nothing
            is uniform over tokens, and the zero vector otherwise.
        """
        matrices = self._constants()
        states = self._states(inputs, matrices.frame)
        predictions = overlap.overlap_predictions(
            states, matrices.query_key, matrices.value, self.kernel, mask=mask
        )
        length = torch.linalg.vector_norm(predictions, dim=-1, keepdim=True)
        unit = predictions / torch.where(length > 0, length, 1.0)
        if matrices.readout is not None:
            born = (unit @ matrices.readout.conj().mT.to(unit.dtype)).abs().square()
            return torch.where(length > 0, born, 1 / born.shape[-1])
        if self.metadata is not None and self.metadata.kind == "real":
            return _real_direction(unit, self.forecast_phase)
        return unit * torch.polar(torch.ones_like(self.forecast_phase), self.forecast_phase)

    def next_token_distribution(self, inputs: Tensor) -> Tensor:
        """p_l of every step, (..., T, D), from tokens (..., T)."""
        if self.metadata is None or self.metadata.kind != "token":
            raise ArgumentError("Argument `inputs` must be tokens, but the model was built for other data.")
        return self.forecast(inputs)

    @torch.no_grad()
    def rollout(self, context: Tensor, steps: int) -> Tensor:
        """Feed forecasts back; see `Predictor.rollout`."""
        with self._hold():
            return super().rollout(context, steps)

    def attention_weights(self, inputs: Tensor, mask: Tensor | None = None) -> Tensor:
        """How each step spreads its attention: abs(g_ij) / sum_i abs(g_ij), (..., T, T), row j the step."""
        matrices = self._constants()
        weights = overlap.attention_weights(
            self._states(inputs, matrices.frame), matrices.query_key, self.kernel, mask=mask
        ).abs()
        total = weights.sum(dim=-1, keepdim=True)
        return weights / torch.where(total > 0, total, 1.0)

    def participation(self, inputs: Tensor, mask: Tensor | None = None) -> Tensor:
        """How many elements each step's attention rests on, (..., T)."""
        return diagnostics.participation(self.attention_weights(inputs, mask))

    def fit(self, dataset: SequenceDataset) -> QSAPredictor:
        """Calibrate the forecasts' phase on the training split; `qdyn.train` trains the parameters."""
        super().fit(dataset)
        return self.calibrate_phase(training_part(dataset))

    @torch.no_grad()
    def calibrate_phase(self, dataset: SequenceDataset) -> QSAPredictor:
        """Give all forecasts the constant phase that aligns them best with the targets of ``dataset``.

        c = -arg sum_j <y_j|z_j> / ||z_j|| maximises sum_j Re <y_j| e^{ic} z_j> / ||z_j||. It matters where
        phases are raw, and as a sign for real vectors; elsewhere nothing is done.
        """
        kind, convention = dataset.metadata.kind, dataset.metadata.phase_convention
        if kind == "token" or (kind == "quantum_state" and convention != "raw"):
            return self
        with self._hold() as matrices:
            total = torch.zeros((), dtype=torch.complex128)
            for start in range(0, len(dataset), 256):
                batch = dataset.batch(range(start, min(start + 256, len(dataset)))).to(self.angles.device)
                states = self._states(batch.inputs, matrices.frame)
                predictions = overlap.overlap_predictions(
                    states, matrices.query_key, matrices.value, self.kernel, mask=batch.mask
                )
                length = torch.linalg.vector_norm(predictions, dim=-1)
                overlaps = (batch.targets.conj() * predictions).sum(dim=-1)
                aligned = overlaps / torch.where(length > 0, length, 1.0)
                total += aligned.masked_fill(~batch.mask, 0.0).sum().cpu()
            self.forecast_phase.fill_(-float(total.angle()))
        return self

    def _read_out(
        self, inputs: Tensor, targets: Tensor, mask: Tensor | None, *, with_norms: bool
    ) -> tuple[Readout, Tensor | None]:
        matrices = self.matrices()
        x = self._states(inputs, matrices.frame)
        y = self._states(targets, matrices.readout)
        predictions = overlap.overlap_predictions(
            x, matrices.query_key, matrices.value, self.kernel, mask=mask
        )
        readout = read_out(
            predictions,
            y,
            price=self.kernel.normalisation,
            phases=self._phases(x.shape[-2]),
            leverage=self.embedding.leverage(targets, matrices.readout),
            mask=mask,
        )
        if with_norms and isinstance(self.kernel, SeriesKernel):
            return readout, prefix_norms(x, self.kernel, mask=mask)
        return readout, None

    def _phases(self, steps: int) -> Tensor | None:
        if self.phases is None:
            return None
        if steps > len(self.phases):
            raise ArgumentError(
                f"Argument `inputs` has {steps} steps, but there are trained phases for {len(self.phases)}."
            )
        return self.phases[:steps]

    def _states(self, elements: Tensor, frame: Tensor | None) -> Tensor:
        """The states of the elements, in the precision of the parameters."""
        states = self.embedding.states(elements, frame)
        precision = self.angles.dtype
        return states.to(precision.to_complex() if states.is_complex() else precision)

    def _constants(self) -> Matrices:
        with torch.no_grad():
            return self.matrices()

    @contextmanager
    def _hold(self) -> Iterator[Matrices]:
        """Build the matrices once for many forecasts."""
        self._held = self._constants()
        try:
            yield self._held
        finally:
            self._held = None


def _dimension(config: ModelConfig, metadata: SequenceMetadata) -> int:
    """d, the dimension of the states that attention works on."""
    is_token = metadata.kind == "token"
    if not metadata.normalised:
        raise ConfigError(
            f"Argument `model.kind` 'qsa' is for unit vectors, but those of {metadata.name} have any length."
        )
    if config.embedding == "parseval" and not is_token:
        raise ConfigError(
            f"Argument `model.embedding` 'parseval' is for tokens, but the data are {metadata.kind!r}."
        )
    if config.readout != "tied" and not is_token:
        raise ConfigError(
            f"Argument `model.readout` {config.readout!r} is for tokens, but the data are {metadata.kind!r}."
        )
    if config.embedding == "identity" and is_token:
        raise ConfigError(
            "Argument `model.embedding` 'identity' is for vectors, but the data are of kind 'token'."
        )
    if is_token:
        return config.embedding_dimension or _TOKEN_DIMENSION
    if config.embedding_dimension not in (None, metadata.dimension):
        raise ConfigError(
            f"Argument `model.embedding_dimension` must be that of the data, {metadata.dimension}, unless "
            f"they are tokens, but is {config.embedding_dimension}."
        )
    return metadata.dimension


def _label(config: ModelConfig) -> str:
    """The name in the tables of arXiv:2602.06699: k-QSA, poly-k-QSA, k-CSA, nl-CSA."""
    family = "QSA" if ansatz(config.unitaries).is_circuit else "CSA"
    if config.kernel == "softmax":
        return f"nl-{family} {'iso' if config.isometric_value else 'gen'}"
    prefix = "poly-" if config.kernel == "polynomial" else ""
    return f"{prefix}{config.degree}-{family}"


def _real_direction(unit: Tensor, phase: Tensor) -> Tensor:
    """The real unit vector of largest overlap with each vector, its sign fixed by the constant ``phase``."""
    if not unit.is_complex():
        return unit * torch.where(phase.cos() < 0, -1.0, 1.0).to(unit.dtype)
    # |<v|z>|^2 = v^T Re(z z^H) v for real v: the best v is the real part of z turned by half the angle of z.z
    square = (unit * unit).sum(dim=-1, keepdim=True)
    turned = (unit * torch.polar(torch.ones_like(square.real), -0.5 * square.angle())).real
    length = torch.linalg.vector_norm(turned, dim=-1, keepdim=True)
    direction = turned / torch.where(length > 0, length, 1.0)
    aligned = (direction * unit).sum(dim=-1, keepdim=True) * torch.polar(torch.ones_like(phase), phase)
    return torch.where(aligned.real < 0, -direction, direction)
