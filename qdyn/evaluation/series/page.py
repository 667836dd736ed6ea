"""The page of QASA's campaign: tables, paired comparisons, and what has not been run."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from qdyn.data.timeseries import series_names
from qdyn.evaluation.campaigns.published import Published
from qdyn.evaluation.series.campaign import CampaignTable, campaign_units, collect_campaign
from qdyn.evaluation.series.comparisons import Comparison, comparisons, holm, trained_rivals
from qdyn.evaluation.series.protocols import PROTOCOLS, protocol_models

LABELS = {
    "classical": "Classical encoder",
    "qasa": "QASA",
    "qlstm": "QLSTM",
    "qnnformer": "QnnFormer",
    "removed": "QASA, adapter removed",
    "bottleneck": "Classical bottleneck",
    "bottleneck-shifted": "Classical bottleneck, inputs + 20",
    "zero": "Zero",
    "mean": "Mean of training",
    "persistence": "Last value",
    "autoregression": "AR(20)",
    "seasonal_naive": "Seasonal naive",
}
_TRIVIAL = ("zero", "mean", "persistence", "autoregression", "seasonal_naive")
_CHANCE = 0.05
_RIVALS = ("persistence", "autoregression", "seasonal_naive")


def campaign_page(folder: Path, published: Published) -> str:
    """All that is finished in a campaign's folder, as Markdown.

    Args:
        folder: Of the campaign.
        published: The published table.
    """
    lines = [
        "# QASA and its rivals on nine series",
        "",
        "Written by `python scripts/reproduce_qasa.py` from the runs that are finished. Models, protocols,",
        "and what is wrong with the published one: [timeseries.md](../timeseries.md).",
        "",
    ]
    for protocol in PROTOCOLS:
        table = collect_campaign(folder, protocol)
        lines += _state(folder, protocol)
        lines += _published_section(table, published) if protocol == "published" else _causal_section(table)
        spent = [f"{LABELS[name]} {seconds / 3600:.2f} h" for name, seconds in sorted(table.cpu.items())]
        if spent:
            lines += ["", f"CPU time on one core: {', '.join(spent)}."]
        lines.append("")
    return "\n".join(lines + _missing(folder)).rstrip() + "\n"


def _state(folder: Path, protocol: str) -> list[str]:
    """The heading, and how much of the protocol's campaign the section is made of."""
    runs = [(len(unit.tasks), unit.finished(folder)) for unit in campaign_units(protocol, list(LABELS))]
    done, every = sum(count for count, finished in runs if finished), sum(count for count, _ in runs)
    text = f"{protocol.capitalize()} protocol"
    lines = [f"## {text}", ""]
    if done < every:
        lines += [
            *_paragraph(
                f"**Incomplete: {done} of {every} pairs of a model and a series have been trained.** What is "
                "missing is listed at the end."
            ),
            "",
        ]
    return lines


def _published_section(table: CampaignTable, published: Published) -> list[str]:
    models = list(protocol_models("published"))
    lines = [
        *_paragraph(
            "The loss leaks 19 of 20 targets to the encoders, and the roll-out is compared with "
            "values one step late: a perfect forecaster has an error here. Seeds 42, 43, 44; "
            "200 passes over 381 windows; values as they are. Each cell: MAE of the late roll-out of 99 "
            "steps, mean ± population standard deviation over seeds, / mean of the MSE. "
            "*Published*: arXiv:2504.05336v3, three seeds, likewise. A dash: not run."
        ),
        "",
        "| task | " + " | ".join(f"{LABELS[m]} | *published*" for m in models) + " |",
        "|---" * (1 + 2 * len(models)) + "|",
    ]
    for task in series_names():
        cells = []
        for model in models:
            ours = _cell(table.values(model, task, "late", "mae"))
            if ours != "–":
                ours += f" / {table.values(model, task, 'late', 'mse').mean():.4g}"
            mae, mse = (published.find(model, None, task, metric) for metric in ("MAE", "MSE"))
            spread = "" if mae is None or mae.std is None else f" ± {mae.std:.3g}"
            quoted = "–" if mae is None or mse is None else f"*{mae.mean:.4g}{spread} / {mse.mean:.4g}*"
            cells += [ours, quoted]
        lines.append(f"| {task} | " + " | ".join(cells) + " |")
    return [
        *lines,
        "",
        *_agreement(table, published),
        "The same metric for forecasters without training (exact, no seeds), which see all that came before:",
        "",
        *_trivial_table(table, "late"),
        "",
        *_paragraph(
            "Aligned, each forecast compared with the value that it forecasts (MAE; bold: the lowest mean). "
            "The first of them, value 400, is the last target of the training windows:"
        ),
        "",
        *_plain_table(table, [*models, *_TRIVIAL], "aligned", "mae"),
    ]


