from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse.csgraph import shortest_path

from qdyn.attention.graph_bias import (
    UNREACHABLE,
    BondBins,
    ChainBins,
    GraphBias,
    contact_bins,
    graph_bins,
    path_bins,
    separation_bins,
    shortest_paths,
)
from qdyn.attention.mechanism import build
from qdyn.data.molecules.graphs import BondReader
from qdyn.data.proteins.amino_acids import ProteinVocabulary
from qdyn.data.smiles import SmilesVocabulary, smiles_tokens
from qdyn.errors import ArgumentError

SMILES = (
    *("C", "CCO", "CC(C)(C)O", "c1ccccc1", "C1CC1C(=O)N", "C12CC1C2", "N#CC(C#N)=O", "[NH3+]CC([O-])=O"),
    *("CC(=O)OC1=CC=CC=C1C(O)=O", "C%12CC%12", "F/C=C/F", "O=C1[C@H]2C=CC1C2", "C.O", "C1=CC2=C(C1)N2"),
)


def graphs(size: int, seed: int, share: float) -> torch.Tensor:
    random = torch.Generator().manual_seed(seed)
    edges = torch.rand(size, size, generator=random) < share
    return (edges | edges.T) & ~torch.eye(size, dtype=torch.bool)


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 12), st.integers(0, 10_000), st.sampled_from([0.05, 0.2, 0.5]))
def test_paths_are_those_of_another_library(size: int, seed: int, share: float) -> None:
    edges = graphs(size, seed, share)
    expected = torch.from_numpy(shortest_path(edges.numpy(), unweighted=True, directed=False))
    found = shortest_paths(edges)
    assert found.masked_fill(found < 0, 99).double().equal(expected.nan_to_num(posinf=99.0))


@settings(max_examples=15, deadline=None)
@given(st.integers(2, 8), st.integers(0, 10_000))
def test_attention_is_equivariant_when_vertices_are_renamed(size: int, seed: int) -> None:
    """y(P x, P A P^T) = P y(x, A): what stands where in the sequence does not matter, only the graph."""
    torch.manual_seed(seed)
    edges, order = graphs(size, seed, 0.3), torch.randperm(size)
    bias = GraphBias(bins=6, heads=2)
    torch.nn.init.normal_(bias.table)
    attention = build("softmax", dim=4, heads=2, causal=False).double()
    x = torch.randn(1, size, 4, dtype=torch.float64)

    def output(x: torch.Tensor, edges: torch.Tensor) -> torch.Tensor:
        added = bias(path_bins(shortest_paths(edges), longest=3)[None]).double()
        return attention(x, x, x, bias=added)[0]

    renamed = output(x[:, order], edges[order][:, order])
    torch.testing.assert_close(renamed, output(x, edges)[:, order], rtol=1e-9, atol=1e-12)
    different = output(x, torch.zeros_like(edges))
    assert size < 3 or not edges.any() or not torch.allclose(different, output(x, edges))


def test_a_bias_never_opens_what_a_mask_closes() -> None:
    bias = GraphBias(bins=3)
    with torch.no_grad():
        bias.table[0, 2] = 50.0
    bins = torch.ones(1, 5, 5, dtype=torch.int64).triu(1) * 2
    x = torch.randn(2, 5, 4)
    mask = torch.tensor([[True] * 5, [True, True, False, True, True]])
    attention = build("softmax", dim=4)
    _, weights = attention(x, x, x, mask, bias=bias(bins))
    assert float(weights.triu(1).detach().abs().max()) == 0
    assert float(weights[1, 0, :, 2].detach().abs().max()) == 0
    # Zero at the start: the graph is not there yet.
    plain, none = attention(x, x, x, mask), attention(x, x, x, mask, bias=GraphBias(bins=3)(bins))
    torch.testing.assert_close(plain[1], none[1])


def test_every_bin_and_head_learns_its_own_number() -> None:
    bias = GraphBias(bins=4, heads=2)
    bins = torch.tensor([[[0, 1], [3, 0]]])
    x = torch.randn(1, 2, 4)
    build("softmax", dim=4, heads=2, causal=False)(x, x, x, bias=bias(bins))[0].square().sum().backward()
    gradient = bias.table.grad
    assert gradient is not None
    # Rows of the softmax sum to 1, so their gradients cancel; bin 2 does not occur.
    assert (gradient[:, 2] == 0).all()
    assert (gradient[:, [1, 3]] != 0).all()


WORDS = ("<pad>", "[CLS]", "[EOS]", *sorted({token for one in SMILES for token in smiles_tokens(one)}), "9")


def numbers(*words: str) -> torch.Tensor:
    return torch.tensor([[WORDS.index(word) for word in words]])


def edges(tokens: torch.Tensor) -> torch.Tensor:
    """The bonds of one row as an adjacency matrix of its tokens."""
    found = torch.zeros(tokens.shape[1], tokens.shape[1], dtype=torch.bool)
    for first, second in BondReader(WORDS)(tokens).bonds[0].tolist():
        if first >= 0:
            found[first, second] = True
    return found | found.T


