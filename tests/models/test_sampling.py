from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from qdyn.data.molecules.properties import PROPERTIES
from qdyn.data.molecules.rdkit_calls import canonical_smiles
from qdyn.data.sequences import SequenceDataset, SequenceMetadata
from qdyn.data.smiles import QM9_VOCABULARY, SmilesVocabulary
from qdyn.errors import ArgumentError
from qdyn.models.base import Predictor
from qdyn.models.baselines import Bigram
from qdyn.models.hybrid_decoder.cache import CACHED_SCORES, PreparedDecoder
from qdyn.models.hybrid_decoder.config import HybridDecoderConfig
from qdyn.models.hybrid_decoder.decoder import HybridDecoder
from qdyn.models.lstm_decoder import LSTMDecoder, LSTMDecoderConfig
from qdyn.models.sampling import BLOCK, Frame, sample_sequences, strings_of

WEIGHTS = Path("data") / "hybrid_decoder"
QM9 = SequenceMetadata("qm9", "token", 33, vocabulary=QM9_VOCABULARY)
LETTERS = ("<s>", "a", "b", "c", "</s>")
MOLECULES = ["CNC1(C(=O)OC)CC1", "CCO", "O=[N+]([O-])c1ccoc1", "C"]
TOLD = torch.tensor([120.0, 2.0, 1.0, 1.0, 2.0, 2.5, 37.0, 0.3, 1.7])


