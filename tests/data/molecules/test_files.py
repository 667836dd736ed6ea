from __future__ import annotations

import functools
import gzip
import hashlib
import http.server
import io
import json
import lzma
import subprocess
import sys
import tarfile
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import qdyn
from qdyn.cli import main
from qdyn.data.molecules.files import clean_smiles, read_molecules, read_smiles
from qdyn.data.molecules.properties import PROPERTIES, impute_properties, molecule_properties
from qdyn.data.molecules.qm9 import Remote, archived_smiles, fetch_file, fetch_qm9
from qdyn.data.molecules.rdkit_calls import canonical_smiles, properties_of
from qdyn.data.molecules.small_molecules import SmallMolecules, enumerate_graphs, small_molecules
from qdyn.data.recipes import Recipe
from qdyn.data.smiles import SmilesVocabulary, published_split
from qdyn.errors import ArgumentError, ConfigError, DatasetError

pytest.importorskip("rdkit")
ALCOHOLS = ["CO", "CCO", "CCCO", "CC(C)O", "OCCO"]


# -- properties ----------------------------------------------------------------------------------------


def test_properties_are_the_golden_ones(shared: Path) -> None:
    """Of RDKit 2024.9; these five molecules have the same in later versions."""
    golden = json.loads((shared / "golden" / "hybrid_decoder.json").read_text())
    assert tuple(golden["property_names"]) == PROPERTIES
    found = molecule_properties(golden["molecules"])
    np.testing.assert_allclose(found, golden["properties"], rtol=0, atol=1e-9)


def test_properties_are_kept_and_found_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = molecule_properties(ALCOHOLS, cache=tmp_path)
    assert len(list(tmp_path.iterdir())) == 1

    def forbidden(smiles: str) -> tuple[float, ...]:
        raise AssertionError(f"{smiles} was computed again")

    monkeypatch.setattr("qdyn.data.molecules.properties.properties_of", forbidden)
    np.testing.assert_array_equal(molecule_properties(ALCOHOLS, cache=tmp_path), first)
    with pytest.raises(AssertionError, match="CCN was computed"):
        molecule_properties(["CCN"], cache=tmp_path)


def test_workers_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qdyn.data.molecules.rdkit_calls._WORTH_PROCESSES", 500)
    many = list(small_molecules(4))[:520]
    np.testing.assert_array_equal(molecule_properties(many, workers=2), molecule_properties(many))


def test_workers_start_without_the_weight_of_pytorch() -> None:
    """Each imports the file of what it does, and would otherwise start as slowly as a training."""
    loaded = "import sys, qdyn.data.molecules.rdkit_calls; print('torch' in sys.modules)"
    printed = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True)
    assert printed.stdout.strip() == "False"


def test_missing_properties_are_imputed_whatever_the_order() -> None:
    known = molecule_properties(small_molecules(4))
    order = np.random.default_rng(0).permutation(len(known))
    targets = {"HBD": 1.0, "nRing": 0.0}
    one, other = (impute_properties(targets, table, neighbours=50) for table in (known, known[order]))
    np.testing.assert_allclose(one, other, rtol=1e-12)
    columns = [PROPERTIES.index(name) for name in targets]
    # There are more than 50 of them, so all and only the molecules that agree are averaged.
    agreeing = (known[:, columns] == list(targets.values())).all(axis=1)
    assert agreeing.sum() > 50
    np.testing.assert_allclose(one, known[agreeing].mean(axis=0), rtol=1e-12)
    np.testing.assert_array_equal(impute_properties({}, known), known.mean(axis=0))


def test_targets_out_of_reach_are_refused() -> None:
    known = molecule_properties(ALCOHOLS)
    with pytest.raises(ArgumentError, match="'LogO': did you mean 'LogP'"):
        impute_properties({"LogO": 1.0}, known)
    with pytest.raises(ArgumentError, match="near the data, but MW=1e"):
        impute_properties({"MW": 1e6}, known)
    with pytest.raises(ArgumentError, match="near the data, but MW=nan"):
        impute_properties({"MW": float("nan")}, known)


