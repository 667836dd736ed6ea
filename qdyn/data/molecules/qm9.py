"""QM9 from where it was published: fetched once, checked, and made a dataset that is known by name.

133,885 molecules of up to nine heavy atoms C, N, O and F, one XYZ file each in an archive; the line after the
frequencies holds the SMILES of GDB-9, which is taken, and the one of the relaxed geometry.

Source: R. Ramakrishnan et al., Scientific Data 1, 140022 (2014), figshare 978904.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from qdyn.data.load import fetched_file
from qdyn.data.molecules.files import Molecules, read_molecules
from qdyn.errors import DatasetError
from qdyn.files import make_folder, write_text


@dataclass(frozen=True)
class Remote:
    """A file on the network.

    Attributes:
        url: Where it is.
        checksum: "md5:..." or "sha256:...", of the file as it is fetched.
        file: What to call it here.
    """

    url: str
    checksum: str
    file: str


QM9 = Remote(
    url="https://ndownloader.figshare.com/files/3195389",
    checksum="md5:ad1ebd51ee7f5b3a6e32e974e5d54012",
    file="dsgdb9nsd.xyz.tar.bz2",
)
QM9_ROWS = 133_885


def fetch_file(remote: Remote, folder: str | Path, *, progress: bool = False) -> Path:
    """Download a file into a folder unless it is there already, and check it in either case.

    Raises:
        DatasetError: it cannot be reached, or is not what it should be; nothing is left behind then.
        OutputError: the folder cannot be written.
    """
    import pooch

    place = Path(folder)
    make_folder(place)
    pooch.get_logger().setLevel("ERROR")
    try:
        found = pooch.retrieve(
            remote.url,
            known_hash=remote.checksum,
            fname=remote.file,
            path=place,
            downloader=pooch.HTTPDownloader(progressbar=progress, timeout=60),
        )
    except ValueError as problem:
        raise DatasetError(
            f"What {remote.url} gave is not {remote.file}: its checksum is not {remote.checksum}."
        ) from problem
    except OSError as problem:
        reason = " ".join(str(problem).split())
        raise DatasetError(f"Cannot fetch {remote.file} from {remote.url}: {reason}") from problem
    return Path(found)


def archived_smiles(archive: str | Path) -> list[str]:
    """The SMILES of GDB-9 in an archive of QM9's XYZ files, in the order of the files' names.

    Raises:
        DatasetError: the archive is damaged, or a file in it has another form.
    """
    try:
        with tarfile.open(archive) as members:
            return [smiles for _, smiles in sorted(_smiles(members))]
    except (tarfile.TarError, OSError, EOFError, UnicodeDecodeError) as problem:
        raise DatasetError(f"The archive {archive} cannot be read: {problem}.") from problem


def fetch_qm9(
    *, remote: Remote = QM9, rows: int | None = QM9_ROWS, workers: int = 1, progress: bool = False
) -> Molecules:
    """Fetch QM9, clean it, compute its properties and keep it where `qdyn.load_dataset("qm9")` finds it.

    The splits are those that arXiv:2502.19214 trained and validated on; padding is masked.

    Args:
        remote: Where to get it; another one must hold the same archive.
        rows: How many molecules it must have; None takes any number.
        workers: Processes for RDKit.
        progress: Show bars.

    Raises:
        DatasetError: it cannot be fetched, or is not what it should be.
        MissingExtraError: RDKit is not installed.
    """
    stored = fetched_file("qm9")
    folder = stored.parent / "sources"
    smiles = archived_smiles(fetch_file(remote, folder, progress=progress))
    if rows is not None and len(smiles) != rows:
        raise DatasetError(f"QM9 must hold {rows} molecules, but {remote.url} gave {len(smiles)}.")
    text = folder / "qm9.smi"
    write_text(text, "\n".join(smiles) + "\n")
    found = read_molecules(
        text, split="published", workers=workers, cache=folder, name="qm9", progress=progress
    )
    found.dataset.save(stored)
    return found


def _smiles(members: tarfile.TarFile) -> Iterator[tuple[str, str]]:
    for member in members:
        handle = members.extractfile(member) if member.name.endswith(".xyz") else None
        if handle is None:
            continue
        lines = handle.read().decode("utf-8").splitlines()
        try:
            yield member.name, lines[int(lines[0]) + 3].split()[0]
        except (IndexError, ValueError):
            raise DatasetError(f"The file {member.name} of the archive has no line of SMILES.") from None
