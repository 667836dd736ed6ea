"""Product states kept site by site: what names them, and that they are the vectors of product_state."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from qdyn.errors import ArgumentError, MemoryLimitError
from qdyn.quantum.product_states import ProductStates, is_named
from qdyn.quantum.states import basis_state, product_state


def test_the_vector_is_the_kronecker_product() -> None:
    sites = torch.randn(3, 2, dtype=torch.complex128, generator=torch.Generator().manual_seed(0))
    expected = torch.kron(torch.kron(sites[0], sites[1]), sites[2])
    assert float((ProductStates(sites).vectors() - expected).abs().max()) < 1e-15


def test_names_and_batches() -> None:
    assert torch.equal(ProductStates.named("0110", n_sites=4).vectors(), basis_state("0110"))
    batch = ProductStates.named(["+r", "1-"], n_sites=2)
    assert (batch.batch_size, batch.n_sites) == (2, 2)
    assert torch.equal(batch.vectors()[1], product_state("1-"))
    assert torch.equal(batch.members(slice(1, 2)).vectors()[0], product_state("1-"))
    single = ProductStates.of("+r")
    assert single.members(slice(5, 6)) is single
    assert ProductStates.of(np.zeros((5, 7, 2))).batch_size == 5


def test_a_hundred_sites_are_no_vector() -> None:
    state = ProductStates.of("+" * 100)
    assert state.sites.shape == (100, 2)
    with pytest.raises(MemoryLimitError, match="A product state of 100 qubits needs about"):
        state.vectors()


def test_what_is_a_name() -> None:
    assert is_named(("0", "1"))
    assert not is_named([])
    assert not is_named([["0", "1"]])
    assert not is_named(np.array([1.0, 0.0]))


def test_wrong_names_are_refused() -> None:
    with pytest.raises(ArgumentError, match="`start` must name 3 sites, one character each, but '01' has 2"):
        ProductStates.named("01", n_sites=3, name="start")
    with pytest.raises(ArgumentError, match="`initial_state` has the unknown site 'u' at 1"):
        ProductStates.named(["00", "0u"], n_sites=2)
