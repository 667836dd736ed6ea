from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from qdyn import load_dataset
from qdyn.config import to_mapping
from qdyn.data.generation.generate import generate
from qdyn.data.layout import Block, Layout
from qdyn.data.recipes import Recipe, read_recipe
from qdyn.data.source import Precision, Source, generator_of, register_source, source_names
from qdyn.errors import ConfigError
from qdyn.hdf5 import SCHEMA_VERSION
from qdyn.shipped import shipped_folder, shipped_names

SHIPPED = shipped_names("datasets")


def test_the_three_recipes_ship() -> None:
    assert {"tfim-4q", "grammar", "markov-sphere"} <= set(SHIPPED)
    assert {"trajectories", "grammar", "markov"} <= set(source_names())


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_recipe_is_named_like_its_folder_and_has_a_sample(name: str) -> None:
    recipe = read_recipe(name)
    assert recipe.name == name
    assert recipe.description
    assert list(recipe.splits) == ["train", "validation", "test"]
    sample = shipped_folder("datasets") / name / "sample.h5"
    assert sample.stat().st_size < 200_000
    part, layout = load_dataset(sample, verify=True), recipe.make_source().layout(recipe.precision)
    assert part.split_names == ("train", "validation", "test")
    assert (part.metadata.kind, part.metadata.dimension) == (layout.kind, layout.dimension)
    # Of large states a sample keeps the first elements only.
    assert 1 <= part.n_steps <= layout.length - 1
    assert part.metadata.phase_convention == recipe.phase_convention


BASE = {
    "name": "walk",
    "source": "markov",
    "seed": 1,
    "splits": {"train": 4, "test": 2},
    "parameters": {"dimension": 3, "n_steps": 5, "persistence": 0.8, "noise": 0.6},
}
CHAIN = {"model": "transverse_field_ising", "n_sites": 2, "coupling": 1.0, "field": {"uniform": [0.2, 2]}}
TFIM = {
    **BASE,
    "source": "trajectories",
    "phase_convention": "raw",
    "parameters": {"hamiltonian": CHAIN, "time_step": 0.1, "n_steps": 4},
}


def walk(**changes: object) -> dict[str, object]:
    return {**BASE, "parameters": {**BASE["parameters"], **changes}}


def tfim(**changes: object) -> dict[str, object]:
    return {**TFIM, "parameters": {**TFIM["parameters"], **changes}}


def chain(**changes: object) -> dict[str, object]:
    return tfim(hamiltonian={**CHAIN, **changes})


PULSE = {
    "shape": "sine",
    "amplitude": {"uniform": [0, 1]},
    "frequency": 2.0,
    "phase": 0.0,
    "hamiltonian": {"model": "transverse_field_ising", "field": 1.0},
}


def driven(**changes: object) -> dict[str, object]:
    return tfim(drives=[{**PULSE, **changes}], method="magnus")


def watched(**channels: object) -> dict[str, object]:
    return {
        **TFIM,
        "source": "quantum_jumps",
        "parameters": {**TFIM["parameters"], "channels": channels or {"decay": 0.1}},
    }


def measured(**changes: object) -> dict[str, object]:
    content = {
        **TFIM,
        "source": "observables",
        "parameters": {**TFIM["parameters"], "axes": ["z"], **changes},
    }
    del content["phase_convention"]
    return content


