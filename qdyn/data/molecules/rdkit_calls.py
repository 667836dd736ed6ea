"""What RDKit says of a molecule, and of many in several processes.

A process that is started imports this file, and therefore little else: PyTorch alone would cost it as much
time as several thousand molecules. RDKit is optional: pip install 'qdyn-toolkit[molecules]'.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from qdyn.errors import DatasetError, MissingExtraError

_AT_A_TIME = 512
# Fewer are done before processes have started.
_WORTH_PROCESSES = 4096

Found = TypeVar("Found")


def import_rdkit() -> Any:
    """The module rdkit.Chem, which says nothing about molecules that it cannot read.

    Raises:
        MissingExtraError: RDKit is not installed.
    """
    try:
        from rdkit import Chem
    except ImportError:
        raise MissingExtraError("Reading molecules", package="rdkit", extra="molecules") from None
    return Chem


@contextmanager
def quiet_rdkit() -> Iterator[Any]:
    """rdkit.Chem with its messages held back inside the block."""
    chem = import_rdkit()
    from rdkit import rdBase

    with rdBase.BlockLogs():
        yield chem


def canonical_smiles(smiles: str) -> str | None:
    """RDKit's canonical form of a molecule; None where RDKit does not accept the string.

    Example:
        >>> canonical_smiles("OCC"), canonical_smiles("C(C")
        ('CCO', None)
    """
    with quiet_rdkit() as chem:
        molecule = chem.MolFromSmiles(smiles) if smiles else None
        return None if molecule is None else str(chem.MolToSmiles(molecule))


def properties_of(smiles: str) -> tuple[float, ...]:
    """The nine properties of one molecule, in the order of `qdyn.data.molecules.properties.PROPERTIES`.

    Raises:
        DatasetError: RDKit does not accept the string.

    Example: ethanol's molecular weight, acceptors and donors of hydrogen bonds.
        >>> properties_of("CCO")[:3]
        (46.069, 1.0, 1.0)
    """
    with quiet_rdkit() as chem:
        from rdkit.Chem import Crippen, Descriptors, rdMolDescriptors

        # These two fill their namespaces while they are imported.
        computed: Any = Descriptors
        crippen: Any = Crippen
        molecule = chem.MolFromSmiles(smiles) if smiles else None
        if molecule is None:
            raise DatasetError(f"RDKit does not accept the SMILES {smiles!r}.")
        return (
            float(computed.MolWt(molecule)),
            float(rdMolDescriptors.CalcNumHBA(molecule)),
            float(rdMolDescriptors.CalcNumHBD(molecule)),
            float(computed.NumRotatableBonds(molecule)),
            float(rdMolDescriptors.CalcNumRings(molecule)),
            float(rdMolDescriptors.CalcNumHeteroatoms(molecule)),
            float(computed.TPSA(molecule)),
            float(crippen.MolLogP(molecule)),
            float(len(chem.FindMolChiralCenters(molecule, includeUnassigned=True))),
        )


def form_and_properties(smiles: str) -> tuple[str, tuple[float, ...]] | None:
    """The canonical form and its nine properties; None where RDKit does not accept the string.

    >>> form_and_properties("OC")[0], form_and_properties("C(C")
    ('CO', None)
    """
    form = canonical_smiles(smiles)
    return None if form is None else (form, properties_of(form))


def in_processes(
    work: Callable[[str], Found],
    smiles: Sequence[str],
    *,
    workers: int = 1,
    doing: str = "",
    progress: bool = False,
) -> Iterator[Found]:
    """``work`` of every molecule, in order; a few molecules are not worth the start of processes.

    Args:
        work: A function of this file, so that a process that is started need not import others.
        smiles: The molecules.
        workers: Processes, >= 1.
        doing: What a bar says.
        progress: Show it.
    """
    import_rdkit()
    from tqdm import tqdm

    with tqdm(total=len(smiles), desc=doing, unit="molecule", leave=False, disable=not progress) as bar:
        if workers == 1 or len(smiles) < _WORTH_PROCESSES:
            for found in map(work, smiles):
                yield found
                bar.update()
            return
        # A fork of a process with threads may hang.
        with multiprocessing.get_context("spawn").Pool(workers) as pool:
            for found in pool.imap(work, smiles, chunksize=_AT_A_TIME):
                yield found
                bar.update()
