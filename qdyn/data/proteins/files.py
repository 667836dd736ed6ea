"""Proteins from a FASTA file as sequences of tokens, with tags in front, split by sequence identity.

A sequence is ``<bos> tags residues <eos> <pad> …``. No two proteins of different splits are more alike than a
threshold: a random split would put a relative of nearly every test protein into the training split.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from qdyn.checks import check_integer
from qdyn.data.generation.estimate import counted
from qdyn.data.proteins.amino_acids import ProteinVocabulary, mean_hydropathy, net_charge
from qdyn.data.proteins.fasta import FastaEntry, read_fasta
from qdyn.data.proteins.sequence_identity import THRESHOLD, Clusters, cluster_by_identity, split_by_clusters
from qdyn.data.proteins.tags import PROPERTY_TAGS, PROTEIN_UNITS, property_tag
from qdyn.data.sequences import SequenceDataset
from qdyn.data.tags import LABEL, tag
from qdyn.errors import ArgumentError, DatasetError

DEFAULT_SHARES = {"train": 0.8, "validation": 0.1, "test": 0.1}
MISSING = "unknown"
"""The value of a tag where the header has none."""


@dataclass(frozen=True)
class Proteins:
    """What a file of proteins gave.

    Attributes:
        dataset: The sequences, training proteins first.
        names: Of the proteins, in the same order.
        clusters: What the split kept together, in the same order.
        duplicates: Entries left out because the same residues stand earlier.
        too_long: Entries left out because they have more residues than was asked for.
    """

    dataset: SequenceDataset
    names: tuple[str, ...]
    clusters: Clusters
    duplicates: int
    too_long: int

    def __str__(self) -> str:
        return (
            f"{counted(len(self.names), 'distinct protein')}, {counted(self.duplicates, 'duplicate')} and "
            f"{self.too_long} too long left out; {self.clusters}"
        )


def read_proteins(
    path: str | Path,
    *,
    tags: Sequence[str] = (),
    longest: int | None = None,
    identity: float = THRESHOLD,
    word: int | None = None,
    shares: Mapping[str, float] = DEFAULT_SHARES,
    seed: int = 0,
    name: str | None = None,
) -> Proteins:
    """Read a FASTA file into a dataset of tokens.

    The conditions of each protein are ``residues`` (how many), ``charge`` (of the side chains at pH 7, in e)
    and ``hydropathy`` (mean, after Kyte and Doolittle).

    Args:
        path: See `qdyn.data.proteins.fasta.read_fasta`.
        tags: What stands in front, in this order: "charge" or "hydropathy", which follow from the residues,
            or a key of the headers such as "OX" of ``OX=9606`` or "family" of ``family=kinase``.
        longest: Residues of the longest protein, >= 2; longer ones are left out. None keeps all.
        identity: No two proteins of different splits have more identity than this, in [0, 1): see
            `qdyn.data.proteins.sequence_identity.identity`.
        word: None compares every pair, which is certain and takes minutes for some thousands of proteins; 3
            compares those that share three residues in a row: see `cluster_by_identity`.
        shares: Of the proteins in "train", "validation" and "test", which sum to 1; a split holds more or
            less of them by the size of a cluster.
        seed: Of the split.
        name: What to call the dataset; None takes the file's.

    Raises:
        DatasetError: the file cannot be read, or no protein fits.
        ArgumentError: an option out of range, a tag that no header has, or too few clusters for the splits.

    Example:
        >>> import tempfile
        >>> folder = tempfile.TemporaryDirectory()
        >>> file = Path(folder.name) / "two.fasta"
        >>> _ = file.write_text(chr(10).join([">a family=x", "MKVLAAGI", ">b family=y", "WWPPWWPP"]))
        >>> found = read_proteins(file, tags=["family"], shares={"train": 0.5, "test": 0.5})
        >>> found.dataset.metadata.vocabulary[-2:], found.dataset.n_steps
        (('<family=x>', '<family=y>'), 10)
        >>> folder.cleanup()
    """
    if longest is not None:
        check_integer("longest", longest, minimum=2)
    file = Path(path)
    entries = read_fasta(file)
    first = {entry.residues: entry for entry in reversed(entries)}
    distinct = [entry for entry in entries if first[entry.residues] is entry]
    kept = [entry for entry in distinct if longest is None or len(entry.residues) <= longest]
    if not kept:
        raise DatasetError(f"The file {file} has no protein of at most {longest} residues.")
    fronts = _tags_in_front(kept, tags, file)
    clusters = cluster_by_identity([entry.residues for entry in kept], threshold=identity, word=word)
    order, splits = split_by_clusters(clusters.of, shares, seed=seed)
    chosen = [kept[place] for place in order]
    proteins = [entry.residues for entry in chosen]
    seen = Counter(word for front in fronts for word in front)
    vocabulary = ProteinVocabulary(
        tuple(sorted(seen)), block=max(len(entry.residues) for entry in kept) + len(tags) + 2
    )
    tokens, lengths = vocabulary.encode(proteins, [fronts[place] for place in order])
    dataset = SequenceDataset.from_arrays(
        tokens,
        kind="token",
        vocabulary=vocabulary.words,
        lengths=lengths,
        conditions={
            "residues": np.array([len(protein) for protein in proteins], dtype=np.float64),
            "charge": np.array([net_charge(protein) for protein in proteins], dtype=np.float64),
            "hydropathy": np.array([mean_hydropathy(protein) for protein in proteins]),
        },
        splits=splits,
        units=PROTEIN_UNITS,
        name=name or file.name.partition(".")[0],
        recipe={
            "source": "proteins",
            "file": file.name,
            "sha256": hashlib.sha256("\n".join(entry.residues for entry in kept).encode()).hexdigest(),
            "tags": list(tags),
            "longest": longest,
            "identity": identity,
            "word": word,
            "shares": dict(shares),
            "seed": seed,
        },
    )
    return Proteins(
        dataset,
        tuple(entry.name for entry in chosen),
        Clusters(clusters.of[order], identity, clusters.aligned, word),
        duplicates=len(entries) - len(distinct),
        too_long=len(distinct) - len(kept),
    )


def _tags_in_front(entries: Sequence[FastaEntry], keys: Sequence[str], file: Path) -> list[list[str]]:
    fronts: list[list[str]] = [[] for _ in entries]
    if LABEL in keys:
        raise ArgumentError(f"Argument `tags` must not name {LABEL!r}, which stands at the end of sentences.")
    for key in keys:
        if key in PROPERTY_TAGS:
            values = [property_tag(key, entry.residues) for entry in entries]
        else:
            said = [entry.field(key) for entry in entries]
            if not any(said):
                raise ArgumentError(
                    f"Argument `tags` must name {', '.join(PROPERTY_TAGS)} or a key of the headers, but no "
                    f"header of {file} says {key}=..."
                )
            values = [tag(key, value or MISSING) for value in said]
        for front, value in zip(fronts, values, strict=True):
            front.append(value)
    return fronts
