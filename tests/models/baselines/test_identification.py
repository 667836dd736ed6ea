"""The couplings of a trajectory, identified from its states: exact where they say enough, in either gauge."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg
import scipy.optimize
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from qdyn.data.sequences import SequenceDataset
from qdyn.dynamics.evolve import evolve
from qdyn.errors import ArgumentError, DatasetError
from qdyn.models.baselines import HamiltonianIdentification
from qdyn.models.baselines.identification import _divided_differences
from qdyn.quantum.hamiltonians import Hamiltonian, TransverseFieldIsing
from qdyn.quantum.spin_models import LongRangeIsing
from qdyn.quantum.states import haar_random_states, product_state, with_phase_convention

STEP = 0.35
FORM = TransverseFieldIsing(n_sites=3)


def dataset(
    coupling: list[float],
    field: list[float],
    *,
    phases: str = "raw",
    n_steps: int = 8,
    form: Hamiltonian = FORM,
    states: Tensor | None = None,
) -> SequenceDataset:
    """Trajectories with these couplings, all of them its training split."""
    times = STEP * np.arange(n_steps + 1)
    if states is None:
        chain = TransverseFieldIsing(
            n_sites=form.n_sites,
            coupling=torch.tensor(coupling, dtype=torch.float64),
            field=torch.tensor(field, dtype=torch.float64),
        )
        start = haar_random_states(n_qubits=form.n_sites, batch=len(coupling), seed=11)
        states = evolve(chain, start, times).states
    return SequenceDataset.from_arrays(
        states,  # type: ignore[arg-type]
        kind="quantum_state",
        phase_convention=phases,  # type: ignore[arg-type]
        times=times,
        conditions={"coupling": coupling, "field": field},
    )


def infidelity(forecast: Tensor, target: Tensor) -> Tensor:
    return 1 - torch.linalg.vecdot(forecast, target).abs().square()


@pytest.mark.parametrize("phases", ["raw", "first_real"])
def test_two_states_are_enough(phases: str) -> None:
    data = dataset([0.2, 0.7, 1.3, 2.0], [2.0, 0.2, 1.1, 0.9], phases=phases)
    batch = data.batch(range(4))
    predictor = HamiltonianIdentification(FORM).fit(data)
    missed = infidelity(predictor.forecast(batch.inputs), batch.targets)
    assert float(missed[:, 1:].max()) < 1e-12
    # With one state there is no transition yet: the mean couplings of the training split.
    mean = TransverseFieldIsing(n_sites=3, coupling=1.05, field=1.05)
    ahead = evolve(mean, batch.inputs[:, 0], [STEP]).states
    assert ahead is not None
    assert float(infidelity(predictor.forecast(batch.inputs[:, :1]), ahead).max()) < 1e-12
    found = predictor.identify(batch.inputs[:, :2])
    for name, values in found.items():
        assert torch.allclose(values, data.conditions[name].double(), atol=1e-8)
    assert torch.allclose(predictor.rollout(batch.inputs[:, :2], 6), batch.inputs[:, 2:8], atol=1e-8)
    assert torch.allclose(
        predictor.predict(batch.inputs[:, :5]), predictor.forecast(batch.inputs)[:, 4], atol=1e-12
    )


@given(
    coupling=st.floats(0.0, 2.5), field=st.floats(0.0, 2.5), seed=st.integers(0, 1000), fixed=st.booleans()
)
@settings(max_examples=40, deadline=None)
def test_couplings_in_and_somewhat_beyond_the_range_of_the_training_split_are_found(
    coupling: float, field: float, seed: int, fixed: bool
) -> None:
    phases = "first_real" if fixed else "raw"
    predictor = HamiltonianIdentification(FORM).fit(dataset([0.2, 2.0], [2.0, 0.2], phases=phases))
    chain = TransverseFieldIsing(n_sites=3, coupling=coupling, field=field)
    states = evolve(chain, haar_random_states(n_qubits=3, seed=seed), STEP * np.arange(12)).states
    assert states is not None
    shown = with_phase_convention(states, phases)  # type: ignore[arg-type]
    forecast = predictor.forecast(shown[:-1])
    assert float(infidelity(forecast, shown[1:])[2:].max()) < 1e-10


def test_where_phases_mean_nothing_they_change_nothing() -> None:
    data = dataset([0.4, 1.7], [1.5, 0.6], phases="first_real")
    predictor = HamiltonianIdentification(FORM).fit(data)
    inputs = data.batch(range(2)).inputs
    turned = inputs * torch.exp(1j * torch.linspace(0, 40, 16, dtype=torch.float64)).reshape(2, 8, 1)
    one, other = predictor.forecast(inputs), predictor.forecast(turned)
    assert float(infidelity(one, other).max()) < 1e-12


def test_raw_phases_tell_the_energy_of_a_stationary_state() -> None:
    # |+> stays where it is under -h X; only its phase shows h.
    form = TransverseFieldIsing(n_sites=1, coupling=0.0)
    start = product_state("+").expand(2, -1)
    chain = TransverseFieldIsing(n_sites=1, coupling=0.0, field=torch.tensor([0.3, 1.2], dtype=torch.float64))
    states = evolve(chain, start, STEP * np.arange(4)).states
    assert states is not None
    for phases, told in (("raw", [0.3, 1.2]), ("first_real", [0.75, 0.75])):
        data = SequenceDataset.from_arrays(
            states,
            kind="quantum_state",
            phase_convention=phases,  # type: ignore[arg-type]
            times=STEP * np.arange(4),
            conditions={"field": [0.3, 1.2]},
        )
        shown = data.batch(range(2)).inputs
        found = HamiltonianIdentification(form).fit(data).identify(shown)["field"]
        assert found.tolist() == pytest.approx(told, abs=1e-8)


@pytest.mark.parametrize("phases", ["raw", "first_real"])
def test_the_estimate_from_noisy_states_is_the_minimum_that_scipy_finds(phases: str) -> None:
    clean = dataset([0.5, 1.6], [1.4, 0.8], phases=phases)
    noise = torch.from_numpy(np.random.default_rng(3).standard_normal((2, 9, 8, 2)))
    states = clean.sequences(range(2)) + 0.02 * torch.view_as_complex(noise)
    states = states / torch.linalg.vector_norm(states, dim=-1, keepdim=True)
    predictor = HamiltonianIdentification(FORM).fit(dataset([0.2, 2.0], [2.0, 0.2], phases=phases))
    found = predictor.identify(states)
    for row, sequence in enumerate(states.numpy()):

        def cost(values: np.ndarray, sequence: np.ndarray = sequence) -> float:
            chain = TransverseFieldIsing(n_sites=3, coupling=values[0], field=values[1])
            step = scipy.linalg.expm(-1j * STEP * chain.to_dense().numpy())
            overlap = np.einsum("ti,ij,tj->t", sequence[1:].conj(), step, sequence[:-1])
            # ||U x - y||^2 = 2 - 2 Re <y|U x>
            terms = 2 - 2 * overlap.real if phases == "raw" else 1 - np.abs(overlap) ** 2
            return float(terms.sum())

        best = scipy.optimize.minimize(
            cost, [1.0, 1.0], method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-15}
        ).x
        assert [float(found[name][row]) for name in ("coupling", "field")] == pytest.approx(best, abs=1e-6)


def test_more_context_means_less_noise() -> None:
    generator = np.random.default_rng(5)
    coupling, field = generator.uniform(0.2, 2.0, (2, 64)).tolist()
    clean = dataset(coupling, field, n_steps=32)
    noise = torch.from_numpy(generator.standard_normal((64, 33, 8, 2)))
    states = clean.sequences(range(64)) + 0.02 * torch.view_as_complex(noise)
    predictor = HamiltonianIdentification(FORM).fit(clean)
    few, many = (
        float((predictor.identify(states[:, :seen])["field"] - torch.tensor(field)).square().mean().sqrt())
        for seen in (9, 33)
    )
    # Four times the transitions: half the error, give or take the draw of 64 trajectories (1/8 each).
    assert few / many == pytest.approx(2.0, rel=3 * 2**0.5 / 8)


def test_a_masked_state_takes_no_part() -> None:
    data = dataset([0.4, 1.7], [1.5, 0.6])
    inputs = data.batch(range(2)).inputs.clone()
    inputs[:, 1] = torch.eye(8, dtype=inputs.dtype)[3]
    mask = torch.ones(2, 8, dtype=torch.bool)
    mask[:, 1] = False
    predictor = HamiltonianIdentification(FORM).fit(data)
    missed = infidelity(predictor.forecast(inputs, mask), data.batch(range(2)).targets)
    assert float(missed[:, 3:].max()) < 1e-12  # states 2 and 3 are the first transition that counts
    assert float(missed[:, 2].min()) > 1e-3


def test_divided_differences_meet_their_definition_and_its_limit() -> None:
    energies = torch.tensor([-1.0, 0.3, 0.3, 0.3 + 1e-9, 2.5], dtype=torch.float64)
    found = _divided_differences(energies, STEP)
    f = torch.exp(-1j * STEP * energies)
    slope = -1j * STEP * f
    assert abs(found[0, 4] - (f[0] - f[4]) / (energies[0] - energies[4])) < 1e-14
    assert abs(found[1, 2] - slope[1]) < 1e-14
    assert abs(found[1, 3] - slope[1]) < 1e-9


def test_clear_refusals(as_user: None) -> None:
    data = dataset([0.4, 1.7], [1.5, 0.6])
    with pytest.raises(ArgumentError, match="identification must be fitted before it can forecast"):
        HamiltonianIdentification(FORM).forecast(data.batch([0]).inputs)
    predictor = HamiltonianIdentification(FORM).fit(data)
    with pytest.raises(ArgumentError, match=r"`inputs` must have shape \(..., T, 8\)"):
        predictor.forecast(torch.zeros(2, 3, 4, dtype=torch.complex128))
    with pytest.raises(ArgumentError, match="must be complex states"):
        predictor.forecast(torch.zeros(2, 3, 8))
    with pytest.raises(DatasetError, match="names none"):
        HamiltonianIdentification().fit(data)
    power = SequenceDataset.from_arrays(
        data.sequences(range(2)),
        kind="quantum_state",
        times=data.times,
        conditions={"coupling": [1.0, 2.0], "exponent": [1.0, 3.0]},
    )
    with pytest.raises(DatasetError, match="LongRangeIsing is not linear in coupling, exponent"):
        HamiltonianIdentification(LongRangeIsing(n_sites=3)).fit(power)
