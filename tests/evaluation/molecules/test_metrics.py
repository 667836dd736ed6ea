from __future__ import annotations

import functools
import math
from itertools import combinations

import numpy as np
import pytest

from qdyn.data.molecules.properties import PROPERTIES, molecule_properties
from qdyn.data.molecules.small_molecules import small_molecules
from qdyn.data.sequences import SequenceDataset
from qdyn.data.smiles import SmilesVocabulary
from qdyn.errors import ArgumentError, DatasetError
from qdyn.evaluation.molecules import metrics as molecules_module
from qdyn.evaluation.molecules.metrics import (
    MoleculeFigures,
    TrainingMolecules,
    internal_diversity,
    judge_molecules,
)

pytest.importorskip("rdkit")
EVERY = small_molecules(4)


def dataset(smiles: list[str], n_train: int) -> SequenceDataset:
    vocabulary = SmilesVocabulary.of(smiles)
    rows, lengths = vocabulary.encode(smiles)
    return SequenceDataset.from_arrays(
        rows, kind="token", vocabulary=vocabulary.words, lengths=lengths, name="few",
        conditions=dict(zip(PROPERTIES, molecule_properties(smiles).T.copy(), strict=True)),
        splits={"train": (0, n_train), "validation": (n_train, len(smiles))},
    )  # fmt: skip


def test_only_what_was_trained_on_is_known() -> None:
    seen = TrainingMolecules.of(dataset(["CCO", "C", "CN", "CF"], 2))
    assert (seen.smiles, seen.name) == (("CCO", "C"), "few")
    found = judge_molecules(["CN", "C", "OCC", "", "C(", "CN"], training=seen, targets={"MW": 30.0})
    assert found.canonical == ("CN", "C", "CCO", None, None, "CN")
    assert found.is_novel == (True, False, False, None, None, True)
    figures = found.figures
    assert (figures.queries, figures.valid, figures.distinct, figures.novel) == (6, 4, 3, 1)
    assert figures.n_training == 2
    weights = molecule_properties(["CN", "C", "CCO", "CN"])[:, 0]
    mass = figures.property("MW")
    assert mass.mean.mean == pytest.approx(weights.mean())
    assert mass.mean.standard_error == pytest.approx(weights.std(ddof=1) / 2)
    assert mass.training_mean == pytest.approx(molecule_properties(["CCO", "C"])[:, 0].mean())
    distance = mass.distance
    assert distance is not None
    assert distance.mean == pytest.approx(weights.mean() - 30)
    assert distance.standard_error == mass.mean.standard_error
    assert figures.property("LogP").distance is None
    assert np.isnan(found.properties[3]).all()
    assert found.valid_properties.shape == (4, 9)


def test_without_a_training_set_there_is_no_novelty() -> None:
    figures = judge_molecules(["CCO", "CCO"]).figures
    assert figures.novelty is figures.novel is figures.n_training is None
    assert figures.uniqueness is not None
    assert figures.uniqueness.mean == 0.5
    assert figures.property("MW").training_mean is None
    nothing = judge_molecules(["C(", "x"]).figures
    assert (nothing.valid, nothing.validity.mean, nothing.properties) == (0, 0.0, ())
    assert nothing.uniqueness is nothing.diversity is None
    with pytest.raises(KeyError):
        nothing.property("MW")


def test_workers_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qdyn.data.molecules.rdkit_calls._WORTH_PROCESSES", 500)
    strings = [*EVERY[:600], "C(C"] * 2
    one, other = judge_molecules(strings, workers=2), judge_molecules(strings)
    assert one.canonical == other.canonical
    np.testing.assert_array_equal(one.properties, other.properties)


def test_standard_errors_are_those_of_repeated_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draws from a skew distribution, 300 times: errors are the spread of the figures, or a little more."""
    cached = functools.cache(molecules_module.form_and_properties)
    monkeypatch.setattr(molecules_module, "form_and_properties", cached)
    random = np.random.default_rng(0)
    molecules = np.array([*EVERY[:180], *["C("] * 20], dtype=object)
    p = 1 / np.arange(1, 201) ** 0.7
    random.shuffle(p)
    training = TrainingMolecules(tuple(EVERY[:60]))
    found: list[MoleculeFigures] = [
        judge_molecules(random.choice(molecules, 150, p=p / p.sum()).tolist(), training=training).figures
        for _ in range(300)
    ]
    for name in ("validity", "uniqueness", "novelty", "diversity"):
        each = [getattr(one, name) for one in found]
        spread = np.std([one.mean for one in each], ddof=1)
        told = math.sqrt(np.mean([one.standard_error**2 for one in each]))
        # 300 samples know their spread to 4 %.
        assert 0.88 < told / spread < 1.4, (name, told, spread)


def test_diversity_is_the_mean_over_pairs() -> None:
    from rdkit import Chem, DataStructs
    from rdkit.Chem import rdFingerprintGenerator

    smiles = [*EVERY[100:118], EVERY[100], EVERY[101]]
    make = rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=2048)
    prints = [make.GetFingerprint(Chem.MolFromSmiles(one)) for one in smiles]
    expected = np.mean([1 - DataStructs.TanimotoSimilarity(a, b) for a, b in combinations(prints, 2)])
    assert internal_diversity(smiles).mean == pytest.approx(expected, abs=1e-12)


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(ArgumentError, match="at least one string"):
        judge_molecules([])
    with pytest.raises(ArgumentError, match=">= 2"):
        internal_diversity(["C"])
    words = SequenceDataset.from_arrays(np.zeros((2, 3), int), kind="token", dimension=2, name="words")
    with pytest.raises(DatasetError, match="'words' holds no molecules"):
        TrainingMolecules.of(words)
    with pytest.raises(DatasetError, match="'training set' does not tell 'MW'"):
        TrainingMolecules(("C",)).table(["MW"])


def test_one_training_molecule_has_no_spread() -> None:
    known = TrainingMolecules(("CO",), {"MW": np.array([32.04])})
    found = judge_molecules(["CO"], training=known).figures.property("MW")
    assert (found.spread, found.training_mean, found.training_spread) == (None, 32.04, None)