# -- files ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["m.csv", "m.smi", "m.smi.gz", "m.csv.xz"])
def test_files_of_all_kinds_hold_the_same(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    table = "id,SMILES\n" + "".join(f"{i},{smiles}\n" for i, smiles in enumerate(ALCOHOLS))
    text = table if ".csv" in name else "".join(f"{smiles}\tname{i}\n" for i, smiles in enumerate(ALCOHOLS))
    opener = {".gz": gzip.open, ".xz": lzma.open}.get(path.suffix, open)
    with opener(path, "wt") as handle:
        handle.write(text)
    assert read_smiles(path) == ALCOHOLS


def test_what_is_left_out_is_counted(tmp_path: Path) -> None:
    path = tmp_path / "mixed.smi"
    path.write_text("smiles\nOCC\nCCO\nC(C\nc1ccccc1\nC1=CC=CC=C1\nF(F)F\n")
    found = read_molecules(path, shares={"train": 1.0})
    assert sorted(found.smiles) == ["CCO", "c1ccccc1"]
    assert (found.cleaned.rows, found.cleaned.duplicates) == (6, 2)
    assert found.cleaned.invalid == ((2, "C(C"), (5, "F(F)F"))
    recipe = found.dataset.metadata.recipe
    assert (recipe["rows"], recipe["duplicates"], recipe["invalid"]) == (6, 2, 2)


def test_a_dataset_of_molecules_is_written_and_read(tmp_path: Path) -> None:
    path = tmp_path / "small.smi"
    path.write_text("\n".join(small_molecules(3)))
    found = read_molecules(path)
    found.dataset.save(tmp_path / "small.h5")
    stored = qdyn.load_dataset(tmp_path / "small.h5", verify=True)
    assert stored.metadata.vocabulary == found.dataset.metadata.vocabulary
    assert {name: len(stored.split(name)) for name in stored.split_names} == {
        "train": 105, "validation": 6, "test": 6
    }  # fmt: skip
    words = SmilesVocabulary(stored.metadata.vocabulary or (), stored.n_steps + 1)
    assert words.decode(stored.sequences().numpy()) == list(found.smiles)
    expected = molecule_properties(found.smiles)
    for column, name in enumerate(PROPERTIES):
        np.testing.assert_array_equal(stored.conditions[name], expected[:, column])
    # The mask lets through as many targets as the molecule has tokens, and [EOS].
    batch = stored.batch(range(len(stored)))
    assert batch.mask.sum(1).tolist() == (words.encode(found.smiles)[1] - 1).tolist()


def test_the_published_form_counts_padding_and_composes_the_split(tmp_path: Path) -> None:
    path = tmp_path / "small.smi"
    path.write_text("\n".join(small_molecules(3)))
    found = read_molecules(path, split="published", count_padding=True, properties=False)
    train, validation = published_split(list(small_molecules(3)))
    assert list(found.smiles) == train + validation
    assert bool(found.dataset.batch([0]).mask.all())
    assert len(found.dataset.split("validation")) == len(validation)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "id,smile\n1,C\n", "no column 'smiles': name one of id, smile"),
        ("a.csv", "", "no column 'smiles': name one of none"),
        ("a.csv", "smiles,smiles\nC,N\n", "must have the column 'smiles' once, but has it twice"),
        ("a.smi", "\n\n", "holds no molecules"),
        ("a.smi", "C(C\n", "no molecule that RDKit accepts: 1 rows"),
        ("missing.smi", None, "No such file"),
    ],
)
def test_bad_files_get_one_line(
    name: str, content: str | None, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if content is not None:
        (tmp_path / name).write_text(content)
    assert main(["datasets", "import", str(tmp_path / name), "--out", str(tmp_path / "a.h5")]) == 2
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert message in last
    assert not (tmp_path / "a.h5").exists()


def test_import_reports_and_writes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.csv").write_text("name,mol\nx,CO\ny,OC\nz,CC\nw,CN\n")
    arguments = [
        "datasets",
        "import",
        str(tmp_path / "a.csv"),
        "--column",
        "mol",
        "--out",
        str(tmp_path / "a.h5"),
    ]
    assert main(arguments) == 0
    assert "4 rows: 3 distinct molecules, 1 duplicates, 0 invalid" in capsys.readouterr().out
    assert len(qdyn.load_dataset(tmp_path / "a.h5")) == 3
    assert main([*arguments[:4], "mole", *arguments[5:]]) == 2
    assert "no column 'mole': did you mean 'mol'?" in capsys.readouterr().err


def test_unknown_shares_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.smi").write_text("C\nN\n")
    for shares, message in (({"train": 0.5}, "sum to 1"), ({"trian": 1.0}, "must be for 'train'")):
        with pytest.raises(ArgumentError, match=message):
            read_molecules(tmp_path / "a.smi", shares=shares)


def test_cleaning_keeps_the_first() -> None:
    assert clean_smiles(["OCC", "C", "CCO"]).smiles == ("CCO", "C")


# -- small molecules -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("carbons", "isomers"),
    [
        # Constitutional isomers of the hydrocarbons C_n H_m, m = 2n+2, 2n, ...: alkanes 1, 2, 3, 5; C4H6 9,
        # C5H8 26, C6H10 77, C6H6 217 (the valence isomers of benzene).
        (4, {10: 2, 8: 5, 6: 9}),
        (5, {12: 3, 10: 10, 8: 26}),
        (6, {14: 5, 12: 25, 10: 77, 8: 159, 6: 217}),
    ],
)
def test_hydrocarbons_are_as_many_as_known(carbons: int, isomers: dict[int, int]) -> None:
    graphs = enumerate_graphs(("C",) * carbons)
    hydrogens = Counter((4 * carbons - 2 * graphs.sum(axis=1)).tolist())
    assert {count: hydrogens[count] for count in isomers} == isomers


