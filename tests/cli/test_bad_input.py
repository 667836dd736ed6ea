"""Bad input gets one line and exit status 2, and harms nothing on disk: the fixture `refused` sees to it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import h5py
import pytest

from qdyn import load_dataset
from qdyn.data.generation.generate import generate

RECIPE = """
name: mine
source: markov
seed: 1
splits: {train: 4, validation: 2, test: 2}
parameters: {dimension: 4, n_steps: 3, persistence: 0.8, noise: 0.6}
"""
PRESET = """
name: mine
dataset: {name: tfim-4q}
model: {layers: 1}
training: {steps: 1, seeds: [0]}
"""


@pytest.fixture
def write(tmp_path):
    """Write a file into the folder where the command runs."""

    def put(name: str, text: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    return put


@pytest.fixture
def dataset(tmp_path):
    """A small dataset of two shards."""
    return generate("tfim-4q", tmp_path / "data", size=14, shard_size=8, progress=False)


@pytest.fixture
def cached():
    """The whole dataset, already in the cache: a command that needs it then has no progress to show."""
    return load_dataset("tfim-4q", progress=False)


class TestNames:
    def test_unknown_recipe(self, refused):
        assert refused("generate", "tfim-4") == "Unknown recipe 'tfim-4': did you mean 'tfim-4q'?"

    def test_unknown_preset(self, refused):
        assert refused("train", "qsa-tfim") == "Unknown preset 'qsa-tfim': did you mean 'qsa-tfim-4q'?"

    def test_missing_file(self, refused):
        assert refused("train", "mine.yaml") == "The preset file mine.yaml does not exist."

    def test_missing_run(self, refused):
        assert refused("evaluate", "runs/a") == "There is no run at runs/a: no such folder."

    def test_folder_without_a_run(self, refused, tmp_path):
        (tmp_path / "empty").mkdir()
        assert "holds no run" in refused("evaluate", "empty")

    def test_unknown_dataset(self, refused):
        assert "Unknown recipe 'nowhere'" in refused("train", "qsa-tfim-4q", "--dataset", "nowhere")


class TestYaml:
    @pytest.mark.parametrize("command", ["generate", "train"])
    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("a: [1, 2\nb: 3\n", "broken.yaml:2: "),
            ("- 1\n- 2\n", "must hold keys and values"),
            ("", "the file is empty"),
            ("name: a\nname: b\n", "stands twice"),
            ("a: !!python/object/apply:os.system ['touch pwned']\n", "broken.yaml"),
        ],
    )
    def test_broken(self, refused, write, command, text, message):
        write("broken.yaml", text)
        assert message in refused(command, "broken.yaml")

    def test_not_text(self, refused, tmp_path):
        (tmp_path / "binary.yaml").write_bytes(b"\x89HDF\xff\xfe")
        assert "not a text file" in refused("train", "binary.yaml")

    def test_unknown_key_of_a_recipe(self, refused, write):
        write("mine.yaml", RECIPE.replace("seed:", "sead:"))
        assert refused("generate", "mine.yaml").endswith("unknown key `sead`: did you mean 'seed'?")

    def test_unknown_parameter_of_a_source(self, refused, write):
        write("mine.yaml", RECIPE.replace("noise:", "nose:"))
        assert refused("generate", "mine.yaml").endswith(
            "unknown key `parameters.nose`: did you mean 'parameters.noise'?"
        )

    def test_unknown_key_of_a_preset(self, refused, write):
        write("mine.yaml", PRESET.replace("layers:", "layer:"))
        assert "unknown key `model.layer`: did you mean" in refused("train", "mine.yaml")

    def test_unknown_key_in_an_override(self, refused):
        message = refused("train", "qsa-tfim-4q", "--set", "training.step=3")
        assert "unknown key `training.step`: did you mean 'training.steps'?" in message

    def test_override_without_a_value(self, refused):
        assert "key=value" in refused("train", "qsa-tfim-4q", "--set", "training.steps")

    @pytest.mark.parametrize(
        ("assignment", "named"),
        [
            ("training.steps=many", "training.steps"),
            ("training.steps=0", "training.steps"),
            ("training.learning_rate=.nan", "training.learning_rate"),
            ("training.loss=L_2", "training.loss"),
            ("training.seeds=[1, 1]", "training.seeds"),
            ("model.kind=perceptron", "model.kind"),
            ("model.unitaries=brickwall", "model.unitaries"),
            ("dataset.window=99", "dataset.window"),
        ],
    )
    def test_values(self, refused, cached, assignment, named):
        assert named in refused("train", "qsa-tfim-4q", "--set", assignment, "--out", "run")


class TestOutput:
    def test_out_is_a_file(self, refused, write):
        write("taken", "precious")
        for arguments in (
            ["generate", "markov-sphere", "--out", "taken"],
            ["train", "qsa-tfim-4q", "--out", "taken"],
            ["demo", "--quick", "--out", "taken"],
        ):
            assert "taken" in refused(*arguments)

    def test_out_lies_under_a_file(self, refused, write):
        write("taken", "precious")
        assert "taken/data" in refused("generate", "markov-sphere", "--out", "taken/data")
        assert "taken/run" in refused("train", "qsa-tfim-4q", "--out", "taken/run")

    def test_out_holds_other_files(self, refused, write):
        write("mine/notes.txt", "precious")
        for arguments in (
            ["generate", "markov-sphere", "--out", "mine"],
            ["train", "qsa-tfim-4q", "--out", "mine"],
            ["demo", "--quick", "--out", "mine"],
        ):
            assert "notes.txt" in refused(*arguments)

    def test_out_holds_another_dataset(self, refused, dataset):
        assert "holds another dataset" in refused("generate", "markov-sphere", "--out", "data")
        assert "holds another dataset" in refused("generate", "tfim-4q", "--out", "data")

    def test_unwritable(self, refused):
        # Nobody can write here, root included.
        assert "/proc/nowhere" in refused("generate", "markov-sphere", "--out", "/proc/nowhere")

    def test_unwritable_cache(self, refused, write):
        write("taken", "precious")
        message = refused("train", "qsa-tfim-4q", "--out", "run", QDYN_CACHE="taken")
        assert "taken" in message

    def test_a_name_that_leaves_the_folder(self, refused, write, tmp_path):
        write("mine.yaml", PRESET.replace("name: mine", "name: ../../outside"))
        assert "leaves the folder" in refused("train", "mine.yaml")
        write("recipe.yaml", RECIPE.replace("name: mine", "name: ../outside"))
        assert "`name`" in refused("generate", "recipe.yaml")
        assert not (tmp_path.parent / "outside").exists()


class TestDatasets:
    """What `--dataset` may meet."""

    def train_on(self, refused, path):
        return refused("train", "qsa-tfim-4q", "--dataset", path, "--out", "run", "--set", "training.steps=1")

    def test_truncated_file(self, refused, dataset):
        shard = dataset / "shard-00000.h5"
        shard.write_bytes(shard.read_bytes()[: shard.stat().st_size // 2])
        assert "shard-00000.h5" in self.train_on(refused, "data")
        assert "shard-00000.h5" in self.train_on(refused, shard)

    def test_foreign_file(self, refused, tmp_path):
        with h5py.File(tmp_path / "foreign.h5", "w") as file:
            file["states"] = [1.0, 2.0]
        assert "foreign.h5" in self.train_on(refused, "foreign.h5")

    def test_not_a_file_of_hdf5(self, refused, write):
        write("text.h5", "not HDF5")
        assert "text.h5" in self.train_on(refused, "text.h5")

    def test_missing_shard(self, refused, dataset):
        (dataset / "shard-00001.h5").unlink()
        assert "shard-00001.h5" in self.train_on(refused, "data")

    def test_broken_manifest(self, refused, dataset):
        (dataset / "manifest.json").write_text('{"format": "sequ')
        assert "manifest.json" in self.train_on(refused, "data")

    def test_a_manifest_that_leaves_the_folder(self, refused, dataset, tmp_path):
        shutil.move(dataset / "shard-00001.h5", tmp_path / "shard-00001.h5")
        manifest = json.loads((dataset / "manifest.json").read_text())
        manifest["shards"][1]["file"] = "../shard-00001.h5"
        (dataset / "manifest.json").write_text(json.dumps(manifest))
        assert "../shard-00001.h5" in self.train_on(refused, "data")

    def test_unfinished(self, refused, dataset):
        (dataset / "manifest.json").rename(dataset / "generating.json")
        assert "has not been finished" in self.train_on(refused, "data")

    @pytest.mark.parametrize("value", [float("nan"), 7.0])
    def test_states_that_are_none(self, refused, dataset, value):
        with h5py.File(dataset / "shard-00000.h5", "r+") as file:
            file["states"][2, 3] = value
        message = self.train_on(refused, "data")
        assert "element 3 of its item 2 has norm" in message

    def test_a_model_of_words(self, refused, cached):
        message = refused("train", "qsa-tfim-4q", "--set", "model.embedding=parseval", "--out", "run")
        assert (
            message
            == "Argument `model.embedding` 'parseval' is for tokens, but the data are 'quantum_state'."
        )

    def test_what_does_not_suit_a_run(self, refused, typed, dataset, tmp_path):
        settings = ["--set", "training.steps=1", "--set", "model.layers=1", "--seeds", "0"]
        done = typed("train", "qsa-tfim-4q", "--dataset", "data", "--out", "run", *settings)
        assert done.returncode == 0, done.stderr
        generate("markov-sphere", tmp_path / "other", size=7, progress=False)
        assert "kind" in refused("evaluate", "run", "--dataset", "other", "--out", "judged")
        assert "split" in refused("evaluate", "run", "--split", "tset", "--out", "judged")
        assert "already holds a run" in refused("train", "qsa-tfim-4q", "--out", "run")
        assert "context" in refused("evaluate", "run", "--context", "40", "--out", "judged")
        assert "training.steps" in refused("train", "qsa-tfim-4q", "--out", "run", "--seeds", "0", "--resume")
