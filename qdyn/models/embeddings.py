"""How elements become states: vectors as they are or projected, tokens through a trainable Parseval frame."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
import torch
from jaxtyping import Inexact
from torch import Tensor, nn

from qdyn.checks import check_choice, check_integer
from qdyn.errors import ArgumentError


class Embedding(nn.Module, ABC):
    """A map from elements to unit vectors.

    The frame is built once a step and passed back in, since inputs and targets share it.
    """

    @abstractmethod
    def frame(self) -> Tensor | None:
        """What the parameters stand for, or None without parameters."""

    @abstractmethod
    def states(self, elements: Tensor, frame: Tensor | None) -> Tensor:
        """The unit vectors (..., T, d) that go into the register."""

    @abstractmethod
    def leverage(self, elements: Tensor, frame: Tensor | None) -> Tensor | None:
        """The leverage alpha of each element, (..., T), or None where it is 1 throughout."""


class IdentityEmbedding(Embedding):
    """States and unit vectors go in as they are."""

    def frame(self) -> None:
        """There are no parameters."""
        return

    def states(self, elements: Tensor, frame: Tensor | None) -> Tensor:
        """The elements."""
        return elements

    def leverage(self, elements: Tensor, frame: Tensor | None) -> None:
        """1 throughout."""
        return


class ParsevalEmbedding(Embedding):
    """A row x^(l) for each of D tokens, with sum_l |x^(l)><x^(l)| = 1 exactly, by construction.

    The frame is X = G L^-H with G^H G = L L^H: the columns of a free matrix G, orthonormalised by a Cholesky
    factor in double precision. Every Parseval frame is of this form, and any step of an optimiser on G gives
    another one. The register holds xi_l = x^(l) / sqrt(alpha_l), with the leverage alpha_l = ||x^(l)||^2.

    Args:
        tokens: D, the size of the vocabulary.
        dimension: d <= D.
        field: "complex" or "real" entries.
        generator: Source of the start: G has independent normal entries, a random frame.

    Raises:
        ArgumentError: fewer tokens than dimensions.

    Source: arXiv:2602.06699 v2, the trainable embedding.

    Example:
        >>> embedding = ParsevalEmbedding(10, 4, field="complex", generator=np.random.default_rng(0))
        >>> frame = embedding.frame()
        >>> bool(torch.allclose(frame.mH @ frame, torch.eye(4, dtype=frame.dtype), atol=1e-6))
        True
    """

    def __init__(self, tokens: int, dimension: int, *, field: str, generator: np.random.Generator) -> None:
        super().__init__()
        check_integer("tokens", tokens, minimum=1)
        check_integer("dimension", dimension, minimum=1)
        check_choice("field", field, ("complex", "real"))
        if tokens < dimension:
            raise ArgumentError(
                f"Argument `embedding_dimension` must be at most the size of the vocabulary, {tokens}, "
                f"but is {dimension}."
            )
        parts = 2 if field == "complex" else 1
        start = generator.standard_normal((parts, tokens, dimension))
        #: Real and (for complex frames) imaginary part of G.
        self.columns = nn.Parameter(torch.from_numpy(start).to(torch.float32))

    def frame(self) -> Inexact[Tensor, "tokens dim"]:
        """X, (D, d), with orthonormal columns."""
        parts = self.columns.double().unbind(0)
        free = torch.complex(*parts) if len(parts) == 2 else parts[0]
        factor = torch.linalg.cholesky(free.mH @ free)
        frame = torch.linalg.solve_triangular(factor.mH, free, upper=True, left=False)
        double = self.columns.dtype == torch.float64
        if frame.is_complex():
            return frame if double else frame.to(torch.complex64)
        return frame if double else frame.to(torch.float32)

    def states(self, elements: Tensor, frame: Tensor | None) -> Tensor:
        """The unit vectors xi of tokens: (..., T, d) from int64 (..., T)."""
        assert frame is not None
        lengths = _row_leverage(frame).clamp_min(torch.finfo(frame.dtype).tiny).sqrt()
        return _rows(frame / lengths.unsqueeze(-1), elements)

    def leverage(self, elements: Tensor, frame: Tensor | None) -> Tensor:
        """The leverage alpha of each token, (..., T)."""
        assert frame is not None
        return _rows(_row_leverage(frame), elements)


class ProjectionEmbedding(Embedding):
    """P x / ||P x||, where the rows of P are orthonormal: states of a large space in a small one.

    P is the adjoint of a Parseval frame's columns, X^H, so that it stays a co-isometry under any step of an
    optimiser.

    Args:
        dimension: D, of the states.
        projected: d <= D, of what they become.
        generator: Source of the start, a random subspace.

    Source: arXiv:2602.06699 v1, the projection for states of many qubits.

    Example:
        >>> projection = ProjectionEmbedding(8, 2, generator=np.random.default_rng(0))
        >>> frame = projection.frame()
        >>> small = projection.states(torch.eye(8, dtype=torch.complex64), frame)
        >>> small.shape, bool(torch.allclose(projection.states(projection.lift(small, frame), frame), small))
        (torch.Size([8, 2]), True)
    """

    def __init__(self, dimension: int, projected: int, *, generator: np.random.Generator) -> None:
        super().__init__()
        self.rows = ParsevalEmbedding(dimension, projected, field="complex", generator=generator)

    def frame(self) -> Inexact[Tensor, "dim small"]:
        """X = P^H, (D, d), with orthonormal columns."""
        return self.rows.frame()

    def states(self, elements: Tensor, frame: Tensor | None) -> Tensor:
        """P x / ||P x||, (..., T, d), from states (..., T, D)."""
        kept = self._kept(elements, frame)
        length = torch.linalg.vector_norm(kept, dim=-1, keepdim=True)
        return kept / length.clamp_min(torch.finfo(length.dtype).tiny)

    def leverage(self, elements: Tensor, frame: Tensor | None) -> Tensor:
        """What P keeps of each state, ||P x||^2, (..., T)."""
        return self._kept(elements, frame).abs().square().sum(dim=-1)

    def lift(self, states: Tensor, frame: Tensor) -> Tensor:
        """P^H z, (..., T, D), from (..., T, d)."""
        return states @ frame.mT.to(states.dtype)

    def _kept(self, elements: Tensor, frame: Tensor | None) -> Tensor:
        assert frame is not None
        return elements.to(frame.dtype) @ frame.conj()


def _row_leverage(frame: Tensor) -> Tensor:
    return frame.abs().square().sum(dim=-1)


def _rows(table: Tensor, elements: Tensor) -> Tensor:
    return table.index_select(0, elements.reshape(-1)).reshape(*elements.shape, *table.shape[1:])
