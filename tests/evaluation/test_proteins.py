from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import qdyn
from qdyn.data.proteins.amino_acids import ProteinVocabulary, residues_of
from qdyn.data.sequences import SequenceDataset
from qdyn.errors import ArgumentError, DatasetError
from qdyn.evaluation.proteins import TagClassifier, judge_proteins, word_counts, word_divergence
from qdyn.models.baselines import NGram
from qdyn.models.prompted import Prompted
from qdyn.models.sampling import sample_sequences, strings_of


@pytest.fixture(scope="module")
def families() -> SequenceDataset:
    return qdyn.load_dataset("protein-families", progress=False)


VOCABULARY = ProteinVocabulary(("<family=a>", "<family=b>"), block=10)


def small() -> SequenceDataset:
    """Two families that one residue tells apart."""
    proteins = ["ACAC", "CACA", "AACC", "WKWK", "KWKW", "WWKK", "ACCA", "KWWK"]
    tags = [["<family=a>"]] * 3 + [["<family=b>"]] * 3 + [["<family=a>"], ["<family=b>"]]
    tokens, lengths = VOCABULARY.encode(proteins, tags)
    return SequenceDataset.from_arrays(
        tokens,
        kind="token",
        vocabulary=VOCABULARY.words,
        lengths=lengths,
        splits={"train": (0, 6), "test": (6, 8)},
    )


def test_words_are_counted_where_they_are_known() -> None:
    counts = word_counts(["ACA", "AXA", ""], 2)
    assert counts.sum(axis=1).tolist() == [2, 0, 0]
    assert word_counts(["AXA"], 1)[0].sum() == 2


def test_divergence_is_that_of_the_smoothed_shares() -> None:
    q, p = np.full(20, 0.5), np.full(20, 0.5)
    q[[0, 1]] += [3, 1]
    p[[0, 18]] += [2, 4]
    q, p = q / q.sum(), p / p.sum()
    expected = sum(a * math.log(a / b) for a, b in zip(q, p, strict=True))
    assert word_divergence(["AAA", "C"], ["AWWW", "AW"], length=1) == pytest.approx(expected)
    assert word_divergence(["ACD"], ["ACD"], length=3) == 0
    assert word_divergence(["ACD"], ["DCA"], length=2, smoothing=1e-3) > 1
    with pytest.raises(ArgumentError, match="`reference` must hold at least one sequence"):
        word_divergence(["A"], [], length=1)


def test_the_judge_tells_families_apart_that_it_has_not_seen(families: SequenceDataset) -> None:
    parts = []
    for name in ("train", "test"):
        part = families.split(name)
        proteins = residues_of(part.sequences(), families.metadata.vocabulary or ())
        parts.append((proteins, [f"{int(family)}" for family in part.conditions["family"].tolist()]))
    judge = TagClassifier().fit(*parts[0])
    found = judge.accuracy(*parts[1])
    assert found.mean > 0.9
    assert found.standard_error == pytest.approx(math.sqrt(found.mean * (1 - found.mean) / 191))
    # Of labels that were dealt out at random it learns nothing that holds.
    shuffled = np.random.default_rng(0).permutation(parts[0][1]).tolist()
    assert TagClassifier().fit(parts[0][0], shuffled).accuracy(*parts[1]).mean < 0.3


def test_every_share_is_counted_by_hand() -> None:
    drawn = ["ACAC", "ACAC", "KKKK", "WKWW"]
    tags = [["<family=a>"], ["<family=a>"], ["<family=a>"], ["<family=b>"]]
    tokens, _ = VOCABULARY.encode(drawn, tags)
    number = VOCABULARY.number_of
    unfinished = [number["<bos>"], number["<family=a>"], *[number["A"]] * 8]
    late = [number[word] for word in ("<bos>", "A", "<family=a>", "A", "<eos>", *["<pad>"] * 5)]
    empty = [number[word] for word in ("<bos>", "<family=a>", "<eos>", *["<pad>"] * 7)]
    sequences = torch.tensor([*tokens.tolist(), unfinished, late, empty])
    found = judge_proteins(sequences, small())
    assert found.queries == 7
    assert found.valid.mean == pytest.approx(4 / 7)
    assert found.unique.mean == pytest.approx(3 / 4)
    assert found.novel.mean == pytest.approx(2 / 3)
    assert found.tag_recovery is not None
    assert found.tag_recovery.mean == pytest.approx(3 / 4)
    assert found.classifier_accuracy is not None
    assert found.classifier_accuracy.mean == 1
    assert found.divergence == {
        length: word_divergence(drawn, ["ACCA", "KWWK"], length=length) for length in (1, 2)
    }
    assert "7 sequences drawn" in str(found)
    # Asked for one family, words are compared with those of that family.
    one = judge_proteins(torch.from_numpy(tokens[:3]), small())
    assert one.divergence is not None
    assert one.floor is not None
    assert one.divergence[1] == word_divergence(drawn[:3], ["ACCA"], length=1)
    assert one.floor[1] < one.divergence[1]


CHARGED = ProteinVocabulary(
    ("<family=a>", "<family=b>", "<family=c>", "<charge=positive>", "<charge=negative>"), block=10
)


def charged(held_out: list[tuple[str, list[str]]]) -> SequenceDataset:
    """Six training proteins of two families and two charges, C in the one and W in the other."""
    train = [("ACAC", "a"), ("CACA", "a"), ("AACC", "a"), ("WKWK", "b"), ("KWKW", "b"), ("WWKK", "b")]
    charge = {"a": "<charge=negative>", "b": "<charge=positive>"}
    every = [(protein, [f"<family={one}>", charge[one]]) for protein, one in train] + held_out
    tokens, lengths = CHARGED.encode([protein for protein, _ in every], [tags for _, tags in every])
    return SequenceDataset.from_arrays(
        tokens,
        kind="token",
        vocabulary=CHARGED.words,
        lengths=lengths,
        splits={"train": (0, 6), "test": (6, len(every))},
    )


