"""The demo: trajectories, training, evaluation and report in one folder, the whole path on a small set."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from qdyn import __version__
from qdyn.checks import check_integer
from qdyn.data.generation.generate import generate
from qdyn.data.load import load_dataset
from qdyn.errors import OutputError
from qdyn.evaluation.evaluate import evaluate
from qdyn.evaluation.evaluation import Evaluation
from qdyn.files import make_folder, write_json
from qdyn.processors import torch_threads
from qdyn.training.config import RunConfig, load_config
from qdyn.training.record import RECORD
from qdyn.training.run import Run
from qdyn.training.train import train

RECIPE = "tfim-4q"
PRESET = "qsa-tfim-4q"
MARKER = "demo.json"

_QUICK_SIZE = 112
_QUICK_SEEDS = 2
_QUICK_STEPS = 60


@dataclass(frozen=True)
class Demo:
    """What `demo` made.

    Attributes:
        folder: Where everything lies: dataset/, run/, report.html, table.json, figures/.
        run: The trained models.
        evaluation: The figures.
        quick: Whether it was only to show that everything works.
        seconds: Time it took, imports left out.
    """

    folder: Path
    run: Run
    evaluation: Evaluation
    quick: bool
    seconds: float

    def summary(self) -> str:
        """The table and where to go from here."""
        lines = [str(self.evaluation), ""]
        if self.quick:
            lines.append(
                f"This was the quick demo: {self.run.config.training.steps} steps on "
                f"{self.run.record.sequences['train']} trajectories. It shows that everything works; the "
                "figures above are not those of the model. Those come from `qdyn demo`."
            )
        lines.append(f"Report: {self.folder / 'report.html'} ({self.seconds:.0f} s in all)")
        return "\n".join(lines)


def demo(
    out: str | Path | None = None, *, quick: bool = False, seeds: int | None = None, progress: bool = True
) -> Demo:
    """Generate trajectories of a transverse-field Ising chain, train on them, judge and report the forecasts.

    Args:
        out: The folder; None takes ``qdyn-demo``, or ``qdyn-demo-quick``. It must be new, empty, or hold a
            demo with the same settings: an interrupted one goes on, a finished one is evaluated anew.
        quick: A few trajectories, steps and seeds, to see everything work in seconds.
        seeds: Number of models, trained as one batch from the seeds 0, 1, ...; None takes the preset's.
        progress: Say what is being done.

    Returns:
        The run, its evaluation, and where they lie.

    Raises:
        OutputError: the folder holds something else, or cannot be written.
        RunError: the folder holds a demo of another version of qdyn, with another preset.

    Example:
        >>> shown = demo("first-look", quick=True)  # doctest: +SKIP
        >>> shown.evaluation.row("persistence").metrics["fidelity"]  # doctest: +SKIP
    """
    began = time.perf_counter()
    config = _configuration(quick=quick, seeds=seeds)
    folder = Path(out) if out is not None else Path("qdyn-demo-quick" if quick else "qdyn-demo")
    _claim(folder, {"quick": quick, "seeds": list(config.training.seeds)})

    def say(step: int, text: str) -> None:
        if progress:
            print(f"[{step}/3] {text}", file=sys.stderr, flush=True)

    size = _QUICK_SIZE if quick else None
    say(1, f"Trajectories of the recipe {RECIPE}, into {folder / 'dataset'}")
    generate(RECIPE, folder / "dataset", size=size, progress=progress)
    data = load_dataset(folder / "dataset", phase_convention=config.dataset.phase_convention)

    count = len(config.training.seeds)
    models = f"{count} seeds at once" if count > 1 else "one seed"
    say(2, f"Training the preset {PRESET} from {models}, into {folder / 'run'}")
    # The whole set is what the recipe's name stands for anywhere, so the run can be opened from any folder;
    # the quick one is known by its path only.
    source: Any = (folder / "dataset").resolve() if quick else data
    resume = (folder / "run" / RECORD).is_file()
    # States of 16 amplitudes leave a second thread little to do; on a busy machine it is only waited for.
    with torch_threads(1):
        run = train(config, dataset=source, out=folder / "run", resume=resume, progress=progress)
        say(3, f"Judging the forecasts on {len(data.split('test'))} trajectories that training has not seen")
        found = evaluate(run, out=folder)
    return Demo(folder, run, found, quick, time.perf_counter() - began)


def _configuration(*, quick: bool, seeds: int | None) -> RunConfig:
    config = load_config(PRESET)
    count = _QUICK_SEEDS if quick and seeds is None else seeds
    if count is not None:
        config = config.with_seeds(range(check_integer("seeds", count, minimum=1)))
    if quick:
        short = replace(config.training, steps=_QUICK_STEPS, evaluate_every=_QUICK_STEPS // 2)
        config = replace(config, training=short)
    return config


def _claim(folder: Path, settings: dict[str, Any]) -> None:
    """Make ``folder`` the place of a demo with these settings, refusing what holds anything else."""
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"Argument `out` must be a folder, but {folder} is a file.")
    marker = folder / MARKER
    if marker.is_file():
        try:
            found = json.loads(marker.read_text(encoding="utf-8"))
        except (OSError, ValueError) as problem:
            raise OutputError(f"{marker} cannot be read: choose another `out`.") from problem
        known = isinstance(found, dict) and found.get("format") == "qdyn-demo"
        if not known or {name: found.get(name) for name in settings} != settings:
            raise OutputError(
                f"The folder {folder} holds a demo with other settings: choose another `out`, or delete it."
            )
        return
    if folder.is_dir() and (entries := sorted(path.name for path in folder.iterdir())):
        raise OutputError(f"The folder {folder} holds other files ({entries[0]}): choose another `out`.")
    make_folder(folder)
    write_json(marker, {"format": "qdyn-demo", "schema": 1, "qdyn": __version__, **settings})
