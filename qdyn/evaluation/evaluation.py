"""Evaluation: everything found about a set of predictors on one split, to read, print, save and report."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qdyn.evaluation.report.headline import headline
from qdyn.evaluation.report.table import text_table
from qdyn.evaluation.results import (
    Comparison,
    Curve,
    Example,
    Provenance,
    Row,
    TrainingCurves,
    plain,
)
from qdyn.files import write_json


@dataclass(frozen=True)
class Evaluation:
    """What `qdyn.evaluate` returns. ``print(evaluation)`` shows the table.

    Attributes:
        split: Name of the split, or "all" where the dataset has none.
        n_sequences: Sequences judged.
        n_steps: T, forecasts of each.
        context: Elements seen before the roll-out; None where nothing was rolled out.
        rollout_steps: Elements rolled out.
        threshold: Mean fidelity that the horizon is measured at.
        rows: The table: trained models first, then predictors without gradient training, best first, then the
            same in raw phases, then oracles.
        teacher_forced: Row key -> mean p_j along the positions 1 ... T.
        rolled_out: Row key -> mean fidelity along the roll-out steps 1, 2, ...
        comparisons: The first trained model against every other row, sequence by sequence.
        example: Observables along one trajectory, where the elements are states of qubits.
        attention: (T, T) mean over seeds and sequences of each step's weights, rows summing to 1; None for
            models without.
        training: Training curves, where there is a run.
        provenance: Where it all comes from.
        notes: What the reader must know: baselines that could not take part, data without a training split.
        seconds: Time the evaluation took.
    """

    split: str
    n_sequences: int
    n_steps: int
    context: int | None
    rollout_steps: int
    threshold: float
    rows: tuple[Row, ...]
    teacher_forced: Mapping[str, Curve]
    rolled_out: Mapping[str, Curve]
    comparisons: tuple[Comparison, ...]
    provenance: Provenance
    example: Example | None = None
    attention: NDArray[np.float64] | None = None
    training: TrainingCurves | None = None
    notes: tuple[str, ...] = ()
    seconds: float = 0.0
    folder: Path | None = field(default=None, compare=False)

    @property
    def kind(self) -> str:
        """The kind of the data: "quantum_state", "token" or "real"."""
        return str(self.provenance.dataset["kind"])

    @property
    def time_step(self) -> float | None:
        """Spacing of the elements in time."""
        return self.provenance.dataset.get("time_step")

    @property
    def time_unit(self) -> str:
        """The unit of ``time_step``, such as "1/J"."""
        return str(self.provenance.dataset.get("units", {}).get("time", ""))

    @property
    def headline(self) -> str:
        """What the figures say, in a few sentences made from them."""
        return headline(self)

    def row(self, key: str) -> Row:
        """The row with this key.

        Raises:
            KeyError: there is none.
        """
        for row in self.rows:
            if row.key == key:
                return row
        raise KeyError(key)

    @property
    def table(self) -> list[dict[str, Any]]:
        """The rows as plain data; horizons in steps and in units of time."""
        return [self._plain_row(row) for row in self.rows]

    def _plain_row(self, row: Row) -> dict[str, Any]:
        content = plain(row)
        del content["horizons"]
        content["seeds"] = content.pop("n_seeds")
        content["horizon"] = None
        if row.mean_horizon is not None:
            steps, censored = row.mean_horizon
            time = None if self.time_step is None else steps * self.time_step
            content["horizon"] = {
                "steps": steps,
                "time": time,
                "lower_bound": censored,
                "steps_of_each_seed": [one.steps for one in row.horizons],
            }
        return content

    def to_dict(self) -> dict[str, Any]:
        """The table with all that is needed to read it, as plain data."""
        return {
            "format": "qdyn-evaluation",
            "schema": 1,
            "headline": self.headline,
            "dataset": plain(self.provenance.dataset),
            "split": self.split,
            "sequences": self.n_sequences,
            "steps": self.n_steps,
            "context": self.context,
            "rollout_steps": self.rollout_steps,
            "horizon_threshold": self.threshold,
            "rows": self.table,
            "comparisons": [plain(one) | {"verdict": one.verdict} for one in self.comparisons],
            "notes": list(self.notes),
            "provenance": {
                "configuration": self.provenance.configuration,
                "seeds": list(self.provenance.seeds),
                "facts": plain(self.provenance.facts),
            },
            "seconds": round(self.seconds, 2),
        }

    def to_json(self) -> str:
        """`to_dict` as JSON text."""
        return json.dumps(_finite(self.to_dict()), indent=2, allow_nan=False)

    def curves(self) -> dict[str, Any]:
        """Every curve behind the figures, as plain data."""
        return {
            "format": "qdyn-curves",
            "schema": 1,
            "teacher_forced": {
                "states_seen": list(range(1, self.n_steps + 1)),
                "rows": {key: plain(curve) for key, curve in self.teacher_forced.items()},
            },
            "rolled_out": {
                "step": list(range(1, self.rollout_steps + 1)),
                "time_step": self.time_step,
                "time_unit": self.time_unit,
                "rows": {key: plain(curve) for key, curve in self.rolled_out.items()},
            },
            "example": plain(self.example),
            "attention": plain(self.attention),
            "training": plain(self.training),
        }

    def save(self, folder: str | Path) -> Path:
        """Write table.json, curves.json, figures/ and report.html into ``folder``; return the report's path.

        Raises:
            OutputError: the folder cannot be written.
        """
        from qdyn.evaluation.report.report import write_report

        folder = Path(folder)
        write_json(folder / "table.json", self.to_dict())
        write_json(folder / "curves.json", self.curves())
        return write_report(self, folder)

    def __str__(self) -> str:
        return text_table(self)


def _finite(content: Any) -> Any:
    if isinstance(content, dict):
        return {name: _finite(value) for name, value in content.items()}
    if isinstance(content, list):
        return [_finite(value) for value in content]
    if isinstance(content, float) and not np.isfinite(content):
        return None
    return content
