"""Connected correlators of one site with all: against single correlators, closed forms, and by name."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from qdyn.errors import ArgumentError
from qdyn.quantum.correlators import connected_correlators
from qdyn.quantum.observable_names import named_observable
from qdyn.quantum.observables import correlator, entanglement_entropy, magnetisation
from qdyn.quantum.states import basis_state, haar_random_states, random_product_states


@pytest.mark.parametrize("axis", ["x", "y", "z"])
@pytest.mark.parametrize("site", [0, 2, 4])
def test_they_are_the_single_correlators(axis: str, site: int) -> None:
    states = haar_random_states(n_qubits=5, batch=6, seed=1).reshape(2, 3, 32)
    found = connected_correlators(axis, site).expectation(states)
    assert found.shape == (2, 3, 5)
    for other in range(5):
        if other == site:
            expected = 1 - magnetisation(axis, site).expectation(states).square()
        else:
            expected = correlator(axis, site, other, connected=True).expectation(states)
        np.testing.assert_allclose(found[..., other].numpy(), expected.numpy(), atol=1e-14)


def test_a_product_state_has_none() -> None:
    found = connected_correlators("y", 1).expectation(random_product_states(n_qubits=4, seed=2))
    np.testing.assert_allclose(found[[0, 2, 3]].numpy(), 0, atol=1e-15)


def test_ghz_states_are_correlated_at_any_distance_and_share_ln_2_across_any_cut() -> None:
    ghz = (basis_state("00000") + basis_state("11111")) / 2**0.5
    np.testing.assert_allclose(connected_correlators("z", 1).expectation(ghz).numpy(), 1, atol=1e-14)
    np.testing.assert_allclose(
        connected_correlators("x", 1).expectation(ghz).numpy(), [0, 1, 0, 0, 0], atol=1e-14
    )
    for cut in range(1, 5):
        assert float(entanglement_entropy(cut).expectation(ghz)) == pytest.approx(np.log(2), abs=1e-14)


def test_single_precision_stays_single() -> None:
    states = haar_random_states(n_qubits=3, seed=0).to(torch.complex64)
    assert connected_correlators("x", 1).expectation(states).dtype == torch.float32


@pytest.mark.usefixtures("as_user")
def test_by_name_and_refused() -> None:
    observable = named_observable("connected_correlators_x_2", 4)
    assert (observable.name, observable.axes) == ("connected_correlators_x_2", ("site",))
    with pytest.raises(ArgumentError, match="needs site 4, but the system has 4 sites"):
        named_observable("connected_correlators_x_4", 4)
    with pytest.raises(ArgumentError, match="`axis`"):
        connected_correlators("w", 0)
    with pytest.raises(ArgumentError, match="`site`"):
        connected_correlators("x", -1)
