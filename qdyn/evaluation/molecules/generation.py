"""Molecules drawn from a model and judged: what `qdyn sample` prints, writes and reports."""

from __future__ import annotations

import csv
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from qdyn.data.molecules.properties import PROPERTIES, PROPERTY_UNITS, impute_properties
from qdyn.data.molecules.rdkit_calls import import_rdkit
from qdyn.data.smiles import SmilesVocabulary, smiles_tokens
from qdyn.errors import ArgumentError, nearest
from qdyn.evaluation.molecules.metrics import (
    MOST_COMPARED,
    JudgedMolecules,
    MoleculeFigures,
    TrainingMolecules,
    judge_molecules,
)
from qdyn.evaluation.results import Estimate, plain, with_error
from qdyn.files import replacing, write_json
from qdyn.models.base import Predictor
from qdyn.models.dropout import evaluating
from qdyn.models.hybrid_decoder.decoder import HybridDecoder
from qdyn.models.sampling import sample_sequences, strings_of

_TOKENS_TO_SHOW = 8


@dataclass(frozen=True)
class AttentionMap:
    """How a decoder's steps spread their attention over the words of one molecule.

    Attributes:
        smiles: The molecule.
        words: [CLS] and its tokens.
        weights: (words, words), row i the step that forecasts what follows word i; rows sum to 1.
    """

    smiles: str
    words: tuple[str, ...]
    weights: NDArray[np.float64]


@dataclass(frozen=True)
class GeneratedMolecules:
    """What `generate_molecules` returns. ``print(generated)`` shows the tables.

    Attributes:
        model: What to call the model.
        judged: Every string that was drawn, and what it is.
        settings: How it was drawn: temperature, top_k, seed, conditions asked for and told.
        training: What the model was trained on, where that is known.
        attention: Over one of the molecules, for models that have such a map.
        seconds: Spent on drawing, and on judging.
    """

    model: str
    judged: JudgedMolecules
    settings: Mapping[str, Any]
    training: TrainingMolecules | None = None
    attention: AttentionMap | None = None
    seconds: Mapping[str, float] = field(default_factory=dict)

    @property
    def figures(self) -> MoleculeFigures:
        """Validity, uniqueness, novelty, diversity and properties."""
        return self.judged.figures

    @property
    def how(self) -> str:
        """How it was drawn, in words."""
        top_k, asked = self.settings["top_k"], self.settings["targets"]
        words = "every word" if top_k is None else f"the {top_k} most probable words"
        goal = ", ".join(f"{name}={value:g}" for name, value in asked.items())
        told = f", {goal}" if goal else ", mean conditions" if self.settings["told"] else ""
        return f"temperature {self.settings['temperature']:g}, {words}, seed {self.settings['seed']}{told}"

    def shares(self) -> list[tuple[str, str, str]]:
        """Name, value and meaning of the four figures of merit."""
        found = self.figures
        queries = f"{count_text(found.queries)} queries"
        valid, distinct = count_text(found.valid), count_text(found.distinct)
        novel = "unknown: it needs the molecules that the model was trained on"
        if found.novel is not None and self.training is not None and found.n_training is not None:
            novel = (
                f"{count_text(found.novel)} of {distinct} distinct are not among the "
                f"{count_text(found.n_training)} of {self.training.name} trained on, at {queries}"
            )
        pairs = count_text(min(found.valid, MOST_COMPARED))
        diversity = "–" if found.diversity is None else str(found.diversity)
        return [
            ("validity", percent(found.validity), f"{valid} of {queries} are molecules"),
            (
                "uniqueness",
                percent(found.uniqueness),
                f"{distinct} of {valid} valid are distinct, at {queries}",
            ),
            ("novelty", percent(found.novelty), novel),
            ("diversity", diversity, f"1 - mean Tanimoto similarity of {pairs} valid draws"),
        ]

    def property_table(self) -> list[tuple[str, ...]]:
        """Headings and a row for each property; columns that nothing stands in are left out."""
        rows = [
            (
                property_label(one.name),
                str(one.mean),
                number(one.spread),
                number(one.training_mean),
                number(one.told),
                number(one.target),
                "–" if one.distance is None else str(one.distance),
            )
            for one in self.figures.properties
        ]
        headings = ("property", "mean", "spread", "trained on", "told", "target", "distance")
        kept = [place for place in range(len(headings)) if any(row[place] != "–" for row in rows)]
        return [tuple(row[place] for place in kept) for row in (headings, *rows)] if rows else []

    def to_dict(self) -> dict[str, Any]:
        """All figures with what is needed to read them, as plain data."""
        content = plain(self.figures)
        for row, one in zip(content["properties"], self.figures.properties, strict=True):
            row["distance"] = plain(one.distance)
        return {
            "format": "qdyn-molecules",
            "schema": 1,
            "model": self.model,
            "settings": plain(self.settings),
            "trained_on": None if self.training is None else self.training.name,
            **content,
            "attention": plain(self.attention),
            "seconds": {name: round(value, 2) for name, value in self.seconds.items()},
        }

    def save(self, folder: str | Path) -> Path:
        """Write molecules.csv, table.json, figures/ and report.html; return the path of the latter.

        Raises:
            OutputError: the folder cannot be written.
        """
        from qdyn.evaluation.molecules.report import write_molecule_report

        place = Path(folder)
        write_json(place / "table.json", self.to_dict())
        with replacing(place / "molecules.csv") as beside, beside.open("w", newline="") as handle:
            rows = csv.writer(handle)
            rows.writerow(("drawn", "smiles", "novel", *PROPERTIES))
            judged = self.judged
            for drawn, form, new, values in zip(
                judged.strings, judged.canonical, judged.is_novel, judged.properties.tolist(), strict=True
            ):
                known = "" if new is None else int(new)
                rows.writerow((drawn, form or "", known, *(values if form else [""] * len(values))))
        return write_molecule_report(self, place)

    def __str__(self) -> str:
        lines = [f"{self.model}: {self.how}"]
        lines += aligned(self.shares(), left=(0, 2))
        if self.figures.properties:
            lines += ["", *aligned(self.property_table(), left=(0,))]
        return "\n".join(lines)


