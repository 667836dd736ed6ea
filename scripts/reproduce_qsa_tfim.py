"""Repeat the TFIM campaign of arXiv:2602.06699v2, and the same with our optimiser.

    python scripts/reproduce_qsa_tfim.py --out DIR [--models k-QSA,poly-k-QSA,...] [--degrees 1,...,6]
        [--seeds 8] [--tuned] [--phases first_real|raw] [--track varied|fixed|short-4|short-8]
        [--draw reference|tfim-4q] [--free-start 1] [--page FILE]

Six model families, degrees 1 to 6, 8 seeds: 26 trainings of 400 updates (polynomial kernels 600), each for
all seeds as one batch, two at a time in processes of one thread. A campaign that was killed goes on when it
is called again.

Settings of the authors: Adam at 2e-3, batches of 32, circuits of 43 layers with angles from U(0, 2 pi). They
do not say how the free unitaries of the classical twins start: ours at exp(iH) with a norm of H of about
--free-start, and a free V at the identity, plus noise of that size.
--tuned: Adam at 2e-2 with a cosine, angles from U(0, 0.3), as many updates.

Trajectories: --draw reference takes those that the figures of the predictors without training were first made
with, so that all can be compared to the last digit; --draw tfim-4q is the shipped recipe, from other random
numbers. The authors' own draw is not published. Another draw of 128 test trajectories moves a mean L_1 by
its standard error over trajectories.

DIR/table.json is a list of rows {model, degree, split, metric, mean, std, seeds, published_mean,
published_std, seconds, standard_error}: standard deviation over seeds, standard error over trajectories.
DIR/table.md is for people; --page writes it to another place too, with table.json beside it.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import dataclasses
import math
import resource
import shutil
import time
from pathlib import Path

import numpy as np
import torch

from qdyn import TransverseFieldIsing, evolve, load_dataset
from qdyn.data.generation.generate import generate
from qdyn.data.recipes import Recipe, read_recipe
from qdyn.data.sequences import SequenceDataset
from qdyn.errors import QdynError
from qdyn.evaluation.campaigns.campaigns import run_campaign
from qdyn.evaluation.campaigns.page import Entry, Page, write_campaign
from qdyn.evaluation.campaigns.published import read_published
from qdyn.evaluation.campaigns.trials import Trial, judge_untrained
from qdyn.models.config import ModelConfig
from qdyn.training.config import DatasetConfig, EvaluationConfig, RunConfig, TrainingConfig

PUBLISHED = Path(__file__).resolve().parents[1] / "docs" / "benchmarks" / "published" / "qsa_tfim.yaml"

#: The families; circuits have 1032 angles, free unitaries 1024 real parameters.
FAMILIES = {
    "k-QSA": ModelConfig(unitaries="hardware_efficient", layers=43, kernel="monomial"),
    "poly-k-QSA": ModelConfig(unitaries="hardware_efficient", layers=43, kernel="polynomial"),
    "k-CSA": ModelConfig(unitaries="free", kernel="monomial"),
    "poly-k-CSA": ModelConfig(unitaries="free", kernel="polynomial"),
    "nl-CSA-iso": ModelConfig(unitaries="free", kernel="softmax"),
    "nl-CSA-gen": ModelConfig(unitaries="free", kernel="softmax", isometric_value=False),
}
TRACKS = {
    "varied": "each trajectory has its own J and h",
    "fixed": "all trajectories share J = h = 1.1",
    "short-4": "each trajectory has its own J and h, and 4 predictions",
    "short-8": "each trajectory has its own J and h, and 8 predictions",
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="the campaign's folder")
    parser.add_argument("--models", default=",".join(FAMILIES), help="families, with commas between")
    parser.add_argument("--degrees", default="1,2,3,4,5,6", help="degrees k, with commas between")
    parser.add_argument("--seeds", type=int, default=8, help="how many")
    parser.add_argument("--tuned", action="store_true", help="our optimiser and start")
    parser.add_argument("--phases", choices=("first_real", "raw"), default="first_real")
    parser.add_argument("--track", choices=TRACKS, default="varied")
    parser.add_argument("--draw", choices=("reference", "tfim-4q"), default="reference")
    parser.add_argument("--beta", type=float, help="inverse temperature, in place of sqrt(d) = 4")
    parser.add_argument("--free-start", type=float, default=1.0, help="norm of H at the start (not --tuned)")
    parser.add_argument("--workers", type=int, default=2, help="processes of one thread each")
    parser.add_argument("--page", type=Path, help="write the table for people here too")
    options = parser.parse_args()
    try:
        families = chosen(options.models, FAMILIES)
        degrees = [int(degree) for degree in options.degrees.split(",")]
    except ValueError as problem:
        parser.error(str(problem))
    began, spent = time.perf_counter(), cpu_seconds()
    try:
        page = conduct(options, families, degrees)
        write_campaign(dataclasses.replace(page, written_by=command(parser, options)), options.out)
    except QdynError as problem:
        parser.error(str(problem))
    if options.page is not None:
        options.page.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(options.out / "table.md", options.page)
        shutil.copy(options.out / "table.json", options.page.with_suffix(".json"))
    print((options.out / "table.md").read_text(encoding="utf-8"))
    print(f"{time.perf_counter() - began:.0f} s by the clock, {cpu_seconds() - spent:.0f} s of CPU time")


def conduct(options: argparse.Namespace, families: list[str], degrees: list[int]) -> Page:
    """Run the campaign and gather what the page shows."""
    name, dataset = open_track(options.track, options.phases, options.out / "data", draw=options.draw)
    steps = dataset.n_steps
    context = (steps + 1) // 2
    entries = []
    for family in families:
        for degree in degrees if FAMILIES[family].kernel != "softmax" else [None]:
            key = family if degree is None else f"{family}-{degree}"
            config = RunConfig(
                name=key,
                dataset=DatasetConfig(name=name, phase_convention=options.phases),
                model=model_of(
                    family, degree, tuned=options.tuned, beta=options.beta, free_start=options.free_start
                ),
                training=training_of(family, tuned=options.tuned, seeds=options.seeds),
                evaluation=EvaluationConfig(context=context, rollout_steps=steps + 1 - context),
            )
            entries.append(Entry(family, degree, Trial(key, config)))
    outcomes = run_campaign([entry.trial for entry in entries], folder=options.out, workers=options.workers)
    original = options.track == "varied" and options.phases == "first_real" and options.beta is None
    return Page(
        title=title(options),
        introduction=introduction(options, dataset, context),
        entries=entries,
        outcomes=outcomes,
        untrained=judge_untrained(dataset, context=context, rollout_steps=steps + 1 - context),
        published=read_published(PUBLISHED) if original else None,
        same_settings=not options.tuned,
        # Circuits that start from angles anywhere either reach the optimum or stall.
        stalling=frozenset({"k-QSA", "poly-k-QSA"}),
        remarks={"nl-CSA-gen": "the paper does not say where V starts, and ours starts near the identity"},
    )


def model_of(
    family: str, degree: int | None, *, tuned: bool, beta: float | None, free_start: float = 1.0
) -> ModelConfig:
    """The family's model with its start."""
    base = FAMILIES[family]
    start = 0.3 if tuned else free_start if base.unitaries == "free" else 2 * math.pi
    return dataclasses.replace(base, degree=degree or base.degree, initial_angle=start, beta=beta)


