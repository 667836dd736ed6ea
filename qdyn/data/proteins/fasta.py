"""FASTA files: a line ``>name description`` before each sequence, which may be broken over lines."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from qdyn.data.proteins.amino_acids import clean_residues
from qdyn.data.text_files import read_text
from qdyn.errors import DatasetError

# UniProt's fields follow the description: OS=Homo sapiens OX=9606 GN=MDM2. A value ends at the next key.
_FIELD = re.compile(r"(?:^|\s)([A-Za-z][A-Za-z0-9_-]*)=(.*?)(?=\s+[A-Za-z][A-Za-z0-9_-]*=|$)")


@dataclass(frozen=True)
class FastaEntry:
    """One protein of a FASTA file.

    Attributes:
        name: The first word after ``>``.
        description: The rest of that line.
        residues: In the 21 letters of `qdyn.data.proteins.amino_acids`.
    """

    name: str
    description: str
    residues: str

    def field(self, key: str) -> str | None:
        """What the header says after ``key=``; None where it says nothing.

        Example:
            >>> entry = FastaEntry("P1", "Kinase OS=Homo sapiens OX=9606", "MK")
            >>> entry.field("OS"), entry.field("OX"), entry.field("GN")
            ('Homo sapiens', '9606', None)
        """
        return next(
            (value.strip() or None for name, value in _FIELD.findall(self.description) if name == key), None
        )


def read_fasta(path: str | Path) -> list[FastaEntry]:
    """The proteins of a FASTA file, in its order.

    Sequences may be broken over lines, in lower case, and end with an asterisk; empty lines, and lines that
    begin with a semicolon, are skipped.

    Args:
        path: UTF-8 text, also compressed as .gz, .bz2 or .xz.

    Raises:
        DatasetError: the file cannot be read, does not begin with ``>``, holds no protein, a header without
            name or sequence, or a character that is no residue; the line is given.

    Example:
        >>> import tempfile
        >>> folder = tempfile.TemporaryDirectory()
        >>> file = Path(folder.name) / "two.fasta"
        >>> _ = file.write_text(chr(10).join([">a first", "mkv", "LA*", ">b", "GU"]))
        >>> [(entry.name, entry.residues) for entry in read_fasta(file)]
        [('a', 'MKVLA'), ('b', 'GX')]
        >>> folder.cleanup()
    """
    file = Path(path)
    entries: list[FastaEntry] = []
    header, begun, parts = "", 0, [""]
    for number, line in enumerate(read_text(file).splitlines(), start=1):
        text = line.strip()
        if text.startswith(">"):
            if begun:
                entries.append(_entry(file, header, begun, parts))
            header, begun, parts = text.removeprefix(">").strip(), number, []
        elif text and not text.startswith(";"):
            if not begun:
                raise DatasetError(
                    f"The file {file} is no FASTA file: line {number} must begin with '>', but is "
                    f"{text[:20]!r}."
                )
            parts.append(_part(file, number, text))
    if not begun:
        raise DatasetError(f"The file {file} holds no proteins.")
    entries.append(_entry(file, header, begun, parts))
    return entries


def _part(file: Path, number: int, text: str) -> str:
    try:
        # A line that holds nothing but the mark of a stop is one.
        return clean_residues(text) if text != "*" else ""
    except DatasetError as problem:
        raise DatasetError(f"The file {file}, line {number}: {problem}") from problem


def _entry(file: Path, header: str, line: int, parts: list[str]) -> FastaEntry:
    name, description = [*header.split(maxsplit=1), "", ""][:2]
    if not name:
        raise DatasetError(f"The file {file}, line {line}: a name must follow '>'.")
    if not "".join(parts):
        raise DatasetError(f"The file {file}, line {line}: no sequence follows the header of {name!r}.")
    return FastaEntry(name, description.strip(), "".join(parts))
