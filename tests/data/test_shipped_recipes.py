"""The recipes that ship: they generate, their samples are theirs, and their physics is what the cards say."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from qdyn import XXZ, evolve, load_dataset, product_state
from qdyn.cli import main
from qdyn.data.generation.generate import generate
from qdyn.data.recipes import read_recipe
from qdyn.data.spins.spin_source import SpinSource
from qdyn.quantum.hamiltonians import Hamiltonian, TransverseFieldIsing
from qdyn.quantum.observables import site_magnetisation
from qdyn.shipped import shipped_folder, shipped_names

SHIPPED = shipped_names("datasets")
EXPECTED = {
    "tfim-4q", "tfim-6q", "tfim-8q", "tfim-10q", "tfim-8q-fixed", "mfim-8q", "xxz-8q-disordered",
    "tfim-6q-noisy", "tfim-6q-shots", "tfim-12q-observables", "tfim-4q-drive",
}  # fmt: skip


def test_the_recipes_of_spin_systems_ship() -> None:
    assert set(SHIPPED) >= EXPECTED


@pytest.mark.parametrize("name", SHIPPED)
def test_a_recipe_generates(name: str, tmp_path: Path) -> None:
    recipe = read_recipe(name).resized(4)
    dataset = load_dataset(generate(recipe, tmp_path / name, progress=False), verify=True)
    layout = recipe.make_source().layout(recipe.precision)
    assert len(dataset) == 4
    assert dataset.n_steps == layout.length - 1
    assert dataset.metadata.normalised == layout.normalised
    assert dataset.metadata.components == layout.components
    assert set(dataset.conditions) == set(layout.conditions)
    assert all(dataset.metadata.units[key] == unit for key, unit in layout.conditions.items())
    if layout.kind == "quantum_state":
        norms = torch.linalg.vector_norm(dataset.sequences(), dim=-1)
        assert float((norms - 1).abs().max()) < 1e-6
    elif isinstance(recipe.make_source(), SpinSource) and not layout.normalised:
        assert float(dataset.sequences().abs().max()) <= 1 + 1e-6


@pytest.mark.parametrize("name", SHIPPED)
def test_a_sample_is_what_its_recipe_makes(name: str) -> None:
    """The numbers stored in the sample, made anew; single precision is kept to 2^-24 of an amplitude."""
    sample = load_dataset(shipped_folder("datasets") / name / "sample.h5", verify=True)
    recipe = read_recipe(name)
    said = dict(sample.metadata.recipe)
    numbers = said.pop("sequences")
    assert len(numbers) == len(sample) == 8
    assert said["parameters"] == dict(recipe.parameters)
    assert (said["seed"], said["splits"]) == (recipe.seed, dict(recipe.splits))
    source, backing = recipe.make_source(), sample.backing
    if isinstance(source, SpinSource):
        source = replace(source, n_steps=backing.length - 1)
    stored = backing.read(np.arange(8), np.zeros(8, dtype=np.int64), backing.length)
    for place, number in enumerate(numbers):
        block = source.block(seed=recipe.seed, first=number, count=1, precision=recipe.precision)
        np.testing.assert_allclose(stored[place], block.values[0, : backing.length], atol=3e-7)
        for key, values in block.conditions.items():
            assert backing.conditions[key][place] == values[0]


def test_every_recipe_has_a_line_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["datasets"]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.strip()]
    assert [line.split()[0] for line in lines[:-1]] == SHIPPED
    assert max(map(len, lines)) <= 110


def spin_recipe(name: str) -> tuple[SpinSource, int]:
    recipe = read_recipe(name)
    source = recipe.make_source()
    assert isinstance(source, SpinSource)
    return source, recipe.seed


def mean_gap_ratio(hamiltonian: Hamiltonian) -> tuple[float, float]:
    """<min(s_k, s_k+1) / max(s_k, s_k+1)> over the even states of the middle of the spectrum, and its error.

    Source: Y. Y. Atas et al., Physical Review Letters 110, 084101 (2013): 0.386 for independent levels, 0.531
    for those of a random real matrix.
    """
    n_sites = hamiltonian.n_sites
    mirrored = [int(f"{index:0{n_sites}b}"[::-1], 2) for index in range(2**n_sites)]
    parity, vectors = np.linalg.eigh(np.eye(2**n_sites)[mirrored])
    even = vectors[:, parity > 0]
    levels = np.linalg.eigvalsh(even.T @ hamiltonian.to_dense().numpy() @ even)
    cut = len(levels) // 6
    gaps = np.diff(levels[cut:-cut])
    ratios = np.minimum(gaps[1:], gaps[:-1]) / np.maximum(gaps[1:], gaps[:-1])
    return float(ratios.mean()), float(ratios.std(ddof=1) / np.sqrt(len(ratios)))


def test_the_tilted_field_chain_is_chaotic_and_the_transverse_one_is_not() -> None:
    source, _ = spin_recipe("mfim-8q")
    found, error = mean_gap_ratio(source.chain.form())
    assert abs(found - 0.531) < 2.5 * error
    assert found - 0.386 > 3 * error
    integrable, its_error = mean_gap_ratio(TransverseFieldIsing(n_sites=8, field=1.05))
    assert abs(integrable - 0.386) < 2.5 * its_error


def test_strong_fields_keep_the_neel_state_and_a_clean_chain_does_not() -> None:
    source, seed = spin_recipe("xxz-8q-disordered")
    staggered = torch.tensor([1.0, -1.0] * 4, dtype=torch.float64) / 8
    late = source.times >= 1.6
    states = torch.from_numpy(source.block(seed=seed, first=0, count=48, precision="double").values)
    kept = site_magnetisation("z").expectation(states[:, late]) @ staggered
    clean = evolve(
        XXZ(n_sites=8), product_state("01010101"), source.times, observables=["site_magnetisation_z"]
    ).expectations["site_magnetisation_z"]
    assert float(kept.mean()) > 0.5
    assert float((clean[late] @ staggered).abs().max()) < 0.4
    total = site_magnetisation("z").expectation(states).sum(dim=-1)
    assert float(total.abs().max()) < 1e-10


def test_disorder_of_the_whole_dataset_is_uniform() -> None:
    source, seed = spin_recipe("xxz-8q-disordered")
    fields = source.hamiltonians(seed, 0, read_recipe("xxz-8q-disordered").count).parameters["field"].numpy()
    assert fields.shape == (448, 8)
    rank = (np.sort(fields.ravel()) + 10) / 20
    assert np.abs(rank - np.arange(1, rank.size + 1) / rank.size).max() < 1.95 / np.sqrt(rank.size)
    # 28 pairs of sites.
    assert np.abs(np.corrcoef(fields.T) - np.eye(8)).max() < 4 / np.sqrt(448)


def test_jumps_of_the_noisy_recipe_follow_its_rate() -> None:
    """Without a jump a trajectory is the unitary one; the fraction without is exp(-n rate t / 2)."""
    source, seed = spin_recipe("tfim-6q-noisy")
    count, step = 64, 4
    block = source.block(seed=seed, first=0, count=count, precision="double")
    closed = evolve(
        source.hamiltonians(seed, 0, count), torch.from_numpy(block.values[:, 0]), source.times[: step + 1]
    ).states
    assert closed is not None
    overlap = (closed[:, step].numpy().conj() * block.values[:, step]).sum(axis=-1)
    unscathed = np.abs(np.abs(overlap) - 1) < 1e-7
    expected = np.exp(-6 * block.conditions["dephasing_rate"] / 2 * source.times[step])
    spread = np.sqrt((expected * (1 - expected)).sum())
    assert abs(unscathed.sum() - expected.sum()) < 3.5 * spread