def generate_molecules(
    model: Predictor,
    count: int = 10_000,
    *,
    training: TrainingMolecules | None = None,
    targets: Mapping[str, float] | None = None,
    neighbours: int = 100,
    elements: int | None = None,
    temperature: float = 1.0,
    top_k: int | None = None,
    seed: int = 0,
    workers: int = 1,
    attention_of: str | None = None,
    progress: bool = False,
) -> GeneratedMolecules:
    """Draw molecules from a model and judge them.

    Args:
        model: Of SMILES.
        count: How many strings to draw, >= 1.
        training: What the model was trained on: for novelty, and to impute conditions that are not asked for.
        targets: Condition -> raw value that the molecules should have, any of those that the model is told.
            The others are those of the training molecules nearest in the given ones, all ties averaged
            (`qdyn.data.molecules.properties.impute_properties`); without targets they are the means.
        neighbours: How many training molecules are averaged at least.
        elements: Of the longest string, [CLS] and [EOS] included; None takes the model's positions.
        temperature: See `qdyn.models.sampling.sample_sequences`.
        top_k: Likewise.
        seed: Likewise.
        workers: Threads that draw and processes that judge, >= 1.
        attention_of: SMILES whose attention map is shown; None takes the first valid one of some length.
        progress: Show bars.

    Raises:
        ArgumentError: an argument out of range, a target that the model is not told or that is far from the
            data, or conditions to impute and no training molecules.
        DatasetError: the training molecules have no such property.
        MissingExtraError: RDKit is not installed.

    Example:
        >>> from qdyn.data.sequences import SequenceMetadata
        >>> from qdyn.models.hybrid_decoder.config import HybridDecoderConfig
        >>> words = SmilesVocabulary.of_qm9().words
        >>> data = SequenceMetadata("qm9", "token", len(words), vocabulary=words)
        >>> decoder = HybridDecoder(HybridDecoderConfig(), data)
        >>> found = generate_molecules(decoder, 100)
        >>> found.figures.queries, found.figures.novelty
        (100, None)
    """
    import_rdkit()  # whatever is missing is told before anything is drawn
    names = tuple(getattr(getattr(model, "config", None), "conditions", ()))
    asked = dict(targets or {})
    told = _conditions(names, asked, training, neighbours)
    longest = elements or getattr(getattr(model, "config", None), "block", None)
    if longest is None:
        raise ArgumentError("Argument `elements` must say how long a string may be, but is missing.")
    if model.metadata is None:
        raise ArgumentError("Argument `model` must have been fitted to molecules, but has seen none.")
    shown = None
    if attention_of is not None:
        if not isinstance(model, HybridDecoder):
            raise ArgumentError(f"Argument `attention_of` is for decoders, but the model is {model.label}.")
        shown = attention_map(model, attention_of, told=told)
    began = time.perf_counter()
    drawn = sample_sequences(
        model,
        count,
        elements=longest,
        conditions=None if told is None else torch.tensor(list(told.values()), dtype=torch.float64),
        temperature=temperature,
        top_k=top_k,
        seed=seed,
        workers=workers,
        progress=progress,
    )
    between = time.perf_counter()
    judged = judge_molecules(
        strings_of(model.metadata, drawn),
        training=training,
        targets=asked,
        told=told or {},
        workers=workers,
        progress=progress,
    )
    ended = time.perf_counter()
    return GeneratedMolecules(
        model=model.label,
        judged=judged,
        settings={
            "temperature": temperature,
            "top_k": top_k,
            "seed": seed,
            "targets": asked,
            "told": told or {},
            "neighbours": neighbours,
        },
        training=training,
        attention=shown or _attention(model, judged, told),
        seconds={"drawing": between - began, "judging": ended - between},
    )


