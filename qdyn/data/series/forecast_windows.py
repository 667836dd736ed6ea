"""Windows of one long record, split by time: what is forecast in a split was never a target in another.

A record is one sequence of N elements. A window holds T + 1 consecutive elements and gives T forecasts.
Splits are segments of the record, one after the other; the scale of the data is that of the training segment.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike, NDArray

from qdyn.checks import check_choice, check_integer, real_numbers
from qdyn.data.backing import SPLITS
from qdyn.data.sequences import SequenceDataset
from qdyn.errors import ArgumentError, DatasetError, nearest

Scaling = Literal["standard", "none"]


@dataclass(frozen=True)
class Record:
    """A table with a time column.

    Attributes:
        values: (N, columns), in the order of ``columns``.
        times: (N,) seconds since the first row, or the numbers of the time column as they are.
        columns: names of the columns.
        dated: whether the times were dates.
    """

    values: Float[np.ndarray, "rows columns"]
    times: Float[np.ndarray, " rows"]
    columns: tuple[str, ...]
    dated: bool

    @property
    def time_step(self) -> float:
        """Spacing of the rows, in seconds where the times were dates."""
        return float(self.times[-1] - self.times[0]) / (len(self.times) - 1)


@dataclass(frozen=True)
class WindowPlan:
    """Which windows of a record belong to which split.

    Args:
        n_steps: T >= 1, the forecasts that a window gives; it has T + 1 elements.
        segments: (first, one past the last) element of each split, in the order train, validation, test and
            without overlap.
        reach: with how many elements before its segment a window may begin, 1 to T. With 1, every target
            belongs to the segment. With T, only the last target must, which is right where only the last
            forecast of a window is judged.

    Raises:
        ArgumentError: a segment out of order, or too short for one window.

    Example:
        >>> plan = WindowPlan(n_steps=20, segments={"train": (0, 320), "test": (320, 500)})
        >>> {name: (starts[0], starts[-1], len(starts)) for name, starts in plan.starts.items()}
        {'train': (0, 299, 300), 'test': (319, 479, 161)}
    """

    n_steps: int
    segments: Mapping[str, tuple[int, int]]
    reach: int = 1

    def __post_init__(self) -> None:
        check_integer("n_steps", self.n_steps, minimum=1)
        check_integer("reach", self.reach, minimum=1, maximum=self.n_steps)
        if "train" not in self.segments:
            raise ArgumentError("Argument `segments` must have the split train, whose scale is that of all.")
        end = 0
        for name, bounds in self.ordered.items():
            if len(bounds) != 2:
                raise ArgumentError(
                    "Argument `segments` must hold pairs (first, one past the last), "
                    f"but {name!r} is {bounds}."
                )
            first, last = (check_integer("segments", bound, minimum=0) for bound in bounds)
            if first < end:
                raise ArgumentError(
                    f"Argument `segments` must not go back in time, but {name!r} begins at {first}, "
                    f"before {end}."
                )
            end = last
            if len(self.starts[name]) == 0:
                raise ArgumentError(
                    f"Argument `segments` must have room for windows of {self.n_steps + 1} elements, but "
                    f"{name!r} is ({first}, {last})."
                )

    @property
    def ordered(self) -> dict[str, tuple[int, int]]:
        """The segments, train first, then validation, then test."""
        for name in self.segments:
            check_choice("segments", name, SPLITS)
        return {name: self.segments[name] for name in SPLITS if name in self.segments}

    @property
    def starts(self) -> dict[str, range]:
        """The first elements of the windows of each split."""
        return {
            name: range(max(0, first - self.reach), last - self.n_steps)
            for name, (first, last) in self.ordered.items()
        }

    def chosen(self, counts: Mapping[str, int] | None = None) -> dict[str, NDArray[np.int64]]:
        """The first elements of the given numbers of windows, spread evenly from the first to the last.

        Raises:
            ArgumentError: a segment has fewer windows.
        """
        found = {}
        for name, starts in self.starts.items():
            count = len(starts) if counts is None else check_integer("counts", counts.get(name, 0), minimum=0)
            if count > len(starts):
                raise ArgumentError(
                    f"Argument `splits` must have at most {len(starts)} windows for {name!r}, "
                    f"but has {count}."
                )
            places = np.linspace(0, len(starts) - 1, count).astype(np.int64)
            found[name] = np.arange(starts.start, starts.stop)[places]
        return found


def scale_of(
    values: Float[np.ndarray, "elements d"], segment: tuple[int, int], *, scaling: Scaling = "standard"
) -> tuple[Float[np.ndarray, " d"], Float[np.ndarray, " d"]]:
    """Mean and standard deviation of each component over a segment; 0 and 1 for the scaling "none".

    A component that does not change there has the scale 1. The deviation is that of the population, 1/N.
    """
    check_choice("scaling", scaling, ("standard", "none"))
    part = values[slice(*segment)].astype(np.float64)
    if scaling == "none":
        return np.zeros(part.shape[1]), np.ones(part.shape[1])
    scale = part.std(axis=0)
    return part.mean(axis=0), np.where(scale > 0, scale, 1.0)


def cut(
    values: Float[np.ndarray, "elements d"], starts: NDArray[np.int64], n_steps: int
) -> NDArray[np.float64]:
    """The windows (len(starts), n_steps + 1, d) that begin at ``starts``."""
    found: NDArray[np.float64] = values[starts[:, None] + np.arange(n_steps + 1)]
    return found


def forecast_windows(
    values: ArrayLike,
    plan: WindowPlan,
    *,
    scaling: Scaling = "standard",
    counts: Mapping[str, int] | None = None,
    name: str = "in memory",
    components: Sequence[str] | None = None,
    time_step: float = 1.0,
) -> SequenceDataset:
    """A record as a dataset of windows, scaled by its training segment and split by time.

    Args:
        values: the record, (N,) or (N, d), real.
        plan: which windows belong to which split.
        scaling: "standard" takes the training segment to mean 0 and variance 1; "none" leaves values alone.
        counts: windows of each split, spread evenly; None takes all.
        name: what to call the dataset.
        components: names of the components.
        time_step: spacing of the elements.

    Returns:
        Real vectors that are no unit vectors, in double precision. The conditions of a window are ``start``,
        the number of its first element, and ``mean_c`` and ``scale_c`` for each component c: a value v of
        the dataset stands for mean + scale v.

    Raises:
        ArgumentError: not a real record, NaN, or one shorter than the plan.

    Example:
        >>> from qdyn.data.timeseries import series
        >>> plan = WindowPlan(20, {"train": (0, 320), "validation": (320, 400), "test": (400, 500)})
        >>> data = forecast_windows(series("chaotic-logistic"), plan)
        >>> [len(data.split(name)) for name in data.split_names]
        [300, 61, 81]
    """
    array = real_numbers("values", values).numpy()
    array = array[:, None] if array.ndim == 1 else array
    check_record(array, plan)
    named = component_names(array.shape[1], components)
    mean, scale = scale_of(array, plan.segments["train"], scaling=scaling)
    chosen = plan.chosen(counts)
    starts = np.concatenate(list(chosen.values()))
    ends = np.cumsum([0, *map(len, chosen.values())]).tolist()
    return SequenceDataset.from_arrays(
        cut((array - mean) / scale, starts, plan.n_steps),
        kind="real",
        name=name,
        times=time_step * np.arange(plan.n_steps + 1),
        conditions=conditions_of(starts, named, mean, scale),
        splits={split: (ends[k], ends[k + 1]) for k, split in enumerate(chosen)},
        components=named,
        normalised=False,
    )


def check_record(values: NDArray[np.float64], plan: WindowPlan) -> None:
    """Refuse a record that is not (N, d), has gaps, or ends before the plan does."""
    if values.ndim != 2:
        raise ArgumentError(f"Argument `values` must have shape (N,) or (N, d), but has {values.shape}.")
    if not np.isfinite(values).all():
        row = int((~np.isfinite(values)).any(axis=1).argmax())
        raise ArgumentError(f"Argument `values` must be finite, but element {row} is not.")
    last = max(end for _, end in plan.segments.values())
    if last > len(values):
        raise ArgumentError(
            f"Argument `segments` must end within the {len(values)} elements of the record, "
            f"but ends at {last}."
        )


def component_names(dimension: int, names: Sequence[str] | None) -> tuple[str, ...]:
    """The names given; else ``value``, or ``value_0``, ``value_1`` and so on."""
    if names is not None:
        if len(names) != dimension:
            raise ArgumentError(
                f"Argument `components` must name the {dimension} components, but has {len(names)} names."
            )
        return tuple(names)
    return ("value",) if dimension == 1 else tuple(f"value_{k}" for k in range(dimension))


def conditions_of(
    starts: NDArray[np.int64], names: Sequence[str], mean: NDArray[np.float64], scale: NDArray[np.float64]
) -> dict[str, NDArray[np.float64]]:
    """What is known of each window: where it starts, and the scale of every component."""
    every = np.ones(len(starts))
    conditions = {"start": starts.astype(np.float64)}
    for place, name in enumerate(names):
        conditions |= {f"mean_{name}": mean[place] * every, f"scale_{name}": scale[place] * every}
    return conditions


def read_csv(
    path: str | Path,
    *,
    columns: Sequence[str] | None = None,
    time_column: str | None = None,
    sha256: str | None = None,
) -> Record:
    """Read a table with a time column.

    Args:
        path: comma-separated UTF-8 text; the first row names the columns. Empty lines are skipped.
        columns: those wanted, in this order; None takes all but the time column.
        time_column: its name; None takes the first column. Holds numbers, or dates as ISO 8601 writes them
            ("2016-07-01 00:00:00"), at equal spacing.
        sha256: what the file's checksum must be; None does not look.

    Raises:
        DatasetError: no such file, another checksum, no such column or two of that name, an entry that is no
            number, or times that do not increase in equal steps; the message names the line.

    Example:
        >>> import tempfile
        >>> folder = tempfile.TemporaryDirectory()
        >>> file = Path(folder.name) / "tides.csv"
        >>> _ = file.write_text("date,height" + chr(10) + "2026-01-01,1.5" + chr(10) + "2026-01-02,2.5")
        >>> read_csv(file).time_step
        86400.0
        >>> folder.cleanup()
    """
    try:
        content = Path(path).read_bytes()
        lines = csv.reader(content.decode("utf-8-sig").splitlines())
        # Empty lines are none; the numbers of the others are told in messages.
        numbered = [
            (number, row) for number, row in enumerate(lines, start=1) if row[1:] or "".join(row).strip()
        ]
    except (OSError, UnicodeDecodeError, csv.Error) as problem:
        reason = problem.strerror if isinstance(problem, OSError) else problem
        raise DatasetError(f"{path}: cannot be read as a table: {reason}") from problem
    found = hashlib.sha256(content).hexdigest()
    if sha256 is not None and found != sha256.lower():
        raise DatasetError(f"{path}: the sha256 must be {sha256}, but is {found}.")
    if len(numbered) < 3:
        raise DatasetError(f"{path}: must have a row of names and at least two rows of numbers.")
    (_, names), *rows = numbered
    header = [name.strip() for name in names]
    clock = header[0] if time_column is None else time_column
    wanted = [name for name in header if name != clock] if columns is None else list(columns)
    if not wanted:
        raise DatasetError(f"{path}: must have a column of values beside the time column {clock!r}.")
    for name in (clock, *wanted):
        if name not in header:
            raise DatasetError(f"{path}: has no column {name!r}: {nearest(name, header)}")
        if header.count(name) > 1:
            raise DatasetError(f"{path}: the column {name!r} must stand there once, but stands there twice.")
    places = [header.index(name) for name in wanted]
    values = np.empty((len(rows), len(wanted)))
    stamps = []
    for entry, (line, row) in enumerate(rows):
        if len(row) != len(header):
            raise DatasetError(f"{path}, line {line}: must have {len(header)} entries, but has {len(row)}.")
        stamps.append(row[header.index(clock)].strip())
        for place, column in enumerate(places):
            values[entry, place] = _number(row[column], where=f"{path}, line {line}, {header[column]}")
    times, dated = _times(stamps, [line for line, _ in rows], where=str(path))
    return Record(values, times, tuple(wanted), dated)


def _number(text: str, *, where: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not np.isfinite(value):
        raise DatasetError(f"{where}: must be a finite number, but is {text!r}.")
    return value


def _times(stamps: Sequence[str], lines: Sequence[int], *, where: str) -> tuple[NDArray[np.float64], bool]:
    """The times in ``stamps``, which stand in ``lines``, and whether they were dates."""
    try:
        times, dated = np.array([float(stamp) for stamp in stamps]), False
    except ValueError:
        try:
            moments = [datetime.fromisoformat(stamp) for stamp in stamps]
            times, dated = np.array([(one - moments[0]).total_seconds() for one in moments]), True
        except (ValueError, TypeError) as problem:
            raise DatasetError(f"{where}: the time column must hold numbers or dates: {problem}") from problem
    steps = np.diff(times)
    # Two steps differ by the rounding of four times: at seconds since 1970 more than a millionth of 0.1 s.
    rounding = 2 * np.spacing(np.abs(times[np.isfinite(times)]).max(initial=0.0))
    wrong = ~(np.isfinite(steps) & (steps > 0) & np.isclose(steps, steps[0], rtol=1e-6, atol=rounding))
    if wrong.any():
        late = int(wrong.argmax()) + 1
        raise DatasetError(
            f"{where}, line {lines[late]}: times must increase in equal steps, but {stamps[late]} follows "
            f"{stamps[late - 1]}."
        )
    return times, dated
