"""load_dataset: a shipped name, a recipe, a file or a folder gives a dataset, generated once where needed."""

from __future__ import annotations

import fcntl
import os
import sys
from pathlib import Path

from qdyn.data.generation.generate import generate_into
from qdyn.data.generation.plan import PLAN
from qdyn.data.manifest import MANIFEST
from qdyn.data.recipes import Recipe, read_recipe
from qdyn.data.sequences import SequenceDataset
from qdyn.data.store import open_dataset
from qdyn.errors import ArgumentError, ConfigError, DatasetError, OutputError
from qdyn.files import make_folder
from qdyn.quantum.states import PhaseConvention

FETCHED = ("qm9",)
"""Datasets from the network, known by name once `qdyn datasets fetch` has fetched them."""


def load_dataset(
    name_or_path: str | Path,
    *,
    phase_convention: PhaseConvention | None = None,
    verify: bool = False,
    progress: bool = True,
) -> SequenceDataset:
    """Open a dataset; one that is known by its recipe is generated on first use and kept in the cache.

    Args:
        name_or_path: the name of a shipped recipe such as "tfim-4q", of a dataset that was fetched ("qm9"), a
            recipe's YAML file or folder, an HDF5 file of sequences, or a folder that `qdyn generate` wrote.
        phase_convention: "raw" or "first_real", to show quantum states otherwise than the recipe says.
        verify: recompute every checksum first.
        progress: show what is being generated.

    Returns:
        The whole dataset; take ``.split("train")`` and so on from it.

    Raises:
        ArgumentError: ``name_or_path`` is neither.
        DatasetError: the file or folder is missing, truncated, foreign, damaged or of another schema version.
        ConfigError: no such recipe, or it cannot be read.
        OutputError: the cache cannot be written.

    Example:
        >>> load_dataset("tfim-4q", progress=False)
        SequenceDataset('tfim-4q': 448 of 32 steps, quantum_state of dimension 16, first_real phases)
    """
    if not isinstance(name_or_path, str | Path):
        raise ArgumentError(
            f"Argument `name_or_path` must be the name of a recipe or a path, "
            f"not of type {type(name_or_path).__name__}."
        )
    stored = _stored(Path(name_or_path))
    if stored is not None:
        dataset = open_dataset(stored, verify=verify)
    else:
        path = _generated(_recipe(name_or_path), progress=progress)
        try:
            dataset = open_dataset(path, verify=verify)
        except DatasetError as problem:
            raise DatasetError(f"{problem} Delete {path} to have it made again.") from problem
    return dataset if phase_convention is None else dataset.with_phase_convention(phase_convention)


def cache_folder() -> Path:
    """Where generated datasets are kept: $QDYN_CACHE, else ``qdyn`` in the user's cache folder."""
    chosen = os.environ.get("QDYN_CACHE")
    if chosen:
        return Path(chosen).expanduser()
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "qdyn"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "qdyn"


def fetched_file(name: str) -> Path:
    """Where a dataset of `FETCHED` stands once it has been fetched."""
    return cache_folder() / "datasets" / "fetched" / f"{name}.h5"


def _stored(path: Path) -> Path | None:
    """``path`` where it leads to stored sequences; None where it may be the name of a recipe."""
    if str(path) in FETCHED and not path.exists():
        if (fetched := fetched_file(str(path))).is_file():
            return fetched
        raise DatasetError(f"The dataset {str(path)!r} is not here yet: qdyn datasets fetch {path}.")
    if (path.is_file() and path.suffix not in (".yaml", ".yml")) or (path / MANIFEST).is_file():
        return path
    if path.suffix in (".h5", ".hdf5", ".nc"):
        raise DatasetError(f"Cannot open {path}: no such file.")
    return None


def _recipe(name_or_path: str | Path) -> Recipe:
    path = Path(name_or_path)
    if (path / PLAN).is_file():
        raise DatasetError(f"{path} has not been finished: generate it again to go on.")
    if path.is_dir() and not (path / "recipe.yaml").is_file():
        try:
            return read_recipe(name_or_path)
        except ConfigError:
            raise DatasetError(
                f"{path} holds no dataset: it has neither {MANIFEST} nor recipe.yaml."
            ) from None
    return read_recipe(name_or_path)


def _generated(recipe: Recipe, *, progress: bool) -> Path:
    """The recipe's folder in the cache, generated there unless it stands already."""
    datasets = cache_folder() / "datasets"
    key = f"{recipe.name}-{recipe.fingerprint()[:12]}"
    final, unfinished = datasets / key, datasets / f".{key}.unfinished"
    if (final / MANIFEST).is_file():
        return final
    make_folder(unfinished)
    handle = os.open(unfinished, os.O_RDONLY)
    try:
        _wait_for(handle, recipe.name, progress=progress)
        # Whoever held the lock before may have finished it: then the folder was renamed, and with it the
        # lock.
        if not (final / MANIFEST).is_file():
            make_folder(unfinished)
            generate_into(unfinished, recipe, progress=progress)
            unfinished.rename(final)
    except OSError as problem:
        if isinstance(problem, OutputError):
            raise
        raise OutputError(f"Cannot write {final}: {problem.strerror or problem}.") from problem
    finally:
        os.close(handle)
    return final


def _wait_for(handle: int, name: str, *, progress: bool) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        if progress:
            print(f"{name}: waiting for another process that generates it", file=sys.stderr)
        fcntl.flock(handle, fcntl.LOCK_EX)
