"""The page about decoders of molecules: losses beside the published ones, and what scores are worth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from qdyn.data.sequences import SequenceDataset
from qdyn.evaluation.molecules.decoder_comparison import (
    Answer,
    Question,
    answers,
    common_budget,
    longest,
    loss_after,
)
from qdyn.evaluation.molecules.decoder_figures import draw_campaign
from qdyn.evaluation.molecules.decoder_runs import DecoderResult, DecoderVariant, Results
from qdyn.files import write_json, write_text

_KINDS = {False: "sequences", True: "sequences told the nine properties"}


@dataclass(frozen=True)
class DecoderCampaign:
    """What a page tells.

    Attributes:
        variants: Key -> what takes part, in the order of the tables; of all that could.
        results: Key -> what is finished.
        questions: What is asked of them.
        counted: N-grams, see `count_ngrams`.
        published: Name -> validation loss after every epoch.
        epochs: That the published settings and ours are meant to be trained for.
        seeds: That the controls are meant to have.
    """

    variants: Mapping[str, DecoderVariant]
    results: Results
    questions: Sequence[Question]
    counted: Sequence[Mapping[str, Any]]
    published: Mapping[str, Sequence[float]]
    epochs: int = 20
    seeds: int = 5

    def longest(self, *, conditioned: bool, tuned: bool) -> dict[str, list[DecoderResult]]:
        """The longest trainings of one kind of variant; without variants whose are shorter than others'."""
        found = {
            key: longest(runs)
            for key, runs in self.results.items()
            if (self.variants[key].conditioned, self.variants[key].tuned) == (conditioned, tuned)
        }
        most = max((runs[0].epochs for runs in found.values()), default=0)
        return {key: runs for key, runs in found.items() if runs[0].epochs == most}

    def published_best(self, *, conditioned: bool) -> tuple[float, str]:
        """The lowest published loss of either kind after any epoch, and whose it is."""
        ending = "conditions" if conditioned else "sequence"
        return min((min(losses), name) for name, losses in self.published.items() if name.endswith(ending))


def write_decoder_page(page: Path, campaign: DecoderCampaign, data: SequenceDataset) -> None:
    """Write the page, its figure, and the numbers behind both beside it as JSON.

    Args:
        page: Ends with .md.
        campaign: What is told.
        data: What all were trained on.

    Raises:
        OutputError: one of the files cannot be written.
    """
    found = answers(campaign.questions, campaign.results, campaign.variants)
    image = page.with_suffix(".png")
    write_text(page, "\n".join(page_lines(campaign, found, data, image=image.name)) + "\n")
    content = {
        "trained": {key: [vars(one) for one in runs] for key, runs in campaign.results.items()},
        "answers": [
            {
                "thing": one.question.thing,
                "first": one.question.first,
                "second": one.question.second,
                "epochs": one.epochs,
                "seeds": one.seeds,
                "differences": one.differences,
                "mean": one.mean,
                "interval": one.interval,
                "finding": one.finding,
            }
            for one in found
        ],
        "counted": list(campaign.counted),
        "published": {name: list(losses) for name, losses in campaign.published.items()},
    }
    write_json(page.with_suffix(".json"), content)
    draw_campaign(image, campaign.variants, campaign.results, campaign.published, found)


def page_lines(
    campaign: DecoderCampaign, found: Sequence[Answer], data: SequenceDataset, *, image: str
) -> list[str]:
    """All lines of the page."""
    is_published = data.metadata.recipe.get("split") == "published"
    lines = [
        "# The decoder of molecules: scores, controls, published curves",
        "",
        f"Written by `python scripts/compare_hybrid_decoders.py`. {data.metadata.name}: "
        f"{len(data.split('train'))} molecules of training, {len(data.split('validation'))} held out"
        + (", as they were from the published models." if is_published else "."),
        "",
        "*Padded*: nats a step with padding among the steps, as published; *best* is the lowest after any "
        "epoch, as published, which selects on the molecules that it is measured on; *last* is that of the "
        "last epoch, and selects nothing. *Tokens*: L_1 of real tokens and [EOS] alone, at the end. ± is the "
        "sample standard deviation over seeds. Published: one seed, 20 epochs; from one epoch to the next "
        "its loss moves by 0.005 (sequences) and 0.03 to 0.1 (conditions), and differences of single runs "
        "below that mean nothing.",
        "",
        f"![Validation loss by epoch, and differences between decoders]({image})",
        "",
        "## Findings",
        "",
        *_findings(campaign, found),
    ]
    lines += _published_settings(campaign, conditioned=False)
    lines += _published_settings(campaign, conditioned=True)
    lines += _tuned(campaign)
    lines += _controls(campaign, found)
    lines += _counted(campaign)
    lines += _missing(campaign)
    return lines