class OneDistribution(Predictor):
    """The same probabilities after every word, whatever came before."""

    def __init__(self, probabilities: list[float]) -> None:
        self.metadata = SequenceMetadata("letters", "token", len(LETTERS), vocabulary=LETTERS)
        self.probabilities = torch.tensor(probabilities)

    def forecast(self, inputs: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        return self.probabilities.expand(*inputs.shape, -1)


def decoder(**settings: Any) -> HybridDecoder:
    return HybridDecoder(HybridDecoderConfig(initial_spread=1.0, **settings), QM9, seed=3).eval()


@pytest.mark.parametrize("conditions", [(), PROPERTIES])
@pytest.mark.parametrize(
    "options",
    [
        *({"score": score} for score in CACHED_SCORES),
        {"layers": 2},
        {"ansatz": "hardware_efficient"},
        {"ansatz": "hardware_efficient", "layers": 2},
        {"property_angles": "batch_range"},
    ],
    ids=str,
)
def test_logits_with_a_cache_are_those_of_the_whole_prefix(
    options: dict[str, Any], conditions: tuple[str, ...]
) -> None:
    model = decoder(conditions=conditions, **options).double()
    rows = torch.from_numpy(SmilesVocabulary.of_qm9().encode(MOLECULES)[0])[:, :-1]
    told = TOLD.double() if conditions else None
    with torch.no_grad():
        whole = model(rows, None if told is None else told.expand(4, -1))[0]
        cache = PreparedDecoder(model, told).begin(4)
        kept = torch.arange(4)
        for step in range(rows.shape[1]):
            found = cache.step(rows[kept, step])
            assert float((found - whole[kept, step]).abs().max()) < 1e-12
            if step == 9:
                kept = torch.tensor([2, 0])
                cache.keep(kept)


def test_sequences_with_a_cache_are_those_without() -> None:
    """In double precision, where no draw falls between the two roundings."""
    model = decoder(score="classical", conditions=("MW", "LogP")).double()
    told = torch.tensor([1.0, 0.3])
    one, other = (
        sample_sequences(model, 60, elements=24, conditions=told, seed=5, cached=cached)
        for cached in (True, False)
    )
    assert torch.equal(one, other)


@pytest.mark.parametrize("cached", [True, False])
def test_nothing_is_dropped_and_training_goes_on(cached: bool) -> None:
    model = decoder(dropout=0.5)
    expected = sample_sequences(model, 8, elements=24, cached=cached)
    assert torch.equal(sample_sequences(model.train(), 8, elements=24, cached=cached), expected)
    assert model.training


@pytest.mark.parametrize("options", [{}, {"conditions": ("LogP",)}])
def test_an_lstm_draws_too(options: dict[str, Any]) -> None:
    model = LSTMDecoder(LSTMDecoderConfig(**options), QM9, seed=0)
    told = torch.tensor([0.3]) if options else None
    drawn = sample_sequences(model, 5, elements=24, conditions=told)
    assert torch.equal(sample_sequences(model, 9, elements=24, conditions=told)[:5], drawn)


@pytest.mark.parametrize("predictor", [decoder(layers=2), OneDistribution([0, 0.4, 0.3, 0.1, 0.2])])
def test_a_sequence_depends_on_its_number_alone(predictor: Predictor) -> None:
    many = sample_sequences(predictor, BLOCK + 90, elements=9, seed=7)
    few = sample_sequences(predictor, 5, elements=9, seed=7)
    shared = sample_sequences(predictor, BLOCK + 9, elements=9, seed=7, workers=3)
    assert torch.equal(many[:5], few)
    assert torch.equal(many[: BLOCK + 9], shared)
    assert not torch.equal(sample_sequences(predictor, 5, elements=9, seed=8), few)
    assert sample_sequences(predictor, 0, elements=9).shape == (0, 9)


@pytest.mark.parametrize(("temperature", "top_k"), [(1.0, None), (0.5, None), (2.0, 2), (1.0, 3)])
def test_words_come_as_often_as_they_should(temperature: float, top_k: int | None) -> None:
    p = np.array([0.0, 0.4, 0.3, 0.1, 0.2])
    drawn = sample_sequences(
        OneDistribution(p.tolist()), 4000, elements=2, temperature=temperature, top_k=top_k, seed=1
    )
    wanted = p ** (1 / temperature)
    if top_k is not None:
        wanted[np.argsort(wanted)[:-top_k]] = 0
    counts = np.bincount(drawn[:, 1].numpy(), minlength=5)
    assert counts[wanted == 0].sum() == 0
    wanted *= 4000 / wanted.sum()
    assert chisquare(counts[wanted > 0], wanted[wanted > 0]).pvalue > 1e-3


@settings(max_examples=15)
@given(st.integers(0, 2**40), st.sampled_from([1e-3, 1e-300]))
def test_a_temperature_near_zero_takes_the_most_probable(seed: int, temperature: float) -> None:
    drawn = sample_sequences(
        OneDistribution([0, 0.2, 0.5, 0.2, 0.1]), 2, elements=4, temperature=temperature, seed=seed
    )
    assert drawn.tolist() == [[0, 2, 2, 2]] * 2


def test_sentences_of_a_fitted_predictor() -> None:
    """A bigram that has seen two sentences says nothing else, but for its pseudo-counts."""
    rows = [[0, 1, 2, 4, 4], [0, 3, 4, 4, 4]]
    data = SequenceDataset.from_arrays(
        np.array(rows * 50), kind="token", vocabulary=LETTERS, lengths=[4, 3] * 50, name="letters"
    )
    bigram = Bigram(pseudo_counts=1e-9).fit(data)
    drawn = sample_sequences(bigram, 1000, elements=5, seed=2)
    said = strings_of(data.metadata, drawn)
    assert set(said) == {"a b", "c"}
    assert abs(said.count("c") - 500) < 4 * np.sqrt(250)
    ended = drawn == 4
    assert bool((ended[:, 1:] >= ended[:, :-1]).all())


def test_what_makes_no_sense_is_refused() -> None:
    letters = OneDistribution([0, 0.25, 0.25, 0.25, 0.25])
    for options, message in (
        ({"temperature": 0.0}, "`temperature` must be a finite number > 0"),
        ({"top_k": 0}, "`top_k` must be an integer >= 1"),
        ({"seed": -1}, "`seed` must be an integer >= 0"),
        ({"conditions": TOLD}, "`conditions` must be None"),
    ):
        with pytest.raises(ArgumentError, match=message):
            sample_sequences(letters, 3, elements=5, **options)  # type: ignore[arg-type]
    for model, told, message in (
        (decoder(), TOLD, "told none"),
        (decoder(conditions=PROPERTIES), None, "MW, HBA, .* is missing"),
        (decoder(conditions=PROPERTIES), TOLD[:3], r"shape \(1, 9\), but has \(1, 3\)"),
        (decoder(conditions=PROPERTIES), TOLD * torch.nan, "finite"),
    ):
        with pytest.raises(ArgumentError, match=message):
            sample_sequences(model, 3, elements=24, conditions=told)
    with pytest.raises(ArgumentError, match="`elements` must be at most 25"):
        sample_sequences(decoder(), 3, elements=40)
    with pytest.raises(ArgumentError, match=r"\[CLS\] and \[EOS\] or <s> and </s>.* of 'x' lacks"):
        Frame.of(SequenceMetadata("x", "token", 2, vocabulary=("a", "b")))
    with pytest.raises(ArgumentError, match=r"must forecast tokens .* not 'real'"):
        Frame.of(SequenceMetadata("x", "real", 2))


def validity(name: str, count: int, shared: Path) -> float:
    pytest.importorskip("rdkit")
    model = HybridDecoder.from_published(shared / WEIGHTS / f"{name}.safetensors")
    drawn = strings_of(model.metadata, sample_sequences(model, count, elements=model.config.block, seed=42))
    return sum(canonical_smiles(one) is not None for one in drawn) / count


PUBLISHED = [("classical_sequence", 0.72435), ("quantum_sequence", 0.68374)]


@pytest.mark.parametrize(("name", "expected"), PUBLISHED)
def test_published_weights_write_as_many_molecules(name: str, expected: float, shared: Path) -> None:
    """Validity of 2,000 queries within three of its standard errors, 1.0 points, of that of 100,000."""
    assert abs(validity(name, 2000, shared) - expected) < 3 * np.sqrt(expected * (1 - expected) / 2000)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "expected"), PUBLISHED)
def test_published_weights_write_as_many_molecules_of_many(name: str, expected: float, shared: Path) -> None:
    """The same of 10,000 queries, whose standard error is 0.45 points."""
    assert abs(validity(name, 10_000, shared) - expected) < 3 * np.sqrt(expected * (1 - expected) / 10_000)
