"""Molecules drawn for many targets: what is asked for and kept, and the tables beside published figures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from qdyn.data.molecules.properties import PROPERTIES, molecule_properties
from qdyn.data.molecules.small_molecules import small_molecules
from qdyn.data.sequences import SequenceMetadata
from qdyn.data.smiles import QM9_VOCABULARY
from qdyn.evaluation.molecules.figures import attention_row, targets_figure
from qdyn.evaluation.molecules.generation import attention_map, generate_molecules
from qdyn.evaluation.molecules.metrics import TrainingMolecules
from qdyn.evaluation.molecules.sampling_campaign import (
    FREE,
    PUBLISHED_WEIGHTS,
    DrawnModel,
    drawn_mean,
    gather_drawn,
    keep,
    targets_of,
    write_sampling_page,
)
from qdyn.models.hybrid_decoder.config import HybridDecoderConfig
from qdyn.models.hybrid_decoder.decoder import HybridDecoder

pytest.importorskip("rdkit")
SEEN = small_molecules(3)
TRAINING = TrainingMolecules(SEEN, dict(zip(PROPERTIES, molecule_properties(SEEN).T, strict=True)), "small")
PUBLISHED = {
    "queries": 200,
    "sequence": {
        "one": {"distinct": 80, "novel": 20, "validity_elsewhere": 50.0, "uniqueness_elsewhere": 80.0}
    },
    "conditions": {"two": {"upper_MW": [60.0, 70.0, 80.0, 44.0]}},
}


def decoder(*conditions: str) -> HybridDecoder:
    metadata = SequenceMetadata("qm9", "token", 33, vocabulary=QM9_VOCABULARY)
    model = HybridDecoder(HybridDecoderConfig(score="uniform", conditions=conditions), metadata)
    # Chains of carbon, so that many draws are molecules.
    with torch.no_grad():
        model.output.weight.zero_()
        model.output.bias.fill_(-20.0)
        model.output.bias[[QM9_VOCABULARY.index("C"), QM9_VOCABULARY.index("[EOS]")]] = 0.0
    return model.eval()


def test_targets_are_two_standard_deviations_off() -> None:
    found = targets_of(TRAINING)
    assert len(found) == 19
    assert found[FREE] == {}
    weights = TRAINING.properties["MW"]
    assert found["upper_MW"] == {"MW": pytest.approx(np.mean(weights) + 2 * np.std(weights))}
    assert found["lower_nRing"] == {"nRing": 0.0}, "a negative number of rings is not asked for"
    assert found["lower_LogP"]["LogP"] < 0


def test_what_was_drawn_is_kept_and_told(tmp_path: Path) -> None:
    plain, told = DrawnModel("one", PUBLISHED_WEIGHTS), DrawnModel("two", "trained here")
    keep(tmp_path, plain, FREE, generate_molecules(decoder(), 200, training=TRAINING))
    for experiment, asked in ((FREE, {}), ("upper_MW", {"MW": 60.0}), ("lower_MW", {"MW": 20.0})):
        drawn = generate_molecules(decoder("MW"), 50, training=TRAINING, targets=asked)
        keep(tmp_path, told, experiment, drawn)
    found = gather_drawn(tmp_path)
    assert list(found) == [plain, told]
    assert set(found[told]) == {FREE, "upper_MW", "lower_MW"}
    mean = drawn_mean(found[told]["upper_MW"], "MW")
    assert mean is not None
    assert drawn_mean(found[told]["upper_MW"], "charge") is None

    page = tmp_path / "page.md"
    write_sampling_page(page, found, TRAINING, PUBLISHED)
    text = page.read_text()
    one = found[plain][FREE]
    share = one["validity"]["mean"]
    error = np.sqrt(share * (1 - share) / 199 + 0.25 / 200)
    row = next(line for line in text.splitlines() if line.startswith("| one, published weights"))
    assert row.split(" | ")[-2] == f"{(share - 0.5) / error:+.1f}"
    assert "| one, elsewhere and published | 200 | 50.00 | 80.00 | 25.00 | 80 | 20 | | |" in text
    row = next(line for line in text.splitlines() if line.startswith("| upper_MW"))
    assert row.startswith("| upper_MW | 60.000 | ")
    assert row.endswith(f"| 60.00 | {mean} | 44.000 |")
    assert page.with_suffix(".json").exists()

    figure = targets_figure(found[told], PUBLISHED["conditions"]["two"])  # type: ignore[index]
    weight = figure.axes[0]
    crosses = [line.get_xydata().tolist() for line in weight.lines if line.get_label() == "published"]  # type: ignore[union-attr]
    assert crosses == [[[60.0, 44.0]]]
    assert not figure.axes[1].lines, "nothing was asked for hydrogen-bond acceptors"


def test_attention_maps_stand_side_by_side() -> None:
    shown = attention_map(decoder(), "CCO")
    figure = attention_row([("one", shown)] * 4)
    bars = [axes for axes in figure.axes if axes.get_label() == "<colorbar>"]
    assert len(bars) == 4
    assert len(figure.axes) == 8
    assert all(bar.get_ylim()[0] >= 0 for bar in bars), "no weight is negative"
