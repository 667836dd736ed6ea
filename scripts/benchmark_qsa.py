"""Measure one optimisation step of the monomial QSA model and the figure its training reaches.

Usage: python scripts/benchmark_qsa.py [--threads 1] [--rounds 40] [--skip-training] [--training-seeds 8]

One step: 8 seeds, a batch of 32 sequences for each, T = 32, d = 16, 43 layers, kernel s^6, complex64: draw
the batches, forward, backward, Adam. The contestants take turns in one process, so that whatever else the
machine does falls on both:

    qdyn     the path of qdyn.train: torch.func ensemble of QSAPredictor, loss L_B
    eager    the same mathematics in plain PyTorch: einsum, repeated products, a tree of layer products,
             autograd (all seeds share one batch, which saves it work)

Each figure is a median over rounds with the lower and upper quartile and the minimum, by the clock and in CPU
time, which counts less of what others do to the machine; a ratio is the median of the ratio within a round.
The training figure is the mean and the standard deviation over seeds of L_1 on the test split (400 steps,
Adam at 2e-2 with a cosine, angles from U(0, 0.3)).
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from qdyn import load_dataset, train
from qdyn.data.sequences import SequenceDataset
from qdyn.models.config import ModelConfig
from qdyn.models.registry import build_model
from qdyn.training.batches import BatchSource
from qdyn.training.config import RunConfig, load_config
from qdyn.training.ensembles import Ensemble
from qdyn.training.optimisers import make_optimiser

PRESET = "qsa-monomial-tfim-4q"
SEEDS = tuple(range(8))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=40, help="rounds of one step of every contestant")
    parser.add_argument("--skip-training", action="store_true", help="measure the time of a step only")
    parser.add_argument("--training-seeds", type=int, default=len(SEEDS))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    config = load_config(PRESET).with_seeds(SEEDS)
    data = load_dataset(config.dataset.name, phase_convention=config.dataset.phase_convention)
    print(f"torch {torch.__version__}, {options.threads} thread(s), load average {os.getloadavg()[0]:.1f}")
    measure(config, data, rounds=options.rounds)
    if not options.skip_training:
        figure(config.with_seeds(range(options.training_seeds)), data)


def measure(config: RunConfig, data: SequenceDataset, *, rounds: int) -> None:
    """Time the contestants in turn and print a table."""
    split = data.split("train")
    source = BatchSource(split, device=torch.device("cpu"), dtype=torch.complex64)
    contestants = {"qdyn": qdyn_step(config, data, source), "eager": eager_step(config, source)}
    names = list(contestants)
    seconds = np.zeros((len(contestants), rounds, 2))
    for turn in range(-5, rounds):  # the first rounds warm the allocator and the caches
        for row, step in enumerate(contestants.values()):
            start = np.array([time.perf_counter(), time.process_time()])
            step(turn + 5)
            if turn >= 0:
                seconds[row, turn] = np.array([time.perf_counter(), time.process_time()]) - start
    for column, clock in enumerate(["clock", "CPU time"]):
        for name, samples in zip(names, 1e3 * seconds[..., column], strict=True):
            low, middle, high = np.quantile(samples, [0.25, 0.5, 0.75])
            spread = f"quartiles {low:.1f} - {high:.1f}, min {samples.min():.1f}"
            print(f"{clock:8s} {name:6s} {middle:6.1f} ms a step ({spread})")
        low, middle, high = np.quantile(seconds[1, :, column] / seconds[0, :, column], [0.25, 0.5, 0.75])
        print(f"{clock:8s} {names[1]} / {names[0]} {middle:.2f} (quartiles {low:.2f} - {high:.2f})")


def qdyn_step(config: RunConfig, data: SequenceDataset, source: BatchSource) -> Callable[[int], None]:
    """One step as qdyn.train takes it."""
    models = []
    for seed in SEEDS:
        model = build_model(config.model, data.metadata, seed=seed)
        assert isinstance(model, nn.Module)
        models.append(model)
    ensemble = Ensemble(models)
    optimiser = make_optimiser(ensemble, config.training)

    def step(turn: int) -> None:
        inputs, targets, mask, _ = source.members(SEEDS, step=turn, batch_size=config.training.batch_size)
        optimiser.zero_grad(set_to_none=True)
        ensemble.losses("L_B", inputs, targets, mask).sum().backward()  # type: ignore[no-untyped-call]
        optimiser.step()

    return step


def eager_step(config: RunConfig, source: BatchSource) -> Callable[[int], None]:
    """One step written down plainly."""
    model, n_qubits = config.model, 4
    assert isinstance(model, ModelConfig)
    generator = torch.Generator().manual_seed(0)
    angles = torch.rand(len(SEEDS), 2, model.layers, n_qubits, 3, generator=generator) * model.initial_angle
    angles.requires_grad_()
    optimiser = torch.optim.Adam([angles], lr=config.training.learning_rate)
    ring = cnot_ring(n_qubits)

    def step(turn: int) -> None:
        inputs, targets, *_ = source.members(SEEDS[:1], step=turn, batch_size=config.training.batch_size)
        loss = eager_loss(angles, inputs[0], targets[0], ring, degree=model.degree).sum()
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()

    return step


def eager_loss(angles: Tensor, x: Tensor, y: Tensor, ring: Tensor, *, degree: int) -> Tensor:
    """L_B of every seed, (seeds,), from angles (seeds, 2, L, n, 3) and states (batch, T, d)."""
    query_key, value = eager_unitaries(angles, ring).unbind(1)
    scores = torch.einsum("bjd,sde,bie->sbji", x.conj(), query_key, x)
    weights = scores
    for _ in range(degree - 1):
        weights = weights * scores
    causal = torch.ones(weights.shape[-2:]).tril()
    predictions = (weights * causal) @ torch.einsum("btd,sed->sbte", x, value)
    overlaps = (y.conj() * predictions).sum(-1).abs().sum(-1)
    lengths = (predictions.real.square() + predictions.imag.square()).sum((-1, -2))
    return -torch.log(overlaps.square() / (x.shape[-2] * lengths)).mean(-1)


def eager_unitaries(angles: Tensor, ring: Tensor) -> Tensor:
    """(..., L, n, 3) angles -> (..., d, d)."""
    cosine, sine = torch.cos(angles / 2), torch.sin(angles / 2)
    zero = torch.zeros_like(cosine[..., 0])

    def gate(a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> Tensor:
        return torch.stack([torch.stack([a, b], -1), torch.stack([c, d], -1)], -2)

    stay, flip = torch.complex(cosine[..., 0], zero), torch.complex(zero, -sine[..., 0])
    about_x = gate(stay, flip, flip, stay)
    about_y = gate(cosine[..., 1], -sine[..., 1], sine[..., 1], cosine[..., 1]).to(about_x.dtype)
    turn = torch.complex(cosine[..., 2], -sine[..., 2])
    about_z = torch.diag_embed(torch.stack([turn, turn.conj()], -1))
    qubits = (about_z @ about_y @ about_x).unbind(-3)
    layers = qubits[0]
    for qubit in qubits[1:]:
        layers = torch.einsum("...ab,...cd->...acbd", layers, qubit).flatten(-4, -3).flatten(-2, -1)
    layers = ring @ layers
    while layers.shape[-3] > 1:
        paired = layers.shape[-3] // 2 * 2
        products = layers[..., 1:paired:2, :, :] @ layers[..., 0:paired:2, :, :]
        layers = torch.cat([products, layers[..., paired:, :, :]], -3)
    return layers[..., 0, :, :]


def cnot_ring(n_qubits: int) -> Tensor:
    """CNOT(0->1), CNOT(1->2), ..., CNOT(n-1->0) as one permutation matrix."""
    image = np.arange(2**n_qubits)
    for control in range(n_qubits):
        target = (control + 1) % n_qubits
        image = image ^ (((image >> (n_qubits - 1 - control)) & 1) << (n_qubits - 1 - target))
    ring = torch.zeros(2**n_qubits, 2**n_qubits, dtype=torch.complex64)
    ring[torch.from_numpy(image), torch.arange(2**n_qubits)] = 1
    return ring


def figure(config: RunConfig, data: SequenceDataset) -> None:
    """Train and print L_1 on the test split."""
    test = data.split("test").batch(range(len(data.split("test")))).to(dtype=torch.complex64)
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        run = train(config, dataset=data, out=Path(folder) / "run", progress=False)
        seconds = time.perf_counter() - start
        with torch.no_grad():
            losses = [
                float(cast(Any, model).loss("L_1", test.inputs, test.targets, test.mask).mean())
                for model in run.models
            ]
    print(f"test L_1 {np.mean(losses):.4f} ± {np.std(losses):.4f} over {len(losses)} seeds", end=" ")
    print(f"({config.training.steps} steps in {seconds:.0f} s; published 0.343 ± 0.234)")
    print("each seed:", " ".join(f"{loss:.4f}" for loss in losses))


if __name__ == "__main__":
    main()