def training_of(family: str, *, tuned: bool, seeds: int) -> TrainingConfig:
    """The optimiser: the authors', or ours with as many updates."""
    kernel = FAMILIES[family].kernel
    steps = 600 if kernel == "polynomial" else 400
    return TrainingConfig(
        loss="L_1" if kernel == "softmax" else "L_B",
        steps=steps,
        batch_size=32,
        learning_rate=2e-2 if tuned else 2e-3,
        schedule="cosine" if tuned else "constant",
        seeds=tuple(range(seeds)),
        evaluate_every=steps,
        threads=1,
    )


def open_track(track: str, phases: str, folder: Path, *, draw: str) -> tuple[str, SequenceDataset]:
    """The name by which runs find the dataset, and the dataset; only the varied track has two draws."""
    recipe = read_recipe("tfim-4q")
    if track == "varied":
        name = recipe.name if draw == recipe.name else str(reference_draw(recipe, folder))
    else:
        name = str(made(of_track(recipe, track), folder))
    return name, load_dataset(name, phase_convention=phases, progress=False)  # type: ignore[arg-type]


def reference_draw(recipe: Recipe, folder: Path) -> Path:
    """The trajectories behind the reference figures: the recipe's system, from two streams of numbers."""
    place = (folder / "tfim-4q-reference.h5").resolve()
    if not place.is_file():
        states = np.random.default_rng(7)
        start = states.standard_normal((384, 16)) + 1j * states.standard_normal((384, 16))
        coupling, field = np.random.default_rng(8).uniform(0.2, 2.0, (384, 2)).T
        hamiltonian = TransverseFieldIsing(
            n_sites=4, coupling=torch.tensor(coupling), field=torch.tensor(field)
        )
        times = 0.35 * np.arange(33)
        start /= np.linalg.norm(start, axis=1, keepdims=True)
        trajectories = evolve(hamiltonian, start, times).states
        assert trajectories is not None
        SequenceDataset.from_arrays(
            trajectories,
            kind="quantum_state",
            name="tfim-4q, reference draw",
            times=times,
            conditions={"coupling": coupling, "field": field},
            splits={"train": (0, 256), "test": (256, 384)},
            units={"time": "1/J", "coupling": "J", "field": "J"},
            recipe={"hamiltonian": dict(recipe.parameters["hamiltonian"])},
        ).save(place)
    return place


