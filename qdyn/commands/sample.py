"""`qdyn sample`: molecules, proteins, or sentences, drawn from a trained model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qdyn.commands.parsing import CommandParser, UsageError, integer, positive

if TYPE_CHECKING:
    from torch import Tensor

    from qdyn.data.sequences import SequenceDataset
    from qdyn.evaluation.molecules.generation import GeneratedMolecules
    from qdyn.models.base import Predictor

SUMMARY = "Draw molecules, proteins, or sentences, from a trained model and judge them"
INTERRUPTED = "Interrupted: the same command draws the same again."

_DETAILS = """
RUN is the folder of a run, or published weights: a .safetensors file with its
.json beside it. Prints validity, uniqueness, novelty, diversity and properties
with their errors; writes molecules.csv, table.json, figures/ and report.html.
Novelty is against the molecules that the model was trained on. Conditions that
are not set are those of the training molecules nearest in the ones that are.
Of a model of proteins it prints how many tags an independent classifier finds
again and how far words are from those of the test split, and writes
proteins.fasta, without those that have no residue; --tag asks for proteins of
one tag. Of a model of sentences it writes sentences.txt.
"""


def parser() -> CommandParser:
    """What the command understands."""
    made = CommandParser(
        name="sample",
        summary=f"{SUMMARY}.\n{_DETAILS}",
        example="qdyn sample runs/hybrid-decoder -n 10000\n"
        "qdyn sample runs/told -n 10000 --set LogP=2.3 --set HBD=1\n"
        "qdyn sample runs/families -n 500 --tag family=3\n"
        "qdyn sample quantum_sequence.safetensors --temperature 0.7 --top-k 10",
    )
    made.add_argument("run", metavar="RUN", help="the folder of a run, or a .safetensors file")
    made.add_argument(
        "-n",
        "--number",
        metavar="N",
        type=integer(minimum=1),
        default=10_000,
        help="how many to draw (default: 10000)",
    )
    made.add_argument(
        "--set",
        metavar="NAME=VALUE",
        action="append",
        default=[],
        help="a property that the molecules should have, e.g. LogP=2.3; may be repeated",
    )
    made.add_argument(
        "--tag",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="a tag in front of the proteins, e.g. family=3; may be repeated, in the order of the data",
    )
    made.add_argument(
        "--temperature", metavar="T", type=positive, default=1.0, help="less is likelier (default: 1)"
    )
    made.add_argument(
        "--top-k", metavar="K", type=integer(minimum=1), help="take the K most probable words only"
    )
    made.add_argument(
        "--seed", metavar="SEED", type=integer(minimum=0), default=0, help="of the draws (default: 0)"
    )
    made.add_argument(
        "--model", metavar="I", type=integer(minimum=0), default=0, help="which seed's of a run (default: 0)"
    )
    made.add_argument(
        "--dataset", metavar="DATA", help="what it was trained on, where it is not found by its name"
    )
    made.add_argument("--attention", metavar="SMILES", help="the molecule of the attention map")
    made.add_argument(
        "--workers",
        metavar="N",
        type=integer(minimum=1),
        default=1,
        help="threads that draw and processes that judge (default: 1)",
    )
    made.add_argument(
        "--out", metavar="DIR", help="where to write (default: RUN/samples, or samples/NAME of a file)"
    )
    return made


def run(options: Any) -> int:
    """Do it."""
    from qdyn.data.proteins.amino_acids import is_protein_vocabulary
    from qdyn.errors import ArgumentError
    from qdyn.files import write_text

    targets = _targets(options.set)
    path = Path(options.run)
    model, dataset, note = _model_and_dataset(path, options)
    out = Path(options.out) if options.out else _folder(path)
    words = model.metadata.vocabulary if model.metadata else None
    if is_protein_vocabulary(words):
        return _proteins(model, dataset, targets, out, options, note=note)
    if options.tag:
        raise ArgumentError("Argument `--tag` is for proteins, but the model writes none.")
    if words and "[CLS]" in words:
        found = _molecules(model, dataset, note, targets, options)
        report = found.save(out)
        print(found)
        if note:
            print(f"\nNo novelty: {note} Or name a file of it with --dataset.")
        print(f"\nReport: {report}")
        return 0
    said = _sentences(model, dataset, targets, options, note=note)
    write_text(out / "sentences.txt", "\n".join(said) + "\n")
    print("\n".join(said[:10]))
    print(f"\n{len(said)} sentences: {out / 'sentences.txt'}")
    return 0


def _proteins(
    model: Predictor,
    dataset: SequenceDataset | None,
    targets: dict[str, float],
    out: Path,
    options: Any,
    *,
    note: str,
) -> int:
    from qdyn.data.tags import read_tag
    from qdyn.errors import ArgumentError
    from qdyn.evaluation.proteins import judge_proteins
    from qdyn.files import write_text
    from qdyn.models.prompted import Prompted
    from qdyn.models.sampling import strings_of

    words = [f"<{one}>" for one in options.tag]
    if wrong := next((one for one in words if read_tag(one) is None), None):
        raise UsageError(f"Option --tag must be KEY=VALUE, but is {wrong[1:-1]!r}.")
    drawn = _drawn(Prompted(model, words) if words else model, dataset, targets, options, note=note)
    assert dataset is not None
    assert model.metadata is not None
    if "test" not in dataset.split_names or "train" not in dataset.split_names:
        raise ArgumentError(f"The dataset {dataset.metadata.name} must have a training and a test split.")
    vocabulary = model.metadata.vocabulary or ()
    entries, empty = [], 0
    for number, (row, protein) in enumerate(
        zip(drawn.tolist(), strings_of(model.metadata, drawn), strict=True)
    ):
        if not protein:
            empty += 1
            continue
        tags = [word[1:-1] for place in row if read_tag(word := vocabulary[place])]
        entries.append(f">{' '.join([f'sample-{number}', *tags])}\n{protein}\n")
    write_text(out / "proteins.fasta", "".join(entries))
    print(judge_proteins(drawn, dataset))
    without = f" ({empty} more without residues left out)" if empty else ""
    print(f"\n{len(entries)} proteins{without}: {out / 'proteins.fasta'}")
    return 0


def _targets(assignments: Sequence[str]) -> dict[str, float]:
    found: dict[str, float] = {}
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        if not (equals and name) or math.isnan(value):
            raise UsageError(f"Option --set must be NAME=VALUE with a number, but is {assignment!r}.")
        if name in found:
            raise UsageError(f"Option --set gives {name!r} twice.")
        found[name] = value
    return found


def _folder(path: Path) -> Path:
    return Path("samples") / path.stem if path.suffix == ".safetensors" else path / "samples"


def _model_and_dataset(path: Path, options: Any) -> tuple[Predictor, SequenceDataset | None, str]:
    """The model, what it was trained on, and where that is not found, why."""
    from qdyn.data.load import load_dataset
    from qdyn.errors import ConfigError, DatasetError, RunError
    from qdyn.models.hybrid_decoder.decoder import HybridDecoder
    from qdyn.training.record import content_digest
    from qdyn.training.run import load_run

    if path.suffix == ".safetensors" or path.is_file():
        model: Predictor = HybridDecoder.from_published(path)
        opened = None
    else:
        opened = load_run(path)
        model = opened.model(options.model)
    if options.dataset is not None:
        dataset = load_dataset(options.dataset)
        trained_on = opened.metadata.digest if opened else None
        if opened and trained_on is not None and content_digest(dataset) != trained_on:
            raise DatasetError(
                f"Argument `--dataset` must be what the run was trained on, {opened.metadata.name!r} of "
                f"digest {trained_on}, but {options.dataset} has {content_digest(dataset)}."
            )
        return model, dataset, ""
    name = model.metadata.name if model.metadata else ""
    # Published weights say what they were trained on by its name alone, without a digest.
    published = opened is None or opened.metadata.digest is None
    try:
        return model, load_dataset(name) if opened is None or published else opened.dataset(), ""
    except (ConfigError, DatasetError, RunError) as problem:
        return model, None, " ".join(str(problem).split())


def _molecules(
    model: Predictor, dataset: SequenceDataset | None, note: str, targets: dict[str, float], options: Any
) -> GeneratedMolecules:
    from qdyn.errors import DatasetError
    from qdyn.evaluation.molecules.generation import generate_molecules
    from qdyn.evaluation.molecules.metrics import TrainingMolecules

    told = getattr(getattr(model, "config", None), "conditions", ())
    if dataset is None and set(told) - set(targets):
        missing = ", ".join(name for name in told if name not in targets)
        raise DatasetError(f"What is not set ({missing}) is imputed from the molecules trained on. {note}")
    return generate_molecules(
        model,
        options.number,
        training=None if dataset is None else TrainingMolecules.of(dataset),
        targets=targets,
        elements=None if dataset is None or _has_positions(model) else dataset.n_steps + 1,
        temperature=options.temperature,
        top_k=options.top_k,
        seed=options.seed,
        workers=options.workers,
        attention_of=options.attention,
        progress=True,
    )


def _has_positions(model: Predictor) -> bool:
    return hasattr(getattr(model, "config", None), "block")


def _sentences(
    model: Predictor, dataset: SequenceDataset | None, targets: dict[str, float], options: Any, *, note: str
) -> list[str]:
    from qdyn.models.sampling import strings_of

    drawn = _drawn(model, dataset, targets, options, note=note)
    assert model.metadata is not None
    return strings_of(model.metadata, drawn)


def _drawn(
    model: Predictor, dataset: SequenceDataset | None, targets: dict[str, float], options: Any, *, note: str
) -> Tensor:
    from qdyn.errors import ArgumentError
    from qdyn.models.sampling import Frame, sample_sequences

    Frame.of(model.metadata)  # data that are no words are told before anything else
    if targets:
        raise ArgumentError("Argument `--set` is for molecules, but the model writes none.")
    if options.attention is not None:
        raise ArgumentError("Argument `--attention` is for molecules, but the model writes none.")
    if dataset is None or model.metadata is None:
        raise ArgumentError(f"Argument `--dataset` must say what the model was trained on. {note}".strip())
    return sample_sequences(
        model,
        options.number,
        elements=dataset.n_steps + 1,
        temperature=options.temperature,
        top_k=options.top_k,
        seed=options.seed,
        workers=options.workers,
        progress=True,
    )
