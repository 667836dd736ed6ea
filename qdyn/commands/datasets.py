"""`qdyn datasets`: the shipped recipes; molecules, proteins and sentences from files and the network."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any

from qdyn.commands.listing import show_or_list
from qdyn.commands.parsing import CommandParser, UsageError, integer

if TYPE_CHECKING:
    from pathlib import Path

    from qdyn.data.sequences import SequenceDataset

SUMMARY = "List the dataset recipes, print one; fetch QM9; read molecules, proteins or sentences"
INTERRUPTED = "Interrupted: what has been fetched or computed so far is kept; repeat the command to go on."
_ACTIONS = {"fetch": "qdyn datasets fetch qm9", "import": "qdyn datasets import FILE --out DATASET.h5"}
_DETAILS = """
`import` reads a file of yours: molecules (.csv, .smi, one SMILES a line), proteins
(FASTA: .fasta, .fa, .faa), labelled sentences (a sentence, a tab and a label on
each line) or sentences (one a line). All may be compressed. Proteins are split so
that no two of different splits have more than 40 % identity.
"""
# What each action and kind of file takes beside --out and --as, which are for every import.
_OPTIONS: dict[str, tuple[str, ...]] = {
    "molecules": ("column", "split", "workers"),
    "proteins": ("tags", "longest", "word"),
    "labelled": ("longest",),
    "sentences": ("longest",),
}
_FETCH_OPTIONS = ("url", "workers")
_FASTA = (".fasta", ".fa", ".faa", ".fas")


def parser() -> CommandParser:
    """What the command understands."""
    made = CommandParser(
        name="datasets",
        summary=f"{SUMMARY}.\n{_DETAILS}",
        usage="qdyn datasets [RECIPE]\n       qdyn datasets fetch qm9 [options]\n"
        "       qdyn datasets import FILE --out DATASET.h5 [options]",
        example="qdyn datasets\nqdyn datasets tfim-4q > mine.yaml\n"
        "qdyn datasets import molecules.csv --out molecules.h5\n"
        "qdyn datasets import lysozymes.fasta --tags OX charge --out lysozymes.h5\n"
        "qdyn datasets import yelp_labelled.txt --out yelp.h5",
    )
    made.add_argument(
        "words",
        metavar="RECIPE",
        nargs="*",
        help="print this recipe, to read or to start from; or `fetch` with the name of a dataset, or "
        "`import` with a file of yours",
    )
    made.add_argument("--out", metavar="FILE", help="import: the dataset to write, an HDF5 file")
    made.add_argument(
        "--as",
        dest="kind",
        choices=("molecules", "proteins", "labelled", "sentences"),
        help="import: what the file holds (default: by its name, and its first lines)",
    )
    made.add_argument("--column", metavar="NAME", help="import: the CSV column of SMILES (default: smiles)")
    made.add_argument(
        "--split",
        choices=("random", "published"),
        help="import: 90 / 5 / 5 %% at random (default), or as arXiv:2502.19214 shared out QM9",
    )
    made.add_argument(
        "--tags",
        metavar="KEY",
        nargs="+",
        default=[],
        help="import: what stands in front of proteins: charge, hydropathy, or a key of the headers",
    )
    made.add_argument(
        "--longest",
        metavar="N",
        type=integer(minimum=1),
        help="import: residues or words of the longest sequence; longer ones are left out",
    )
    made.add_argument(
        "--word",
        metavar="K",
        type=integer(minimum=2),
        help="import: compare only proteins that share K residues in a row, for large files (default: all)",
    )
    made.add_argument("--url", metavar="URL", help="fetch: another place that holds the same file")
    made.add_argument(
        "--workers",
        metavar="N",
        type=integer(minimum=1),
        help="processes that compute properties (default: 1)",
    )
    return made


def run(options: Any) -> int:
    """Do it."""
    words = options.words or []
    if words and words[0] in _ACTIONS:
        if len(words) != 2:
            raise UsageError(f"`qdyn datasets {words[0]}` takes one name: {_ACTIONS[words[0]]}.")
        return {"fetch": _fetch, "import": _import}[words[0]](words[1], options)
    if len(words) > 1:
        raise UsageError(f"Unexpected {words[1]!r}; see qdyn datasets --help.")
    _refuse_options("is for `qdyn datasets fetch` and `import`", options, ())
    return show_or_list("datasets", words[0] if words else None, columns=_columns, hint="qdyn generate NAME")


def _fetch(name: str, options: Any) -> int:
    from dataclasses import replace

    from qdyn.checks import check_choice
    from qdyn.data.load import FETCHED, fetched_file
    from qdyn.data.molecules.qm9 import QM9, fetch_qm9

    check_choice("dataset", name, FETCHED)
    _refuse_options("is not for `qdyn datasets fetch`", options, _FETCH_OPTIONS)
    remote = QM9 if options.url is None else replace(QM9, url=options.url)
    found = fetch_qm9(remote=remote, workers=options.workers or 1, progress=True)
    print(f"{name}: {found.cleaned}.")
    print(f"Kept as {fetched_file(name)}; use it with: qdyn train PRESET --dataset {name}")
    return 0


def _import(file: str, options: Any) -> int:
    from pathlib import Path

    if options.out is None:
        raise UsageError(f"Option --out is missing: {_ACTIONS['import']}.")
    _check_out(Path(options.out), Path(file))
    reader = {"proteins": _proteins, "labelled": _labelled, "sentences": _sentences, "molecules": _molecules}
    kind = options.kind or _kind_of(file)
    what = "labelled sentences" if kind == "labelled" else kind
    _refuse_options(f"is not for {what}, which {file} holds", options, ("out", "kind", *_OPTIONS[kind]))
    dataset, said = reader[kind](file, options)
    dataset.save(Path(options.out))
    print(f"{file}: {said}.")
    print(f"Written to {options.out}; use it with: qdyn train PRESET --dataset {options.out}")
    return 0


def _refuse_options(why: str, options: Any, taken: Sequence[str]) -> None:
    """Refuse an option that would be ignored."""
    every = {"out", "kind", *_FETCH_OPTIONS, *chain.from_iterable(_OPTIONS.values())}
    for name in sorted(every - set(taken)):
        # No tags are an empty list.
        if getattr(options, name) not in (None, []):
            raise UsageError(f"Option --{'as' if name == 'kind' else name} {why}.")


def _check_out(out: Path, file: Path) -> None:
    """Refuse to write over what is not a dataset that an earlier import made."""
    from qdyn.hdf5 import format_of

    if out.suffix.lower() in (".yaml", ".yml"):
        raise UsageError(f"Option --out must name an HDF5 file, not a recipe, but is {str(out)!r}.")
    if out.is_file() and file.exists() and out.samefile(file):
        raise UsageError(f"Option --out must not be the file that is read, but is {str(out)!r}.")
    if out.is_file() and format_of(out) != "sequences":
        raise UsageError(
            f"Option --out must be a new file or a dataset of qdyn's, but {str(out)!r} is another file."
        )


def _kind_of(file: str) -> str:
    """What a file holds, by its name and, of a text, by its first lines."""
    from qdyn.data.text_files import plain_suffix, read_text

    suffix = plain_suffix(file)
    if suffix in _FASTA:
        return "proteins"
    if suffix in (".txt", ".tsv"):
        lines = [line for line in read_text(file).split("\n") if line.strip()][:20]
        if 2 * _count_labelled(lines) > len(lines):
            return "labelled"
        # Of molecules the first word is a SMILES, and what follows a name.
        read = sum(_looks_like_smiles(line.split()[0]) for line in lines)
        if any(" " in line.strip() for line in lines) and 2 * read < len(lines):
            return "sentences"
    return "molecules"


def _count_labelled(lines: Sequence[str]) -> int:
    """How many lines are a sentence, a tab and a label; of one word, only with a label that others have."""
    split = [line.rpartition("\t")[::2] for line in lines]
    labels = Counter(label.strip() for sentence, label in split if sentence.strip())
    return sum(
        " " in sentence.strip() or (labels[label.strip()] > 1 and not _looks_like_smiles(sentence.strip()))
        for sentence, label in split
        if sentence.strip() and len(label.split()) == 1
    )


def _looks_like_smiles(word: str) -> bool:
    from qdyn.data.smiles import smiles_tokens
    from qdyn.errors import QdynError

    try:
        return bool(smiles_tokens(word))
    except QdynError:
        return False


def _molecules(file: str, options: Any) -> tuple[SequenceDataset, str]:
    from qdyn.data.load import cache_folder
    from qdyn.data.molecules.files import read_molecules

    found = read_molecules(
        file,
        column=options.column,
        split=options.split or "random",
        workers=options.workers or 1,
        cache=cache_folder() / "properties",
        progress=True,
    )
    return found.dataset, str(found.cleaned)


def _proteins(file: str, options: Any) -> tuple[SequenceDataset, str]:
    from qdyn.data.proteins.files import read_proteins

    found = read_proteins(file, tags=options.tags, longest=options.longest, word=options.word)
    return found.dataset, str(found)


def _labelled(file: str, options: Any) -> tuple[SequenceDataset, str]:
    from qdyn.data.text.labelled import read_labelled_sentences

    found = read_labelled_sentences(file, longest=options.longest)
    return found.dataset, str(found)


def _sentences(file: str, options: Any) -> tuple[SequenceDataset, str]:
    from qdyn.data.text.sentences import read_sentences

    # The words of a sentence are framed by two more, and the first is no forecast.
    found = read_sentences(file, steps=32 if options.longest is None else options.longest + 1)
    return found.dataset, str(found)


def _columns(content: dict[str, Any]) -> tuple[str, ...]:
    splits = content.get("splits", {})
    return (" / ".join(str(count) for count in splits.values()), str(content.get("description", "")))