@pytest.mark.parametrize("smiles", SMILES)
def test_the_graph_of_the_tokens_is_that_of_rdkit(smiles: str) -> None:
    chem = pytest.importorskip("rdkit.Chem")
    tokens = numbers(*smiles_tokens(smiles))
    molecule = chem.MolFromSmiles(smiles, sanitize=False)
    places = BondReader(WORDS)(tokens).atoms[0].nonzero()[:, 0]
    assert len(places) == molecule.GetNumAtoms()
    assert edges(tokens)[places][:, places].equal(
        torch.from_numpy(chem.GetAdjacencyMatrix(molecule).astype(bool))
    )


@pytest.mark.parametrize("smiles", SMILES)
def test_forecasts_see_the_bonds_of_the_past_alone(smiles: str) -> None:
    """Row i is that of the string that ends there, whose distances another function finds."""
    tokens = numbers("[CLS]", *smiles_tokens(smiles), "[EOS]", "<pad>")
    bins = BondBins(WORDS, longest=4)
    whole = bins(tokens)[0]
    atoms = BondReader(WORDS)(tokens).atoms[0]
    for seen in range(1, tokens.shape[1] + 1):
        part = tokens[:, :seen]
        assert bins(part)[0].equal(whole[:seen, :seen])
        vertices = atoms[:seen, None] & atoms[:seen]
        known = torch.where(vertices, shortest_paths(edges(part)), UNREACHABLE)
        assert path_bins(known, longest=4)[-1].equal(whole[seen - 1, :seen])
    assert whole.equal(whole.T)


def test_molecules_of_a_batch_and_seeds_do_not_mix() -> None:
    vocabulary = SmilesVocabulary.of(SMILES)
    tokens = torch.from_numpy(vocabulary.encode(SMILES)[0])
    bins = BondBins(vocabulary.words, longest=5)
    alone = torch.cat([bins(row[None]) for row in tokens])
    assert bins(tokens).equal(alone)
    seeds = tokens.reshape(2, -1, tokens.shape[1])
    assert torch.vmap(bins)(seeds).flatten(0, 1).equal(alone)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.sampled_from(["C", "O", "(", ")", "1", "2", ".", "="]), min_size=1, max_size=14))
def test_strings_without_sense_draw_what_can_be_drawn(words: list[str]) -> None:
    """Bonds join two different atoms that stand there already; nothing else is drawn."""
    found = BondReader(WORDS)(numbers(*words))
    for place, (first, second) in enumerate(found.bonds[0].tolist()):
        assert (first < 0) == (second < 0)
        if first >= 0:
            assert first < second <= place
            assert found.atoms[0, [first, second]].all()
    assert BondBins(WORDS, longest=2)(numbers(*words)).shape == (1, len(words), len(words))


def test_residues_are_apart_by_the_chain_and_tags_are_no_part_of_it() -> None:
    vocabulary = ProteinVocabulary(("<family=a>",), block=8)
    tokens = torch.from_numpy(vocabulary.encode(["MKXW"], [["<family=a>"]])[0])
    bins = ChainBins(vocabulary.words, longest=2)(tokens)[0]
    apart = (torch.arange(4)[:, None] - torch.arange(4)).abs().clamp_max(3)
    assert bins[2:6, 2:6].equal(apart)
    outside = torch.ones(8, 8, dtype=torch.bool)
    outside[2:6, 2:6] = False
    assert (bins[outside] == 4).all()


def test_a_graph_that_the_data_do_not_draw_is_refused() -> None:
    proteins = ProteinVocabulary((), block=8).words
    assert graph_bins("none", None, longest=2) is None
    assert isinstance(graph_bins("bonds", WORDS, longest=2), BondBins)
    assert isinstance(graph_bins("chain", proteins, longest=2), ChainBins)
    for name, words in (("bonds", proteins), ("chain", WORDS), ("chain", None), ("bonds", ["<s>", "a"])):
        with pytest.raises(ArgumentError, match=rf"^Argument `model.graph` '{name}' is for .* are none\.$"):
            graph_bins(name, words, longest=2, where="model.graph")  # type: ignore[arg-type]


def test_separations_and_contacts_have_bins_of_their_own() -> None:
    bins = separation_bins(8, edges=[1, 2, 4])[0]
    assert bins[0].tolist() == [0, 1, 2, 2, 3, 3, 3, 3]
    assert bins.equal(bins.T)
    contacts = graphs(8, 0, 0.3)
    found = contact_bins(contacts[None], edges=[1, 2, 4])[0]
    assert (found - bins).equal(torch.where(contacts, 4, 0))


def test_what_is_no_graph_is_refused() -> None:
    for edges in ([], [0, 2], [2, 2]):
        with pytest.raises(ArgumentError, match="`edges` must be increasing integers"):
            separation_bins(4, edges=edges)
    with pytest.raises(ArgumentError, match="`longest` must be an integer >= 1"):
        path_bins(torch.zeros(2, 2, dtype=torch.int64), longest=0)
    with pytest.raises(ArgumentError, match="`bins` must be an integer >= 1"):
        GraphBias(bins=0)
