"""Decoders beside each other: what is trained, what a difference is worth, and what a page tells of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from qdyn.data.molecules.subsets import with_fewer_trained_on
from qdyn.data.sequences import SequenceDataset
from qdyn.data.smiles import QM9_VOCABULARY, SmilesVocabulary
from qdyn.errors import ArgumentError
from qdyn.evaluation.molecules.decoder_comparison import Question, answer, answers, common_budget
from qdyn.evaluation.molecules.decoder_page import DecoderCampaign, write_decoder_page
from qdyn.evaluation.molecules.decoder_runs import (
    DecoderResult,
    DecoderVariant,
    count_ngrams,
    gather,
    train_variant,
)

ALCOHOLS = [f"{'C' * left}C(O){'C' * right}" for left in range(1, 9) for right in range(1, 9)]
QUANTUM = DecoderVariant("Quantum", "hybrid-decoder", published="quantum_sequence")
UNIFORM = DecoderVariant("Uniform", "hybrid-decoder-uniform")
TUNED = replace(
    QUANTUM,
    label="Quantum, tuned",
    overrides=("training.schedule=cosine", "training.learning_rate_floor=1e-5"),
    published=None,
    tuned=True,
)
TOLD = replace(QUANTUM, preset="hybrid-decoder-conditions", published="quantum_conditions", conditioned=True)
VARIANTS = {"quantum": QUANTUM, "uniform": UNIFORM, "quantum-tuned": TUNED, "told": TOLD}
SCORES = Question("having scores", "quantum", "uniform")
RECORDED = {"quantum_sequence": [0.7, 0.66, 0.65], "quantum_conditions": [0.5, 0.4, 0.45]}


@pytest.fixture(scope="module")
def data() -> SequenceDataset:
    words = SmilesVocabulary(QM9_VOCABULARY, 24)
    rows, lengths = words.encode(ALCOHOLS)
    return SequenceDataset.from_arrays(
        rows,
        kind="token",
        vocabulary=words.words,
        lengths=lengths,
        conditions={"MW": np.arange(64.0)},
        splits={"train": (0, 48), "validation": (48, 64)},
        name="alcohols",
    )


def result(key: str, seed: int, validation: Sequence[float]) -> DecoderResult:
    return DecoderResult(key, seed, 100, len(validation), tuple(validation), 0.9, 0.6, 1.0)


def test_a_training_goes_on_to_more_epochs(data: SequenceDataset, tmp_path: Path) -> None:
    short = train_variant("uniform", UNIFORM, seed=1, epochs=1, data=data, out=tmp_path)
    longer = train_variant("uniform", UNIFORM, seed=1, epochs=3, data=data, out=tmp_path)
    again = train_variant("uniform", UNIFORM, seed=1, epochs=3, data=data, out=tmp_path)
    at_once = train_variant("uniform", UNIFORM, seed=1, epochs=3, data=data, out=tmp_path / "other")
    assert (len(short.validation), len(longer.validation)) == (1, 3)
    assert longer.validation[:1] == short.validation, "a longer run passes through the shorter one's end"
    assert again == longer
    assert at_once.validation == longer.validation
    assert longer.validation[2] < longer.validation[0]
    assert gather([tmp_path, tmp_path / "other"]) == {"uniform": [longer]}, "the first folder counts"


def test_a_schedule_belongs_to_its_length(data: SequenceDataset, tmp_path: Path) -> None:
    for epochs in (1, 2):
        train_variant("quantum-tuned", TUNED, seed=1, epochs=epochs, data=data, out=tmp_path)
    assert {one.name for one in (tmp_path / "runs").iterdir()} == {
        "quantum-tuned-1-epochs",
        "quantum-tuned-2-epochs",
    }
    found = gather([tmp_path])
    assert [one.epochs for one in found["quantum-tuned"]] == [1, 2]
    assert QUANTUM.goes_on
    assert not TUNED.goes_on


def test_fewer_molecules_are_trained_on_and_all_are_held_out(data: SequenceDataset) -> None:
    fewer = with_fewer_trained_on(data, 10)
    for split, rows in (("train", slice(0, 10)), ("validation", slice(48, 64))):
        np.testing.assert_array_equal(fewer.split(split).sequences(), data.sequences()[rows])
        np.testing.assert_array_equal(
            fewer.split(split).batch(range(10)).mask, data.batch(range(rows.start, rows.start + 10)).mask
        )
        np.testing.assert_array_equal(fewer.split(split).conditions["MW"], data.conditions["MW"][rows])
    for wrong in (0, 49):
        with pytest.raises(ArgumentError, match="from 1 to the 48 of training"):
            with_fewer_trained_on(data, wrong)


def test_a_difference_has_the_interval_of_student() -> None:
    draws = np.random.default_rng(0).normal(-0.01, 0.004, 5)
    results = {
        "quantum": [result("quantum", seed, [0.8, 0.7 + gap]) for seed, gap in enumerate(draws)],
        "uniform": [result("uniform", seed, [0.8, 0.7]) for seed in range(5)],
    }
    (one,) = answers([SCORES], results, VARIANTS)
    assert (one.epochs, one.seeds) == (2, (0, 1, 2, 3, 4))
    assert one.interval == pytest.approx(
        stats.t.interval(0.95, 4, loc=draws.mean(), scale=draws.std(ddof=1) / np.sqrt(5))
    )
    assert one.finding == "helps"
    assert replace(one, differences=tuple(-draws)).finding == "hurts"
    assert replace(one, differences=tuple(draws - draws.mean())).finding == "cannot be told"
    early = answer(SCORES, 1, results, VARIANTS)
    assert early is not None
    assert early.differences == (0.0,) * 5, "after one epoch they were equal"


def test_most_seeds_answer_first_and_the_longest_training_too() -> None:
    results = {
        key: [result(key, 0, [0.8, 0.7, level]), *(result(key, seed, [0.8, level]) for seed in (1, 2))]
        for key, level in (("quantum", 0.5), ("uniform", 0.6))
    }
    found = answers([SCORES, Question("more", "quantum", "told")], results, VARIANTS)
    assert [(one.epochs, one.seeds) for one in found] == [(2, (0, 1, 2)), (3, (0,))]
    assert found[0].differences == pytest.approx((0.0, -0.1, -0.1))
    assert [one.finding for one in found] == ["cannot be told", "one seed"]
    assert common_budget(results, VARIANTS) == 2
    # A run along a cosine does not pass through the end of a shorter one.
    tuned = {"quantum-tuned": [result("quantum-tuned", 0, [0.8, 0.7, 0.5])], "uniform": results["uniform"]}
    assert answer(Question("?", "quantum-tuned", "uniform"), 2, tuned, VARIANTS) is None


@pytest.fixture
def campaign() -> DecoderCampaign:
    return DecoderCampaign(VARIANTS, {}, [SCORES], [], RECORDED, epochs=3, seeds=3)


def page_of(campaign: DecoderCampaign, data: SequenceDataset, folder: Path) -> tuple[str, dict[str, object]]:
    page = folder / "page.md"
    write_decoder_page(page, campaign, data)
    assert page.with_suffix(".png").stat().st_size > 1000
    return page.read_text(), json.loads(page.with_suffix(".json").read_text())


def test_a_page_of_nothing_says_so(campaign: DecoderCampaign, data: SequenceDataset, tmp_path: Path) -> None:
    text, numbers = page_of(campaign, data, tmp_path)
    assert text.count("nothing is finished") == 4
    assert "What scores are worth is open" in text
    assert "- Not trained: quantum, uniform, quantum-tuned, told." in text
    assert numbers["answers"] == []


def test_a_page_tells_what_the_numbers_are(
    campaign: DecoderCampaign, data: SequenceDataset, tmp_path: Path
) -> None:
    gaps = (-0.010, -0.012, -0.014)
    results = {
        "quantum": [
            result("quantum", 0, [0.7, 0.65 + gaps[0], 0.6]),
            *(result("quantum", seed, [0.7, 0.65 + gaps[seed]]) for seed in (1, 2)),
        ],
        "uniform": [result("uniform", seed, [0.75, 0.65]) for seed in range(3)],
        "quantum-tuned": [result("quantum-tuned", 0, [0.7, 0.68])],
    }
    counted = [{"label": "Bigram", "parameters": 12, "padded": 1.2, "loss": 1.7, "accuracy": 0.4}]
    text, numbers = page_of(replace(campaign, results=results, counted=counted), data, tmp_path)
    assert (
        "The published settings, sequences, 3 epochs: the lowest loss is 0.6000 (Quantum), 0.0500 below the "
        "lowest published one, 0.6500 (quantum_sequence, 20 epochs)." in text
    )
    assert (
        "Settings of ours, sequences, 2 epochs: the lowest loss is 0.6800 (Quantum, tuned), 0.0300 above"
        in text
    )
    low, high = stats.t.interval(0.95, 2, loc=-0.012, scale=0.002 / np.sqrt(3))
    assert (
        f"having scores lowers the loss by 0.0120 (95 % interval over 3 seeds {low:+.4f} to {high:+.4f})"
        in text
    )
    assert f"| Quantum | Uniform | 2 | 3 | -0.0120 | {low:+.4f} to {high:+.4f} | 3 of 3 | helps |" in text
    assert "| Uniform | nothing | 100 | 3 | 0.6500 ± 0.0000 |" in text
    assert "| Bigram | 12 | 1.2000 | 1.7000 | 40.0 |" in text
    assert "- Not trained: told." in text
    assert "- For fewer than 3 epochs: quantum-tuned (2 epochs)." in text
    assert numbers["answers"][0]["differences"] == pytest.approx(gaps)  # type: ignore[index]


def test_the_loser_is_told_too(campaign: DecoderCampaign, data: SequenceDataset, tmp_path: Path) -> None:
    results = {
        "quantum": [result("quantum", seed, [0.71 + 0.001 * seed]) for seed in range(3)],
        "uniform": [result("uniform", seed, [0.70]) for seed in range(3)],
    }
    text, _ = page_of(replace(campaign, results=results), data, tmp_path)
    assert "having scores raises the loss by 0.0110" in text
    assert "| 0 of 3 | hurts |" in text


def test_ngrams_are_counted_once(data: SequenceDataset, tmp_path: Path) -> None:
    rows = count_ngrams(data, tmp_path / "kept.json")
    assert [one["label"] for one in rows[:2]] == ["Unigram", "Bigram"]
    assert rows[1]["loss"] < rows[0]["loss"]
    assert rows[1]["padded"] < rows[1]["loss"], "padding costs next to nothing"
    (tmp_path / "kept.json").write_text("[]")
    assert count_ngrams(data, tmp_path / "kept.json") == []