def words(**changes: object) -> dict[str, object]:
    rules = {"s": {"a": 1, "a b": 1.5}}
    return {
        **BASE,
        "source": "grammar",
        "parameters": {"n_steps": 4, "start": "s", "rules": rules, **changes},
    }


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({**BASE, "sed": 1}, "unknown key `sed`: did you mean 'seed'?"),
        ({**BASE, "seed": -1}, "`seed` must be an integer >= 0"),
        ({**BASE, "seed": 1.5}, "`seed` must be an integer"),
        ({**BASE, "source": "markow"}, "`source` is 'markow', which is unknown: did you mean 'markov'?"),
        ({**BASE, "name": "../up"}, "`name` must be of letters"),
        ({**BASE, "splits": {"tran": 4}}, "unknown split 'tran': did you mean 'train'?"),
        ({**BASE, "splits": {"train": 0}}, "`splits` must hold at least one sequence"),
        ({**BASE, "splits": {"train": -1, "test": 2}}, "`splits.train` must be an integer >= 0"),
        ({**BASE, "phase_convention": "raw"}, "the source 'markov' does not take a `phase_convention`"),
        ({**BASE, "precision": "half"}, "`precision` is 'half'"),
        (walk(nois=1), "unknown key `parameters.nois`"),
        (walk(noise=0), "`noise` must be > 0"),
        (walk(dimension=1), "`dimension` must be an integer >= 2"),
        (walk(n_steps=0), "`n_steps` must be an integer >= 1"),
        ({**TFIM, "phase_convention": None}, "needs a `phase_convention`"),
        (chain(model="ising"), "`hamiltonian.model` is 'ising', which is unknown"),
        (chain(model=["xxz"]), "`hamiltonian.model` is ['xxz'], which is unknown"),
        (chain(model={"xxz": 1}), "`hamiltonian.model` is {'xxz': 1}, which is unknown"),
        (chain(field={"uniform": [0, 1], "per": ["site"]}), "`hamiltonian.field.per` is ['site']"),
        (chain(field=10**400), "`hamiltonian.field` must be a number"),
        (chain(feild=1.0), "unknown key `hamiltonian.feild`: did you mean 'field'?"),
        (chain(field={"normal": [0, 1]}), "`hamiltonian.field` must be a number or {uniform: [low, high]}"),
        (chain(field={"uniform": [2, 1]}), "with low < high"),
        (chain(field={"uniform": [0, "x"]}), "`hamiltonian.field` must be a number"),
        (chain(field=[1.0, 2.0, 3.0]), "`hamiltonian.field` must hold 2 numbers, one a site"),
        (chain(field="strong"), "`hamiltonian.field` must be a number"),
        (chain(field={"uniform": [0, 1], "per": "bond"}), "`hamiltonian.field.per` is 'bond'"),
        (chain(coupling={"uniform": [0, 1], "per": "sight"}), "`hamiltonian.coupling.per` is 'sight'"),
        (chain(field={"uniform": [0, 1], "pre": "site"}), "`hamiltonian.field` must be a number"),
        (chain(n_sites=0), "`hamiltonian.n_sites` must be an integer >= 1"),
        (chain(n_sites="two"), "`hamiltonian.n_sites` must be an integer >= 1"),
        (chain(periodic="yes"), "`hamiltonian.periodic` must be true or false"),
        (chain(periodic=True), "`periodic` needs at least 3 sites"),
        (chain(lattice={"ladder": 2}), "`hamiltonian.n_sites` is 2, but `hamiltonian.lattice` has 4 sites"),
        (chain(lattice={"kagome": 2}), "unknown key `hamiltonian.lattice.kagome`"),
        (chain(lattice={"square": 2}), "`hamiltonian.lattice.square` must be [rows, columns]"),
        (chain(lattice="ladder"), "`hamiltonian.lattice` must be {chain: sites}"),
        (chain(lattice={"chain": 2}, bonds=[[0, 1]]), "exclude each other"),
        (chain(bonds=[[0, 2]]), "`bonds` must pair different sites"),
        (chain(bonds=3), "`hamiltonian.bonds` must be a list"),
        (tfim(hamiltonian={"model": "pauli_sum", "n_sites": 2}), "`hamiltonian.strings` must hold"),
        (tfim(hamiltonian={"model": "pauli_sum", "n_sites": 2, "strings": {"X0": "a"}}),
         "`hamiltonian.strings.X0` must be a number"),
        (tfim(hamiltonian={"model": "pauli_sum", "n_sites": 2, "strings": {"X7": 1}}),
         "on sites 0 to 1"),
        (tfim(time_step=0), "`time_step` must be > 0"),
        (tfim(n_steps=0), "`n_steps` must be"),
        (tfim(initial_states="+"),
         "`initial_states` must name 2 sites"),
        (tfim(initial_states="haat"),
         "unknown site 'h'"),
        (tfim(method="exat"),
         "did you mean 'exact'"),
        (tfim(error=0.0), "`error` must be a finite number > 0"),
        (driven(shape="sin"), "`drives[0].shape` is 'sin', which is unknown: did you mean 'sine'?"),
        (driven(shape=["sine"]), "`drives[0].shape` is ['sine'], which is unknown"),
        (driven(amplitud=1), "unknown key `drives[0].amplitud`: did you mean 'amplitude'?"),
        (driven(phase=None), "`drives[0].phase` must be a number"),
        (driven(hamiltonian={"model": "xxz", "n_sites": 3}), "`drives[0].hamiltonian` must have 2 sites"),
        (driven(hamiltonian={"model": "xxz", "feild": 3}), "unknown key `drives[0].hamiltonian.feild`"),
        (tfim(drives=[{"shape": "constant", "amplitude": 1.0}], method="magnus"),
         "the key `drives[0].hamiltonian` is missing"),
        (tfim(drives=[PULSE]), "`method` must be one that follows a drive"),
        (watched(dephasing=-1), "`channels.dephasing` must be >= 0"),
        (watched(dephasng=1), "unknown key `channels.dephasng`: did you mean 'dephasing'?"),
        (watched(decay=[1, 2, 3]), "`channels.decay` must hold 2 numbers, one a site"),
        ({**watched(), "parameters": {**TFIM["parameters"], "channels": {}}}, "at least one channel"),
        ({**TFIM, "source": "quantum_jumps"}, "the key `parameters.channels` is missing"),
        (measured(axes=["x", "w"]), "`axes` holds 'w'"),
        (measured(axes=["x", "x"]), "`axes` must hold some of x, y and z once"),
        (measured(shots=0), "`shots` must be an integer >= 1 or null"),
        (measured(shots=10**19), "`shots` must be at most 9007199254740992, but is 10000000000000000000"),
        (words(start="t"), "`start` must be a phrase"),
        (words(n_steps=1), "`n_steps` must be"),
        (words(begin="a"), "tokens of their own"),
        (words(rules={"s": {"a": 0}}), "weights > 0"),
        (words(rules={"s": {" ": 1}}), "expand to nothing"),
        (words(rules={"s": {}}), "at least one expansion"),
        (words(rules={"s": {"s s": 1}}), "No sentence"),
    ],
)  # fmt: skip
def test_a_wrong_recipe_gets_one_line(
    as_user: None, tmp_path: Path, content: dict[str, object], message: str
) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(ConfigError) as caught:
        read_recipe(path)
    assert message in str(caught.value)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