def test_all_neutral_molecules_of_qm9_are_there(shared: Path) -> None:
    qm9 = lzma.decompress((shared / "data" / "qm9.smi.xz").read_bytes()).decode().split()
    small = {smiles for smiles in qm9 if sum(letter in "CNOFcno" for letter in smiles) <= 5}
    missing = small - set(small_molecules(5))
    assert len(small) > 150
    assert all("+" in smiles for smiles in missing)


def test_strings_are_canonical_and_distinct() -> None:
    every = small_molecules(4)
    assert len(set(every)) == len(every)
    assert [canonical_smiles(smiles) for smiles in every] == list(every)


def test_the_source_gives_every_molecule_once() -> None:
    source = SmallMolecules(heavy_atoms=3)
    count = source.limit()
    block = source.block(seed=1, first=0, count=count, precision="single")
    assert sorted(source.vocabulary.decode(block.values.astype(np.int64))) == sorted(small_molecules(3))
    part = source.block(seed=1, first=5, count=3, precision="single")
    np.testing.assert_array_equal(part.values, block.values[5:8])
    smiles = source.vocabulary.decode(part.values.astype(np.int64))
    assert [block.conditions[name][5] for name in PROPERTIES] == list(properties_of(smiles[0]))


def test_no_more_molecules_are_promised_than_there_are() -> None:
    recipe = Recipe("small", "small_molecules", 0, {"train": 118}, {"heavy_atoms": 3})
    with pytest.raises(ConfigError, match="at most 117 sequences, all there are, but hold 118"):
        recipe.make_source()
    with pytest.raises(ConfigError, match="from 1 to 7, but is 8"):
        SmallMolecules(heavy_atoms=8)


# -- QM9 -----------------------------------------------------------------------------------------------


def xyz(smiles: str, atoms: int = 2) -> bytes:
    """A file in the form of QM9's; what is not read here is left empty."""
    lines = [
        str(atoms),
        "gdb 1\t0.0",
        *["C 0.0 0.0 0.0 0.0"] * atoms,
        "1.0 2.0",
        f"{smiles}\t{smiles}@\t",
        "InChI",
    ]
    return "\n".join(lines).encode()


