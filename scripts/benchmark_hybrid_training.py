"""Measure a training step of the decoder of molecules: every kind of score, and a peer, by turns.

Usage: python scripts/benchmark_hybrid_training.py [--threads 1] [--rounds 30] [--epoch NAME]

One step is what `qdyn.train` does: draw a batch of 256 blocks of 23 + 1 tokens from 127,109 (as many as QM9
has for training), forward with dropout 0.1, loss with padding counted, backward, clip, AdamW; single
precision. The contestants take turns in one process, so that whatever else the machine does falls on all:

    quantum, layers-2, parameter-shift, spsa    scores from circuits
    classical, classical_eq, uniform            scores without
    lstm                                        a long short-term memory of as many parameters
    eager                                       torch.nn.TransformerEncoderLayer of the same shape, in plain
                                                PyTorch; it drops attention weights too

Tokens are drawn at random: no time depends on what they are. Each figure is a median over rounds with its
quartiles, by the clock and in CPU time, which counts less of what others do to the machine; ratios to
"classical" are medians of the ratio of CPU times within a round. `--epoch NAME` also trains one whole epoch
of a contestant.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

import qdyn
from qdyn.data.sequences import SequenceDataset
from qdyn.models.registry import build_model
from qdyn.training.batches import BatchSource, steps_per_epoch
from qdyn.training.config import RunConfig, TrainingConfig, load_config
from qdyn.training.ensembles import Ensemble, clip_members
from qdyn.training.optimisers import make_optimiser

MOLECULES, ELEMENTS, WORDS, BATCH = 127_109, 24, 33, 256
CONTESTANTS = {
    "quantum": ("hybrid-decoder", ()),
    "classical": ("hybrid-decoder-classical", ()),
    "classical_eq": ("hybrid-decoder-classical-eq", ()),
    "uniform": ("hybrid-decoder-uniform", ()),
    "layers-2": ("hybrid-decoder", ("model.layers=2",)),
    "lstm": ("lstm-molecules", ()),
    "parameter-shift": ("hybrid-decoder", ("model.gradient=parameter_shift",)),
    "spsa": ("hybrid-decoder", ("model.gradient=spsa",)),
}
Step = Callable[[int], None]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=30, help="rounds of one step of every contestant")
    parser.add_argument("--epoch", choices=CONTESTANTS, help="train one epoch of this contestant too")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    data = random_molecules()
    print(f"torch {torch.__version__}, {options.threads} thread(s), load average {os.getloadavg()[0]:.1f}")
    measure(data, rounds=options.rounds)
    if options.epoch:
        epoch(options.epoch, data, threads=options.threads)


def random_molecules() -> SequenceDataset:
    """Blocks of random tokens of random lengths."""
    draw = np.random.default_rng(0)
    lengths = np.minimum(draw.poisson(14.8, MOLECULES) + 2, ELEMENTS)
    return SequenceDataset.from_arrays(
        draw.integers(0, WORDS, (MOLECULES, ELEMENTS)),
        kind="token",
        dimension=WORDS,
        lengths=lengths,
        splits={"train": (0, MOLECULES)},
        name="random",
    )


def measure(data: SequenceDataset, *, rounds: int) -> None:
    """Time the contestants in turn and print a table."""
    split = data.split("train").with_padding()
    source = BatchSource(split, device=torch.device("cpu"), dtype=torch.complex64)
    steps = {name: qdyn_step(configured(name), data, source) for name in CONTESTANTS}
    steps["eager"] = eager_step(configured("classical").training, source)
    seconds = np.zeros((len(steps), rounds, 2))
    for turn in range(-3, rounds):  # the first rounds warm the allocator and the caches
        for row, step in enumerate(steps.values()):
            start = np.array([time.perf_counter(), time.process_time()])
            step(turn + 3)
            if turn >= 0:
                seconds[row, turn] = np.array([time.perf_counter(), time.process_time()]) - start
    against = seconds[list(steps).index("classical")]
    updates = steps_per_epoch(MOLECULES, BATCH)
    print(f"{'':16s}{'clock, ms a step':>26s}{'CPU, ms a step':>26s}{'to classical':>20s}{'s an epoch':>12s}")
    for name, samples in zip(steps, seconds, strict=True):
        cells = ""
        for column in range(2):
            low, middle, high = 1e3 * np.quantile(samples[:, column], [0.25, 0.5, 0.75])
            cells += f"{middle:10.1f} ({low:.1f} - {high:.1f})".rjust(26)
        low, middle, high = np.quantile(samples[:, 1] / against[:, 1], [0.25, 0.5, 0.75])
        cells += f"{middle:.2f} ({low:.2f} - {high:.2f})".rjust(20)
        print(f"{name:16s}{cells}{updates * np.median(samples[:, 0]):12.0f}")


def configured(name: str) -> RunConfig:
    """A contestant's preset with one seed."""
    preset, overrides = CONTESTANTS[name]
    return load_config(preset, overrides=list(overrides)).with_seeds([0])