@given(st.lists(st.integers(0, 50), min_size=3, max_size=3).filter(any), st.integers(1, 300))
def test_resizing_keeps_proportions(counts: list[int], size: int) -> None:
    splits = dict(zip(("train", "validation", "test"), counts, strict=True))
    resized = Recipe("a", "markov", 0, splits, {}).resized(size).splits
    assert sum(resized.values()) == size
    for name, count in splits.items():
        assert abs(resized[name] - size * count / sum(counts)) < 1


def test_a_preset_is_no_recipe() -> None:
    preset = shipped_folder("models") / "qsa-tfim-4q" / "preset.yaml"
    with pytest.raises(ConfigError, match="is a preset of a model, not a recipe for a dataset: `qdyn train"):
        read_recipe(preset)


def test_the_fingerprint_follows_the_content_alone(tmp_path: Path) -> None:
    def fingerprint(content: dict[str, object], head: str = "") -> str:
        path = tmp_path / "recipe.yaml"
        path.write_text(head + yaml.safe_dump(content, sort_keys=False))
        return read_recipe(path).fingerprint()

    base = fingerprint(BASE)
    assert fingerprint(dict(reversed(BASE.items())), "# a comment\n") == base
    assert fingerprint({**BASE, "description": "a walk"}) == base
    assert fingerprint({**BASE, "seed": 2}) != base
    assert fingerprint({**BASE, "precision": "double"}) != base


@pytest.mark.parametrize("name", SHIPPED)
def test_a_recipe_without_files_keeps_its_fingerprint(name: str) -> None:
    """Published digests and caches rest on it: keys, version of the source, schema, no more."""
    recipe = read_recipe(name)
    content = {key: value for key, value in to_mapping(recipe).items() if key != "description"}
    content |= {"source_version": type(recipe.make_source()).version, "schema": SCHEMA_VERSION}
    text = json.dumps(content, sort_keys=True)
    assert recipe.fingerprint() == hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class Dice(Source):
    """Throws of dice: a source that generate.py has never heard of."""

    sides: int

    def layout(self, precision: Precision) -> Layout:
        return Layout(kind="token", dimension=self.sides, length=5, dtype="int32")

    def block(self, *, seed: int, first: int, count: int, precision: Precision) -> Block:
        throws = [generator_of(seed, first + i).integers(0, self.sides, 5) for i in range(count)]
        return Block(np.array(throws, dtype=np.int32))


def test_a_source_of_ones_own(tmp_path: Path) -> None:
    register_source("dice", Dice)
    register_source("dice", Dice)
    recipe = Recipe("dice", "dice", 0, {"train": 100}, {"sides": 6})
    dataset = load_dataset(generate(recipe, tmp_path / "dice", progress=False), verify=True)
    assert dataset.metadata.dimension == 6
    assert dataset.sequences()[3].tolist() == generator_of(0, 3).integers(0, 6, 5).tolist()
    with pytest.raises(ConfigError, match="there is a source 'markov' already"):
        register_source("markov", Dice)
