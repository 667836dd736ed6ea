"""Nine physico-chemical properties of molecules: computed by RDKit once, in parallel, and kept.

====================  =====================================================  ==========
name                  what                                                   unit
====================  =====================================================  ==========
MW                    molecular weight                                       g/mol
HBA, HBD              hydrogen-bond acceptors, donors                        1
nRot, nRing, nHet     rotatable bonds, rings, heteroatoms                    1
TPSA                  topological polar surface area                         angstrom^2
LogP                  Crippen's estimate of log10 of the octanol-water ratio 1
StereoCenters         atoms that are chiral or could be                      1
====================  =====================================================  ==========

Some of them depend on the version of RDKit, which is therefore part of the key they are kept under.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float

from qdyn.checks import check_integer
from qdyn.data.molecules.rdkit_calls import import_rdkit, in_processes, properties_of
from qdyn.errors import ArgumentError, nearest
from qdyn.files import replacing

PROPERTIES = ("MW", "HBA", "HBD", "nRot", "nRing", "nHet", "TPSA", "LogP", "StereoCenters")
PROPERTY_UNITS = dict.fromkeys(PROPERTIES, "1") | {"MW": "g/mol", "TPSA": "angstrom^2"}


def molecule_properties(
    smiles: Sequence[str],
    *,
    workers: int = 1,
    cache: Path | None = None,
    progress: bool = False,
) -> Float[np.ndarray, "molecules 9"]:
    """The nine properties of many molecules, in the order of `PROPERTIES`.

    Args:
        smiles: The molecules.
        workers: Processes that compute them, >= 1.
        cache: Folder where the table is kept by its molecules and the version of RDKit, and looked for first;
            None keeps nothing.
        progress: Show a bar.

    Returns:
        Raw values, float64.

    Raises:
        DatasetError: a string that RDKit does not accept.
        MissingExtraError: RDKit is not installed.

    Example:
        >>> molecule_properties(["C", "CCO"])[:, :3].round(3)
        array([[16.043,  0.   ,  0.   ],
               [46.069,  1.   ,  1.   ]])
    """
    check_integer("workers", workers, minimum=1)
    kept = None if cache is None else cache / f"{_key(smiles)}.npy"
    if kept is not None and kept.is_file():
        table = np.load(kept, allow_pickle=False)
        if table.shape == (len(smiles), len(PROPERTIES)):
            return table
    rows = in_processes(properties_of, smiles, workers=workers, doing="properties", progress=progress)
    table = np.array(list(rows), dtype=np.float64).reshape(-1, len(PROPERTIES))
    if kept is not None:
        with replacing(kept) as beside, beside.open("wb") as handle:
            np.save(handle, table, allow_pickle=False)
    return table


def impute_properties(
    targets: Mapping[str, float],
    known: Float[np.ndarray, "molecules conditions"],
    *,
    names: Sequence[str] = PROPERTIES,
    neighbours: int = 100,
) -> Float[np.ndarray, " conditions"]:
    """A whole condition from some properties: the others as in the known molecules nearest in those given.

    The distance is Euclidean in the raw values of the given properties. Properties that are integers have
    thousands of molecules at one distance; all that are as near as the last of the ``neighbours`` are
    averaged, so that the answer does not depend on the order of the molecules. Without targets it is the
    mean.

    Args:
        targets: Name -> value, any of ``names``.
        known: Properties of the training molecules.
        names: What the columns of ``known`` are.
        neighbours: How many molecules are averaged at least, >= 1.

    Raises:
        ArgumentError: a property that is not known, or a target that is not finite or farther outside the
            known values than they span.

    Source: arXiv:2502.19214 averages exactly 100, chosen among equals by the order of memory.

    Example:
        >>> known = np.arange(36.0).reshape(4, 9)
        >>> impute_properties({"MW": 1.0}, known, neighbours=1)
        array([1., 1., 2., 3., 4., 5., 6., 7., 8.])
    """
    check_integer("neighbours", neighbours, minimum=1)
    if not len(known):
        raise ArgumentError("Argument `known` must hold at least one molecule, but is empty.")
    for name, value in targets.items():
        if name not in names:
            raise ArgumentError(f"Argument `targets` has the property {name!r}: {nearest(name, names)}")
        column = known[:, list(names).index(name)]
        low, high = float(column.min()), float(column.max())
        if not low - (high - low) <= value <= high + (high - low):
            raise ArgumentError(
                f"Argument `targets` must be near the data, but {name}={value:g}, which there is {low:g} to "
                f"{high:g}."
            )
    if not targets:
        return known.mean(axis=0)
    columns = [list(names).index(name) for name in targets]
    wanted = np.array(list(targets.values()), dtype=np.float64)
    distance = np.square(known[:, columns] - wanted).sum(axis=1)
    farthest = np.partition(distance, min(neighbours, len(distance)) - 1)[min(neighbours, len(distance)) - 1]
    # Equal distances differ in their last bits when they come from different sides.
    filled = known[distance <= farthest * (1 + 1e-12)].mean(axis=0)
    filled[columns] = wanted
    return filled


def _key(smiles: Iterable[str]) -> str:
    import_rdkit()
    import rdkit

    content = hashlib.sha256("\n".join((rdkit.__version__, *PROPERTIES, "", *smiles)).encode())
    return f"properties-{content.hexdigest()[:24]}"
