from __future__ import annotations

import lzma
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qdyn.data.smiles import QM9_VOCABULARY, SPECIAL, SmilesVocabulary, published_split, smiles_tokens
from qdyn.errors import ArgumentError, DatasetError

WORDS = sorted({"C", "N", "O", "c", "n", "(", ")", "=", "#", "1", "%10", "[NH3+]", "[C@@H]", "Cl", "Br", "/"})


@pytest.fixture(scope="module")
def qm9(shared: Path) -> list[str]:
    return lzma.decompress((shared / "data" / "qm9.smi.xz").read_bytes()).decode().split()


@given(st.lists(st.sampled_from(WORDS), min_size=1, max_size=12))
def test_tokens_are_what_a_string_is_made_of(words: list[str]) -> None:
    text = "".join(words)
    tokens = smiles_tokens(text)
    assert "".join(tokens) == text
    # No two of these words join to a third, as "C" and "l" would: the cut is the one that was made.
    assert tokens == words


def test_brackets_and_long_symbols_are_one_token() -> None:
    assert smiles_tokens("C[C@@H](Cl)%11Br") == ["C", "[C@@H]", "(", "Cl", ")", "%11", "Br"]


@pytest.mark.parametrize(
    ("text", "where"), [("CCx", "'x' at place 2"), ("C[NH", "'[' at place 1"), ("", "empty")]
)
def test_what_is_no_smiles_is_refused_by_its_place(text: str, where: str) -> None:
    with pytest.raises(DatasetError, match=where.replace("[", r"\[")):
        smiles_tokens(text)


@given(
    st.lists(st.lists(st.sampled_from(WORDS), min_size=1, max_size=9).map("".join), min_size=1, max_size=6)
)
def test_what_is_encoded_is_decoded(smiles: list[str]) -> None:
    vocabulary = SmilesVocabulary.of(smiles)
    rows, lengths = vocabulary.encode(smiles)
    assert vocabulary.decode(rows) == smiles
    begin, end, pad = (vocabulary.number_of[word] for word in ("[CLS]", "[EOS]", "<pad>"))
    assert (rows[:, 0] == begin).all()
    for row, length in zip(rows, lengths, strict=True):
        assert row[length - 1] == end
        assert (row[length:] == pad).all()
    assert lengths.max() == vocabulary.block


def test_a_molecule_that_does_not_fit_is_named() -> None:
    vocabulary = SmilesVocabulary.of(["CCO"])
    with pytest.raises(DatasetError, match="'CN' has the token 'N'"):
        vocabulary.encode(["CC", "CN"])
    with pytest.raises(DatasetError, match="'CCCC' has 4 tokens, but a block of 5 holds 3"):
        vocabulary.encode(["CCCC"])
    with pytest.raises(ArgumentError, match="lacks '<pad>'"):
        SmilesVocabulary(("C", "[CLS]", "[EOS]"), 5)


@given(count=st.integers(1, 300), seed=st.integers(0, 5), as_in_the_files=st.booleans())
def test_a_published_split_is_a_partition(count: int, seed: int, as_in_the_files: bool) -> None:
    train, validation = published_split(list(range(count)), seed, as_in_the_files=as_in_the_files)
    assert sorted(train + validation) == list(range(count))
    assert len(validation) == int(0.05 * count)


def test_qm9_has_the_published_words_and_blocks(qm9: list[str]) -> None:
    assert len(qm9) == 133_798
    assert SmilesVocabulary.of(qm9) == SmilesVocabulary.of_qm9()
    assert len(QM9_VOCABULARY) == 33
    numbers = SmilesVocabulary.of_qm9().number_of
    assert [numbers[word] for word in ("<pad>", "[CLS]", "[EOS]", "C")] == [9, 17, 18, 11]
    counts = np.array([len(smiles_tokens(smiles)) for smiles in qm9])
    assert (counts.min(), counts.max(), (counts == 22).sum()) == (1, 22, 12)
    assert round(counts.mean(), 4) == 14.7623
    # Padding among the 23 targets of a block, each of which holds the tokens and [EOS].
    assert round(1 - (counts + 1).mean() / 23, 3) == 0.315


def test_the_published_split_of_qm9(qm9: list[str]) -> None:
    """Of the published validation file 6,357 molecules were trained on: the defect of 1.4 of the theory."""
    train, validation = published_split(qm9)
    assert (len(train), len(validation)) == (127_109, 6_689)
    assert not set(train) & set(validation)
    _, in_the_file = published_split(qm9, as_in_the_files=True)
    assert len(set(in_the_file) & set(train)) == 6_357
    assert len(set(in_the_file) & set(validation)) == 332


def test_special_words_are_words() -> None:
    assert set(SPECIAL) <= set(QM9_VOCABULARY)
    assert list(QM9_VOCABULARY) == sorted(QM9_VOCABULARY)
