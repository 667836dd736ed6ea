"""Train the decoder of molecules with every kind of score, and controls, beside the published curves.

    python scripts/compare_hybrid_decoders.py --out DIR [--only NAME ...] [--epochs 20] [--seeds 42]
                                              [--molecules N] [--page docs/benchmarks/hybrid-decoder.md]
                                              [--also DIR ...]

Every contestant has the same number of passes over the training split, and is judged on the molecules that
were held out from the published models too. What was killed goes on when called again; runs at a constant
learning rate go on to more epochs. Two calls with different --only may share DIR and the work, and a call
with `--epochs 0` writes the page from what is finished, in DIR and in the folders of --also: the table of
differences takes the number of epochs with most seeds, the curves the longest trainings. `--only
attention-NAME` trains the decoder with any attention of `qdyn.attention.names()`. QM9 has to be fetched
first: qdyn datasets fetch qm9.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
from dataclasses import replace
from pathlib import Path

import qdyn
from qdyn.config import read_yaml
from qdyn.data.molecules.subsets import with_fewer_trained_on
from qdyn.errors import ConfigError, QdynError, nearest
from qdyn.evaluation.molecules.decoder_comparison import Question
from qdyn.evaluation.molecules.decoder_page import DecoderCampaign, write_decoder_page
from qdyn.evaluation.molecules.decoder_runs import DecoderVariant, count_ngrams, gather, train_variant

PUBLISHED = Path(__file__).resolve().parents[1] / "docs" / "benchmarks" / "published" / "hybrid_decoder.yaml"

_SEQUENCES = {
    "quantum": DecoderVariant("Quantum", "hybrid-decoder", published="quantum_sequence"),
    "classical_eq": DecoderVariant(
        "Classical, as many parameters", "hybrid-decoder-classical-eq", published="classical_eq_sequence"
    ),
    "classical": DecoderVariant("Classical", "hybrid-decoder-classical", published="classical_sequence"),
    "uniform": DecoderVariant("Uniform attention", "hybrid-decoder-uniform"),
    "frozen": DecoderVariant(
        "Quantum, frozen at random", "hybrid-decoder", ("model.frozen=true", "model.initial_spread=1.0")
    ),
    "layers-2": DecoderVariant("Quantum, 2 layers", "hybrid-decoder", ("model.layers=2",)),
    "layers-3": DecoderVariant("Quantum, 3 layers", "hybrid-decoder", ("model.layers=3",)),
    "lstm": DecoderVariant("LSTM", "lstm-molecules"),
}
_TOLD = {
    f"{score}-conditions": replace(
        _SEQUENCES[score],
        preset="hybrid-decoder-conditions",
        overrides=(f"model.score={score}",),
        published=None if score == "uniform" else f"{score}_conditions",
        conditioned=True,
    )
    for score in ("quantum", "classical_eq", "classical", "uniform")
}
_SCHEDULE = ("training.schedule=cosine", "training.learning_rate_floor=1e-5", "model.dropout=0.0")
_BOUNDED = "model.property_angles=sigmoid"


def _tuned(variant: DecoderVariant, *further: str) -> DecoderVariant:
    """The variant by settings of ours."""
    overrides = (*variant.overrides, *_SCHEDULE, *further)
    return replace(variant, label=f"{variant.label}, tuned", overrides=overrides, published=None, tuned=True)


CONTESTANTS = {
    **_SEQUENCES,
    **{
        f"{key}-tuned": _tuned(_SEQUENCES[key])
        for key in ("quantum", "classical_eq", "classical", "uniform", "lstm")
    },
    **_TOLD,
    "quantum-conditions-tuned": _tuned(_TOLD["quantum-conditions"], "model.standardise=true", _BOUNDED),
    "quantum-conditions-used": replace(
        _tuned(_TOLD["quantum-conditions"], "model.standardise=true", _BOUNDED, "model.layers=2"),
        label="Quantum, 2 layers, tuned",
    ),
    "classical_eq-conditions-tuned": _tuned(_TOLD["classical_eq-conditions"], "model.standardise=true"),
    "classical-conditions-tuned": _tuned(_TOLD["classical-conditions"], "model.standardise=true"),
    "uniform-conditions-tuned": _tuned(_TOLD["uniform-conditions"], "model.standardise=true"),
}

_THINGS = {
    "classical_eq": "a circuit in place of as many classical parameters",
    "uniform": "having scores of a circuit at all",
    "frozen": "training the circuits' angles",
    "classical": "a circuit in place of query and key matrices",
    "lstm": "a decoder with a circuit in place of an LSTM",
}
QUESTIONS = [
    Question(thing, f"quantum{ending}", f"{rival}{ending}")
    for ending in ("", "-tuned", "-conditions", "-conditions-tuned")
    for rival, thing in _THINGS.items()
    if f"{rival}{ending}" in CONTESTANTS
] + [
    Question("having classical scores at all, of as many parameters", "classical_eq", "uniform"),
    Question("a second layer, which entangles the registers", "layers-2", "quantum"),
    Question("a second and a third layer", "layers-3", "quantum"),
    Question(
        "a second layer, which tells the circuit the properties",
        "quantum-conditions-used",
        "quantum-conditions-tuned",
    ),
]
"""Contestants whose difference says what one thing is worth."""


def contestant(key: str) -> DecoderVariant:
    """One of the list, or "attention-NAME" for the decoder with any attention of `qdyn.attention.names()`."""
    name = key.removeprefix("attention-")
    if key in CONTESTANTS:
        return CONTESTANTS[key]
    if name == key:
        raise ConfigError(f"Argument `only` names {key!r}, which is unknown: {nearest(key, CONTESTANTS)}")
    overrides = ("model.score=attention", f"model.attention={name}")
    return DecoderVariant(f"Attention {name!r}", "hybrid-decoder-uniform", overrides)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--only", nargs="+", default=list(CONTESTANTS), metavar="NAME")
    parser.add_argument("--dataset", default="qm9", help="a name or a file of molecules")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--seeds", type=int, nargs="+", default=[42])
    parser.add_argument("--molecules", type=int, help="train on so many only, the first of the split")
    parser.add_argument("--page", type=Path, help="write table and figure there")
    parser.add_argument("--also", type=Path, nargs="+", default=[], help="--page: further folders of runs")
    options = parser.parse_args()
    try:
        data = qdyn.load_dataset(options.dataset)
        if options.molecules is not None:
            data = with_fewer_trained_on(data, options.molecules)
        for seed in options.seeds if options.epochs else ():
            for key in options.only:
                found = train_variant(
                    key, contestant(key), seed=seed, epochs=options.epochs, data=data, out=options.out
                )
                print(found, flush=True)
        counted = count_ngrams(data, options.out / f"ngrams-{data.metadata.name}.json")
        if options.page is not None:
            results = gather([options.out, *options.also], order=CONTESTANTS)
            campaign = DecoderCampaign(
                variants={**CONTESTANTS, **{key: contestant(key) for key in results}},
                results=results,
                questions=QUESTIONS,
                counted=counted,
                published=read_yaml(PUBLISHED)["validation"],
            )
            write_decoder_page(options.page, campaign, data)
    except QdynError as problem:
        parser.error(str(problem))


if __name__ == "__main__":
    main()