def qdyn_step(config: RunConfig, data: SequenceDataset, source: BatchSource) -> Step:
    """The path of qdyn.train."""
    model = build_model(config.model, data.metadata, seed=0)
    assert isinstance(model, nn.Module)
    ensemble, training = Ensemble([model]), config.training
    optimiser = make_optimiser(ensemble, training)
    assert training.gradient_clip is not None
    norm, each = training.gradient_clip, training.gradient_clip_of == "parameter"

    def step(number: int) -> None:
        batch = source.members((0,), step=number, batch_size=training.batch_size)
        optimiser.zero_grad(set_to_none=True)
        losses = ensemble.losses(training.loss, *batch)
        losses.sum().backward()  # type: ignore[no-untyped-call]
        clip_members(ensemble.parameters, largest_norm=norm, each=each)
        optimiser.step()

    return step


class Eager(nn.Module):
    """A decoder of the same shape from PyTorch's own parts."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens = nn.Embedding(WORDS, 64)
        self.positions = nn.Parameter(torch.zeros(ELEMENTS, 64))
        self.block = nn.TransformerEncoderLayer(
            64, 1, 256, dropout=0.1, activation="gelu", batch_first=True, norm_first=True
        )
        self.norm = nn.LayerNorm(64)
        self.output = nn.Linear(64, WORDS)

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits of the next token after every element."""
        steps = inputs.shape[1]
        x = functional.dropout(self.tokens(inputs) + self.positions[:steps], 0.1, self.training)
        mask = nn.Transformer.generate_square_subsequent_mask(steps)
        logits: Tensor = self.output(self.norm(self.block(x, src_mask=mask, is_causal=True)))
        return logits


def eager_step(training: TrainingConfig, source: BatchSource) -> Step:
    """The same update written in plain PyTorch."""
    model = Eager()
    optimiser = torch.optim.AdamW(
        model.parameters(), lr=training.learning_rate, weight_decay=training.weight_decay, fused=True
    )

    def step(number: int) -> None:
        inputs, targets, _, _ = source.members((0,), step=number, batch_size=training.batch_size)
        optimiser.zero_grad(set_to_none=True)
        loss = functional.cross_entropy(model(inputs[0]).flatten(0, 1), targets[0].flatten())
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()

    return step


def epoch(name: str, data: SequenceDataset, *, threads: int) -> None:
    """Train one whole epoch and say how long it took."""
    config = configured(name)
    updates = steps_per_epoch(MOLECULES, BATCH)
    config = replace(config, training=replace(config.training, steps=updates, threads=threads))
    with tempfile.TemporaryDirectory() as folder:
        began = np.array([time.perf_counter(), time.process_time()])
        qdyn.train(config, dataset=data, out=f"{folder}/run", progress=False)
        clock, cpu = np.array([time.perf_counter(), time.process_time()]) - began
    print(f"One epoch of {name}, {updates} updates: {clock:.1f} s by the clock, {cpu:.1f} s of CPU time")


if __name__ == "__main__":
    main()
