"""The page of a comparison: what is best stands first, what was not run is named, numbers lie beside it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from qdyn.data.sequences import SequenceMetadata
from qdyn.evaluation.attention.comparison import Ground, Setting, findings
from qdyn.evaluation.attention.page import ComparisonPage, write_comparison
from qdyn.evaluation.campaigns.trials import Figure, Outcome, Trial
from qdyn.models.matched import contestants, matched_transformer
from qdyn.training.config import DatasetConfig, RunConfig, TrainingConfig

FIGURES = {"softmax": 1.0, "uniform": 0.9, "fidelity": 0.5, "frozen-fidelity": 0.7}


def outcome(key: str, mean: float, standing: str = "trained") -> Outcome:
    noise = 0.01 * np.random.default_rng(len(key)).standard_normal(3)
    noise -= noise.mean()
    seeds = tuple((mean + noise).tolist()) if standing == "trained" else (mean,)
    figure = {"L_1": Figure(seeds, 0.02)}
    return Outcome(key, key.capitalize(), standing, None, 100, {"train": figure, "test": figure}, 3.0)  # type: ignore[arg-type]


def page(tmp_path: Path) -> ComparisonPage:
    metadata = SequenceMetadata("words", "token", 9)
    settings = []
    for name in FIGURES:
        matched = matched_transformer(name, metadata, width=4, steps=5)
        config = RunConfig(
            name=name,
            dataset=DatasetConfig(name="words"),
            model=matched.config,
            training=TrainingConfig(loss="L_1", steps=1),
        )
        settings.append(Setting("words", name, Trial(f"words~{name}", config), matched))
    untrained = {
        "bigram": outcome("bigram", 0.8, "untrained"),
        "exact": outcome("exact", 0.1, "oracle"),
    }
    return ComparisonPage(
        title="A comparison",
        introduction=["How it was done."],
        settings=settings,
        outcomes={f"words~{name}": outcome(f"words~{name}", mean) for name, mean in FIGURES.items()},
        grounds={"words": Ground("next words", {"train": 4, "test": 2}, 5, untrained)},
        tasks=("words", "states"),
        refused={("words", "compound"): "No."},
        conditions={"updates": 1},
    )


def test_the_page_says_what_was_found(tmp_path: Path) -> None:
    shown = page(tmp_path)
    found = findings(shown.settings, shown.outcomes, shown.grounds)["words"]
    assert found.said.control == "uniform"
    assert found.untrained.keys() == {"Bigram"}
    image = tmp_path / "images" / "mine.png"
    write_comparison(shown, tmp_path / "pages" / "mine.md", image=image)
    assert image.stat().st_size > 1000
    text = (tmp_path / "pages" / "mine.md").read_text()
    assert text.startswith("# A comparison\n\nHow it was done.\n\n![")
    assert "(../images/mine.png)" in text
    assert "1 of 1 quantum mechanisms beat the best control, uniform (0.9" in text
    assert "Sequences of 5 steps: 4 of train, 2 of test." in text
    rows = [line.split(" | ")[0] for line in text.splitlines() if line.startswith("| ")]
    assert rows[1:] == [
        "| *Exact*, knows the answer",
        "| **fidelity**",
        "| **frozen-fidelity**",
        "| *Bigram*",
        "| **uniform**",
        "| **softmax**",
    ]
    assert "compound on words: refused. No." in text
    assert "- states: nothing was run." in text
    left_out = next(line for line in text.splitlines() if line.startswith("- words: "))
    assert set(left_out.removeprefix("- words: ").rstrip(".").split(", ")) == (
        set(contestants()) - set(FIGURES) - {"compound"}
    )
    numbers = json.loads((tmp_path / "pages" / "mine.json").read_text())
    assert numbers["conditions"] == {"updates": 1}
    trained = numbers["tasks"]["words"]["trained"]["fidelity"]
    assert trained["units"] == shown.settings[2].matched.config.feed_forward
    assert numbers["tasks"]["words"]["control"] == "uniform"
