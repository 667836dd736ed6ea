"""Draw what every attention mechanism attends to, and try each on every kind of data.

Usage: python scripts/map_attention.py [--steps N] [--out FOLDER]

Writes images/attention-mechanisms.png (a small transformer with each mechanism, trained for N steps on the
sentences of the shipped grammar, reads one sentence of the test split) and the table of the matrix in
mechanisms.md, between its two marks, below FOLDER (default: docs). About a minute of one core.
"""

from __future__ import annotations

import argparse
import math
import tempfile
import time
from pathlib import Path

import torch

import qdyn
from qdyn import plotting
from qdyn.attention.mechanism import attention_class, names
from qdyn.data.generation.generate import generate
from qdyn.data.sequences import SequenceDataset
from qdyn.files import write_text
from qdyn.models.transformer import Transformer
from qdyn.models.transformer_config import TransformerConfig
from qdyn.training.attention_matrix import attention_matrix, matrix_table
from qdyn.training.config import DatasetConfig, RunConfig, TrainingConfig

ROOT = Path(__file__).resolve().parents[1]
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
TASKS = (
    *("tfim-4q", "markov-sphere", "damped-oscillator", "grammar", "meaning-classification"),
    *("small-molecules", "protein-families"),
)
WORDS = 9


def main(steps: int, out: Path) -> None:
    torch.set_num_threads(1)
    samples = [qdyn.load_dataset(ROOT / "datasets" / task / "sample.h5") for task in TASKS]
    table = matrix_table(attention_matrix(samples)).replace("-sample", "")
    page = out / "mechanisms.md"
    text = page.read_text(encoding="utf-8")
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    write_text(page, f"{before}{BEGIN}\n{table}\n{END}{after}")
    with tempfile.TemporaryDirectory() as folder:
        dataset = qdyn.load_dataset(generate("grammar", Path(folder) / "grammar", size=704, progress=False))
        draw(dataset, steps, Path(folder), out / "images" / "attention-mechanisms.png")


def draw(dataset: SequenceDataset, steps: int, folder: Path, file: Path) -> None:
    """One map a mechanism, of the first test sentence of so many words."""
    test = dataset.split("test")
    inputs = next(item.inputs for item in test if int(item.mask.sum()) == WORDS + 1)[: WORDS + 1]
    vocabulary = dataset.metadata.vocabulary or ()
    words = [vocabulary[number] for number in inputs.tolist()]
    columns = 5
    rows = math.ceil(len(names()) / columns)
    figure = plotting.new_figure(3.4 * columns, 3.6 * rows)
    for place, name in enumerate(names()):
        began = time.process_time()
        model = trained(name, dataset, steps, folder / name)
        weights = model(inputs[None])[1][-1][0, 0].detach().double().numpy()
        axes = figure.add_subplot(rows, columns, place + 1)
        plotting.plot_attention(axes, weights, labels=words, title=name)
        axes.set_xlabel("")
        axes.set_ylabel("")
        axes.tick_params(labelsize=8)
        print(f"{name}: {time.process_time() - began:.1f} s")
    plotting.save_figure(figure, file)


def trained(name: str, dataset: SequenceDataset, steps: int, folder: Path) -> Transformer:
    """A transformer of one block, its attention having a normalised input and no position but its own."""
    config = RunConfig(
        name=name.replace("_", "-"),
        dataset=DatasetConfig(name="grammar"),
        model=TransformerConfig(
            attention=name, causal=attention_class(name).can_be_causal, width=16, steps=16
        ),
        training=TrainingConfig(
            loss="L_1", steps=steps, batch_size=16, seeds=(0,), threads=1, evaluate_every=steps
        ),
    )
    run = qdyn.train(config, dataset=dataset, out=folder, progress=False)
    (model,) = run.models
    assert isinstance(model, Transformer)
    return model.eval()


if __name__ == "__main__":
    reader = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    reader.add_argument("--steps", type=int, default=100)
    reader.add_argument("--out", type=Path, default=ROOT / "docs")
    options = reader.parse_args()
    main(options.steps, options.out)
