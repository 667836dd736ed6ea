"""What is judged on disordered, watched and driven systems: oracles only where they are exact."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from qdyn import DrivenHamiltonian, SequenceDataset, TransverseFieldIsing, evaluate, load_dataset
from qdyn.data.generation.generate import generate
from qdyn.data.recipes import read_recipe
from qdyn.errors import ArgumentError, DatasetError
from qdyn.models.baselines import ExactEvolution, MeanHamiltonian, Persistence


def small(name: str, folder: Path, size: int = 14) -> SequenceDataset:
    return load_dataset(generate(read_recipe(name).resized(size), folder / name, progress=False))


def test_exact_evolution_is_exact_in_every_disorder(tmp_path: Path) -> None:
    data = small("xxz-8q-disordered", tmp_path)
    oracle = ExactEvolution().fit(data)
    batch = data.split("test").batch([0, 1, 2])
    told = oracle.with_conditions(batch.conditions)
    # Stored in single precision: 2^-24 for an amplitude, here and there.
    assert float((told.forecast(batch.inputs) - batch.targets).abs().max()) < 3e-7
    alone = data.split("test").batch([1])
    told = oracle.with_conditions(alone.conditions)
    assert float((told.forecast(alone.inputs) - alone.targets).abs().max()) < 3e-7


def test_the_mean_hamiltonian_has_the_mean_field_of_each_site(tmp_path: Path) -> None:
    data = small("xxz-8q-disordered", tmp_path)
    mean = MeanHamiltonian().fit(data)
    assert mean.hamiltonian is not None
    known = data.split("train").conditions
    expected = torch.stack([known[f"field_{site}"].mean() for site in range(8)])
    assert torch.allclose(mean.hamiltonian.parameters["field"], expected)
    # J, Delta and the transverse field, then one field a site.
    assert mean.n_parameters == 3 + 8


def test_no_oracle_is_asked_about_chance_or_a_drive_it_does_not_know(tmp_path: Path) -> None:
    noisy, driven = small("tfim-6q-noisy", tmp_path), small("tfim-4q-drive", tmp_path)
    MeanHamiltonian().fit(noisy)
    with pytest.raises(
        DatasetError, match="needs a closed system, but the recipe of the dataset tfim-6q-noisy has"
    ):
        ExactEvolution().fit(noisy)
    for baseline in (MeanHamiltonian(), ExactEvolution()):
        with pytest.raises(
            DatasetError, match="constant in time, but the recipe of the dataset tfim-4q-drive"
        ):
            baseline.fit(driven)
    # Nor about one that stands still while the data are driven: it would be called the true one.
    still = TransverseFieldIsing(n_sites=4)
    for baseline in (MeanHamiltonian(still), ExactEvolution(still)):
        with pytest.raises(DatasetError, match="drives it"):
            baseline.fit(driven)
    shaken = DrivenHamiltonian(still, [(abs, still)])
    with pytest.raises(ArgumentError, match="`hamiltonian` must be constant in time"):
        MeanHamiltonian(shaken).fit(driven)
    for data in (noisy, driven):
        keys = [row.key for row in evaluate(Persistence(), dataset=data).rows]
        assert "persistence" in keys
        assert "exact" not in keys
