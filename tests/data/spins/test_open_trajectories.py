"""Quantum-jump trajectories as sequences: their average solves the Lindblad equation."""

from __future__ import annotations

import numpy as np
import qutip
import torch

from qdyn import TransverseFieldIsing
from qdyn.data.source import generator_of
from qdyn.data.spins.open_trajectories import QuantumJumps
from qdyn.quantum.observables import site_magnetisation

CHAIN = {"model": "transverse_field_ising", "n_sites": 3, "coupling": 1.0, "field": 0.8}


def source(**changes: object) -> QuantumJumps:
    settings = {"hamiltonian": CHAIN, "time_step": 0.5, "n_steps": 4, "initial_states": "0+1",
                "channels": {"dephasing": 0.3, "decay": 0.2}}  # fmt: skip
    return QuantumJumps(**{**settings, **changes})


def test_the_average_over_trajectories_solves_the_lindblad_equation() -> None:
    count = 400
    jumps = source()
    states = torch.from_numpy(jumps.block(seed=1, first=0, count=count, precision="double").values)
    assert float((torch.linalg.vector_norm(states, dim=-1) - 1).abs().max()) < 1e-9
    plus = (qutip.basis(2, 0) + qutip.basis(2, 1)).unit()
    start = qutip.tensor(qutip.basis(2, 0), plus, qutip.basis(2, 1))

    def on(operator: qutip.Qobj, site: int) -> qutip.Qobj:
        return qutip.expand_operator(operator, dims=[2, 2, 2], targets=site)

    sites = range(3)
    # The state |1> is the one that decays, to |0>: sigma-plus in QuTiP's words.
    environment = [np.sqrt(0.3 / 2) * on(qutip.sigmaz(), site) for site in sites]
    environment += [np.sqrt(0.2) * on(qutip.sigmap(), site) for site in sites]
    H = TransverseFieldIsing(3, coupling=1.0, field=0.8).to_qutip()
    watched = [on(operator, site) for operator in (qutip.sigmax(), qutip.sigmaz()) for site in sites]
    expected = np.array(qutip.mesolve(H, start, jumps.times, environment, e_ops=watched).expect).T
    found = torch.cat([site_magnetisation(axis).expectation(states) for axis in ("x", "z")], dim=-1).numpy()
    error = found.std(axis=0, ddof=1) / np.sqrt(count)
    # 24 values that vary; 4 standard errors are exceeded by one of them in 1 of 700 seeds, and this is fixed.
    assert (np.abs(found.mean(axis=0) - expected) <= 4 * error + 1e-6).all()


def test_rates_are_drawn_known_and_at_work() -> None:
    drawn = source(channels={"dephasing": {"uniform": [0.0, 2.0]}, "decay": [0.0, 0.1, 0.2]})
    block = drawn.block(seed=2, first=10, count=5, precision="single")
    assert block.values.dtype == np.complex64
    assert list(drawn.condition_units())[-4:] == [
        "decay_rate_0",
        "decay_rate_1",
        "decay_rate_2",
        "dephasing_rate",
    ]
    assert block.conditions["decay_rate_2"].tolist() == [0.2] * 5
    rates = block.conditions["dephasing_rate"]
    assert rates[3] == generator_of(2, 13, 2).uniform(0.0, 2.0)
    still = source(channels={"dephasing": 0.0})
    one, two = (still.block(seed=seed, first=0, count=2, precision="double").values for seed in (1, 2))
    np.testing.assert_allclose(one, two, atol=1e-9)


def test_a_trajectory_depends_on_seed_and_number_alone() -> None:
    together = source().block(seed=7, first=0, count=6, precision="double")
    alone = source().block(seed=7, first=4, count=1, precision="double")
    np.testing.assert_allclose(together.values[4], alone.values[0], atol=1e-12)
    assert np.abs(together.values[4] - together.values[5]).max() > 1e-3


def test_disorder_per_site_makes_every_trajectory_its_own_system() -> None:
    chain = {**CHAIN, "field": {"uniform": [0.0, 1.0], "per": "site"}}
    block = source(hamiltonian=chain).block(seed=0, first=0, count=3, precision="double")
    assert len({*block.conditions["field_0"], *block.conditions["field_2"]}) == 6
