"""What the baselines share: which data they take, how they learn from transitions, how they treat phases."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from typing import ClassVar, Literal, TypeVar

import torch
from torch import Tensor

from qdyn.data.sequences import Batch, SequenceDataset
from qdyn.errors import ArgumentError, DatasetError
from qdyn.models.base import Predictor

Training = Literal["none", "closed form", "oracle"]

Fitted = TypeVar("Fitted", bound="Baseline")

_KIND_NAMES = {"quantum_state": "quantum states", "real": "real vectors", "token": "tokens"}


class Baseline(Predictor):
    """A predictor that no gradient has touched.

    A subclass says what it takes in `kinds`, learns in `_learn` and forecasts in `forecast`. Forecasts of
    vectors are unit vectors in the precision of the inputs; their global phase is whatever comes out, because
    no figure of merit depends on it. What is fed back in a roll-out obeys the phase convention of the data.
    Real vectors whose length has a meaning are forecast with their length.

    Attributes:
        kinds: Kinds of data it can forecast.
        any_length: Whether it can forecast real vectors that are no unit vectors.
        training: "none" (nothing is learnt), "closed form" (fitted to the training split without iterating)
            or "oracle" (it is told what no predictor knows).
    """

    kinds: ClassVar[frozenset[str]] = frozenset({"quantum_state", "real"})
    any_length: bool = False
    training: ClassVar[Training] = "none"

    @property
    def has_unit_vectors(self) -> bool:
        """Whether forecasts are unit vectors: unless it was fitted to data that are none."""
        return self.metadata is None or self.metadata.normalised

    @property
    def n_parameters(self) -> int:
        """Real numbers learnt from the training split."""
        return 0

    def fit(self: Fitted, dataset: SequenceDataset) -> Fitted:
        """Learn from the training split of ``dataset``, or from all of it where it has none.

        Raises:
            DatasetError: the data are of a kind that this baseline cannot forecast, or there are none.
        """
        if dataset.metadata.kind not in self.kinds:
            takes = " or ".join(_KIND_NAMES[kind] for kind in sorted(self.kinds))
            raise DatasetError(
                f"The baseline {self.name} forecasts {takes}, but the dataset {dataset.metadata.name} holds "
                f"{_KIND_NAMES[dataset.metadata.kind]}."
            )
        if not (self.any_length or dataset.metadata.normalised):
            raise DatasetError(
                f"The baseline {self.name} forecasts directions, but the real vectors of the dataset "
                f"{dataset.metadata.name} are no unit vectors."
            )
        part = training_part(dataset)
        if len(part) == 0:
            raise DatasetError(f"The dataset {dataset.metadata.name} has no sequences to fit {self.name} to.")
        super().fit(dataset)
        self._learn(part)
        return self

    def _learn(self, dataset: SequenceDataset) -> None:
        """Learn from every sequence of ``dataset``; by default there is nothing to learn."""


class LinearMap(Baseline):
    """Forecasts by one fixed matrix: the element after x is M x + b, normalised where the data are.

    The offset b is zero for unit vectors.
    """

    training: ClassVar[Training] = "closed form"
    matrix: Tensor | None = None
    offset: Tensor | None = None

    @abstractmethod
    def _learn(self, dataset: SequenceDataset) -> None:
        """Set ``matrix``, (d, d) in double precision, and ``offset`` (d,) where there is one."""

    def forecast(self, inputs: Tensor, mask: Tensor | None = None) -> Tensor:
        """M x_j / ||M x_j||, or M x_j + b, for every element x_j of ``inputs`` (..., T, d).

        ``mask`` has no effect.

        Raises:
            ArgumentError: it has not been fitted, or ``inputs`` have another dimension.
        """
        matrix = fitted(self.matrix, self)
        check_dimension(inputs, matrix.shape[-1])
        wide = inputs.to(matrix.dtype)
        if not self.has_unit_vectors:
            return (wide @ matrix.T + (0.0 if self.offset is None else self.offset)).to(inputs.dtype)
        return unit(wide @ matrix.T, otherwise=wide).to(inputs.dtype)


def training_part(dataset: SequenceDataset) -> SequenceDataset:
    """The training split of ``dataset``; all of it where it has none or is a split already."""
    try:
        return dataset.split("train")
    except DatasetError:
        return dataset


def validation_part(dataset: SequenceDataset) -> SequenceDataset | None:
    """The validation split of ``dataset``, which settings may be chosen by; None where it has none."""
    if not dataset.is_whole or "validation" not in dataset.split_names:
        return None
    return dataset.split("validation") if len(dataset.split("validation")) else None


def fitted(value: Tensor | None, predictor: Predictor) -> Tensor:
    """``value``, refused when it has not been learnt yet."""
    if value is None:
        raise not_fitted(predictor)
    return value


def not_fitted(predictor: Predictor) -> ArgumentError:
    """What to raise where ``predictor`` was asked before it had learnt."""
    return ArgumentError(
        f"The baseline {predictor.name} must be fitted before it can forecast: call fit(dataset)."
    )


def check_dimension(inputs: Tensor, dimension: int) -> None:
    """Refuse inputs that are not vectors of length ``dimension``."""
    if inputs.ndim < 2 or inputs.shape[-1] != dimension:
        raise ArgumentError(
            f"Argument `inputs` must have shape (..., T, {dimension}), but has shape {tuple(inputs.shape)}."
        )


def check_tokens(inputs: Tensor, size: int) -> None:
    """Refuse anything but integers in [0, size)."""
    if inputs.is_floating_point() or inputs.is_complex():
        raise ArgumentError(f"Argument `inputs` must hold tokens (integers), but has dtype {inputs.dtype}.")
    if inputs.numel() and (int(inputs.min()) < 0 or int(inputs.max()) >= size):
        worst = int(inputs.min()) if int(inputs.min()) < 0 else int(inputs.max())
        raise ArgumentError(f"Argument `inputs` must hold tokens in [0, {size}), but one is {worst}.")


def unit(vectors: Tensor, *, otherwise: Tensor) -> Tensor:
    """``vectors`` divided by their norms; where a vector vanishes, the one of ``otherwise`` in its place."""
    length = torch.linalg.vector_norm(vectors, dim=-1, keepdim=True)
    vanishes = length < 1e-12
    return torch.where(vanishes, otherwise, vectors / torch.where(vanishes, 1.0, length))


def batches(dataset: SequenceDataset, size: int = 256) -> Iterator[Batch]:
    """Every sequence of ``dataset`` once, in batches that bound the memory a fit needs."""
    for start in range(0, len(dataset), size):
        yield dataset.batch(range(start, min(start + size, len(dataset))))


def transition_moments(dataset: SequenceDataset) -> tuple[Tensor, Tensor]:
    """The two matrices that any linear fit of x_j -> x_{j+1} needs, in double precision.

    Returns:
        C = sum x_{j+1} x_j^dagger and G = sum x_j x_j^dagger over all transitions, both (d, d).
    """
    d = dataset.metadata.dimension
    dtype = torch.complex128 if dataset.metadata.kind == "quantum_state" else torch.float64
    cross, gram = torch.zeros(d, d, dtype=dtype), torch.zeros(d, d, dtype=dtype)
    for batch in batches(dataset):
        x, y = batch.inputs[batch.mask].to(dtype), batch.targets[batch.mask].to(dtype)
        cross += y.T @ x.conj()
        gram += x.T @ x.conj()
    return cross, gram


def transition_means(dataset: SequenceDataset) -> tuple[Tensor, Tensor, int]:
    """The means of real x_j and x_{j+1} over all transitions, (d,) in double precision, and their number."""
    before = after = torch.zeros(dataset.metadata.dimension, dtype=torch.float64)
    count = 0
    for batch in batches(dataset):
        before = before + batch.inputs[batch.mask].double().sum(dim=0)
        after = after + batch.targets[batch.mask].double().sum(dim=0)
        count += int(batch.mask.sum())
    return before / count, after / count, count
