"""The baselines' figures on the trajectories of theory/qsa.md, section 9.

The trajectories come from the same random numbers, so the figures must agree to their rounding.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from qdyn.data.sequences import SequenceDataset
from qdyn.models.baselines import Baseline, Chance, InContextDMD, LeastSquares, Persistence, Procrustes

ROUNDING = 5.1e-4


def scores(predictor: Baseline, dataset: SequenceDataset) -> tuple[torch.Tensor, torch.Tensor]:
    """-log fidelity and fidelity of each step of each test trajectory."""
    test = dataset.split("test").batch(range(128))
    forecast = predictor.fit(dataset).forecast(test.inputs)
    assert torch.allclose(
        torch.linalg.vector_norm(forecast, dim=-1), torch.ones(128, 32, dtype=torch.float64)
    )
    fidelity = torch.linalg.vecdot(forecast, test.targets).abs().square()
    return -torch.log(fidelity), fidelity


PUBLISHED = [
    (Persistence(), "first_real", 1.250, 0.372),
    (Persistence(), "raw", 1.250, 0.372),
    (LeastSquares(), "first_real", 0.293, None),
    (Procrustes(), "first_real", 0.238, None),
    (Procrustes(), "raw", 0.193, None),
    (InContextDMD(), "raw", 0.169, None),
    (InContextDMD(residual="procrustes"), "raw", 0.025, 0.977),
]


@pytest.mark.parametrize(
    ("predictor", "phases", "loss", "fidelity"), PUBLISHED, ids=lambda one: getattr(one, "name", str(one))
)
def test_figures_of_the_theory_page(
    section_nine: Callable[[str], SequenceDataset],
    predictor: Baseline,
    phases: str,
    loss: float,
    fidelity: float | None,
) -> None:
    losses, fidelities = scores(predictor, section_nine(phases))
    assert float(losses.mean()) == pytest.approx(loss, abs=ROUNDING)
    if fidelity is not None:
        assert float(fidelities.mean()) == pytest.approx(fidelity, abs=ROUNDING)


@pytest.mark.parametrize(("residual", "loss"), [("none", 1.96), ("procrustes", 1.82)])
def test_fixing_phases_state_by_state_ruins_in_context_least_squares(
    section_nine: Callable[[str], SequenceDataset], residual: str, loss: float
) -> None:
    losses, _ = scores(InContextDMD(residual=residual), section_nine("first_real"))  # type: ignore[arg-type]
    assert float(losses.mean()) == pytest.approx(loss, abs=5.1e-3)


def test_chance_meets_its_closed_form(section_nine: Callable[[str], SequenceDataset]) -> None:
    losses, fidelities = scores(Chance(seed=3), section_nine("raw"))
    # The draws are independent, so the standard error follows from the spread over all 4096 of them.
    error = float(losses.std()) / losses.numel() ** 0.5
    harmonic = sum(1 / k for k in range(1, 16))  # digamma(16) - digamma(1)
    assert float(losses.mean()) == pytest.approx(harmonic, abs=4 * error)
    assert float(fidelities.mean()) == pytest.approx(1 / 16, abs=4 * float(fidelities.std()) / 64)
