"""Quantum self-attention on few qubits for states of many: a trained projection, and attention behind it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from qdyn.attention.qsa.observables import QSAObservables
from qdyn.checks import check_integer
from qdyn.circuits.ansatz.variational import Ansatz
from qdyn.data.sequences import SequenceDataset, SequenceMetadata
from qdyn.errors import ConfigError
from qdyn.models.base import Predictor
from qdyn.models.baselines.common import training_part
from qdyn.models.config import ModelConfig
from qdyn.models.embeddings import ProjectionEmbedding
from qdyn.models.qsa.predictor import QSAPredictor


@dataclass(frozen=True)
class ProjectedQSAConfig(ModelConfig):
    """A QSA predictor and the space that states are projected into before it sees them.

    Attributes:
        kind: "projected_qsa".
        projected_dimension: d', a power of two below the dimension of the data.
    """

    kind: str = "projected_qsa"
    projected_dimension: int = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        check_integer("model.projected_dimension", self.projected_dimension, minimum=2)
        if self.projected_dimension.bit_count() != 1:
            raise ConfigError(
                "Argument `model.projected_dimension` must be a power of two, but is "
                f"{self.projected_dimension}."
            )


class ProjectedQSAPredictor(nn.Module, Predictor):
    r"""Attention between projected states, P x / ||P x||, with a projection that is trained with it.

    P, (d', D) with orthonormal rows, takes a state of many qubits to one of few, which is normalised; both
    the elements seen and those to be forecast. The losses are those of the projected states, as in v1 of the
    paper: they do not ask how much of a state P keeps.

    A forecast z is a state of the small space. Handed out it is lifted, $P^\dagger z$, the one state of the
    large space that P takes to it and that has no part elsewhere. Its fidelity with the true state y is
    $\lVert P y \rVert^2$ times that in the small space, and so bounded by what P keeps.

    Args:
        config: The model section of a preset.
        metadata: Of the data: quantum states.
        seed: Fixes the initial parameters.

    Attributes:
        projection: P.
        attention: The predictor behind it.

    Raises:
        ConfigError: the data are no quantum states, or the projected dimension is not below theirs.

    Source: arXiv:2602.06699 v1, the projection of 10 qubits to 2.

    Example:
        >>> metadata = SequenceMetadata("example", "quantum_state", 16, phase_convention="first_real")
        >>> model = ProjectedQSAPredictor(ProjectedQSAConfig(layers=2), metadata, seed=0)
        >>> context = torch.eye(16, dtype=torch.complex64)[None, :3]
        >>> model.label, model.rollout(context, steps=5).shape
        ('poly-3-QSA, 16 to 4', torch.Size([1, 5, 16]))
    """

    def __init__(self, config: ProjectedQSAConfig, metadata: SequenceMetadata, *, seed: int = 0) -> None:
        super().__init__()
        d = config.projected_dimension
        if metadata.kind != "quantum_state" or metadata.dimension <= d:
            raise ConfigError(
                f"Argument `model.kind` 'projected_qsa' needs quantum states of a dimension above {d}, but "
                f"the data are {metadata.kind!r} of dimension {metadata.dimension}."
            )
        self.config = config
        self.metadata = metadata
        generator = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(3,)))
        self.projection = ProjectionEmbedding(metadata.dimension, d, generator=generator)
        # Projected states keep no convention of their own.
        small = replace(metadata, dimension=d, phase_convention="raw")
        self.attention = QSAPredictor(config, small, seed=seed)
        self.label = f"{self.attention.label}, {metadata.dimension} to {d}"
        self.name = self.label.lower().replace(", ", "-").replace(" ", "-")

    @property
    def unitaries(self) -> dict[str, Ansatz]:
        """See `QSAPredictor.unitaries`; the projection is none."""
        return {f"attention.{name}": family for name, family in self.attention.unitaries.items()}

    def forward(self, inputs: Tensor, targets: Tensor, mask: Tensor | None = None) -> QSAObservables:
        """All observables of the projected states, one number a sequence; see `QSAPredictor.forward`."""
        observables: QSAObservables = self.attention(*self._projected(inputs, targets), mask)
        return observables

    def loss(self, name: str, inputs: Tensor, targets: Tensor, mask: Tensor | None = None) -> Tensor:
        """The loss of that name of the projected states of each sequence, (batch,)."""
        return self.attention.loss(name, *self._projected(inputs, targets), mask)

    def forecast(self, inputs: Tensor, mask: Tensor | None = None) -> Tensor:
        """Teacher-forced forecasts (..., T, D), lifted; the parameters count as constants in a derivative."""
        with torch.no_grad():
            frame = self.projection.frame()
            small = self.attention.forecast(self.projection.states(inputs, frame), mask)
            return self.projection.lift(small, frame).to(inputs.dtype)

    def attention_weights(self, inputs: Tensor, mask: Tensor | None = None) -> Tensor:
        """How each step spreads its attention, (..., T, T); see `QSAPredictor.attention_weights`."""
        with torch.no_grad():
            states = self.projection.states(inputs, self.projection.frame())
        return self.attention.attention_weights(states, mask)

    def kept(self, states: Tensor) -> Tensor:
        """||P x||^2 of states (..., T, D): what bounds the fidelity of a lifted forecast; (..., T)."""
        with torch.no_grad():
            return self.projection.leverage(states, self.projection.frame())

    def fit(self, dataset: SequenceDataset) -> ProjectedQSAPredictor:
        """Fix the forecasts' phase where phases are raw; `qdyn.train` trains the parameters."""
        super().fit(dataset)
        if dataset.metadata.phase_convention == "raw":
            part = training_part(dataset)
            every = range(len(part))
            lengths = part.batch(every).mask.sum(dim=-1) + 1
            with torch.no_grad():
                states = self.projection.states(part.sequences(every), self.projection.frame())
            # Padding may hold anything, but elements of a dataset are unit vectors.
            exists = torch.arange(states.shape[1]) < lengths[:, None]
            states = torch.where(exists[..., None], states, states[:, :1])
            double = torch.nn.functional.normalize(states.to(torch.complex128), dim=-1)
            self.attention.fit(SequenceDataset.from_arrays(double, kind="quantum_state", lengths=lengths))
        return self

    def _projected(self, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        frame = self.projection.frame()
        return self.projection.states(inputs, frame), self.projection.states(targets, frame)