def _agreement(table: CampaignTable, published: Published) -> list[str]:
    """How many of our mean MAE differ from the published ones by more than chance."""
    from scipy import stats

    levels = {}
    for task in series_names():
        for model in protocol_models("published"):
            ours = table.values(model, task, "late", "mae").flatten()
            theirs = published.find(model, None, task, "MAE")
            if len(ours) > 1 and theirs is not None and theirs.std is not None:
                # Published spreads are population deviations.
                spread = theirs.std * (theirs.seeds / (theirs.seeds - 1)) ** 0.5
                own = ours.mean(), ours.std(ddof=1), len(ours)
                found = stats.ttest_ind_from_stats(*own, theirs.mean, spread, theirs.seeds, equal_var=False)
                levels[f"{LABELS[model]} on {task}"] = float(found.pvalue)
    if not levels:
        return []
    apart = [name for name, level in levels.items() if level < _CHANCE]
    which = f": {', '.join(apart)}." if apart else "."
    return [
        *_paragraph(
            f"Of {len(levels)} mean MAE, {len(apart) or 'none'} differ{'s' if len(apart) == 1 else ''} from "
            f"the published mean at p < {_CHANCE:g} by Welch's t, where chance gives "
            f"{_CHANCE * len(levels):.1f}"
            f"{which} Three seeds on either side tell large differences only."
        ),
        "",
    ]


def _causal_section(table: CampaignTable) -> list[str]:
    models = list(protocol_models("causal"))
    shown_models = [*models, *(name for name in _TRIVIAL if name != "mean")]
    lines = [
        *_paragraph(
            "Causally masked loss, values standardised by the training segment (0 to 319), the best "
            "evaluation on the validation segment kept, forecasts compared with what they forecast. "
            "AdamW, 720 updates of 16 windows, ten model seeds a draw. *Draws*: of the noise, those that all "
            "models of the line have been trained on, trivial forecasters too; a series without noise has "
            "one. Mean ± population standard deviation over model seeds and draws; bold: the lowest mean of "
            "the line, whatever its spread. A dash: not run. Models see 20 values; forecasters without "
            "training see all that came before. Zero is the mean of the training segment here."
        ),
        "",
        "MAE of the roll-out of 100 steps from value 400, in units of the training segment's deviation:",
        "",
        *_plain_table(table, shown_models, "aligned", "mae"),
        "",
        "MSE of the same roll-out, which is what training minimises one step ahead:",
        "",
        *_plain_table(table, shown_models, "aligned", "mse"),
        "",
        "MAE one step ahead, values 400 to 499, in the same unit:",
        "",
        *_plain_table(table, shown_models, "one_step", "mae"),
        "",
        *_paragraph(
            "Effective rank of the 64 components of the hidden vectors behind these forecasts: how many "
            "directions the network uses, which says nothing of how well."
        ),
        "",
        *_rank_table(table, models),
        "",
        "### Against forecasters without training",
        "",
        *_paragraph(
            "QASA's MAE minus that of the forecaster, with its 95 % interval by Student's t over model "
            "seeds, or over draws where a series has several: above 0 where the forecaster is better. A "
            "dash: not enough runs."
        ),
        "",
        "Rolled out:",
        "",
        *_margin_table(table, "aligned"),
        "",
        "One step ahead:",
        "",
        *_margin_table(table, "one_step"),
        "",
        "### Paired comparisons",
        "",
    ]
    shown = False
    for metric, title in (("aligned", "Roll-out MAE"), ("one_step", "One-step MAE")):
        found = list(comparisons(table, metric, trained_rivals(table)))
        if found:
            shown = True
            lines += [f"{title}:", "", *_comparison_table(found), ""]
    if not shown:
        return [*lines, "QASA and another model have not been trained on the same series yet."]
    return lines + _paragraph(
        "QASA minus the other, on the same series, noise and model seed: negative where QASA is better. d: "
        "Cohen's effect size, the mean difference over the standard deviation of the differences of single "
        "runs; δ: Cliff's delta among the runs of a draw, from -1 (QASA always lower) to 1; p: Student's "
        "paired t and Wilcoxon's signed-rank test, two-sided; *corrected* is that of the t-test by Holm's "
        "method for all lines of the table. Where a series has several draws, the pairs are the means over "
        "model seeds, one a draw, since runs that share their data are not independent, and every draw has "
        "ten model seeds of its own; Wilcoxon's p cannot fall below 0.0625 with five pairs then. The last "
        "column counts draws with the lower mean for QASA."
    )


