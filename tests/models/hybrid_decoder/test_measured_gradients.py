"""Whole trainings whose derivatives come from the values of circuits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import qdyn
from qdyn.data.molecules.small_molecules import small_molecules
from qdyn.data.sequences import SequenceDataset
from qdyn.data.smiles import SmilesVocabulary
from qdyn.training.config import load_config

pytest.importorskip("rdkit")
STEPS, EVERY = 200, 40


@pytest.fixture(scope="module")
def data() -> SequenceDataset:
    """The 5,453 molecules of up to five heavy atoms, 500 of them held out."""
    every = small_molecules(5)
    smiles = [every[place] for place in np.random.default_rng(0).permutation(len(every))]
    vocabulary = SmilesVocabulary.of(smiles)
    rows, lengths = vocabulary.encode(smiles)
    return SequenceDataset.from_arrays(
        rows,
        kind="token",
        vocabulary=vocabulary.words,
        lengths=lengths,
        splits={"train": (0, len(smiles) - 500), "validation": (len(smiles) - 500, len(smiles))},
        name="small",
    )


def losses(data: SequenceDataset, out: Path, *overrides: str, steps: int = STEPS) -> np.ndarray:
    """Validation loss after every so many of a few hundred updates, all from the same start and batches."""
    settings = (
        f"training.steps={steps}",
        f"training.evaluate_every={EVERY}",
        f"training.checkpoint_every={steps}",
        "training.batch_size=32",
        "training.dtype=complex128",
    )
    config = load_config("hybrid-decoder", overrides=[*settings, *overrides]).with_seeds([0])
    return qdyn.train(config, dataset=data, out=out, progress=False).history.validation["L_1"][:, 0]


@pytest.mark.slow
def test_trainings_by_values_of_circuits_learn_like_the_exact_one(
    data: SequenceDataset, tmp_path: Path
) -> None:
    """The shift rule gives the same derivatives, simultaneous perturbation noisy ones of the same mean."""
    exact = losses(data, tmp_path / "exact")
    shifted = losses(data, tmp_path / "shift", "model.gradient=parameter_shift", steps=2 * EVERY)
    perturbed = losses(data, tmp_path / "spsa", "model.gradient=spsa")
    frozen = losses(data, tmp_path / "frozen", "model.frozen=true")
    assert exact[-1] < frozen[-1] - 0.02, "trained angles are worth something here"
    # Rounding grows from update to update.
    np.testing.assert_allclose(shifted, exact[:2], atol=1e-6)
    assert (np.diff(perturbed) < 0.02).all()
    # Most of what trained angles gain is gained along noisy derivatives too.
    assert perturbed[-1] - exact[-1] < 0.5 * (frozen[-1] - exact[-1])
