"""Chance: what a forecast is worth that has looked at nothing."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from qdyn.checks import check_integer
from qdyn.data.sequences import SequenceDataset
from qdyn.errors import ArgumentError
from qdyn.models.baselines.common import Baseline


class Chance(Baseline):
    r"""Forecasts a direction drawn from the Haar measure; for tokens the uniform distribution.

    The fidelity with any fixed state is Beta(1, d-1) distributed for complex and Beta(1/2, (d-1)/2) for real
    vectors, so that its mean is 1/d and the expected cross-entropy is

    $$L_1 = \psi(d) - \psi(1) \quad\text{(complex)}, \qquad L_1 = \psi(d/2) - \psi(1/2) \quad\text{(real)},$$

    with $\psi$ the digamma function; see `qdyn.attention.qsa.diagnostics.chance_loss_1`. For D tokens: log D.

    The draw for sequence b and step j depends on the seed, b and j alone and not on the data, so that a
    forecast is repeatable and a longer context does not change the forecasts made before.

    Args:
        seed: Integer >= 0.

    Example:
        >>> import torch
        >>> from qdyn.models.baselines import Chance
        >>> Chance(seed=1).forecast(torch.zeros(64, 10, 16, dtype=torch.complex64)).shape
        torch.Size([64, 10, 16])
    """

    name = "chance"
    label = "Chance (Haar-random state)"
    kinds: ClassVar[frozenset[str]] = frozenset({"quantum_state", "real", "token"})

    def __init__(self, *, seed: int = 0) -> None:
        self.seed = check_integer("seed", seed, minimum=0)

    def _learn(self, dataset: SequenceDataset) -> None:
        labels = {
            "quantum_state": Chance.label,
            "real": "Chance (random direction)",
            "token": "Chance (uniform)",
        }
        self.label = labels[dataset.metadata.kind]

    def forecast(self, inputs: Tensor, mask: Tensor | None = None) -> Tensor:
        """Random unit vectors (..., T, d); for tokens (..., T) the uniform distribution (..., T, D).

        Raises:
            ArgumentError: tokens, and it has not been fitted.
        """
        if not (inputs.is_floating_point() or inputs.is_complex()):
            if self.metadata is None:
                raise ArgumentError(f"The baseline {self.name} must be fitted before it can forecast tokens.")
            size = self.metadata.dimension
            return torch.full((*inputs.shape, size), 1 / size, dtype=torch.float64)
        *batch, steps, d = inputs.shape
        count = int(np.prod(batch))
        drawn = np.empty((count, steps, d), dtype=np.complex128 if inputs.is_complex() else np.float64)
        for step in range(steps):
            drawn[:, step] = self._directions(step, count, d, is_complex=inputs.is_complex())
        return torch.from_numpy(drawn).reshape(inputs.shape).to(inputs.dtype).to(inputs.device)

    def predict(self, context: Tensor) -> Tensor:
        """The last entry of `forecast`, without drawing those before it."""
        if not (context.is_floating_point() or context.is_complex()):
            return super().predict(context)
        *batch, steps, d = context.shape
        drawn = self._directions(steps - 1, int(np.prod(batch)), d, is_complex=context.is_complex())
        return torch.from_numpy(drawn).reshape(*batch, d).to(context.dtype).to(context.device)

    def _directions(self, step: int, count: int, d: int, *, is_complex: bool) -> np.ndarray:
        generator = np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=(step,)))
        # Rows are filled in order, so row b does not depend on how many follow it.
        normal = generator.standard_normal((count, d, 2 if is_complex else 1))
        vectors = normal[..., 0] + 1j * normal[..., 1] if is_complex else normal[..., 0]
        return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