def _findings(campaign: DecoderCampaign, found: Sequence[Answer]) -> list[str]:
    lines = []
    for conditioned, kind in _KINDS.items():
        theirs, whose = campaign.published_best(conditioned=conditioned)
        for how, tuned in (("The published settings", False), ("Settings of ours", True)):
            runs = campaign.longest(conditioned=conditioned, tuned=tuned)
            if not runs:
                lines.append(f"- {how}, {kind}: nothing is finished.")
                continue
            best, key = min((min(one.validation), key) for key, group in runs.items() for one in group)
            epochs = next(iter(runs.values()))[0].epochs
            side = "below" if best < theirs else "above"
            lines.append(
                f"- {how}, {kind}, {epochs} epochs: the lowest loss is {best:.4f} "
                f"({campaign.variants[key].label}), {abs(best - theirs):.4f} {side} the lowest published "
                f"one, {theirs:.4f} ({whose}, 20 epochs)."
            )
    groups: dict[tuple[str, int], list[Answer]] = {}
    for one in found:
        if one.interval is not None:
            groups.setdefault((one.question.first, one.epochs), []).append(one)
    if not groups:
        return [*lines, "- What scores are worth is open: no comparison has more than one seed."]
    for (key, epochs), answered in groups.items():
        variant = campaign.variants[key]
        lines.append(f"- {variant.label}, {_KINDS[variant.conditioned]}, {epochs} epochs:")
        lines += [f"  - {one.question.thing} {_sentence(one)};" for one in answered]
        lines[-1] = lines[-1].removesuffix(";") + "."
    return lines


def _sentence(one: Answer) -> str:
    low, high = one.interval or (one.mean, one.mean)
    between = f"95 % interval over {len(one.seeds)} seeds {low:+.4f} to {high:+.4f}"
    if one.finding == "cannot be told":
        return f"makes no difference that could be told, {one.mean:+.4f} ({between})"
    verb = "lowers" if one.finding == "helps" else "raises"
    return f"{verb} the loss by {abs(one.mean):.4f} ({between})"


