"""Hamiltonians that depend on time: a static part and parts that are switched, ramped or shaken."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from qdyn.checks import check_choice, check_finite, check_positive, real_numbers
from qdyn.errors import ArgumentError
from qdyn.quantum.hamiltonians import Hamiltonian
from qdyn.quantum.pauli import PauliTerms, Word

Function = Callable[[float], float]
_Samples = Sequence[float] | NDArray[Any] | Tensor


@dataclass(frozen=True, eq=False, repr=False)
class SampledDrive:
    """A function of time given by samples: straight lines between them, or steps.

        f(t) = f_j + (f_{j+1} - f_j) (t - t_j) / (t_{j+1} - t_j)   ("linear"),   f(t) = f_j   ("steps")

    for t_j <= t < t_{j+1}. Steps hold the last value for ever; lines end at the last sample. A solver never
    steps across a sample, so that kinks and quenches cost no accuracy.

    Args:
        times: increasing t_j in units of 1/J, shape (samples,), at least 2 of them for lines.
        values: f_j, shape (samples,).
        kind: "linear" or "steps".

    Raises:
        ArgumentError: an array has the wrong shape or order, or is not finite.

    Example:
        >>> ramp = SampledDrive([0.0, 2.0], [1.0, 0.0])
        >>> ramp(0.5)
        0.75
    """

    times: _Samples
    values: _Samples
    kind: Literal["linear", "steps"] = "linear"

    def __post_init__(self) -> None:
        check_choice("kind", self.kind, ["linear", "steps"])
        for name in ("times", "values"):
            samples = real_numbers(name, getattr(self, name)).cpu()
            check_finite(name, samples)
            object.__setattr__(self, name, samples.numpy())
        shape, least = self._times.shape, 2 if self.kind == "linear" else 1
        if len(shape) != 1 or shape[0] < least or self._values.shape != shape:
            raise ArgumentError(
                f"Arguments `times` and `values` of a drive must have one axis of equal length, at least "
                f"{least}, but have shapes {shape} and {self._values.shape}."
            )
        if bool((np.diff(self._times) <= 0).any()):
            place = int((np.diff(self._times) <= 0).argmax()) + 1
            raise ArgumentError(
                f"Argument `times` of a drive must be increasing, but times[{place}]={self._times[place]:g} "
                f"follows {self._times[place - 1]:g}."
            )

    def __call__(self, time: float) -> float:
        """The value at ``time``; at a step the one after it.

        Raises:
            ArgumentError: ``time`` is outside the samples.
        """
        return self.around(time)(time)

    def around(self, time: float) -> Function:
        """The line or the constant that holds at ``time``, continued to all times."""
        self.check_covers(time, time)
        place = max(0, int(np.searchsorted(self._times, time, side="right")) - 1)
        if self.kind == "steps":
            value = float(self._values[place])
            return lambda _: value
        place = min(place, len(self._times) - 2)
        start, origin = float(self._values[place]), float(self._times[place])
        slope = (float(self._values[place + 1]) - start) / (float(self._times[place + 1]) - origin)
        return lambda moment: start + slope * (moment - origin)

    def breaks(self, first: float, last: float) -> list[float]:
        """The times of samples strictly between ``first`` and ``last``.

        Raises:
            ArgumentError: the samples do not cover the interval.
        """
        self.check_covers(first, last)
        return [float(time) for time in self._times if first < time < last]

    def check_covers(self, first: float, last: float) -> None:
        """Refuse times outside the samples, by more than the rounding of how they were computed."""
        end = math.inf if self.kind == "steps" else float(self._times[-1])
        slack = 8 * np.finfo(np.float64).eps * max(abs(first), abs(last), float(np.abs(self._times).max()))
        if first < self._times[0] - slack or last > end + slack:
            raise ArgumentError(
                f"The samples of a drive must cover the times {first:.12g} to {last:.12g}, "
                f"but reach from {self._times[0]:.12g} to {self._times[-1]:.12g}."
            )

    def __repr__(self) -> str:
        return f"SampledDrive(<{len(self._times)} samples>, kind={self.kind!r})"

    @property
    def _times(self) -> NDArray[np.float64]:
        return np.asarray(self.times, dtype=np.float64)

    @property
    def _values(self) -> NDArray[np.float64]:
        return np.asarray(self.values, dtype=np.float64)


@dataclass(frozen=True)
class GaussianDrive:
    """A pulse that no solver misses, however short it is against the whole time.

        f(t) = a exp(-(t - c)^2 / (2 s^2))

    Within eight widths of its centre steps are measured in widths, and none crosses the ends of that stretch.

    Args:
        amplitude: a.
        centre: c in units of 1/J.
        width: s > 0 in units of 1/J.

    Raises:
        ArgumentError: a number is not finite, or the width is not positive.

    Example:
        >>> pulse = GaussianDrive(amplitude=2.0, centre=1.0, width=0.5)
        >>> pulse(1.0), round(pulse(1.5), 6)
        (2.0, 1.213061)
    """

    amplitude: float
    centre: float
    width: float

    def __post_init__(self) -> None:
        for name in ("amplitude", "centre", "width"):
            check_finite(name, torch.tensor(float(getattr(self, name)), dtype=torch.float64))
        check_positive("width", self.width)

    def __call__(self, time: float) -> float:
        """The value at ``time``."""
        return self.amplitude * math.exp(-0.5 * ((time - self.centre) / self.width) ** 2)

    def breaks(self, first: float, last: float) -> list[float]:
        """The times between ``first`` and ``last`` that no step crosses."""
        stops = (self.centre - _WIDTHS * self.width, self.centre, self.centre + _WIDTHS * self.width)
        return [time for time in stops if first < time < last]

    def stands_at(self, time: float) -> bool:
        """Whether it is more than rounding there."""
        return abs(time - self.centre) <= _WIDTHS * self.width


# Beyond eight widths a pulse has 1e-15 of its area.
_WIDTHS = 8
Drive = Function | SampledDrive | GaussianDrive | tuple[_Samples, _Samples]
"""A Python function of time, samples of one, a pulse, or a pair (times, values): samples joined by lines."""


@dataclass(frozen=True, eq=False, repr=False)
class DrivenHamiltonian(Hamiltonian):
    """A Hamiltonian with time-dependent parts, for `evolve`.

        H(t) = H_0 + sum_k f_k(t) H_k

    Args:
        static: H_0.
        drives: pairs (f_k, H_k); f_k is a Python function of time, a `SampledDrive`, or (times, values),
            which are samples joined by straight lines. A quench is a `SampledDrive` of ``kind="steps"``;
            where all drives are such, `evolve` follows one static Hamiltonian after the other.

    `evolve` looks at a Python function at 2,001 times from the first to the last, and steps as finely as what
    it finds there; it finds jumps, and never steps across them. A pulse must be at least as wide as a
    thousandth of the whole time to be seen: give a narrower one as a `GaussianDrive` or as samples, which are
    never stepped across either.

    Raises:
        ArgumentError: the parts differ in their numbers of sites or trajectories, or there is no drive.

    Example:
        >>> from qdyn import TransverseFieldIsing
        >>> import math
        >>> shaken = TransverseFieldIsing(n_sites=2, coupling=0.0, field=0.5)
        >>> H = DrivenHamiltonian(TransverseFieldIsing(n_sites=2), [(lambda t: math.cos(3 * t), shaken)])
        >>> H.at(0.0).coefficients.tolist()  # -J Z Z, then -(h + 0.5) X on both sites
        [-1.0, -1.5, -1.5]
    """

    static: Hamiltonian
    drives: Sequence[tuple[Drive, Hamiltonian]]

    formula: ClassVar[str] = "H(t) = H_0 + sum_k f_k(t) H_k"

    def __post_init__(self) -> None:
        settled = []
        given: Any = self.drives
        if not isinstance(given, Iterable):
            raise ArgumentError(
                f"Argument `drives` must be a list of pairs (function or samples, Hamiltonian), "
                f"but is {given!r:.60}."
            )
        for place, entry in enumerate(self.drives):
            if not (isinstance(entry, tuple) and len(entry) == 2 and isinstance(entry[1], Hamiltonian)):
                raise ArgumentError(
                    f"Argument `drives` must hold pairs (function or samples, Hamiltonian), "
                    f"but drives[{place}] is {entry!r:.60}."
                )
            drive, part = entry
            if isinstance(drive, tuple):
                drive = SampledDrive(*drive) if len(drive) == 2 else drive
            if not callable(drive):
                raise ArgumentError(
                    f"Argument `drives` must hold functions or pairs (times, values), "
                    f"but drives[{place}] has {drive!r:.60}."
                )
            settled.append((drive, part))
        object.__setattr__(self, "drives", tuple(settled))
        parts = [self.static, *(part for _, part in settled)]
        for part in parts:
            if not isinstance(part, Hamiltonian) or isinstance(part, DrivenHamiltonian):
                raise ArgumentError(
                    f"Arguments `static` and `drives` must hold static Hamiltonians: {part!r:.60}."
                )
        if not settled:
            raise ArgumentError("Argument `drives` must hold at least one drive, but is empty.")
        for name, counts in (
            ("sites", {part.n_sites for part in parts}),
            ("trajectories", {part.batch_size for part in parts} - {None}),
        ):
            if len(counts) > 1:
                raise ArgumentError(
                    f"Arguments `static` and `drives` must have equal numbers of {name}, but have "
                    f"{sorted(count for count in counts if count is not None)}."
                )
        object.__setattr__(self, "n_sites", self.static.n_sites)

    @property
    def functions(self) -> tuple[Function, ...]:
        """The functions f_k."""
        return tuple(drive for drive, _ in self.drives if callable(drive))

    @property
    def parts(self) -> tuple[Hamiltonian, ...]:
        """H_0, then every H_k."""
        return (self.static, *(part for _, part in self.drives))

    @property
    def parameters(self) -> dict[str, Tensor]:
        """The couplings of H_0 by name, and those of H_k as "drive_k_name"."""
        found = dict(self.static.parameters)
        for place, (_, part) in enumerate(self.drives):
            found |= {f"drive_{place}_{name}": value for name, value in part.parameters.items()}
        return found

    @property
    def parameter_axes(self) -> dict[str, str]:
        """What the second axis of each coupling runs over."""
        found = dict(self.static.parameter_axes)
        for place, (_, part) in enumerate(self.drives):
            found |= {f"drive_{place}_{name}": along for name, along in part.parameter_axes.items()}
        return found

    @property
    def parameter_units(self) -> dict[str, str]:
        """The unit of each coupling."""
        found = dict(self.static.parameter_units)
        for place, (_, part) in enumerate(self.drives):
            found |= {f"drive_{place}_{name}": unit for name, unit in part.parameter_units.items()}
        return found

    @property
    def batch_size(self) -> int | None:
        """Number of Hamiltonians; None for a single one."""
        return next((part.batch_size for part in self.parts if part.batch_size is not None), None)

    def member(self, index: int) -> DrivenHamiltonian:
        """Hamiltonian number ``index`` of the batch, as a single one."""
        if self.batch_size is None:
            return super().member(index)
        static, *driven = (part if part.batch_size is None else part.member(index) for part in self.parts)
        pairs = tuple((drive, part) for (drive, _), part in zip(self.drives, driven, strict=True))
        return replace(self, static=static, drives=pairs)

    def pauli_terms(self) -> PauliTerms:
        """Refused: these change with time.

        Raises:
            ArgumentError: always; see `at`.
        """
        raise ArgumentError("This Hamiltonian depends on time: take at(time), its value at one time.")

    def at(self, time: float) -> PauliTerms:
        """H at one time as Pauli strings, which have `to_dense`, `to_sparse` and `apply`."""
        words, coefficients = self.strings()
        (factors,) = self.factors(torch.tensor([float(time)], dtype=torch.float64))
        return PauliTerms(self.n_sites, words, torch.tensordot(factors, coefficients, dims=1))

    def strings(self) -> tuple[tuple[Word, ...], Float[Tensor, "parts *batch terms"]]:
        """All Pauli strings, and the coefficient of each in H_0 and in every H_k."""
        pieces = [part.pauli_terms() for part in self.parts]
        words = tuple(dict.fromkeys(word for piece in pieces for word in piece.words))
        place = {word: index for index, word in enumerate(words)}
        leading = max((piece.coefficients.shape[:-1] for piece in pieces), key=len)
        table = torch.zeros(len(pieces), *leading, len(words), dtype=torch.float64)
        for row, piece in enumerate(pieces):
            columns = torch.tensor([place[word] for word in piece.words], dtype=torch.int64)
            table[row].index_add_(-1, columns, piece.coefficients.cpu().expand(*leading, -1).contiguous())
        return words, table

    def breaks(self, first: float, last: float) -> list[float]:
        """Times strictly between ``first`` and ``last`` where a drive has a kink, a step or a pulse.

        Raises:
            ArgumentError: samples do not cover the interval.
        """
        found: set[float] = set()
        for function in self.functions:
            if isinstance(function, SampledDrive | GaussianDrive):
                found |= set(function.breaks(first, last))
        return sorted(found)

    def time_scale(self, time: float) -> float:
        """What steps are measured in: the least width of the pulses that stand at ``time``, at most 1/J."""
        widths = (f.width for f in self.functions if isinstance(f, GaussianDrive) and f.stands_at(time))
        return min(1.0, *widths, 1.0)

    def around(self, time: float) -> Callable[[float], NDArray[np.float64]]:
        """The factors (1, f_1, ...) as a function of time, smooth between two neighbouring breaks."""
        pieces = [f.around(time) if isinstance(f, SampledDrive) else f for f in self.functions]

        def factors(moment: float) -> NDArray[np.float64]:
            values = np.array([1.0, *(float(piece(moment)) for piece in pieces)])
            if not np.isfinite(values).all():
                raise ArgumentError(f"A drive must be finite, but is {values[1:]} at t={moment:g}.")
            return values

        return factors

    def factors(self, times: Tensor) -> Float[Tensor, "times parts"]:
        """The factors 1, f_1, ... of the parts at some times.

        Raises:
            ArgumentError: a drive gives no finite number.
        """
        rows = [[1.0, *(drive_value(f, float(t)) for f in self.functions)] for t in times]
        return torch.tensor(rows, dtype=torch.float64)

    def largest_norm(self, times: Tensor) -> float:
        """The largest bound on |H(t)|, the sum of the moduli of its coefficients, over some times."""
        _, table = self.strings()
        factors = self.factors(times)
        return float(torch.tensordot(factors, table, dims=1).abs().sum(dim=-1).max())

    def __repr__(self) -> str:
        driven = ", ".join(f"({_name(drive)}, {part!r})" for drive, part in self.drives)
        return f"DrivenHamiltonian({self.static!r}, [{driven}])"


def drive_value(function: Callable[[float], float], time: float) -> float:
    """What a drive is at one time.

    Raises:
        ArgumentError: it gives no finite number.
    """
    found = function(time)
    try:
        value = float(found)
    except (TypeError, ValueError):
        raise ArgumentError(f"A drive must give a number, but gives {found!r:.60} at t={time:g}.") from None
    if not math.isfinite(value):
        raise ArgumentError(f"A drive must be finite, but is {value} at t={time:g}.")
    return value


def _name(drive: Drive) -> str:
    own = isinstance(drive, SampledDrive | GaussianDrive)
    return repr(drive) if own else getattr(drive, "__name__", "function")
