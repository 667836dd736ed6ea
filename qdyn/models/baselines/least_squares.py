"""One matrix, or one unitary, for every trajectory: linear fits to the training transitions."""

from __future__ import annotations

import torch
from torch import Tensor

from qdyn.data.sequences import SequenceDataset
from qdyn.models.baselines.common import LinearMap, transition_means, transition_moments


class LeastSquares(LinearMap):
    r"""The matrix that maps the training states to their successors with the least squared error.

    $$M = \arg\min_M \sum_{b,j} \lVert x^{(b)}_{j+1} - M x^{(b)}_j \rVert^2 = C G^{+},
      \qquad C = \sum x_{j+1} x_j^\dagger, \quad G = \sum x_j x_j^\dagger .$$

    If one linear map generated every trajectory and the states span the space, M is that map. It is fitted in
    the phase convention of the data: phases fixed state by state are no linear function of the state, so the
    same trajectories give a worse fit in first_real phases than in raw ones.

    For real vectors that are no unit vectors the map is affine, M x + b, fitted alike.

    Args:
        cutoff: Directions whose weight in G is below ``cutoff`` times the largest are left out of the fit.

    Source: J. H. Tu et al., J. Comput. Dyn. 1, 391 (2014): exact dynamic mode decomposition.
    """

    name = "least_squares"
    label = "One least-squares matrix"
    any_length = True

    def __init__(self, *, cutoff: float = 1e-10) -> None:
        self.cutoff = cutoff

    @property
    def n_parameters(self) -> int:
        """d^2 entries, twice that for complex ones; d more for an offset."""
        if self.matrix is None:
            return 0
        entries = self.matrix.numel() * (2 if self.matrix.is_complex() else 1)
        return entries + (0 if self.offset is None else self.offset.numel())

    def _learn(self, dataset: SequenceDataset) -> None:
        cross, gram = transition_moments(dataset)
        if self.has_unit_vectors:
            self.matrix, self.offset = self._fit(cross, gram), None
            return
        before, after, count = transition_means(dataset)
        cross, gram = cross - count * after.outer(before), gram - count * before.outer(before)
        self.matrix = self._fit(cross, gram)
        self.offset = after - self.matrix @ before

    def _fit(self, cross: Tensor, gram: Tensor) -> Tensor:
        return cross @ torch.linalg.pinv(gram, rtol=self.cutoff, hermitian=True)


class Procrustes(LinearMap):
    r"""The unitary (orthogonal for real data) that maps the training states to their successors best.

    $$U = \arg\min_{U^\dagger U = 1} \sum_{b,j} \lVert x^{(b)}_{j+1} - U x^{(b)}_j \rVert^2 = A B^\dagger,
      \qquad C = \sum x_{j+1} x_j^\dagger = A \Sigma B^\dagger .$$

    It is the best single propagator, and like every linear fit it depends on the phase convention.

    Source: P. H. Schönemann, Psychometrika 31, 1 (1966).
    """

    name = "procrustes"
    label = "One unitary (Procrustes)"

    @property
    def n_parameters(self) -> int:
        """The dimension of the group: d^2 for U(d), d(d-1)/2 for O(d)."""
        if self.matrix is None:
            return 0
        d = len(self.matrix)
        return d * d if self.matrix.is_complex() else d * (d - 1) // 2

    def _learn(self, dataset: SequenceDataset) -> None:
        cross, _ = transition_moments(dataset)
        left, _, right = torch.linalg.svd(cross)
        self.matrix = left @ right
        self.label = Procrustes.label if cross.is_complex() else "One orthogonal matrix (Procrustes)"