def _comparison_table(found: Sequence[Comparison]) -> list[str]:
    corrected = holm([one.found.t_test for one in found])
    columns = (
        "task, against, pairs, difference, 95 % interval, d, δ, p (t), corrected, p (Wilcoxon), lower on"
    )
    lines = ["| " + columns.replace(", ", " | ") + " |", "|---" * (columns.count(",") + 1) + "|"]
    for one, level in zip(found, corrected, strict=True):
        low, high = one.found.interval
        cells = [
            one.task, LABELS[one.other], one.found.pairs, f"{one.found.difference:+.4g}",
            f"{low:+.3g} to {high:+.3g}", f"{one.cohen:+.2f}", f"{one.cliff:+.2f}",
            f"{one.found.t_test:.2g}", f"{level:.2g}", f"{one.found.wilcoxon:.2g}",
            f"{one.lower} of {one.draws}",
        ]  # fmt: skip
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return lines


def _margin_table(table: CampaignTable, metric: str) -> list[str]:
    """QASA minus forecasters without training, with 95 % intervals."""
    lines = [
        "| task | " + " | ".join(LABELS[name] for name in _RIVALS) + " |",
        "|---" * (1 + len(_RIVALS)) + "|",
    ]
    found = {(one.task, one.other): one.found for one in comparisons(table, metric, _RIVALS)}
    for task in series_names():
        cells = []
        for name in _RIVALS:
            one = found.get((task, name))
            low, high = one.interval if one else (0.0, 0.0)
            cells.append(f"{one.difference:+.3g} ({low:+.3g} to {high:+.3g})" if one else "–")
        lines.append(f"| {task} | " + " | ".join(cells) + " |")
    return lines


def _plain_table(table: CampaignTable, models: Sequence[str], metric: str, what: str) -> list[str]:
    """One line a task, one column a model; the lowest mean of each line is bold."""
    shown = [model for model in models if any(name == model for name, _, _ in table.rows)]
    lines = [
        "| task | draws | " + " | ".join(LABELS[model] for model in shown) + " |",
        "|---" * (2 + len(shown)) + "|",
    ]
    for task in series_names():
        every = [table.values(model, task, metric, what) for model in shown]
        best = min(values.mean() for values in every if values.size)
        cells = [
            f"**{_cell(values)}**" if values.size and values.mean() == best else _cell(values)
            for values in every
        ]
        lines.append(f"| {task} | {len(table.shared_seeds(task))} | " + " | ".join(cells) + " |")
    return lines


def _rank_table(table: CampaignTable, models: Sequence[str]) -> list[str]:
    lines = [
        "| task | " + " | ".join(LABELS[model] for model in models) + " |",
        "|---" * (1 + len(models)) + "|",
    ]
    for task in series_names():
        cells = [_cell(table.values(model, task, "rank", "effective")) for model in models]
        lines.append(f"| {task} | " + " | ".join(cells) + " |")
    return lines


def _trivial_table(table: CampaignTable, metric: str) -> list[str]:
    """MAE / MSE of the forecasters without training."""
    lines = [
        "| task | " + " | ".join(LABELS[name] for name in _TRIVIAL) + " |",
        "|---" * (1 + len(_TRIVIAL)) + "|",
    ]
    for task in series_names():
        cells = [
            " / ".join(f"{table.values(name, task, metric, what).mean():.4g}" for what in ("mae", "mse"))
            for name in _TRIVIAL
        ]
        lines.append(f"| {task} | " + " | ".join(cells) + " |")
    return lines


def _cell(values: np.ndarray) -> str:
    """Mean and spread; a dash for what was not run."""
    if not values.size:
        return "–"
    spread = f" ± {values.std():.3g}" if values.size > 1 and values.std() > 0 else ""
    return f"{values.mean():.4g}{spread}"


def _missing(folder: Path) -> list[str]:
    """What has not been run."""
    missing: dict[tuple[str, str], list[str]] = {}
    for protocol in PROTOCOLS:
        for unit in campaign_units(protocol, list(LABELS)):
            if not unit.finished(folder):
                missing.setdefault((protocol, unit.model), []).extend(unit.names())
    if not missing:
        return []
    lines = ["## Not run", "", "Series, and the seed of its noise.", ""]
    for (protocol, model), names in missing.items():
        text = f"- {protocol}, {LABELS[model]}: {', '.join(names)}"
        lines += textwrap.wrap(text, 110, break_on_hyphens=False, subsequent_indent="  ")
    return lines


def _paragraph(text: str) -> list[str]:
    return textwrap.wrap(text, width=110, break_on_hyphens=False)
