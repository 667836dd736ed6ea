"""The section `hamiltonian` of a recipe: against models made by hand, and the statistics of what is drawn."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from qdyn import XXZ, LongRangeIsing, MixedFieldIsing, PauliSum, TransverseFieldIsing
from qdyn.data.recipes import read_recipe
from qdyn.data.source import generator_of
from qdyn.data.spins.hamiltonian_recipe import (
    MODELS,
    conditions_of,
    couplings_among,
    form_of_recipe,
    read_hamiltonian,
    units_of,
)
from qdyn.data.spins.trajectories import Trajectories
from qdyn.errors import ConfigError
from qdyn.quantum.hamiltonians import Hamiltonian
from qdyn.quantum.lattices import ladder_bonds, square_bonds

MADE_BY_HAND: list[tuple[dict[str, Any], Hamiltonian]] = [
    (
        {"model": "transverse_field_ising", "n_sites": 4, "coupling": 0.7, "periodic": True},
        TransverseFieldIsing(4, coupling=0.7, periodic=True),
    ),
    (
        {
            "model": "mixed_field_ising",
            "lattice": {"ladder": 3},
            "longitudinal_field": -0.5,
            "periodic": True,
        },
        MixedFieldIsing(6, longitudinal_field=-0.5, bonds=ladder_bonds(3, periodic=True)),
    ),
    (
        {"model": "long_range_ising", "n_sites": 4, "exponent": 2.0, "field": [0.1, 0.2, 0.3, 0.4]},
        LongRangeIsing(4, exponent=2.0, field=[[0.1, 0.2, 0.3, 0.4]]),
    ),
    (
        {"model": "xxz", "lattice": {"square": [2, 3]}, "anisotropy": 0.5, "transverse_field": 0.2},
        XXZ(6, anisotropy=0.5, transverse_field=0.2, bonds=square_bonds(2, 3)),
    ),
    (
        {"model": "xxz", "n_sites": 3, "bonds": [[0, 2], [2, 1]], "coupling": [0.5, 0.6]},
        XXZ(3, bonds=[(0, 2), (2, 1)], coupling=[[0.5, 0.6]]),
    ),
    (
        {"model": "pauli_sum", "n_sites": 3, "strings": {"X0 Z2": 0.5, "IYI": -1.0}},
        PauliSum({"X0 Z2": 0.5, "IYI": -1.0}, n_sites=3),
    ),
    (
        {"model": "transverse_field_ising", "lattice": {"chain": 3}},
        TransverseFieldIsing(3),
    ),
]


@pytest.mark.parametrize(("section", "expected"), MADE_BY_HAND, ids=lambda value: str(value)[:40])
def test_a_section_says_what_could_be_made_by_hand(section: dict[str, Any], expected: Hamiltonian) -> None:
    found = read_hamiltonian(section).of([{}])
    assert found.to_dense().equal(expected.to_dense())


def test_every_model_of_qdyn_can_be_named() -> None:
    assert {type(expected) for _, expected in MADE_BY_HAND} == set(MODELS.values())


DISORDERED = {
    "model": "xxz",
    "n_sites": 5,
    "coupling": {"uniform": [0.5, 1.5], "per": "bond"},
    "anisotropy": {"uniform": [0.0, 1.0]},
    "field": {"uniform": [-2.0, 3.0], "per": "site"},
}


def test_disorder_is_uniform_and_independent_of_place_and_trajectory() -> None:
    recipe = read_hamiltonian(DISORDERED)
    count = 2000
    drawn = conditions_of(recipe.of([recipe.draw(generator_of(3, i, 0)) for i in range(count)]), count)
    assert list(drawn) == [*(f"coupling_{k}" for k in range(4)), "anisotropy",
                           *(f"field_{k}" for k in range(5)), "transverse_field"]  # fmt: skip
    ranges = {"coupling": (0.5, 1.5), "anisotropy": (0.0, 1.0), "field": (-2.0, 3.0)}
    varied = {name: values for name, values in drawn.items() if name != "transverse_field"}
    for name, values in varied.items():
        low, high = ranges[name.split("_")[0]]
        rank = (np.sort(values) - low) / (high - low)
        # Kolmogorov-Smirnov: passed by 99.9 % of uniform samples; these are fixed.
        assert np.abs(rank - np.arange(1, count + 1) / count).max() < 1.95 / np.sqrt(count)
    correlation = np.corrcoef(np.stack(list(varied.values())))
    # 45 pairs, each normal with a width of 1 / sqrt(count).
    assert np.abs(correlation - np.eye(len(varied))).max() < 4 / np.sqrt(count)


def test_conditions_lead_back_to_the_hamiltonian() -> None:
    recipe = read_hamiltonian(DISORDERED)
    batch = recipe.of([recipe.draw(generator_of(0, i, 0)) for i in range(3)])
    told = {name: torch.from_numpy(np.array(value)) for name, value in conditions_of(batch, 3).items()}
    form = form_of_recipe({"parameters": {"hamiltonian": DISORDERED}})
    assert form is not None
    again = type(form)(n_sites=5, **couplings_among(told, form))  # type: ignore[call-arg]
    assert again.to_dense().equal(batch.to_dense())


def test_units() -> None:
    units = units_of(read_hamiltonian(DISORDERED).form())
    assert units["anisotropy"] == "1"
    assert units["field_3"] == units["transverse_field"] == units["coupling_0"] == "J"
    chain = {"model": "long_range_ising", "n_sites": 3}
    assert units_of(read_hamiltonian(chain).form())["exponent"] == "1"


def test_the_order_of_strings_decides_nothing() -> None:
    """A recipe's fingerprint sorts its keys, so their order must change no bit."""
    strings = {"X0 X1": {"uniform": [0, 1]}, "Z0": {"uniform": [0, 1]}, "Z1": 0.3}
    sections = [
        {"model": "pauli_sum", "n_sites": 2, "strings": dict(items)}
        for items in (strings.items(), reversed(strings.items()))
    ]
    one, two = (Trajectories(section, 0.1, 3).block(seed=1, first=0, count=3, precision="double")
                for section in sections)  # fmt: skip
    np.testing.assert_array_equal(one.values, two.values)
    assert sorted(one.conditions) == ["coefficients_0", "coefficients_1", "coefficients_2"]


def test_a_driven_or_unknown_hamiltonian_has_no_constant_form() -> None:
    parameters = read_recipe("tfim-4q-drive").parameters
    assert form_of_recipe({"parameters": parameters}) is None
    assert form_of_recipe({"parameters": {"dimension": 3}}) is None
    assert form_of_recipe({"parameters": {"hamiltonian": {"model": "toric_code"}}}) is None
    with pytest.raises(ConfigError, match="toric_code"):
        read_hamiltonian({"model": "toric_code"})
