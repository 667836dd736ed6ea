"""What stands behind the end of a sequence changes neither losses nor figures, whoever computes them."""

from __future__ import annotations

import pytest
import torch

import qdyn
from qdyn.attention.mechanism import names
from qdyn.data.sequences import SequenceDataset
from qdyn.models.base import Predictor
from qdyn.models.baselines import Bigram, NGram, Unigram
from qdyn.models.config import ModelConfig
from qdyn.models.hybrid_decoder.config import HybridDecoderConfig
from qdyn.models.hybrid_decoder.decoder import HybridDecoder
from qdyn.models.registry import build_model
from qdyn.models.transformer import Transformer
from qdyn.models.transformer_config import TransformerConfig

WORDS = ("<bos>", "<eos>", "a", "b", "c", "<kind=x>")
LABELLED = ("<bos>", "<eos>", "a", "b", "<label=x>", "<label=y>")
ROWS = torch.tensor([[0, 5, 2, 3, 1, 1], [0, 5, 4, 1, 1, 1], [0, 5, 2, 2, 3, 1]])
LABELLED_ROWS = torch.tensor([[0, 2, 3, 1, 4, 1], [0, 3, 1, 5, 1, 1], [0, 2, 2, 3, 1, 5]])
LENGTHS = [5, 4, 6]


def dataset(*, extra: int = 0, filler: int = 1, labelled: bool = False) -> SequenceDataset:
    """The same three sequences, with ``extra`` more elements of padding, and ``filler`` as all of it."""
    rows = (LABELLED_ROWS if labelled else ROWS).clone()
    for row, length in zip(rows, LENGTHS, strict=True):
        row[length:] = filler
    longer = torch.cat([rows, torch.full((len(rows), extra), filler)], dim=1)
    words = LABELLED if labelled else WORDS
    return SequenceDataset.from_arrays(longer, kind="token", vocabulary=words, lengths=LENGTHS)


def losses(model: Predictor, data: SequenceDataset, name: str) -> torch.Tensor:
    batch = data.batch(range(len(data)))
    return model.loss(name, batch.inputs, batch.targets, batch.mask)  # type: ignore[attr-defined]


@pytest.mark.parametrize("labelled", [False, True], ids=["words", "labels"])
@pytest.mark.parametrize("attention", ["softmax", "gaussian_projected", "fidelity", "mixed_state"])
def test_losses_of_transformers(attention: str, labelled: bool) -> None:
    if attention not in names():
        pytest.skip(f"there is no mechanism {attention}")
    config = TransformerConfig(attention=attention, width=8, blocks=2, steps=12)
    data = dataset(labelled=labelled)
    model = Transformer(config, data.metadata, seed=1)
    expected = losses(model, data, "L_1")
    assert bool((expected > 0).all())
    for extra, filler in ((4, 1), (4, 3), (0, 2)):
        found = losses(model, dataset(extra=extra, filler=filler, labelled=labelled), "L_1")
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("score", ["classical", "quantum"])
def test_losses_of_the_hybrid_decoder(score: str) -> None:
    words = ("<pad>", "[CLS]", "[EOS]", "C", "N", "O")

    def data(extra: int) -> SequenceDataset:
        rows = torch.cat([ROWS, torch.full((3, extra), 0)], dim=1)
        return SequenceDataset.from_arrays(rows, kind="token", vocabulary=words, lengths=LENGTHS)

    model = HybridDecoder(HybridDecoderConfig(score=score, block=10), data(4).metadata, seed=1)
    expected = losses(model, data(0), "L_1")
    torch.testing.assert_close(losses(model, data(4), "L_1"), expected, rtol=1e-5, atol=1e-6)


def test_losses_of_quantum_self_attention() -> None:
    data = dataset()
    model = build_model(ModelConfig(embedding_dimension=4), data.metadata, seed=1)
    for name in ("L_B", "L_1"):
        expected = losses(model, data, name)  # type: ignore[arg-type]
        for extra, filler in ((4, 1), (0, 3)):
            found = losses(model, dataset(extra=extra, filler=filler), name)  # type: ignore[arg-type]
            torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "model",
    [Unigram(), Bigram(), NGram(3), *(NGram(order, given_tags=True) for order in (1, 3))],
    ids=lambda one: one.name,
)
def test_figures_of_counted_words(model: Predictor) -> None:
    found = [
        qdyn.evaluate(model.fit(data), dataset=data, compare=False).rows[0].metrics
        for data in (dataset(), dataset(extra=5, filler=4))
    ]
    assert found[0]["L_1"].mean == pytest.approx(found[1]["L_1"].mean, abs=1e-12)
    assert found[0]["accuracy"] == found[1]["accuracy"]
