"""Windows of a published series, or of a table of your own, as a source that recipes may name."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from qdyn.data.layout import Block, Layout, check_array_name
from qdyn.data.series.forecast_windows import (
    Record,
    Scaling,
    WindowPlan,
    check_record,
    component_names,
    conditions_of,
    cut,
    read_csv,
    scale_of,
)
from qdyn.data.source import Precision, Source
from qdyn.data.timeseries import series, series_names
from qdyn.errors import ArgumentError, ConfigError, DatasetError, nearest


@dataclass(frozen=True)
class TimeSeries(Source):
    """Windows of one record, split by time and scaled by the training segment.

    The recipe's ``splits`` say how many windows of each segment are taken; fewer than there are lie evenly
    spread over it. Its ``seed`` is that of the noise of a published series, one for all windows.

    Args:
        n_steps: T, the forecasts that a window gives; it has T + 1 elements.
        segments: (first, one past the last) element of each split: see `WindowPlan`.
        series: one of the published series: see `qdyn.data.timeseries.series`.
        csv: or the path of a table with a time column: see `qdyn.data.series.forecast_windows.read_csv`. A
            relative path starts at the working directory.
        columns: columns of the table, at least one: the dataset is described before the table is opened.
        time_column: its time column; null for the first.
        sha256: checksum of the table, which then is refused if it differs. Without it, a table that has
            changed, or another one of the same path, is another dataset and made anew.
        reach: see `WindowPlan`.
        scaling: "standard" or "none".
    """

    n_steps: int
    segments: Mapping[str, tuple[int, int]]
    series: str | None = None
    csv: str | None = None
    columns: tuple[str, ...] = ()
    time_column: str | None = None
    sha256: str | None = None
    reach: int = 1
    scaling: Scaling = "standard"
    _counts: Mapping[str, int] | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        if (self.series is None) == (self.csv is None):
            raise ConfigError("`series` or `csv` must be given, and not both.")
        if self.series is not None:
            if self.series not in series_names():
                hint = nearest(self.series, series_names())
                raise ConfigError(f"`series` is {self.series!r}, which is unknown: {hint}")
            if self.columns or self.time_column is not None or self.sha256 is not None:
                raise ConfigError("`columns`, `time_column` and `sha256` are for a table: `csv`.")
        elif not self.columns:
            # The layout must be known before any file is opened.
            raise ConfigError("`columns` must name at least one column of the table.")
        try:
            # The layout would name the conditions made of them, such as mean_km/h.
            for name in self.columns:
                check_array_name("columns", name)
            if twice := next((name for name in self.columns if self.columns.count(name) > 1), None):
                raise ArgumentError(f"Argument `columns` must name a column once, but names {twice!r} twice.")
            self._plan  # noqa: B018
        except ArgumentError as problem:
            raise ConfigError(str(problem).removeprefix("Argument ")) from problem

    def with_splits(self, splits: Mapping[str, int]) -> TimeSeries:
        """See `Source.with_splits`."""
        chosen = copy.copy(self)
        object.__setattr__(chosen, "_counts", dict(splits))
        for name in splits:
            if name not in self.segments and splits[name]:
                raise ConfigError(f"`segments` must have the split {name}, of which `splits` wants windows.")
        try:
            chosen._plan.chosen(splits)
        except ArgumentError as problem:
            raise ConfigError(str(problem).removeprefix("Argument ")) from problem
        return chosen

    def layout(self, precision: Precision) -> Layout:
        """See `Source.layout`."""
        names = self._names
        of_scale = {f"{what}_{name}": "1" for name in names for what in ("mean", "scale")}
        return Layout(
            kind="real",
            dimension=len(names),
            length=self.n_steps + 1,
            dtype="float32" if precision == "single" else "float64",
            times=tuple(float(k) for k in range(self.n_steps + 1)),
            components=names,
            conditions={"start": "1", **of_scale},
            units={"time": "rows"},
            normalised=False,
        )

    def block(self, *, seed: int, first: int, count: int, precision: Precision) -> Block:
        """See `Source.block`."""
        values = self._values(seed)
        mean, scale = scale_of(values, self._plan.segments["train"], scaling=self.scaling)
        every = np.concatenate(list(self._plan.chosen(self._counts).values()))
        # The last block is asked for whole; what lies beyond the last window is not kept.
        starts = every[np.minimum(np.arange(first, first + count), len(every) - 1)]
        windows = cut((values - mean) / scale, starts, self.n_steps)
        conditions = conditions_of(starts, self._names, mean, scale)
        return Block(windows.astype(self.layout(precision).dtype), conditions)

    def file_checksums(self) -> Mapping[str, str]:
        """See `Source.file_checksums`; a table whose checksum the recipe states is pinned by that."""
        if self.csv is None or self.sha256 is not None:
            return {}
        try:
            return {self.csv: hashlib.sha256(Path(self.csv).read_bytes()).hexdigest()}
        except OSError as problem:
            raise DatasetError(f"{self.csv}: cannot be read as a table: {problem.strerror}") from problem

    def block_size(self) -> int:
        """See `Source.block_size`; every block makes the whole record anew."""
        return 512

    @property
    def _plan(self) -> WindowPlan:
        return WindowPlan(self.n_steps, self.segments, self.reach)

    @property
    def _names(self) -> tuple[str, ...]:
        return self.columns or component_names(1, None)

    @cached_property
    def _record(self) -> Record:
        assert self.csv is not None
        return read_csv(self.csv, columns=self.columns, time_column=self.time_column, sha256=self.sha256)

    def _values(self, seed: int) -> NDArray[np.float64]:
        if self.series is None:
            values = self._record.values
        else:
            values = series(self.series, seed=seed).astype(np.float64)[:, None]
        check_record(values, self._plan)
        return values