def _published_settings(campaign: DecoderCampaign, *, conditioned: bool) -> list[str]:
    runs = campaign.longest(conditioned=conditioned, tuned=False)
    lines = ["", "## " + ("Told the nine properties" if conditioned else "Sequences"), ""]
    if not runs:
        return [*lines, "Nothing is finished."]
    lines += [
        "The published settings: AdamW, learning rate 5e-3 at every step, dropout 0.1"
        + ("; properties as raw numbers." if conditioned else "."),
        "",
        "| model | parameters | epochs | seeds | padded, best | padded, last | tokens | accuracy, % "
        "| published, best | published, last |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for key, group in runs.items():
        variant, epochs = campaign.variants[key], group[0].epochs
        beside = "– | –"
        if variant.published is not None and epochs <= len(campaign.published[variant.published]):
            theirs = campaign.published[variant.published][:epochs]
            beside = f"{min(theirs):.4f} | {theirs[-1]:.4f}"
        lines.append(f"{_row(variant, group)} | {beside} |")
    return lines


def _tuned(campaign: DecoderCampaign) -> list[str]:
    lines = ["", "## Settings of ours", ""]
    tables = []
    for conditioned in _KINDS:
        runs = campaign.longest(conditioned=conditioned, tuned=True)
        theirs, _ = campaign.published_best(conditioned=conditioned)
        for key, group in runs.items():
            variant = campaign.variants[key]
            gap = spread([min(one.validation) - theirs for one in group], signed=True)
            told = "properties" if conditioned else "nothing"
            tables.append(f"{_row(variant, group)} | {told} | {gap} |")
    if not tables:
        return [*lines, "Nothing is finished."]
    return [
        *lines,
        "The learning rate falls from 5e-3 to 1e-5 along a cosine, and nothing is dropped; properties are "
        "told in standard deviations. The last column: padded, best, minus the lowest published loss of any "
        "model, "
        + " and ".join(f"{campaign.published_best(conditioned=one)[0]:.4f}" for one in _KINDS)
        + " without and with properties.",
        "",
        "| model | parameters | epochs | seeds | padded, best | padded, last | tokens | accuracy, % "
        "| told | minus published |",
        "|---|---|---|---|---|---|---|---|---|---|",
        *tables,
    ]


def _row(variant: DecoderVariant, group: Sequence[DecoderResult]) -> str:
    first = group[0]
    return (
        f"| {variant.label} | {first.parameters} | {first.epochs} | {len(group)} "
        f"| {spread([min(one.validation) for one in group])} "
        f"| {spread([one.validation[-1] for one in group])} | {spread([one.loss for one in group])} "
        f"| {100 * np.mean([one.accuracy for one in group]):.1f}"
    )


def _controls(campaign: DecoderCampaign, found: Sequence[Answer]) -> list[str]:
    lines = ["", "## What scores are worth", ""]
    budget = common_budget(campaign.results, campaign.variants)
    if budget is None:
        return [*lines, "Nothing is finished."]
    lines += [
        f"Everyone after {budget} epochs, the number after which most trainings can be compared. A run at a "
        "constant learning rate passes through what a shorter one ends with; one along a cosine does not.",
        "",
        "| model | told | parameters | seeds | padded |",
        "|---|---|---|---|---|",
    ]
    for key, group in campaign.results.items():
        variant = campaign.variants[key]
        runs = loss_after(budget, group, variant)
        if runs:
            told = "properties" if variant.conditioned else "nothing"
            losses = spread([one.validation[budget - 1] for one in runs.values()])
            lines.append(f"| {variant.label} | {told} | {group[0].parameters} | {len(runs)} | {losses} |")
    lines += [
        "",
        "Padded loss of the first minus that of the second, which shares the seed: the order of batches, and "
        "what initial parameters have in common. Negative: the first is better. The interval, 95 %, is that "
        "of Student's t for each row alone, uncorrected for their number; one seed has none and settles "
        "nothing.",
        "",
        "| what is asked | first | second | epochs | seeds | difference | 95 % interval | lower in "
        "| finding |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for one in found:
        first, second = (campaign.variants[key] for key in (one.question.first, one.question.second))
        told = ", told properties" if first.conditioned else ""
        interval = "–" if one.interval is None else "{:+.4f} to {:+.4f}".format(*one.interval)
        lower = sum(gap < 0 for gap in one.differences)
        lines.append(
            f"| {one.question.thing} | {first.label}{told} | {second.label} | {one.epochs} "
            f"| {len(one.seeds)} | {one.mean:+.4f} | {interval} | {lower} of {len(one.seeds)} "
            f"| {one.finding} |"
        )
    return lines


def _counted(campaign: DecoderCampaign) -> list[str]:
    if not campaign.counted:
        return []
    return [
        "",
        "## Counting",
        "",
        "N-grams of the same training split, which see no more than the words before; nothing is trained.",
        "",
        "| model | parameters | padded | tokens | accuracy, % |",
        "|---|---|---|---|---|",
        *(
            f"| {one['label']} | {one['parameters']} | {one['padded']:.4f} | {one['loss']:.4f} "
            f"| {100 * one['accuracy']:.1f} |"
            for one in campaign.counted
        ),
    ]


def _missing(campaign: DecoderCampaign) -> list[str]:
    """What the page would hold after the whole campaign, and does not."""
    absent, short = [], []
    for key, variant in campaign.variants.items():
        group = campaign.results.get(key)
        if group is None:
            absent.append(key)
        elif (variant.published or variant.tuned) and longest(group)[0].epochs < campaign.epochs:
            short.append(f"{key} ({longest(group)[0].epochs} epochs)")
    asked = {key for one in campaign.questions for key in (one.first, one.second)}
    seeds = {key: len({one.seed for one in group}) for key, group in campaign.results.items() if key in asked}
    few = [f"{key} ({count})" for key, count in seeds.items() if count < campaign.seeds]
    lines = [
        f"- {what}: {', '.join(names)}."
        for what, names in (
            ("Not trained", absent),
            (f"For fewer than {campaign.epochs} epochs", short),
            (f"From fewer than {campaign.seeds} seeds", few),
        )
        if names
    ]
    return ["", "## Not run", "", *lines] if lines else []


def spread(values: Sequence[float], *, signed: bool = False) -> str:
    """Mean ± sample standard deviation over seeds, or the one value.

    >>> spread([0.5]), spread([0.5, 0.7]), spread([-0.25], signed=True)
    ('0.5000', '0.6000 ± 0.1414', '-0.2500')
    """
    mean = f"{np.mean(values):{'+' if signed else ''}.4f}"
    return mean if len(values) == 1 else f"{mean} ± {np.std(values, ddof=1):.4f}"