def of_track(recipe: Recipe, track: str) -> Recipe:
    """The recipe with couplings that all trajectories share, or with short trajectories."""
    parameters = dict(recipe.parameters)
    if track == "fixed":
        parameters["hamiltonian"] = {**parameters["hamiltonian"], "coupling": 1.1, "field": 1.1}
    else:
        parameters["n_steps"] = int(track.removeprefix("short-"))
    return dataclasses.replace(recipe, name=f"tfim-4q-{track}", parameters=parameters)


def made(recipe: Recipe, folder: Path) -> Path:
    """The recipe's dataset, generated on the first call."""
    place = folder / recipe.name
    if not (place / "manifest.json").is_file():
        generate(recipe, place, progress=False)
    return place.resolve()


def title(options: argparse.Namespace) -> str:
    optimiser = "our optimiser" if options.tuned else "the authors' settings"
    draw = f" ({options.draw} draw)" if options.track == "varied" else ""
    return f"QSA on Ising trajectories, {optimiser}: {options.track} track{draw}, {options.phases} phases"


def introduction(options: argparse.Namespace, dataset: SequenceDataset, context: int) -> list[str]:
    settings = (
        "Adam at 2e-2 with a cosine, angles from U(0, 0.3), norm of H about 0.3"
        if options.tuned
        else "Adam at 2e-3, angles from U(0, 2 pi), as the authors; norm of H at the start about "
        f"{options.free_start:g}, which they do not give"
    )
    temperature = "sqrt(d) = 4" if options.beta is None else f"{options.beta:g}"
    return [
        f"Open chain of 4 sites, {TRACKS[options.track]}; Haar-random initial states, dt = 0.35; "
        f"{len(dataset.split('train'))} training and {len(dataset.split('test'))} test trajectories of "
        f"{dataset.n_steps} predictions; {options.phases} phases.",
        f"{settings}; batches of 32, 400 updates (polynomial kernels 600), inverse temperature "
        f"{temperature}; all {options.seeds} seeds count.",
        f"Roll-out: {dataset.n_steps + 1 - context} steps fed back after {context} states.",
    ]


def command(parser: argparse.ArgumentParser, options: argparse.Namespace) -> str:
    """The script and those of its options that decide figures."""
    words = [f"scripts/{Path(__file__).name}"]
    for name, value in vars(options).items():
        if name not in ("out", "page", "workers") and value != parser.get_default(name):
            flag = f"--{name.replace('_', '-')}"
            words += [flag] if value is True else [flag, str(value)]
    return " ".join(words)


def chosen(text: str, known: dict[str, ModelConfig]) -> list[str]:
    names = text.split(",")
    for name in names:
        if name not in known:
            raise ValueError(f"argument --models: {name!r} is unknown, the families are {', '.join(known)}")
    return names


def cpu_seconds() -> float:
    usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in usage)


if __name__ == "__main__":
    main()