def archive_of(smiles: list[str]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:bz2") as archive:
        # Out of order, as an archive may be.
        for number in reversed(range(len(smiles))):
            content = xyz(smiles[number], atoms=1 + number % 3)
            member = tarfile.TarInfo(f"dsgdb9nsd_{number + 1:06d}.xyz")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder, and the address that it is served at."""

    class Silent(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    folder = tmp_path / "served"
    folder.mkdir()
    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Silent, directory=str(folder))
    )
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield folder, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_qm9_is_fetched_once_and_known_by_name(served: tuple[Path, str], monkeypatch: pytest.MonkeyPatch,
                                               tmp_path: Path) -> None:  # fmt: skip
    monkeypatch.setenv("QDYN_CACHE", str(tmp_path / "cache"))
    with pytest.raises(DatasetError, match="not here yet: qdyn datasets fetch qm9"):
        qdyn.load_dataset("qm9")
    folder, address = served
    smiles = list(small_molecules(3))
    content = archive_of(smiles)
    (folder / "qm9").write_bytes(content)
    remote = Remote(f"{address}/qm9", f"sha256:{hashlib.sha256(content).hexdigest()}", "qm9.tar.bz2")
    found = fetch_qm9(remote=remote, rows=len(smiles))
    train, validation = published_split(smiles)
    assert list(found.smiles) == train + validation
    stored = qdyn.load_dataset("qm9", verify=True)
    assert len(stored.split("train")) == len(train)
    assert set(stored.conditions) == set(PROPERTIES)
    (folder / "qm9").unlink()
    assert fetch_qm9(remote=remote, rows=None).smiles == found.smiles
    with pytest.raises(DatasetError, match=f"hold 7 molecules, but .* gave {len(smiles)}"):
        fetch_qm9(remote=remote, rows=7)


def test_what_is_not_the_file_is_refused(served: tuple[Path, str], tmp_path: Path) -> None:
    folder, address = served
    (folder / "qm9").write_bytes(b"something else")
    with pytest.raises(DatasetError, match="its checksum is not md5:0"):
        fetch_file(Remote(f"{address}/qm9", "md5:" + "0" * 32, "qm9.tar.bz2"), tmp_path / "here")
    assert list((tmp_path / "here").iterdir()) == []
    with pytest.raises(DatasetError, match=r"Cannot fetch qm9.tar.bz2 .* 404"):
        fetch_file(Remote(f"{address}/none", "md5:" + "0" * 32, "qm9.tar.bz2"), tmp_path / "here")


def test_the_command_fetches_and_refuses(
    served: tuple[Path, str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("QDYN_CACHE", str(tmp_path / "cache"))
    folder, address = served
    content = archive_of(ALCOHOLS)
    (folder / "qm9").write_bytes(content)
    assert main(["datasets", "fetch", "qm9", "--url", f"{address}/qm9"]) == 2
    assert "its checksum is not md5:ad1ebd51ee7f5b3a6e32e974e5d54012" in capsys.readouterr().err
    assert main(["datasets", "fetch", "qm8"]) == 2
    assert "did you mean 'qm9'?" in capsys.readouterr().err
    checksum = f"md5:{hashlib.md5(content).hexdigest()}"
    monkeypatch.setattr("qdyn.data.molecules.qm9.QM9", Remote(f"{address}/qm9", checksum, "qm9.tar.bz2"))
    assert main(["datasets", "fetch", "qm9"]) == 2
    assert "must hold 133885 molecules" in capsys.readouterr().err


def test_a_damaged_archive_is_refused(tmp_path: Path) -> None:
    (tmp_path / "cut.tar.bz2").write_bytes(archive_of(ALCOHOLS)[:100])
    with pytest.raises(DatasetError, match="cannot be read"):
        archived_smiles(tmp_path / "cut.tar.bz2")
    (tmp_path / "whole.tar.bz2").write_bytes(archive_of(ALCOHOLS))
    assert archived_smiles(tmp_path / "whole.tar.bz2") == ALCOHOLS
