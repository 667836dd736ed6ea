"""Every attention mechanism on every task: two steps, finite losses and gradients, weights that reload."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import qdyn
from qdyn.data.load import load_dataset
from qdyn.data.sequences import SequenceDataset
from qdyn.models.registry import build_model
from qdyn.training.attention_matrix import attention_matrix, matrix_table, try_attention

TASKS = {
    "tfim-4q": "quantum states",
    "markov-sphere": "unit vectors",
    "damped-oscillator": "a time series",
    "grammar": "next words",
    "meaning-classification": "labelled sentences",
    "small-molecules": "SMILES",
    "protein-families": "proteins with tags in front",
}
NAMES = qdyn.attention.names()


def sample_of(task: str) -> SequenceDataset:
    """The sample that ships with a recipe: a few sequences of it."""
    return load_dataset(Path(__file__).parents[1] / "datasets" / task / "sample.h5")


@pytest.fixture(scope="module")
def datasets() -> Mapping[str, SequenceDataset]:
    return {task: sample_of(task) for task in TASKS}


@pytest.mark.parametrize("name", NAMES)
def test_every_mechanism_on_every_task(
    name: str, datasets: Mapping[str, SequenceDataset], tmp_path: Path
) -> None:
    for task, dataset in datasets.items():
        cell, model = try_attention(name, dataset)
        assert cell.trained, f"{name} on {TASKS[task]}: {cell.refusal}"
        assert model is not None
        assert len(cell.losses) == 3
        assert len(set(cell.losses)) == 3, f"{name} on {TASKS[task]}: nothing was learnt"
        save_file(model.state_dict(), tmp_path / "weights.safetensors")
        other = build_model(model.config, dataset.metadata, seed=1)
        assert isinstance(other, torch.nn.Module)
        other.load_state_dict(load_file(tmp_path / "weights.safetensors"))
        batch = dataset.batch(range(2))
        inputs, mask = batch.inputs[:, :4], batch.mask[:, :4]
        torch.testing.assert_close(other.forecast(inputs, mask), model.forecast(inputs, mask), rtol=0, atol=0)


def test_pairs_that_make_no_sense_are_refused(datasets: Mapping[str, SequenceDataset]) -> None:
    dataset = datasets["tfim-4q"]
    for name, settings, message in (
        ("doubly_stochastic", {"causal": True}, "must be False"),
        ("orthogonal", {"options": {"layout": "butterfly", "outpt": True}}, "did you mean"),
        ("gaussian_projected", {"options": {"projection": False}}, "must not be false"),
        ("no_such_attention", {"causal": True}, "valid:"),
    ):
        cell, model = try_attention(name, dataset, **settings)  # type: ignore[arg-type]
        assert model is None
        assert message in cell.refusal
        assert "\n" not in cell.refusal
    assert "| refused |" in matrix_table([cell])


def test_a_mechanism_of_ones_own_stands_in_the_matrix(datasets: Mapping[str, SequenceDataset]) -> None:
    """What the tutorial says: registered, it is on every task, without a line of ours."""
    from qdyn.attention.mechanism import Attention, register_attention, unregister_attention
    from qdyn.attention.pair_weights import softmax_weights

    class Nearest(Attention):
        """Weights that fall with the distance between query and key."""

        def attend(
            self,
            queries: torch.Tensor,
            keys: torch.Tensor,
            values: torch.Tensor,
            allowed: torch.Tensor,
            bias: torch.Tensor | None,
        ) -> tuple[torch.Tensor, torch.Tensor]:
            distance = (queries[:, :, None] - keys[:, None]).square().sum(-1)
            weights = softmax_weights(-distance[:, None], allowed, bias)
            return (weights @ values[:, None])[:, 0], weights

    register_attention("nearest_example")(Nearest)
    try:
        assert "nearest_example" in qdyn.attention.names()
        cells = attention_matrix(datasets.values(), attentions=["softmax", "nearest_example"])
        assert all(cell.trained for cell in cells)
        assert len(cells) == 2 * len(TASKS)
        assert matrix_table(cells).count("\n") == 3
    finally:
        unregister_attention("nearest_example")


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("fidelity", {"encoding": encoding, "positions": positions})
        for encoding, positions in (
            ("angle", "rotary"),
            ("reuploading", "entangled"),
            ("unary", "register"),
            ("basis", "rotary"),
            ("complex_amplitude", "none"),
        )
    ]
    + [("qksan", {"encoding": "amplitude", "positions": "rotary"})],
)
def test_presets_pick_encodings_and_positions(
    name: str, options: dict[str, str], datasets: Mapping[str, SequenceDataset], tmp_path: Path
) -> None:
    """From the YAML of a preset to a run and back: seeds train side by side."""
    preset = tmp_path / "mine.yaml"
    preset.write_text(
        "name: mine\ndataset: {name: grammar}\n"
        f"model: {{kind: transformer, attention: {name}, attention_options: "
        f"{{{', '.join(f'{key}: {value}' for key, value in options.items())}}}, width: 8, steps: 20}}\n"
        "training: {loss: L_1, steps: 2, batch_size: 2, seeds: [0, 1], threads: 1}\n"
    )
    run = qdyn.train(preset, dataset=datasets["grammar"], out=tmp_path / "run", progress=False)
    assert run.finished
    again = qdyn.load_run(tmp_path / "run")
    inputs = datasets["grammar"].batch([0]).inputs
    for one, other in zip(run.models, again.models, strict=True):
        assert torch.equal(one.forecast(inputs), other.forecast(inputs))
        assert one.blocks[0].attention.options.encoding == options["encoding"]  # type: ignore[union-attr, index]
