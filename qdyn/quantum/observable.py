"""What it is to be an observable: a name, a unit, and a value for every state."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from jaxtyping import Float, Num
from torch import Tensor

from qdyn.errors import ArgumentError
from qdyn.quantum.factorised import FactorisedState

# What else has a name in a file of a trajectory: other arrays, and the axes of any of them.
_RESERVED = frozenset({
    *("states", "final_state", "density_matrices", "final_mps", "final_mps_bonds"),
    *("time", "trajectory", "basis", "basis_bra", "ri", "site", "bond", "term", "shot", "component"),
    *("left_bond", "spin", "right_bond", "bond_with_ends"),
})  # fmt: skip


def is_reserved(name: str) -> bool:
    """Whether another array or axis of a trajectory's file has this name.

    >>> is_reserved("shot"), is_reserved("detail_step"), is_reserved("imbalance")
    (True, True, False)
    """
    return name in _RESERVED or name.startswith("detail_")


@dataclass(frozen=True, eq=False, kw_only=True)
class Observable(ABC):
    """A real number, or an array of them, for every pure state.

    Attributes:
        name: identifier, used as the key in ``Trajectory.expectations`` and in files.
        label: the same for an axis of a figure, in mathtext.
        unit: "1", "J" (the first coupling), "J^2" or "nat".
        axes: names of the axes that it adds after those of the states.
    """

    name: str
    label: str
    unit: str = "1"
    axes: tuple[str, ...] = ()

    @abstractmethod
    def expectation(self, states: Num[Tensor, "*batch dim"]) -> Float[Tensor, ...]:
        """The value for each of ``states``, shape (..., 2**n) -> (..., *axes)."""

    def measure(self, state: FactorisedState) -> Tensor:
        """The value for one state in factors, such as a matrix-product state; shape (*axes,).

        Raises:
            ArgumentError: it is known for state vectors only.
        """
        del state
        raise ArgumentError(f"The observable {self.name!r} can be measured on state vectors only.")

    def size(self, n_sites: int) -> int:
        """How many numbers it gives for a state of ``n_sites`` sites."""
        return int(n_sites ** len(self.axes))

    @property
    def dtype(self) -> torch.dtype | None:
        """The type its values are kept in; None for real numbers of the precision of the states."""
        return None

    @property
    def batch_size(self) -> int | None:
        """Number of trajectories it is for, where it holds something for each; None where it suits any."""
        return None

    @property
    def is_linear(self) -> bool:
        """Whether it is tr(rho O) of an operator O, and so has a value for mixed states too."""
        return False

    def check_sites(self, n_sites: int) -> None:
        """Refuse a system that lacks the sites this observable names."""
        del n_sites

    def for_members(self, members: slice) -> Observable:
        """The same observable for a part of the batch, where it holds something for each member."""
        del members
        return self

    def for_times(self, window: slice) -> Observable:
        """The same observable for a part of the times, where it draws something anew for each."""
        del window
        return self
