from __future__ import annotations

import bz2
import gzip
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import qdyn
from qdyn.data.proteins.amino_acids import (
    RESIDUES,
    ProteinVocabulary,
    clean_residues,
    is_protein_vocabulary,
    mean_hydropathy,
    net_charge,
)
from qdyn.data.proteins.fasta import read_fasta
from qdyn.data.proteins.files import read_proteins
from qdyn.errors import ArgumentError, DatasetError

RELATIVES = ("MKVLAAGIVWQRSTNNDE", "MKVLGAGIVWQRSTNNDE", "MKVLAAGIVWQRSTNPDE")
STRANGERS = ("WWPPHHCCYYFFMMWWPP", "DEDEDKDKDEDEDKDKDE", "GSGSGSTTTTGSGSGTTG")


def write(path: Path, entries: list[tuple[str, str]]) -> Path:
    path.write_text("".join(f">{header}\n{residues}\n" for header, residues in entries))
    return path


# -- residues and vocabulary -----------------------------------------------------------------------------


@given(st.text(alphabet="acdefghiklmnpqrstvwyBZJOUX", min_size=1, max_size=30))
def test_what_is_read_is_in_the_twenty_one_letters(text: str) -> None:
    letters = clean_residues(text)
    assert len(letters) == len(text)
    assert set(letters) <= {*RESIDUES, "X"}
    assert all(
        a == b.upper() or (a == "X" and b.upper() not in RESIDUES) for a, b in zip(letters, text, strict=True)
    )


@given(st.lists(st.text(alphabet=RESIDUES + "X", min_size=1, max_size=12), min_size=1, max_size=5), st.data())
def test_tokens_say_residues_and_tags(proteins: list[str], data: st.DataObject) -> None:
    tags = ("<family=a>", "<family=b>", "<charge=neutral>")
    vocabulary = ProteinVocabulary(tags, block=16)
    fronts = [data.draw(st.lists(st.sampled_from(tags), max_size=2)) for _ in proteins]
    tokens, lengths = vocabulary.encode(proteins, fronts)
    assert vocabulary.decode(tokens) == proteins
    assert vocabulary.tags_of(tokens) == [tuple(front) for front in fronts]
    assert lengths.tolist() == [len(a) + len(b) + 2 for a, b in zip(proteins, fronts, strict=True)]
    assert all((row[length:] == 0).all() for row, length in zip(tokens, lengths, strict=True))


def test_the_vocabulary_is_known_by_its_words() -> None:
    vocabulary = ProteinVocabulary((), block=5)
    assert len(vocabulary) == 24
    assert is_protein_vocabulary(vocabulary.words)
    assert not is_protein_vocabulary(["<s>", "cat"])
    assert not is_protein_vocabulary(None)


def test_charge_and_hydropathy_follow_from_the_residues() -> None:
    assert net_charge("KRDEH") == 0
    assert mean_hydropathy("IV") == pytest.approx((4.5 + 4.2) / 2)
    assert mean_hydropathy("X") == 0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: clean_residues(" * "), "A protein sequence is empty"),
        (lambda: clean_residues("MK1A"), "'1' at place 3 of a protein sequence is no residue"),
        (lambda: ProteinVocabulary((), block=4).encode(["MKV"]), "3 residues and 0 tags needs 5 elements"),
        (lambda: ProteinVocabulary((), block=9).encode(["M"], [["<family=x>"]]), "'<family=x>' is not in"),
        (lambda: ProteinVocabulary(("family",), block=9), "must hold words such as <family=kinase>"),
    ],
)
def test_what_is_no_protein_is_refused(make: object, message: str) -> None:
    with pytest.raises(qdyn.QdynError, match=message):
        make()  # type: ignore[operator]


# -- FASTA ---------------------------------------------------------------------------------------------


def test_wrapped_lines_lower_case_comments_and_line_ends_of_other_systems(tmp_path: Path) -> None:
    file = tmp_path / "a.faa"
    text = "; a remark\r\n>sp|P1 Kinase, putative OS=Homo sapiens GN=MDM2\r\nmkv\r\n\r\nLA*\r\n>two\r\nGU\r\n"
    file.write_bytes(text.encode())
    first, second = read_fasta(file)
    assert (first.name, first.residues) == ("sp|P1", "MKVLA")
    assert (first.field("OS"), first.field("GN"), first.field("OX")) == ("Homo sapiens", "MDM2", None)
    assert (second.name, second.description, second.residues) == ("two", "", "GX")


@pytest.mark.parametrize("between", [" ", "\t", " \t ", "\u00a0"])
def test_any_white_space_ends_a_name(tmp_path: Path, between: str) -> None:
    (tmp_path / "one.fasta").write_text(f">P1{between}kinase OX=9606\nMKV\n", encoding="utf-8")
    (entry,) = read_fasta(tmp_path / "one.fasta")
    assert (entry.name, entry.description, entry.field("OX")) == ("P1", "kinase OX=9606", "9606")


