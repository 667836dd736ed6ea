"""Molecules from a file of SMILES as sequences of tokens with their properties: any CSV or .smi file.

Rows are parsed by RDKit and written in its canonical form; what RDKit does not accept and what stands there
before is left out and counted. The rest becomes blocks ``[CLS] tokens [EOS] <pad> …``.
"""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from qdyn.checks import check_choice, check_integer
from qdyn.data.molecules.properties import PROPERTIES, PROPERTY_UNITS, molecule_properties
from qdyn.data.molecules.rdkit_calls import canonical_smiles, in_processes
from qdyn.data.sequences import SequenceDataset
from qdyn.data.smiles import SmilesVocabulary, published_split
from qdyn.data.text_files import plain_suffix, ranges_of_shares, read_text
from qdyn.errors import DatasetError, nearest

SplitName = Literal["random", "published"]
DEFAULT_SHARES = {"train": 0.9, "validation": 0.05, "test": 0.05}


@dataclass(frozen=True)
class Cleaned:
    """Distinct canonical SMILES, and what was left out on the way.

    Attributes:
        smiles: In the order of the first of each.
        rows: How many strings there were.
        invalid: (number from 0, string) of each that RDKit does not accept.
        duplicates: How many were a molecule that stands earlier.
    """

    smiles: tuple[str, ...]
    rows: int
    invalid: tuple[tuple[int, str], ...]
    duplicates: int

    def __str__(self) -> str:
        first = f" (the first: row {self.invalid[0][0] + 1}, {self.invalid[0][1]!r})" if self.invalid else ""
        return (
            f"{self.rows} rows: {len(self.smiles)} distinct molecules, {self.duplicates} duplicates, "
            f"{len(self.invalid)} invalid{first}"
        )


@dataclass(frozen=True)
class Molecules:
    """What a file of molecules gave.

    Attributes:
        dataset: The sequences, training molecules first.
        smiles: The molecules in the same order.
        cleaned: What the file held.
    """

    dataset: SequenceDataset
    smiles: tuple[str, ...]
    cleaned: Cleaned


def clean_smiles(smiles: Sequence[str], *, workers: int = 1, progress: bool = False) -> Cleaned:
    """Canonical forms, each once.

    Args:
        smiles: Any strings.
        workers: Processes that parse them, >= 1.
        progress: Show a bar.

    Example:
        >>> print(clean_smiles(["OCC", "CCO", "C(C", "c1ccccc1"]))
        4 rows: 2 distinct molecules, 1 duplicates, 1 invalid (the first: row 3, 'C(C')
    """
    check_integer("workers", workers, minimum=1)
    forms = list(
        in_processes(canonical_smiles, smiles, workers=workers, doing="molecules", progress=progress)
    )
    invalid = tuple((row, smiles[row]) for row, form in enumerate(forms) if form is None)
    distinct = tuple(dict.fromkeys(form for form in forms if form is not None))
    return Cleaned(distinct, len(forms), invalid, len(forms) - len(invalid) - len(distinct))


def read_smiles(path: str | Path, *, column: str | None = None) -> list[str]:
    """The strings of a file, as they stand there.

    Args:
        path: A .csv file with a header, or a file with one molecule a line, of which the first word is taken
            and a first line that says "smiles" is not; also compressed as .gz, .bz2 or .xz.
        column: Column of a CSV file; None takes the one called "smiles" in any case.

    Raises:
        DatasetError: the file cannot be read, is empty, or has no such column or two of that name.
    """
    file = Path(path)
    handle = io.StringIO(read_text(file), newline="")
    try:
        found = _of_csv(handle, file, column) if plain_suffix(file) == ".csv" else _of_lines(handle)
    except csv.Error as problem:
        raise DatasetError(f"The file {file} cannot be read as a table: {problem}.") from problem
    if not found:
        raise DatasetError(f"The file {file} holds no molecules.")
    return found


