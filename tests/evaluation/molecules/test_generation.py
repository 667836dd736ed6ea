from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from qdyn.data.molecules.properties import PROPERTIES, molecule_properties
from qdyn.data.sequences import SequenceMetadata
from qdyn.data.smiles import QM9_VOCABULARY
from qdyn.errors import ArgumentError, DatasetError
from qdyn.evaluation.molecules.figures import molecule_svg, shown_first
from qdyn.evaluation.molecules.generation import attention_map, generate_molecules
from qdyn.evaluation.molecules.metrics import TrainingMolecules
from qdyn.models.hybrid_decoder.config import HybridDecoderConfig
from qdyn.models.hybrid_decoder.decoder import HybridDecoder

pytest.importorskip("rdkit")
QM9 = SequenceMetadata("qm9", "token", 33, vocabulary=QM9_VOCABULARY)
SEEN = ("CO", "CCO", "CCCO", "CC(C)O", "OCCO", "CCN", "CCF")
TRAINING = TrainingMolecules(
    SEEN, dict(zip(PROPERTIES, molecule_properties(SEEN).T, strict=True)), "alcohols"
)
NITROFURAN = "O=[N+]([O-])c1ccoc1"


class Alkanes(HybridDecoder):
    """Writes chains of carbon: "C" with probability 0.6 after every word, else the end."""

    def __init__(self, conditions: tuple[str, ...] = ()) -> None:
        super().__init__(HybridDecoderConfig(score="uniform", conditions=conditions), QM9)
        for parameter in self.parameters():
            torch.nn.init.zeros_(parameter)
        p = torch.full((33,), 1e-12)
        p[QM9_VOCABULARY.index("C")], p[QM9_VOCABULARY.index("[EOS]")] = 0.6, 0.4
        self.output.bias.data = p.log()
        self.eval()


def test_figures_of_a_model_that_is_known() -> None:
    """Chains of geometric length: empty ones are no molecules, methane and ethane are not new."""
    seen = TrainingMolecules(("C", "CC"))
    found = generate_molecules(Alkanes(), 3000, training=seen, seed=1)
    figures = found.figures
    assert abs(figures.validity.mean - 0.6) < 4 * np.sqrt(0.6 * 0.4 / 3000)
    assert figures.novel == figures.distinct - 2
    heavy = [form.count("C") for form in found.judged.canonical if form]
    assert abs(np.mean(heavy) - 1 / 0.4) < 4 * np.std(heavy) / np.sqrt(len(heavy))
    assert "3000 queries" in str(found)
    assert [row[0] for row in found.shares()] == ["validity", "uniqueness", "novelty", "diversity"]
    assert all("3000 queries" in row[2] for row in found.shares()[1:3]), "never without the queries"


def test_conditions_are_imputed_and_told() -> None:
    model = Alkanes(conditions=("LogP", "MW"))
    free = generate_molecules(model, 20, training=TRAINING)
    assert free.settings["told"]["MW"] == pytest.approx(TRAINING.properties["MW"].mean())
    assert "mean conditions" in free.how
    bound = generate_molecules(model, 20, training=TRAINING, targets={"MW": 46.0}, neighbours=2)
    nearest = [SEEN.index("CCO"), SEEN.index("CCN")]  # 46.07 and 45.08 g/mol
    assert bound.settings["told"] == {
        "LogP": pytest.approx(TRAINING.properties["LogP"][nearest].mean()),
        "MW": 46.0,
    }
    assert bound.figures.property("MW").target == 46.0
    assert "trained on" in str(bound)
    whole = generate_molecules(model, 20, targets={"MW": 46.0, "LogP": 0.1})
    assert whole.settings["told"] == {"LogP": 0.1, "MW": 46.0}
    with pytest.raises(ArgumentError, match="from which LogP are imputed, but is missing"):
        generate_molecules(model, 20, targets={"MW": 46.0})
    with pytest.raises(ArgumentError, match="'WM': valid: LogP, MW"):
        generate_molecules(model, 20, training=TRAINING, targets={"WM": 46.0})
    with pytest.raises(ArgumentError, match="told no conditions"):
        generate_molecules(Alkanes(), 20, targets={"MW": 46.0})
    with pytest.raises(DatasetError, match="does not tell 'LogP'"):
        generate_molecules(model, 20, training=TrainingMolecules(SEEN))


def test_everything_is_written(tmp_path: Path) -> None:
    found = generate_molecules(
        Alkanes(conditions=("MW",)), 200, training=TRAINING, targets={"MW": 46.0}, attention_of=NITROFURAN
    )
    report = found.save(tmp_path)
    table = json.loads((tmp_path / "table.json").read_text())
    assert (table["format"], table["schema"], table["queries"]) == ("qdyn-molecules", 1, 200)
    assert table["validity"]["standard_error"] == pytest.approx(found.figures.validity.standard_error)
    assert len((tmp_path / "molecules.csv").read_text().splitlines()) == 201
    for name in ("properties", "attention"):
        for suffix in ("png", "svg"):
            assert (tmp_path / "figures" / f"{name}.{suffix}").stat().st_size > 1000
    page = report.read_text()
    distinct = [smiles for smiles, _ in shown_first(found, 24)]
    assert len(distinct) == len(set(distinct)) > 2
    assert page.count("<li><svg") == len(distinct)
    for part in ("[CLS]", "Asked for MW = 46", "200 queries", "trained on"):
        assert part in page


def test_nothing_valid_is_reported_too(tmp_path: Path) -> None:
    model = Alkanes()
    model.output.bias.data[QM9_VOCABULARY.index("C")] = -50.0
    found = generate_molecules(model, 5)
    assert found.figures.valid == 0
    assert "0.000 %" in str(found)
    assert "Properties" not in found.save(tmp_path).read_text()


def test_attention_is_that_of_the_model() -> None:
    decoder = HybridDecoder(HybridDecoderConfig(), QM9, seed=1).eval()
    shown = attention_map(decoder, NITROFURAN)
    assert shown.words[:4] == ("[CLS]", "O", "=", "[N+]")
    assert shown.weights.shape == (len(shown.words),) * 2
    np.testing.assert_allclose(shown.weights.sum(1), 1, atol=1e-6)
    rows = torch.tensor([[QM9_VOCABULARY.index(word) for word in shown.words]])
    np.testing.assert_allclose(shown.weights, decoder.attention_weights(rows)[0].numpy(), atol=1e-6)
    uniform = attention_map(Alkanes(), "CCO")
    np.testing.assert_allclose(uniform.weights[3], 0.25, atol=1e-6)


def test_drawings_are_in_the_colours_of_a_page() -> None:
    drawn = molecule_svg(NITROFURAN)
    assert drawn.startswith("<svg")
    assert drawn.rstrip().endswith("</svg>")
    assert "#" not in drawn.replace("&#", "")
