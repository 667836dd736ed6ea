"""Every small molecule of C, N, O and F: enumerated as graphs, written down by RDKit.

A molecule is a connected graph whose vertices are heavy atoms and whose edges are bonds of order 1, 2 or 3;
no atom has more bonds than its valence (C 4, N 3, O 2, F 1) and hydrogen fills what is left. All of them come
from trees of single bonds by raising one bond after another, or closing one ring after another, by one order.
A graph is known by the largest code among all orders of its atoms, so that none is counted twice; aromatic
molecules, which are several such graphs, are one string in the end.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from qdyn.checks import check_integer
from qdyn.data.layout import Block, Layout
from qdyn.data.molecules.properties import PROPERTIES, PROPERTY_UNITS
from qdyn.data.molecules.rdkit_calls import properties_of, quiet_rdkit
from qdyn.data.smiles import SmilesVocabulary
from qdyn.data.source import Precision, Source
from qdyn.errors import ConfigError

VALENCES = {"C": 4, "N": 3, "O": 2, "F": 1}
MOST_ATOMS = 7
_LARGEST_ORDER = 3
_AT_A_TIME = 4096

Bonds = NDArray[np.int64]


def enumerate_graphs(elements: tuple[str, ...]) -> Bonds:
    """Every molecular graph of given atoms, once each.

    Args:
        elements: The heavy atoms, of "C", "N", "O", "F", in this order.

    Returns:
        Bond orders (graphs, pairs) of the pairs of atoms (0, 1), (0, 2), ..., (1, 2), ...

    Example: C2 is bound once, twice or three times.
        >>> enumerate_graphs(("C", "C")).tolist()
        [[1], [2], [3]]
    """
    pairs = list(itertools.combinations(range(len(elements)), 2))
    if not pairs:
        return np.zeros((1, 0), dtype=np.int64)
    orders = _orders(elements, pairs)
    free = np.array([VALENCES[element] for element in elements])
    ends = np.zeros((len(pairs), len(elements)), dtype=np.int64)
    for place, pair in enumerate(pairs):
        ends[place, list(pair)] = 1
    step = np.eye(len(pairs), dtype=np.int64)
    level = _distinct(_trees(len(elements), pairs), orders)
    level = level[(level @ ends <= free).all(axis=1)]
    found = []
    while len(level):
        found.append(level)
        raised = (level[:, None] + step).reshape(-1, len(pairs))
        fits = (raised <= _LARGEST_ORDER).all(axis=1) & (raised @ ends <= free).all(axis=1)
        level = _distinct(raised[fits], orders)
    return np.concatenate(found) if found else np.zeros((0, len(pairs)), dtype=np.int64)


@lru_cache(maxsize=4)
def small_molecules(heavy_atoms: int) -> tuple[str, ...]:
    """Canonical SMILES of every molecule of 1 to ``heavy_atoms`` atoms C, N, O, F that RDKit accepts.

    Args:
        heavy_atoms: In [1, 7]; 6 give 48 thousand molecules, one more about ten times as many.

    Returns:
        By number of heavy atoms, then in the order of strings.

    Raises:
        MissingExtraError: RDKit is not installed.

    Example: methane, ammonia, water and hydrogen fluoride.
        >>> small_molecules(1)
        ('C', 'F', 'N', 'O')
        >>> len(small_molecules(2))
        23
    """
    check_integer("heavy_atoms", heavy_atoms, minimum=1, maximum=MOST_ATOMS)
    molecules: list[str] = []
    with quiet_rdkit() as chem:
        kinds = {1: chem.BondType.SINGLE, 2: chem.BondType.DOUBLE, 3: chem.BondType.TRIPLE}
        for count in range(1, heavy_atoms + 1):
            pairs = list(itertools.combinations(range(count), 2))
            strings = set()
            for elements in itertools.combinations_with_replacement(VALENCES, count):
                atoms = [chem.Atom(element) for element in elements]
                for graph in enumerate_graphs(elements).tolist():
                    molecule = chem.RWMol()
                    for atom in atoms:
                        molecule.AddAtom(atom)
                    for pair, order in zip(pairs, graph, strict=True):
                        if order:
                            molecule.AddBond(*pair, kinds[order])
                    if chem.SanitizeMol(molecule, catchErrors=True) == chem.SanitizeFlags.SANITIZE_NONE:
                        strings.add(str(chem.MolToSmiles(molecule)))
            molecules += sorted(strings)
    return tuple(molecules)


@dataclass(frozen=True)
class SmallMolecules(Source):
    """All molecules of `small_molecules` in an order drawn from the seed, with their nine properties.

    A sequence is ``[CLS] tokens [EOS]``, padded and masked.

    Args:
        heavy_atoms: Atoms of the largest, in [1, 7].
    """

    version: ClassVar[int] = 1
    heavy_atoms: int

    def __post_init__(self) -> None:
        if not 1 <= self.heavy_atoms <= MOST_ATOMS:
            raise ConfigError(
                f"`heavy_atoms` must be an integer from 1 to {MOST_ATOMS}, but is {self.heavy_atoms}."
            )

    @cached_property
    def vocabulary(self) -> SmilesVocabulary:
        """The words of all the molecules."""
        return SmilesVocabulary.of(small_molecules(self.heavy_atoms))

    def layout(self, precision: Precision) -> Layout:
        """See `Source.layout`."""
        return Layout(
            kind="token",
            dimension=len(self.vocabulary),
            length=self.vocabulary.block,
            dtype="int32",
            vocabulary=self.vocabulary.words,
            conditions=dict(PROPERTY_UNITS),
            variable=True,
        )

    def limit(self) -> int:
        """See `Source.limit`."""
        return len(small_molecules(self.heavy_atoms))

    def block_size(self) -> int:
        """See `Source.block_size`."""
        return 256

    def block(self, *, seed: int, first: int, count: int, precision: Precision) -> Block:
        """See `Source.block`; after the last molecule the first ones come again."""
        every = small_molecules(self.heavy_atoms)
        order = np.random.default_rng(np.random.SeedSequence(seed)).permutation(len(every))
        chosen = [every[place] for place in np.take(order, np.arange(first, first + count), mode="wrap")]
        tokens, lengths = self.vocabulary.encode(chosen)
        table = np.array([properties_of(smiles) for smiles in chosen])
        conditions = dict(zip(PROPERTIES, np.ascontiguousarray(table.T), strict=True))
        return Block(tokens.astype(np.int32), conditions, lengths)


def _trees(count: int, pairs: list[tuple[int, int]]) -> Bonds:
    """All trees of labelled vertices, from their Pruefer codes."""
    place = {pair: index for index, pair in enumerate(pairs)}
    trees = np.zeros((count ** max(0, count - 2), len(pairs)), dtype=np.int64)
    for tree, code in zip(trees, itertools.product(range(count), repeat=max(0, count - 2)), strict=True):
        degree = np.bincount(code, minlength=count) + 1 if code else np.ones(count, dtype=np.int64)
        for vertex in code:
            leaf = int(np.argmax(degree == 1))
            tree[place[min(leaf, vertex), max(leaf, vertex)]] = 1
            degree[[leaf, vertex]] -= 1
        first, last = np.flatnonzero(degree == 1)
        tree[place[int(first), int(last)]] = 1
    return trees


def _orders(elements: tuple[str, ...], pairs: list[tuple[int, int]]) -> Bonds:
    """How each exchange of equal atoms moves the pairs: (exchanges, pairs)."""
    place = {pair: index for index, pair in enumerate(pairs)}
    groups = [
        itertools.permutations([i for i, element in enumerate(elements) if element == kind])
        for kind in dict.fromkeys(elements)
    ]
    moved = []
    for images in itertools.product(*groups):
        image = [vertex for group in images for vertex in group]
        moved.append([place[min(image[a], image[b]), max(image[a], image[b])] for a, b in pairs])
    return np.array(moved)


def _distinct(graphs: Bonds, orders: Bonds) -> Bonds:
    """One of each set of graphs that an exchange of equal atoms makes equal."""
    if not len(graphs):
        return graphs
    powers = 4 ** np.arange(graphs.shape[1])
    # sum_k 4^k g[order[k]] = sum_m g[m] 4^(place of m): one matrix product gives all codes.
    weights = np.zeros((graphs.shape[1], len(orders)), dtype=np.int64)
    weights[orders, np.arange(len(orders))[:, None]] = powers
    graphs = np.unique(graphs @ powers)[:, None] // powers % 4
    codes = np.concatenate([(part @ weights).max(axis=1) for part in _parts(graphs)])
    return np.unique(codes)[:, None] // powers % 4


def _parts(graphs: Bonds) -> Iterator[Bonds]:
    return (graphs[first : first + _AT_A_TIME] for first in range(0, len(graphs), _AT_A_TIME))
