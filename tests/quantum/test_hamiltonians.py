"""Hamiltonians against kron and QuTiP, their batches, and their bad inputs."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch

from qdyn.errors import ArgumentError, MemoryLimitError
from qdyn.quantum.hamiltonians import TransverseFieldIsing
from qdyn.quantum.lattices import chain_bonds, square_bonds
from qdyn.quantum.states import haar_random_states

PAULI = {
    "I": np.eye(2),
    "X": np.array([[0, 1], [1, 0]]),
    "Y": np.array([[0, -1j], [1j, 0]]),
    "Z": np.array([[1, 0], [0, -1]]),
}


def string_matrix(label: str) -> np.ndarray:
    """kron of single-site Paulis, site 0 first: independent of the masks in qdyn."""
    result = np.ones((1, 1))
    for letter in label:
        result = np.kron(result, PAULI[letter])
    return result


def placed(n_sites: int, letters: dict[int, str]) -> np.ndarray:
    return string_matrix("".join(letters.get(site, "I") for site in range(n_sites)))


def ising_by_kron(n_sites: int, coupling, field, *, periodic: bool) -> np.ndarray:
    bonds = [(i, (i + 1) % n_sites) for i in range(n_sites if periodic else n_sites - 1)]
    couplings, fields = np.broadcast_to(coupling, len(bonds)), np.broadcast_to(field, n_sites)
    matrix = np.zeros((2**n_sites, 2**n_sites))
    for (i, j), strength in zip(bonds, couplings, strict=True):
        matrix -= strength * placed(n_sites, {i: "Z", j: "Z"})
    for site, strength in enumerate(fields):
        matrix -= strength * placed(n_sites, {site: "X"})
    return matrix


@pytest.mark.parametrize("periodic", [False, True])
@pytest.mark.parametrize("n_sites", [3, 4, 5])
def test_ising_matrix_is_the_sum_of_krons(n_sites: int, periodic: bool) -> None:
    model = TransverseFieldIsing(n_sites, coupling=0.7, field=-1.3, periodic=periodic)
    expected = ising_by_kron(n_sites, 0.7, -1.3, periodic=periodic)
    np.testing.assert_allclose(model.to_dense().numpy(), expected, atol=1e-14)
    np.testing.assert_allclose(model.to_sparse().toarray(), expected, atol=1e-14)


def test_disorder_sits_on_its_own_bond_and_site() -> None:
    rng = np.random.default_rng(0)
    couplings, fields = rng.normal(size=(1, 3)), rng.normal(size=(1, 4))
    model = TransverseFieldIsing(4, coupling=couplings, field=fields)
    assert model.batch_size is None
    expected = ising_by_kron(4, couplings[0], fields[0], periodic=False)
    np.testing.assert_allclose(model.to_dense().numpy(), expected, atol=1e-14)


def test_one_site_is_a_field_alone() -> None:
    model = TransverseFieldIsing(1, coupling=5.0, field=0.4)
    np.testing.assert_allclose(model.to_dense().numpy(), -0.4 * PAULI["X"], atol=1e-16)


def test_batch_members_are_the_single_hamiltonians() -> None:
    rng = np.random.default_rng(1)
    couplings, fields = rng.normal(size=5), rng.normal(size=(5, 3))
    batch = TransverseFieldIsing(3, coupling=couplings, field=fields)
    assert batch.batch_size == 5
    assert batch.to_dense().shape == (5, 8, 8)
    for index in range(5):
        single = batch.member(index)
        assert single.batch_size is None
        expected = ising_by_kron(3, couplings[index], fields[index], periodic=False)
        np.testing.assert_allclose(single.to_dense().numpy(), expected, atol=1e-14)
        assert torch.equal(batch.to_dense()[index], single.to_dense())


def test_agrees_with_qutip_built_operator_by_operator() -> None:
    import qutip

    n_sites = 4

    def site(operator, index):
        return qutip.tensor([operator if k == index else qutip.qeye(2) for k in range(n_sites)])

    expected = sum(-1.2 * site(qutip.sigmaz(), i) * site(qutip.sigmaz(), i + 1) for i in range(n_sites - 1))
    expected += sum(-0.3 * site(qutip.sigmax(), i) for i in range(n_sites))
    ours = TransverseFieldIsing(n_sites, coupling=1.2, field=0.3).to_qutip()
    assert ours.dims == expected.dims
    np.testing.assert_allclose(ours.full(), expected.full(), atol=1e-14)


@pytest.mark.parametrize("batched", [False, True])
def test_apply_is_the_matrix_times_the_state(batched: bool) -> None:
    rng = np.random.default_rng(2)
    coupling = rng.normal(size=3) if batched else 0.8
    model = TransverseFieldIsing(4, coupling=coupling, field=1.1, periodic=True)
    states = haar_random_states(n_qubits=4, batch=6, seed=0).reshape(3, 2, 16)
    matrix = model.to_dense().to(torch.complex128)
    expected = torch.einsum("bij,btj->bti" if batched else "ij,btj->bti", matrix, states)
    assert float((model.apply(states) - expected).abs().max()) < 1e-14
    single = model.apply(states.to(torch.complex64))
    assert single.dtype == torch.complex64
    assert float((single - expected).abs().max()) < 1e-5


def test_the_object_is_frozen_and_keeps_its_own_numbers() -> None:
    couplings = np.ones(3)
    model = TransverseFieldIsing(3, coupling=couplings)
    couplings[:] = 7
    assert model.parameters["coupling"].tolist() == [1, 1, 1]
    with pytest.raises(AttributeError):
        model.n_sites = 4


def test_repr_says_what_it_is_in_one_line() -> None:
    assert (
        repr(TransverseFieldIsing(3))
        == "TransverseFieldIsing(n_sites=3, coupling=1.0, field=1.0, periodic=False)"
    )
    batch = TransverseFieldIsing(3, field=[0.5, 1.5])
    assert "field=<(2,) values in [0.5, 1.5]>" in repr(batch)


@pytest.mark.usefixtures("as_user")
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: TransverseFieldIsing(0), "`n_sites` must be an integer >= 1, but is 0"),
        (lambda: TransverseFieldIsing(2.5), "`n_sites`"),
        (lambda: TransverseFieldIsing(3, coupling=float("nan")), "`coupling` must be finite"),
        (lambda: TransverseFieldIsing(3, field=[1.0, float("inf")]), "field[1] is inf"),
        (lambda: TransverseFieldIsing(3, coupling="strong"), "`coupling` must hold real numbers"),
        (lambda: TransverseFieldIsing(3, coupling=1j), "`coupling` must hold real numbers"),
        (lambda: TransverseFieldIsing(3, field=np.array([1, 1j])), "`field` must hold real numbers"),
        (lambda: TransverseFieldIsing(3, field=torch.ones(2) * 1j), "`field` must hold real numbers"),
        (
            lambda: TransverseFieldIsing(3, coupling=np.ones((2, 4))),
            "(batch, 2) for 2 bonds, but has shape (2, 4)",
        ),
        (lambda: TransverseFieldIsing(3, field=[]), "has shape (0,)"),
        (lambda: TransverseFieldIsing(3, coupling=[1.0, 2.0], field=[1.0, 2.0, 3.0]), "hold 2 and 3"),
        (lambda: TransverseFieldIsing(2, periodic=True), "at least 3 sites"),
        (lambda: chain_bonds(2, periodic=True), "at least 3 sites"),
        (lambda: TransverseFieldIsing(3).member(0), "this is a single one"),
        (lambda: TransverseFieldIsing(3, field=[1.0, 2.0]).member(2), "`index`"),
        (lambda: TransverseFieldIsing(3, field=[1.0, 2.0]).to_sparse(), "batch of 2"),
        (lambda: TransverseFieldIsing(3).apply(torch.ones(4, dtype=torch.complex128)), "2**3 = 8"),
        (
            lambda: TransverseFieldIsing(2, field=[1.0, 2.0]).apply(torch.ones(3, 4, dtype=torch.complex128)),
            "first axis of length 2",
        ),
    ],
)
def test_bad_arguments_are_named(call, message: str) -> None:
    with pytest.raises(ArgumentError) as caught:
        call()
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_matrix_that_cannot_fit_is_refused() -> None:
    with pytest.raises(MemoryLimitError, match="dense Hamiltonian of 40 sites"):
        TransverseFieldIsing(40).to_dense()
    with pytest.raises(MemoryLimitError, match="sparse Hamiltonian of 50 sites"):
        TransverseFieldIsing(50).to_sparse()


def test_sizes_may_come_from_numpy() -> None:
    """In a process of its own: type checks at run time, which the other tests have, want an `int`."""
    program = (
        "import numpy as np; from qdyn import LongRangeIsing, TransverseFieldIsing, square_bonds\n"
        "for n in np.arange(3, 5):\n"
        "    bonds = square_bonds(n, np.uint8(2))\n"
        "    print(TransverseFieldIsing(n), LongRangeIsing(n_sites=n).n_sites, bonds)\n"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    wanted = [f"{TransverseFieldIsing(n)!r} {n} {square_bonds(n, 2)!r}" for n in (3, 4)]
    assert found.stdout.splitlines() == wanted
