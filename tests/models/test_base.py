"""What a predictor does with its forecasts: feeding them back as elements of the data."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from qdyn.data.sequences import SequenceMetadata
from qdyn.errors import ArgumentError
from qdyn.models.base import Predictor
from qdyn.models.context import check_context
from qdyn.quantum.states import haar_random_states


class Shift(Predictor):
    """Rotates the basis by one and multiplies by 3i: neither normalised nor of a given phase."""

    name = "shift"

    def forecast(self, inputs: Tensor, mask: Tensor | None = None) -> Tensor:
        factor = 3j if inputs.is_complex() else 3
        return factor * inputs.roll(1, dims=-1)


class NextToken(Predictor):
    def forecast(self, inputs: Tensor, mask: Tensor | None = None) -> Tensor:
        return torch.nn.functional.one_hot((inputs + 1) % 5, 5) * 0.6 + 0.08


@pytest.mark.parametrize("convention", [None, "raw", "first_real"])
def test_states_are_fed_back_normalised_and_in_the_phase_convention(convention: str | None) -> None:
    predictor = Shift()
    if convention:
        predictor.metadata = SequenceMetadata("x", "quantum_state", 4, phase_convention=convention)
    context = haar_random_states(n_qubits=2, batch=6, seed=0).reshape(2, 3, 4)
    forecast = predictor.rollout(context, 4)
    assert forecast.shape == (2, 4, 4)
    for step in range(4):
        expected = context[:, -1].roll(step + 1, dims=-1)
        overlap = (forecast[:, step].conj() * expected).sum(-1)
        torch.testing.assert_close(overlap.abs(), torch.ones(2, dtype=torch.float64))
        if convention == "first_real":
            assert not forecast[:, step, 0].imag.any()
            assert bool((forecast[:, step, 0].real >= 0).all())
        else:
            torch.testing.assert_close(forecast[:, step], 1j ** (step + 1) * expected)


def test_real_vectors_are_fed_back_normalised() -> None:
    context = torch.tensor([[0.6, 0.8, 0.0]])
    torch.testing.assert_close(Shift().rollout(context, 2), torch.tensor([[0.0, 0.6, 0.8], [0.8, 0.0, 0.6]]))


def test_tokens_are_fed_back_by_their_number() -> None:
    predictor = NextToken()
    predictor.metadata = SequenceMetadata("x", "token", 5)
    assert predictor.rollout(torch.tensor([[0, 1], [2, 3]]), 3).tolist() == [[2, 3, 4], [4, 0, 1]]


def test_predict_is_the_last_forecast() -> None:
    context = haar_random_states(n_qubits=2, batch=3, seed=0)
    predictor = Shift()
    torch.testing.assert_close(predictor.predict(context), predictor.forecast(context)[-1])


@pytest.mark.parametrize(
    ("context", "steps"), [(torch.ones(2, 0, 4), 1), (torch.ones(4), 1), (torch.ones(1, 4), 0)]
)
def test_bad_rollouts(context: Tensor, steps: int) -> None:
    with pytest.raises(ArgumentError, match=r"Argument `(context|steps)` must"):
        Shift().rollout(context, steps)


STATES = SequenceMetadata("x", "quantum_state", 4, phase_convention="raw")


@pytest.mark.parametrize(
    ("metadata", "context", "message"),
    [
        (STATES, torch.zeros(2, 3, 8), r"must have shape \(..., T, 4\), but has shape \(2, 3, 8\)"),
        (STATES, torch.full((2, 3, 4), torch.nan), "must be finite"),
        (STATES, torch.zeros(2, 0, 4), "at least one element"),
        (SequenceMetadata("x", "real", 4), torch.zeros(2, 3, 4) * 1j, "must hold real vectors"),
        (SequenceMetadata("x", "token", 5), torch.zeros(2, 3), "must hold token numbers, but is of type"),
        (SequenceMetadata("x", "token", 5), torch.tensor([[0, 5]]), "from 0 to 4, but holds 5"),
    ],
)
def test_a_context_of_other_data_is_refused(
    metadata: SequenceMetadata, context: Tensor, message: str
) -> None:
    predictor = Shift()
    predictor.metadata = metadata
    with pytest.raises(ArgumentError, match=message):
        predictor.rollout(context, 2)


def test_states_without_an_imaginary_part_keep_that_of_their_forecasts() -> None:
    predictor = Shift()
    predictor.metadata = STATES
    context = torch.eye(4, dtype=torch.float64)[None, :2]
    expected = predictor.rollout(context.to(torch.complex128), 2)
    assert expected.imag.abs().max() == 1
    torch.testing.assert_close(predictor.rollout(context, 2), expected)
    torch.testing.assert_close(check_context(context.numpy(), STATES), context.to(torch.complex128))