@pytest.mark.parametrize(("suffix", "compress"), [(".gz", gzip.compress), (".bz2", bz2.compress)])
def test_compressed_files_are_read(tmp_path: Path, suffix: str, compress: object) -> None:
    file = tmp_path / f"a.fasta{suffix}"
    file.write_bytes(compress(b">one\nMKV\n"))  # type: ignore[operator]
    assert read_fasta(file)[0].residues == "MKV"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("MKV\n", r"a\.fasta is no FASTA file: line 1 must begin with '>'"),
        ("", r"a\.fasta holds no proteins"),
        (">a\n>b\nMK\n", r"line 1: no sequence follows the header of 'a'"),
        (">a\nMK\n>\nMK\n", r"line 3: a name must follow"),
        (">a\nMK\nM-K\n", r"line 3: '-' at place 2 of a protein sequence is no residue"),
    ],
)
def test_a_broken_file_is_refused_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "a.fasta").write_text(text)
    with pytest.raises(DatasetError, match=message):
        read_fasta(tmp_path / "a.fasta")


def test_a_missing_or_damaged_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="cannot be read as UTF-8 text: No such file"):
        read_fasta(tmp_path / "absent.fasta")
    whole = gzip.compress(b">one\nMKV\n" * 50)
    (tmp_path / "cut.fasta.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DatasetError, match="cannot be read as UTF-8 text"):
        read_fasta(tmp_path / "cut.fasta.gz")


# -- a file as a dataset -------------------------------------------------------------------------------


@pytest.fixture
def file(tmp_path: Path) -> Path:
    family = ["x", "x", "x", "y", "y", "z"]
    entries = [
        (f"p{place} family={name}", residues)
        for place, (name, residues) in enumerate(zip(family, RELATIVES + STRANGERS, strict=True))
    ]
    return write(tmp_path / "six.fasta", [*entries, ("again", RELATIVES[0]), ("long", "ACDEFGHIKL" * 4)])


def test_relatives_share_a_split_whatever_the_seed(file: Path) -> None:
    for seed in range(8):
        found = read_proteins(file, longest=20, shares={"train": 0.5, "test": 0.5}, seed=seed)
        assert (found.duplicates, found.too_long, len(found.names)) == (1, 1, 6)
        first, last = found.dataset.backing.splits["train"]
        side = {name: first <= place < last for place, name in enumerate(found.names)}
        assert len({side["p0"], side["p1"], side["p2"]}) == 1
        assert sorted(found.clusters.sizes.tolist()) == [1, 1, 1, 3]


def test_tags_stand_in_front_and_conditions_follow_from_the_residues(file: Path) -> None:
    found = read_proteins(file, tags=["family", "charge"], longest=20, shares={"train": 1.0})
    data = found.dataset
    words = data.metadata.vocabulary
    assert words is not None
    rows = [[words[number] for number in row] for row in data.sequences().tolist()]
    place = found.names.index("p4")
    assert rows[place][:4] == ["<bos>", "<family=y>", "<charge=negative>", "D"]
    assert float(data.conditions["charge"][place]) == net_charge(STRANGERS[1])
    assert data.metadata.units["charge"] == "e"
    assert "<family=unknown>" not in words


def test_a_header_without_the_key_says_so(tmp_path: Path) -> None:
    path = write(tmp_path / "a.fasta", [("a family=x", "MKVL"), ("b", "WWPP")])
    found = read_proteins(path, tags=["family"], shares={"train": 1.0})
    assert "<family=unknown>" in (found.dataset.metadata.vocabulary or ())
    with pytest.raises(ArgumentError, match=r"no header of .* says famly="):
        read_proteins(path, tags=["famly"])
    with pytest.raises(ArgumentError, match="must not name 'label'"):
        read_proteins(path, tags=["label"])


def test_a_file_reads_alike_after_it_was_saved(file: Path, tmp_path: Path) -> None:
    data = read_proteins(file, tags=["family"], shares={"train": 0.6, "test": 0.4}).dataset
    data.save(tmp_path / "six.h5")
    again = qdyn.load_dataset(tmp_path / "six.h5", verify=True)
    assert again.metadata.vocabulary == data.metadata.vocabulary
    np.testing.assert_array_equal(again.sequences(), data.sequences())
    np.testing.assert_array_equal(again.batch(range(len(again))).mask, data.batch(range(len(data))).mask)


def test_too_few_clusters_are_told(tmp_path: Path) -> None:
    path = write(tmp_path / "a.fasta", [(str(place), one) for place, one in enumerate(RELATIVES)])
    with pytest.raises(ArgumentError, match="leaves no cluster for 'test': there are 1 clusters"):
        read_proteins(path, shares={"train": 0.5, "test": 0.5})
