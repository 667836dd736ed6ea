from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from qdyn import SequenceDataset, haar_random_states, load_dataset
from qdyn.data.generation.generate import generate
from qdyn.data.layout import Layout
from qdyn.data.manifest import MANIFEST
from qdyn.data.recipes import Recipe
from qdyn.data.store import FileBacking, open_dataset
from qdyn.errors import ArgumentError, DatasetError

RECIPE = Recipe(
    "walk", "markov", 5, {"train": 9, "validation": 2, "test": 4},
    {"dimension": 3, "n_steps": 6, "persistence": 0.8, "noise": 0.6},
)  # fmt: skip


def quantum(count: int = 6, length: int = 5) -> SequenceDataset:
    states = haar_random_states(n_qubits=3, batch=count * length, seed=3).reshape(count, length, -1)
    return SequenceDataset.from_arrays(
        states.to(torch.complex64),
        kind="quantum_state",
        name="six",
        times=0.35 * np.arange(length),
        conditions={"coupling": np.linspace(1, 2, count)},
        splits={"train": (0, 3), "test": (3, count)},
        units={"time": "1/J", "coupling": "J"},
        phase_convention="first_real",
        recipe={"by": "hand"},
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    quantum().save(tmp_path / "six.h5")
    return tmp_path / "six.h5"


@pytest.fixture(scope="module")
def sharded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return generate(RECIPE, tmp_path_factory.mktemp("walk") / "walk", shard_size=4, progress=False)


def same(a: SequenceDataset, b: SequenceDataset) -> None:
    assert torch.equal(a.sequences(), b.sequences())
    assert a.conditions.keys() == b.conditions.keys()
    assert all(torch.equal(a.conditions[name], b.conditions[name]) for name in a.conditions)
    whole = np.arange(len(a))
    assert torch.equal(a.batch(whole).mask, b.batch(whole).mask)


@pytest.mark.parametrize("cached_bytes", [0, 1 << 20])
def test_a_file_gives_back_what_was_saved(path: Path, cached_bytes: int) -> None:
    found, wanted = open_dataset(path, verify=True, cached_bytes=cached_bytes), quantum()
    assert isinstance(found.backing, FileBacking) == (cached_bytes == 0)
    same(found, wanted)
    same(found.split("test").windows(2, 2), wanted.split("test").windows(2, 2))
    same(found.with_phase_convention("raw"), wanted.with_phase_convention("raw"))
    assert found.metadata.phase_convention == "first_real"
    assert found.metadata.recipe == {"by": "hand"}
    assert found.metadata.units == {"states": "1", "time": "1/J", "coupling": "J"}
    assert found.metadata.time_step == pytest.approx(0.35)
    assert found.times is not None
    assert found.times.tolist() == pytest.approx((0.35 * np.arange(5)).tolist())
    assert len(found.metadata.digest or "") == 64


@settings(max_examples=25)
@given(
    kind=st.sampled_from(["quantum_state", "token", "real"]),
    shape=st.tuples(st.integers(1, 5), st.integers(2, 6), st.integers(2, 4)),
    double=st.booleans(),
    data=st.data(),
)
def test_any_dataset_survives_the_disk(
    tmp_path_factory: pytest.TempPathFactory,
    kind: str,
    shape: tuple[int, int, int],
    double: bool,
    data: st.DataObject,
) -> None:
    count, length, dimension = shape
    random = np.random.default_rng(data.draw(st.integers(0, 1000)))
    values = random.standard_normal((count, length, dimension))
    if kind == "quantum_state":
        values = values + 1j * random.standard_normal(values.shape)
        values /= np.linalg.norm(values, axis=-1, keepdims=True)
    if kind == "token":
        values = random.integers(0, dimension, (count, length))
    elif not double:
        values = values.astype("c8" if kind == "quantum_state" else "f4")
    lengths = data.draw(st.none() | st.lists(st.integers(2, length), min_size=count, max_size=count))
    wanted = SequenceDataset.from_arrays(
        values,
        kind=kind,
        dimension=dimension,
        vocabulary=[f"word {i}" for i in range(dimension)] if kind == "token" else None,
        lengths=lengths,
        conditions={"a": random.random(count), "b": random.random(count)},
        splits={"test": (0, count)},
    )
    path = tmp_path_factory.mktemp("any") / "x.h5"
    wanted.save(path)
    found = open_dataset(path, verify=True, cached_bytes=data.draw(st.sampled_from([0, 1 << 20])))
    same(found, wanted)
    same(found.split("test").windows(1), wanted.split("test").windows(1))
    assert found.metadata.vocabulary == wanted.metadata.vocabulary
    assert found.metadata.kind == kind


def test_shards_read_like_one_file(sharded: Path) -> None:
    assert len(list(sharded.glob("*.h5"))) == 4
    lazy = open_dataset(sharded, cached_bytes=0)
    cached = open_dataset(sharded)
    same(lazy, cached)
    order = np.random.default_rng(0).permutation(len(lazy.windows(2)))
    assert torch.equal(lazy.windows(2).batch(order).inputs, cached.windows(2).sequences()[order][:, :-1])
    assert [len(lazy.split(name)) for name in ("train", "validation", "test")] == [9, 2, 4]


def test_one_shard_is_a_dataset_by_itself(sharded: Path) -> None:
    whole = open_dataset(sharded)
    third = load_dataset(sharded / "shard-00002.h5")
    assert torch.equal(third.sequences(), whole.sequences()[8:12])
    assert torch.equal(third.split("train").sequences(), whole.sequences()[8:9])
    assert torch.equal(third.split("test").sequences(), whole.sequences()[11:12])


def test_a_lazy_dataset_travels_to_another_process(path: Path) -> None:
    lazy = open_dataset(path, cached_bytes=0)
    lazy.sequences()
    same(pickle.loads(pickle.dumps(lazy)), lazy)


def test_a_file_repacked_by_another_program_is_still_read(path: Path) -> None:
    wanted = quantum().sequences()
    with h5py.File(path, "r+") as file:
        states, attributes = file["states"][()], dict(file["states"].attrs)
        scales = [file["states"].dims[axis][0] for axis in range(4)]
        del file["states"]
        file.create_dataset("states", data=states, chunks=(1, 5, 8, 2), compression="gzip")
        for axis, scale in enumerate(scales):
            file["states"].dims[axis].attach_scale(scale)
        for name in ("units", "long_name", "phase_convention"):
            file["states"].attrs[name] = attributes[name]
    assert torch.equal(open_dataset(path, verify=True, cached_bytes=0).sequences(), wanted)


def test_only_what_a_window_needs_is_read(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    sizes = []
    genuine = os.preadv

    def counted(handle: int, buffers: list[memoryview], offset: int) -> int:
        sizes.append(sum(len(buffer) for buffer in buffers))
        return genuine(handle, buffers, offset)

    monkeypatch.setattr(os, "preadv", counted)
    windows = open_dataset(path, cached_bytes=0).windows(2)
    windows.batch([0, 7])
    assert sizes == [3 * 8 * 8, 3 * 8 * 8]


def test_every_array_says_its_unit(path: Path) -> None:
    with h5py.File(path) as file:
        assert {name: file[name].attrs.get("units") for name in file} == {
            **dict.fromkeys(["basis", "byte", "ri", "sequence", "sha256", "split", "states"], "1"),
            "coupling": "J",
            "time": "1/J",
        }
        assert file["states"].chunks is None
        assert file["states"].attrs["phase_convention"] == "raw"


def shard(file: str) -> dict[str, object]:
    return {"file": file, "count": 1, "content_sha256": "", "bytes": 1}


def message(path: Path, **options: bool) -> str:
    with pytest.raises(DatasetError) as caught:
        load_dataset(path, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_unusable_files_get_one_line_and_stay_as_they_are(path: Path, tmp_path: Path) -> None:
    whole = path.read_bytes()
    cut = tmp_path / "cut.h5"
    for size in (100, len(whole) // 2, len(whole) - 1):
        cut.write_bytes(whole[:size])
        assert "cut.h5 is " in message(cut)
        assert cut.read_bytes() == whole[:size]
    assert "truncated" in message(cut)
    (tmp_path / "text.h5").write_text("hello")
    assert message(tmp_path / "text.h5").endswith("text.h5 is not an HDF5 file.")
    with h5py.File(tmp_path / "foreign.h5", "w") as file:
        file["states"] = np.ones(4)
    assert "qdyn did not write it" in message(tmp_path / "foreign.h5")
    assert message(tmp_path / "none.h5") == f"Cannot open {tmp_path / 'none.h5'}: no such file."
    assert "neither manifest.json nor recipe.yaml" in message(tmp_path)


@pytest.mark.parametrize(
    ("damage", "text"),
    [
        (lambda file: file.attrs.__setitem__("qdyn_schema", 2), "schema version 2"),
        (lambda file: file.attrs.__setitem__("qdyn_format", "trajectory"), "holds a trajectory"),
        (lambda file: file.attrs.__delitem__("kind"), "lacks what a sequence dataset must say"),
        (lambda file: file.attrs.__setitem__("kind", "smell"), "the kind 'smell' is unknown"),
        (lambda file: file.attrs.__setitem__("splits", "{'"), "lacks what a sequence dataset must say"),
        (lambda file: file.attrs.__setitem__("splits", '{"train": [0, 9]}'), None),
        (lambda file: file.__delitem__("sha256"), "lacks the array `sha256`"),
        (lambda file: file.__delitem__("states"), "lacks what a sequence dataset must say"),
    ],
)  # fmt: skip
def test_damaged_heads_get_one_line(path: Path, damage: object, text: str | None) -> None:
    with h5py.File(path, "r+") as file:
        damage(file)
    assert (text or "damaged") in message(path, verify=text is None)


def test_a_flipped_bit_is_found_when_asked(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        file["states"][2, 1, 0, 0] += 1e-7
    load_dataset(path)
    assert "is damaged: its content has sha256" in message(path, verify=True)


def test_a_file_that_shrinks_while_open_is_noticed(path: Path) -> None:
    lazy = open_dataset(path, cached_bytes=0)
    with path.open("r+b") as handle:
        handle.truncate(lazy.backing._parts[0]._offset + 10)
    with pytest.raises(DatasetError, match="ended while it was read"):
        lazy.sequences()


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"schema": 7}, "schema version 7"),
        ({"format": "zarr"}, "is not the manifest"),
        ({"count": 14}, "promises 14 sequences"),
        ({"digest": "0" * 64}, "promises the digest 000000000000"),
        ({"shards": []}, "has no files"),
        ({"shards": [{"file": "a.h5"}]}, "`shards[0].count` is missing"),
        ({"colour": "red"}, "unknown key `colour`"),
        ({"shards": [shard("../walk.h5")]}, "outside of its folder"),
        ({"shards": [shard("/etc/hosts")]}, "outside of its folder"),
        ({"shards": [shard("no.h5")]}, "no such file"),
    ],
)
def test_wrong_manifests_get_one_line(
    sharded: Path, tmp_path: Path, change: dict[str, object], text: str
) -> None:
    folder = tmp_path / "walk"
    shutil.copytree(sharded, folder)
    content = json.loads((folder / MANIFEST).read_text())
    (folder / MANIFEST).write_text(json.dumps({**content, **change}))
    assert text in message(folder)


def test_wrong_shards_get_one_line(sharded: Path, tmp_path: Path) -> None:
    folder = tmp_path / "walk"
    shutil.copytree(sharded, folder)
    manifest = (folder / MANIFEST).read_text()

    (folder / MANIFEST).write_text(manifest[: len(manifest) // 2])
    assert "cannot be read as JSON" in message(folder)

    content = json.loads(manifest)
    content["shards"].reverse()
    (folder / MANIFEST).write_text(json.dumps(content))
    assert "begins at sequence 12, but 0 is due" in message(folder)

    (folder / MANIFEST).write_text(manifest)
    shard = folder / "shard-00001.h5"
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-50])
    assert "is truncated or changed" in message(folder)

    other = generate(RECIPE.resized(8), tmp_path / "other", shard_size=4, progress=False)
    shutil.copy(other / "shard-00001.h5", shard)
    with shard.open("ab") as handle:
        handle.write(b"\0" * (len(whole) - shard.stat().st_size))
    assert "shard-00001.h5" in message(folder)

    (folder / "elsewhere").mkdir()
    shard.unlink()
    outside = tmp_path / "outside.h5"
    outside.write_bytes(whole)
    shard.symlink_to(outside)
    assert "outside of its folder" in message(folder)


@pytest.mark.parametrize("name", ["length", "split", "states", "word", "byte", "basis", "ri"])
def test_a_condition_cannot_take_the_name_of_another_array(tmp_path: Path, name: str) -> None:
    states = haar_random_states(n_qubits=1, batch=6, seed=0).reshape(2, 3, 2)
    dataset = SequenceDataset.from_arrays(states, kind="quantum_state", conditions={name: [1.0, 2.0]})
    with pytest.raises(ArgumentError, match=f"`conditions` must not name one '{name}'"):
        dataset.save(tmp_path / "data.h5")
    assert not (tmp_path / "data.h5").exists()


@pytest.mark.parametrize("name", ["a/b", "/a", ".", "..", "", "a\0b"])
def test_a_condition_has_a_name_that_a_file_can_hold(name: str) -> None:
    with pytest.raises(ArgumentError, match=r"^Argument `conditions` must hold names .*, but has "):
        Layout(kind="token", dimension=2, length=3, dtype="int32", conditions={name: "1"})