def attention_map(
    decoder: HybridDecoder, smiles: str, *, told: Mapping[str, float] | None = None
) -> AttentionMap:
    """How the decoder attends to the words of one molecule.

    Args:
        decoder: Of SMILES.
        smiles: In the words of its vocabulary.
        told: Value of each of its conditions.

    Raises:
        ArgumentError: a decoder of other words, or conditions that do not fit.
        DatasetError: a SMILES that its vocabulary cannot write.
    """
    if decoder.vocabulary is None:
        raise ArgumentError("Argument `decoder` must be one of SMILES.")
    rows, lengths = decoder.vocabulary.encode([smiles])
    seen = int(lengths[0]) - 1
    like = decoder.position_embed
    conditions = torch.tensor([list((told or {}).values())]).to(like) if told else None
    with evaluating(decoder):
        weights = decoder.attention_weights(
            torch.from_numpy(rows[:, :seen]).to(like.device), conditions=conditions
        )
    words = tuple(decoder.vocabulary.words[number] for number in rows[0, :seen].tolist())
    return AttentionMap(smiles, words, weights[0].double().cpu().numpy())


def percent(estimate: Estimate | None) -> str:
    """A share in percent with its standard error in the last digits.

    >>> percent(Estimate(0.72435, None, 0.0045)), percent(None)
    ('72.44(45) %', '–')
    """
    if estimate is None:
        return "–"
    error = estimate.standard_error
    return f"{with_error(100 * estimate.mean, None if error is None else 100 * error)} %"


def count_text(value: int) -> str:
    """A number of things, the thousands of one of five digits and more apart.

    >>> count_text(1000), count_text(127109).replace(chr(0x202F), "_")
    ('1000', '127_109')
    """
    return str(value) if value < 10_000 else f"{value:,}".replace(",", "\u202f")


def property_label(name: str) -> str:
    """A property with its unit.

    >>> property_label("LogP"), property_label("TPSA")
    ('LogP', 'TPSA (Å²)')
    """
    unit = {"1": ""}.get(PROPERTY_UNITS[name], PROPERTY_UNITS[name]).replace("angstrom^2", "Å²")
    return f"{name} ({unit})" if unit else name


def number(value: float | None) -> str:
    """A number in a table: three decimals, or a dash where there is none."""
    return "–" if value is None else f"{value:.3f}"


def aligned(rows: Sequence[tuple[str, ...]], *, left: tuple[int, ...]) -> list[str]:
    """Rows as lines of text whose columns line up; those in ``left`` on the left.

    >>> aligned([("a", "10", "x"), ("bcd", "9", "y")], left=(0, 2))
    ['a    10  x', 'bcd   9  y']
    """
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    return [
        "  ".join(
            cell.ljust(width) if place in left else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def _conditions(
    names: tuple[str, ...],
    asked: Mapping[str, float],
    training: TrainingMolecules | None,
    neighbours: int,
) -> dict[str, float] | None:
    """What the model is told, in the order of its conditions; None where it is told nothing."""
    for name in asked:
        if not names:
            raise ArgumentError(f"Argument `targets` asks for {name!r}, but the model is told no conditions.")
        if name not in names:
            raise ArgumentError(f"Argument `targets` asks for {name!r}: {nearest(name, names)}")
    if not names:
        return None
    if training is None:
        missing = [name for name in names if name not in asked]
        if missing:
            raise ArgumentError(
                "Argument `training` must hold the molecules trained on, from which "
                f"{', '.join(missing)} are imputed, but is missing."
            )
        return {name: float(asked[name]) for name in names}
    filled = impute_properties(asked, training.table(names), names=names, neighbours=neighbours)
    return dict(zip(names, filled.tolist(), strict=True))


def _attention(
    model: Predictor, judged: JudgedMolecules, told: Mapping[str, float] | None
) -> AttentionMap | None:
    """Over the first valid string of some length, where the model has such a map."""
    if not isinstance(model, HybridDecoder) or model.vocabulary is None:
        return None
    valid = [text for text, form in zip(judged.strings, judged.canonical, strict=True) if form]
    long = [text for text in valid if len(text) >= _TOKENS_TO_SHOW]
    # What ended without [EOS] has no place for it in a block, and cannot be shown.
    chosen = next((text for text in [*long, *valid] if _fits(model.vocabulary, text)), None)
    return None if chosen is None else attention_map(model, chosen, told=told)


def _fits(vocabulary: SmilesVocabulary, text: str) -> bool:
    return len(smiles_tokens(text)) + 2 <= vocabulary.block