def read_molecules(
    path: str | Path,
    *,
    column: str | None = None,
    properties: bool = True,
    split: SplitName = "random",
    shares: Mapping[str, float] = DEFAULT_SHARES,
    seed: int = 42,
    vocabulary: SmilesVocabulary | None = None,
    count_padding: bool = False,
    workers: int = 1,
    cache: str | Path | None = None,
    name: str | None = None,
    progress: bool = False,
) -> Molecules:
    """Read a file of molecules into a dataset of tokens, with their nine properties as conditions.

    Args:
        path: See `read_smiles`.
        column: Column of a CSV file.
        properties: Whether to compute the properties.
        split: "random" by ``shares``, or "published", that of arXiv:2502.19214 (95 % training, 5 %
            validation; see `qdyn.data.smiles.published_split`).
        shares: Of the molecules in "train", "validation" and "test", which sum to 1; for "random".
        seed: Of the split.
        vocabulary: Words and length of a block; None takes those that the file needs.
        count_padding: Whether padding is something to forecast, as in the published losses. If not, it is
            masked.
        workers: Processes for RDKit, >= 1.
        cache: Folder where the properties are kept; None keeps nothing.
        name: What to call the dataset; None takes the file's.
        progress: Show bars.

    Returns:
        The dataset, its molecules, and what was left out of the file.

    Raises:
        DatasetError: the file cannot be read or holds no molecule, or one does not fit the vocabulary.
        ArgumentError: an unknown split, or shares that do not sum to 1.
        MissingExtraError: RDKit is not installed.

    Example:
        >>> import tempfile
        >>> folder = tempfile.TemporaryDirectory()
        >>> file = Path(folder.name) / "alcohols.smi"
        >>> _ = file.write_text("CO" + chr(10) + "OCC" + chr(10) + "CCCO" + chr(10))
        >>> found = read_molecules(file, shares={"train": 1.0})
        >>> found.dataset.metadata.vocabulary, found.dataset.n_steps
        (('<pad>', 'C', 'O', '[CLS]', '[EOS]'), 5)
        >>> sorted(found.smiles), round(float(found.dataset.conditions["MW"].max()), 3)
        (['CCCO', 'CCO', 'CO'], 60.096)
        >>> folder.cleanup()
    """
    check_choice("split", split, ("random", "published"))
    file = Path(path)
    cleaned = clean_smiles(read_smiles(file, column=column), workers=workers, progress=progress)
    if not cleaned.smiles:
        raise DatasetError(f"The file {file} holds no molecule that RDKit accepts: {cleaned}.")
    ordered, splits = _split(cleaned.smiles, split, shares, seed)
    words = vocabulary or SmilesVocabulary.of(ordered)
    tokens, lengths = words.encode(ordered)
    conditions = {}
    if properties:
        # In the order of the file, so that another split finds the same table.
        table = molecule_properties(
            cleaned.smiles, workers=workers, cache=None if cache is None else Path(cache), progress=progress
        )
        row = {smiles: number for number, smiles in enumerate(cleaned.smiles)}
        table = table[[row[smiles] for smiles in ordered]]
        conditions = dict(zip(PROPERTIES, np.ascontiguousarray(table.T), strict=True))
    dataset = SequenceDataset.from_arrays(
        tokens,
        kind="token",
        vocabulary=words.words,
        lengths=None if count_padding else lengths,
        conditions=conditions,
        splits=splits,
        units=PROPERTY_UNITS if properties else {},
        name=name or file.name.partition(".")[0],
        recipe={
            "source": "molecules",
            "file": file.name,
            "sha256": hashlib.sha256("\n".join(cleaned.smiles).encode()).hexdigest(),
            "split": split,
            "shares": dict(shares) if split == "random" else None,
            "seed": seed,
            "count_padding": count_padding,
            "rows": cleaned.rows,
            "invalid": len(cleaned.invalid),
            "duplicates": cleaned.duplicates,
        },
    )
    return Molecules(dataset, tuple(ordered), cleaned)


def _of_csv(handle: Iterable[str], file: Path, column: str | None) -> list[str]:
    rows = csv.DictReader(handle)
    header = rows.fieldnames or []
    if column is None:
        chosen = next((name for name in header if name.strip().lower() == "smiles"), None)
        if chosen is None:
            raise DatasetError(
                f"The file {file} has no column 'smiles': name one of {', '.join(header) or 'none'}."
            )
    elif column in header:
        chosen = column
    else:
        raise DatasetError(f"The file {file} has no column {column!r}: {nearest(column, header)}")
    if list(header).count(chosen) > 1:
        raise DatasetError(f"The file {file} must have the column {chosen!r} once, but has it twice.")
    return [(row[chosen] or "").strip() for row in rows]


def _of_lines(handle: Iterable[str]) -> list[str]:
    found = [words[0] for line in handle if (words := line.split())]
    return found[1:] if found and found[0].lower() == "smiles" else found


def _split(
    smiles: Sequence[str], split: SplitName, shares: Mapping[str, float], seed: int
) -> tuple[list[str], dict[str, tuple[int, int]]]:
    if split == "published":
        train, validation = published_split(smiles, seed)
        ends = {"train": (0, len(train)), "validation": (len(train), len(smiles))}
        return train + validation, {key: value for key, value in ends.items() if value[0] < value[1]}
    order = np.random.default_rng(np.random.SeedSequence(seed)).permutation(len(smiles))
    return [smiles[place] for place in order], ranges_of_shares(shares, len(smiles))