BOTH = [("ACCA", ["<family=a>", "<charge=negative>"]), ("KWWK", ["<family=b>", "<charge=positive>"])]


def written(*proteins: tuple[str, list[str]]) -> torch.Tensor:
    return torch.from_numpy(CHARGED.encode([one for one, _ in proteins], [tags for _, tags in proteins])[0])


@pytest.mark.filterwarnings("error")
def test_held_out_proteins_without_tags_leave_the_ceiling_unknown() -> None:
    found = judge_proteins(written(("ACAC", ["<family=a>"])), charged([("ACCA", []), ("KWWK", [])]))
    assert found.tag_recovery is not None
    assert found.tag_recovery.mean == 1
    assert found.classifier_accuracy is None
    assert "of held-out proteins unknown: none of them has a tag <family=...>" in str(found)
    assert found.divergence is None
    assert "divergence in nats  unknown: no held-out protein has the tag <family=a>" in str(found)
    assert "nan" not in str(found)


def test_words_are_not_compared_with_those_of_other_families() -> None:
    held_out = BOTH[:1]
    found = judge_proteins(written(("WKWK", ["<family=b>"])), charged(held_out))
    assert found.divergence is None
    assert found.floor is None
    assert "no held-out protein has the tag <family=b>" in str(found)
    # Of several tags those that exist are compared with, and the page says which do not.
    some = judge_proteins(written(("WKWK", ["<family=b>"]), ("AC", ["<family=a>"])), charged(held_out))
    assert some.divergence is not None
    assert some.divergence[1] == word_divergence(["WKWK", "AC"], ["ACCA"], length=1)
    assert "training proteins; no held-out protein has the tag <family=b>" in str(some)


def test_the_tag_is_judged_by_who_knows_its_key() -> None:
    asked = ["<charge=positive>"]
    found = judge_proteins(written(("WKKW", asked), ("KWKW", asked), ("CACA", asked)), charged(BOTH))
    assert found.tag_recovery is not None
    assert found.tag_recovery.mean == pytest.approx(2 / 3)
    assert found.classifier_accuracy is not None
    assert found.classifier_accuracy.mean == 1
    assert found.divergence is not None
    assert found.divergence[1] == word_divergence(["WKKW", "KWKW", "CACA"], ["KWWK"], length=1)
    mixed = judge_proteins(written(("WKKW", asked), ("KWKW", ["<family=b>"])), charged(BOTH))
    assert mixed.tag_recovery is None
    assert (
        "tag recovered       unknown: the sequences begin with tags of several keys, charge, family"
        in str(mixed)
    )
    strange = judge_proteins(written(("WKKW", ["<family=c>"])), charged(BOTH))
    assert strange.tag_recovery is None
    assert "unknown: no training protein has the tag <family=c>" in str(strange)


def test_what_holds_no_proteins_is_refused() -> None:
    text = SequenceDataset.from_arrays(torch.tensor([[0, 1]]), kind="token", vocabulary=["<s>", "</s>"])
    with pytest.raises(DatasetError, match="holds no proteins"):
        judge_proteins(torch.tensor([[0, 1]]), text)
    with pytest.raises(ArgumentError, match="holds no valid protein among its 2"):
        judge_proteins(torch.ones(2, 5, dtype=torch.int64), small())
    with pytest.raises(ArgumentError, match="of at least two kinds"):
        TagClassifier().fit(["A"], ["x"])
    with pytest.raises(ArgumentError, match="must be fitted"):
        TagClassifier().predict(["A"])


def test_proteins_are_drawn_under_a_tag_by_the_sampler_of_all_tokens(families: SequenceDataset) -> None:
    model = NGram(1, pseudo_counts=None, given_tags=True).fit(families)
    told = Prompted(model, ["<family=2>"])
    assert told.label == "Unigram, given the tag, given <family=2>"
    drawn = sample_sequences(told, 300, elements=families.n_steps + 1, seed=4)
    words = families.metadata.vocabulary or ()
    assert {words[number] for number in drawn[:, 1].tolist()} == {"<family=2>"}
    assert strings_of(families.metadata, drawn) == residues_of(drawn, words)
    # Behind the tag it is the model's own law.
    p = model.forecast(torch.tensor([[1, words.index("<family=2>")]]))[0, 1]
    shares = torch.bincount(drawn[:, 2], minlength=len(words)).double() / 300
    assert (((shares - p).abs()) < 5 * (p * (1 - p) / 300).sqrt() + 0.02).all()
    with pytest.raises(ArgumentError, match="did you mean '<family=1>'"):
        Prompted(model, ["<familly=1>"])


def test_the_table_has_residues_apart_from_tags(families: SequenceDataset) -> None:
    model = NGram(1, given_tags=True).fit(families)
    row = qdyn.evaluate(model, dataset=families, compare=False).rows[0]
    test = families.split("test")
    batch = test.batch(range(len(test)))
    nats = -model.forecast(batch.inputs).gather(-1, batch.targets[..., None])[..., 0].log()
    is_residue = (batch.targets >= 3) & (batch.targets < 24) & batch.mask
    expected = (torch.where(is_residue, nats, 0.0).sum(1) / is_residue.sum(1)).mean()
    assert row.metrics["L_1_residue"].mean == pytest.approx(float(expected))
    assert row.metrics["L_1"].mean != row.metrics["L_1_residue"].mean
