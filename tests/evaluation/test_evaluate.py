"""evaluate(): the table of theory/qsa.md on the shipped recipe, gauge, seeds, all kinds of data, refusals."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from torch import Tensor

import qdyn
from qdyn.data.load import load_dataset
from qdyn.data.sequences import SequenceDataset
from qdyn.errors import ArgumentError, DatasetError, OutputError, RunError
from qdyn.evaluation.evaluate import evaluate
from qdyn.evaluation.evaluation import Evaluation
from qdyn.models.base import Predictor
from qdyn.models.baselines import ExactEvolution, Persistence, Procrustes
from qdyn.models.config import ModelConfig
from qdyn.models.qsa.predictor import QSAPredictor
from qdyn.training.config import DatasetConfig, EvaluationConfig, RunConfig, TrainingConfig
from qdyn.training.run import Run
from qdyn.training.train import train


@pytest.fixture(scope="module")
def tfim(tmp_path_factory: pytest.TempPathFactory) -> SequenceDataset:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("QDYN_CACHE", str(tmp_path_factory.getbasetemp() / "qdyn-cache"))
        return load_dataset("tfim-4q", progress=False)


@pytest.fixture(scope="module")
def table(tfim: SequenceDataset) -> Evaluation:
    return evaluate(Persistence().fit(tfim), dataset=tfim, context=16, rollout_steps=16)


@pytest.fixture(scope="module")
def run(tfim: SequenceDataset, tmp_path_factory: pytest.TempPathFactory) -> Run:
    config = RunConfig(
        name="tiny <b>&",
        dataset=DatasetConfig(name="tfim-4q"),
        model=ModelConfig(layers=2, degree=2),
        training=TrainingConfig(steps=4, seeds=(0, 5), log_every=1, evaluate_every=2),
        evaluation=EvaluationConfig(context=10, rollout_steps=5),
    )
    return train(config, dataset=tfim, out=tmp_path_factory.mktemp("runs") / "tiny", progress=False)


@pytest.fixture(scope="module")
def report(run: Run) -> Evaluation:
    return evaluate(run)


# The physics of the table


@pytest.mark.parametrize(
    ("key", "loss"),
    [
        ("chance", 3.318),
        ("persistence", 1.25),
        ("least_squares", 0.293),
        ("procrustes", 0.238),
        ("mean_hamiltonian", 0.189),
        ("in_context", 1.96),
        ("in_context_procrustes", 1.82),
        ("procrustes (raw)", 0.193),
        ("in_context (raw)", 0.169),
        ("in_context_procrustes (raw)", 0.025),
    ],
)
def test_the_shipped_recipe_gives_the_table_of_the_theory_page(
    table: Evaluation, key: str, loss: float
) -> None:
    # Both are means over 128 independent trajectories of the same distribution, so their difference has a
    # standard deviation of sqrt(2) standard errors.
    found = table.row(key).metrics["L_1"]
    assert found.standard_error is not None
    assert found.mean == pytest.approx(loss, abs=3 * math.sqrt(2) * found.standard_error)


@pytest.mark.parametrize(
    ("key", "fidelity"),
    [("persistence", 0.372), ("mean_hamiltonian", 0.837), ("in_context_procrustes (raw)", 0.977)],
)
def test_the_mean_fidelities_too(table: Evaluation, key: str, fidelity: float) -> None:
    found = table.row(key).metrics["fidelity"]
    assert found.standard_error is not None
    assert found.mean == pytest.approx(fidelity, abs=3 * math.sqrt(2) * found.standard_error)


def test_the_oracle_is_exact_to_the_stored_precision(table: Evaluation) -> None:
    oracle = table.row("exact")
    assert oracle.standing == "oracle"
    assert oracle.metrics["L_1"].mean < 1e-5
    assert oracle.mean_horizon == (16, True)
    assert table.rolled_out["exact"].mean.min() > 1 - 1e-5


def test_phases_change_what_is_learnt_and_nothing_else(tfim: SequenceDataset, table: Evaluation) -> None:
    raw = evaluate(
        Persistence().fit(tfim), dataset=tfim.with_phase_convention("raw"), context=16, rollout_steps=16
    )
    for key in ("chance", "persistence", "mean_hamiltonian"):
        assert raw.row(key).metrics["L_1"].mean == pytest.approx(table.row(key).metrics["L_1"].mean, rel=1e-4)
    for key in ("least_squares", "procrustes", "in_context", "in_context_procrustes"):
        marked = table.row(f"{key} (raw)")
        assert marked.phase_convention == "raw"
        assert marked.label.endswith("raw phases")
        assert raw.row(key).metrics["L_1"].mean == pytest.approx(marked.metrics["L_1"].mean, rel=1e-6)
        assert raw.row(key).metrics["L_1"].mean < table.row(key).metrics["L_1"].mean
    assert not [row.key for row in raw.rows if row.key.endswith("(raw)")]


def test_roll_out_of_one_unitary_is_its_powers(tfim: SequenceDataset, table: Evaluation) -> None:
    raw = tfim.with_phase_convention("raw")
    matrix = Procrustes().fit(raw).matrix
    assert matrix is not None
    test = raw.split("test").sequences().to(torch.complex128)
    state, expected = test[:, 15], []
    for step in range(16):
        state = state @ matrix.T
        expected.append(float(torch.linalg.vecdot(test[:, 16 + step], state).abs().square().mean()))
    assert table.rolled_out["procrustes (raw)"].mean == pytest.approx(expected, abs=1e-5)
    # In first_real phases the roll-out turns the phase after every step, which a linear map does not mind.
    own = Procrustes().fit(tfim).matrix
    assert own is not None
    state, expected = test[:, 15], []
    for step in range(16):
        state = state @ own.T
        expected.append(float(torch.linalg.vecdot(test[:, 16 + step], state).abs().square().mean()))
    assert table.rolled_out["procrustes"].mean == pytest.approx(expected, abs=1e-5)


def test_rows_are_grouped_and_the_best_comes_first(table: Evaluation) -> None:
    keys = [row.key for row in table.rows]
    assert keys[:2] == ["identification", "mean_hamiltonian"]
    assert keys[-1] == "exact"
    own = [row.metrics["L_1"].mean for row in table.rows if row.phase_convention == "first_real"][:-1]
    assert own == sorted(own)
    assert len(keys) == len(set(keys)) == 13


# Seeds, comparisons, kinds of data


class Turned(Predictor):
    """Forecasts the present element with a part of weight sin(angle)^2 turned away from it."""

    def __init__(self, angle: float) -> None:
        self.angle = angle
        self.name = "turned"

    def forecast(self, inputs: Tensor, mask: Tensor | None = None) -> Tensor:
        away = torch.stack([-inputs[..., 1], inputs[..., 0]], dim=-1)
        return math.cos(self.angle) * inputs + math.sin(self.angle) * away


def circles(step: float) -> SequenceDataset:
    """Points that move on a circle by ``step``: a forecast turned by a has fidelity cos(a - step)^2."""
    angles = step * torch.arange(9) + torch.linspace(0, 1, 5, dtype=torch.float64)[:, None]
    return SequenceDataset.from_arrays(
        torch.stack([angles.cos(), angles.sin()], -1), kind="real", name="circles"
    )


def test_seeds_share_a_row_and_their_spread_is_over_seeds() -> None:
    data = circles(0.1)
    found = evaluate({"turned": [Turned(0.3), Turned(0.6)], "still": Turned(0.0)}, dataset=data)
    losses = [-math.log(math.cos(a - 0.1) ** 2) for a in (0.3, 0.6)]
    row = found.row("turned")
    assert row.n_seeds == 2
    assert row.metrics["L_1"].mean == pytest.approx(np.mean(losses))
    assert row.metrics["L_1"].std == pytest.approx(np.std(losses, ddof=1))
    assert row.metrics["L_1"].standard_error == pytest.approx(0, abs=1e-12)
    assert found.row("still").metrics["L_1"].mean == pytest.approx(
        found.row("persistence").metrics["L_1"].mean
    )
    assert found.row("least_squares").metrics["L_1"].mean == pytest.approx(0, abs=1e-12)
    assert found.split == "all"
    assert "fitted to the sequences they are judged on" in found.notes[0]
    curve = found.teacher_forced["turned"]
    assert curve.mean == pytest.approx([np.mean([math.cos(a - 0.1) ** 2 for a in (0.3, 0.6)])] * 8)


def test_a_predictor_sees_the_phases_that_it_was_fitted_to(tfim: SequenceDataset, table: Evaluation) -> None:
    raw = Procrustes().fit(tfim.with_phase_convention("raw"))
    found = evaluate({"mine": raw}, dataset=tfim, compare=False).row("mine")
    assert found.phase_convention == "raw"
    assert found.metrics["L_1"] == table.row("procrustes (raw)").metrics["L_1"]


def test_predictors_of_one_name_keep_their_own_rows() -> None:
    found = evaluate([Turned(0.3), Turned(0.6)], dataset=circles(0.1), compare=False)
    assert [row.key for row in found.rows] == ["turned", "turned-2"]


def test_a_model_called_like_a_baseline_leaves_it_in_the_table() -> None:
    data = circles(0.1)
    found = evaluate({"persistence": [Turned(0.3), Turned(0.6)]}, dataset=data)
    assert found.row("persistence").label == "Persistence"
    assert found.row("persistence-2").n_seeds == 2
    assert found.row("persistence").metrics["L_1"].mean == pytest.approx(-math.log(math.cos(0.1) ** 2))
    # The baseline itself, given by hand, is not shown twice.
    keys = [row.key for row in evaluate(Persistence().fit(data), dataset=data).rows]
    assert sorted(keys) == ["chance", "least_squares", "persistence"]


def test_the_comparison_is_paired() -> None:
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(40, 6, 4, generator=generator, dtype=torch.float64)
    data = SequenceDataset.from_arrays(values / values.norm(dim=-1, keepdim=True), kind="real", name="noise")
    model = QSAPredictor(ModelConfig(unitaries="real", layers=1, degree=1), data.metadata, seed=0)
    found = evaluate({"model": model}, dataset=data)
    against = {one.key: one for one in found.comparisons}
    assert set(against) == {"chance", "persistence", "least_squares"}
    batch = data.batch(range(40))

    def losses(predictor: Predictor) -> Tensor:
        overlap = (predictor.forecast(batch.inputs) * batch.targets).sum(-1).double()
        return -overlap.square().log().mean(-1)

    difference = losses(model) - losses(Persistence())
    assert against["persistence"].difference == pytest.approx(float(difference.mean()), rel=1e-5)
    assert against["persistence"].standard_error == pytest.approx(
        float(difference.std()) / math.sqrt(40), rel=1e-5
    )


def test_one_sequence_gives_no_verdict(tmp_path: Path) -> None:
    values = torch.randn(1, 6, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    data = SequenceDataset.from_arrays(values / values.norm(dim=-1, keepdim=True), kind="real", name="noise")
    model = QSAPredictor(ModelConfig(unitaries="real", layers=1, degree=1), data.metadata, seed=0)
    found = evaluate({"model": model}, dataset=data, out=tmp_path)
    assert {one.verdict for one in found.comparisons} == {"unknown"}
    assert "no difference" not in found.headline
    stored = json.loads((tmp_path / "table.json").read_text())["comparisons"]
    assert [one["standard_error"] for one in stored] == [None] * 3


@pytest.fixture
def sentences() -> SequenceDataset:
    words = torch.randint(0, 6, (60, 8), generator=torch.Generator().manual_seed(1))
    words[:, 1::2] = (words[:, ::2] + 1) % 6  # every second word follows from the one before
    lengths = torch.arange(60) % 6 + 3
    return SequenceDataset.from_arrays(
        words,
        kind="token",
        dimension=6,
        lengths=lengths,
        name="sentences",
        splits={"train": (0, 30), "test": (30, 60)},
    )


def test_tokens(sentences: SequenceDataset, tmp_path: Path) -> None:
    config = ModelConfig(layers=1, degree=1, embedding_dimension=4)
    models = [QSAPredictor(config, sentences.metadata, seed=seed) for seed in (0, 1)]
    found = evaluate({"model": models}, dataset=sentences, out=tmp_path)
    assert {row.key for row in found.rows} == {
        "model",
        "chance",
        "unigram",
        "bigram",
        "trigram",
        "persistence",
    }
    chance = found.row("chance")
    assert chance.metrics["L_1"].mean == pytest.approx(math.log(6))
    assert chance.metrics["perplexity"].mean == pytest.approx(6)
    assert found.row("bigram").metrics["L_1"].mean < found.row("unigram").metrics["L_1"].mean
    assert "L_1_excess" not in chance.metrics
    row = found.row("model")
    test = sentences.split("test").batch(range(30))
    with torch.no_grad():
        seen = [model(test.inputs, test.targets, test.mask) for model in models]
    assert row.metrics["L_1"].mean == pytest.approx(
        float(torch.stack([one.loss_1 for one in seen]).mean()), rel=1e-5
    )
    for name, field in (("L_1_excess", "loss_1_excess"), ("L_B", "loss_b"), ("L_half", "loss_half")):
        expected = float(torch.stack([getattr(one, field) for one in seen]).mean())
        assert row.metrics[name].mean == pytest.approx(expected, rel=1e-5)
    assert row.horizons == ()
    assert found.attention is not None
    assert np.allclose(found.attention.sum(1)[:2], 1)
    assert "Perplexity" in (tmp_path / "report.html").read_text()
    assert "perplexity" in str(found)


# A run, its files and its report


def test_a_run_is_judged_in_its_own_way_and_leaves_a_report(run: Run, report: Evaluation) -> None:
    assert report.folder == run.path / "evaluation"
    assert (report.context, report.rollout_steps, report.threshold) == (10, 5, 0.9)
    row = report.rows[0]
    assert (row.key, row.standing, row.n_seeds) == ("tiny <b>&", "trained", 2)
    assert row.parameters == run.record.parameters
    assert {"L_1", "L_half", "L_B", "fidelity"} <= set(row.metrics)
    assert len(row.horizons) == 2
    assert len(report.comparisons) == len(report.rows) - 1
    test = run.dataset().split("test").batch(range(128))
    with torch.no_grad():
        expected = torch.stack([model.loss("L_1", test.inputs, test.targets) for model in run.models])  # type: ignore[attr-defined]
    assert row.metrics["L_1"].mean == pytest.approx(float(expected.mean()), rel=1e-5)
    content = json.loads((report.folder / "table.json").read_text())
    assert content["rows"][0]["horizon"]["steps_of_each_seed"] == [one.steps for one in row.horizons]
    assert content["dataset"]["digest"] == run.metadata.digest
    assert content == json.loads(report.to_json())
    curves = json.loads((report.folder / "curves.json").read_text())
    assert curves["rolled_out"]["rows"]["tiny <b>&"]["mean"] == report.rolled_out["tiny <b>&"].mean.tolist()


def test_the_report_is_whole_and_needs_no_network(report: Evaluation) -> None:
    assert report.folder is not None
    page = (report.folder / "report.html").read_text()
    for word in (
        "Fidelity against horizon",
        "Magnetisation",
        "Training",
        "Attention",
        "Configuration",
        "Seeds",
        "0, 5",
    ):
        assert word in page
    assert str(report.provenance.dataset["digest"]) in page
    assert "tiny &lt;b&gt;&amp;" in page
    assert "<b>" not in page
    assert not re.search(r"<(script|link|iframe|img)\b|@import|\bsrc=|url\((?!#)", page)
    addresses = set(re.findall(r'https?://[^"\s<]+', page))
    assert addresses <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    for target in re.findall(r'(?:url\(#|href="#)([^")]+)', page):
        assert target in ids


def test_figures_are_files_that_open(report: Evaluation) -> None:
    assert report.folder is not None
    for name in ("fidelity", "magnetisation", "training", "attention"):
        assert (report.folder / "figures" / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert ElementTree.parse(report.folder / "figures" / f"{name}.svg").getroot().tag.endswith("svg")


def test_an_evaluation_repeats_itself(run: Run, report: Evaluation, tmp_path: Path) -> None:
    again = evaluate(run, out=tmp_path)
    assert again.table == report.table
    assert report.folder is not None
    for name in ("curves.json", "figures/fidelity.svg"):
        assert (tmp_path / name).read_bytes() == (report.folder / name).read_bytes()


def test_the_example_is_what_the_predictors_roll_out(
    run: Run, report: Evaluation, tfim: SequenceDataset
) -> None:
    example = report.example
    assert example is not None
    states = tfim.split("test").sequences([example.index])[0].to(torch.complex128)
    signs = 1 - 2 * ((torch.arange(16)[:, None] >> torch.arange(4)) & 1)
    z = (states.abs().square() @ signs.double()).mean(-1)
    label = next(name for name in example.exact if "z" in name)
    assert example.exact[label] == pytest.approx(z.numpy(), abs=1e-6)
    rolled = run.model(1).rollout(tfim.split("test").batch([example.index]).inputs[:, :10], 5)[0]
    z = (rolled.abs().square().double() @ signs.double()).mean(-1)
    assert example.forecast["tiny <b>&"][label][1] == pytest.approx(z.numpy(), abs=1e-5)


def test_the_table_prints_what_it_holds(report: Evaluation) -> None:
    text = str(report)
    assert str(report.rows[0].metrics["L_1"]) in text
    assert "seeing the same first_real phases as the model" in text
    assert "0.35/J" in text
    assert text.endswith(report.headline)
    assert max(map(len, text.splitlines()[:20])) <= 120


def test_data_without_a_hamiltonian_leave_out_what_needs_one(tmp_path: Path) -> None:
    states = torch.eye(3, dtype=torch.complex128)[torch.arange(8) % 3].expand(4, 8, 3)
    data = SequenceDataset.from_arrays(states, kind="quantum_state", name="cycle")
    found = evaluate(Persistence().fit(data), dataset=data, out=tmp_path)
    assert [note for note in found.notes if "names none" in note]
    assert "exact" not in {row.key for row in found.rows}
    assert found.example is None  # three levels are no qubits
    assert found.row("in_context").metrics["L_1"].mean > 0
    assert found.row("procrustes").metrics["L_1"].mean == pytest.approx(0, abs=1e-12)
    assert found.row("procrustes").mean_horizon == (4, True)


REFUSALS: list[tuple[Callable[[SequenceDataset], object], type[Exception], str]] = [
    (lambda data: evaluate(Persistence()), ArgumentError, "`dataset` is needed"),
    (lambda data: evaluate([], dataset=data), ArgumentError, "at least one predictor, but is empty"),
    (lambda data: evaluate({"x": []}, dataset=data), ArgumentError, "must hold predictors"),
    (lambda data: evaluate(Persistence(), dataset=data, split="tset"), DatasetError, "did you mean 'test'"),
    (
        lambda data: evaluate(Persistence(), dataset=data, context=33),
        ArgumentError,
        r"`context` must be .* \[1, 32\]",
    ),
    (
        lambda data: evaluate(Persistence(), dataset=data, context=20, rollout_steps=14),
        ArgumentError,
        "must add up to at most the 33 elements of a sequence, but are 20 and 14",
    ),
    (
        lambda data: evaluate(Persistence(), dataset=data, threshold=1.0),
        ArgumentError,
        r"must lie in \(0, 1\)",
    ),
]


@pytest.mark.parametrize(("call", "error", "message"), REFUSALS, ids=range(len(REFUSALS)))
def test_clear_refusals(
    tfim: SequenceDataset,
    as_user: None,
    call: Callable[[SequenceDataset], object],
    error: type[Exception],
    message: str,
) -> None:
    with pytest.raises(error, match=message):
        call(tfim)


def test_a_run_refuses_data_that_it_cannot_read(run: Run, sentences: SequenceDataset) -> None:
    with pytest.raises(
        DatasetError, match="trained on data of kind 'quantum_state', but the dataset sentences has kind"
    ):
        evaluate(run, dataset=sentences)


def test_an_unwritable_folder_costs_one_line(run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OutputError, match="Cannot make the folder"):
        evaluate(run, out=tmp_path / "file" / "deeper")
    assert (tmp_path / "file").read_text() == "mine"


def test_an_oracle_given_by_hand_is_told_the_couplings(tfim: SequenceDataset) -> None:
    found = evaluate(ExactEvolution().fit(tfim), dataset=tfim, split="validation", compare=False)
    assert found.row("exact").metrics["fidelity"].mean == pytest.approx(1, abs=1e-5)
    assert found.n_sequences == 64


def test_a_run_is_judged_from_its_folder(run: Run, report: Evaluation) -> None:
    assert evaluate(run.path, compare=False).row(run.name).metrics == report.row(run.name).metrics


def test_baselines_are_told_the_hamiltonian_of_own_states(as_user: None) -> None:
    fields = torch.linspace(0.5, 1.5, 12, dtype=torch.float64)
    ising = qdyn.TransverseFieldIsing(2, field=fields)
    states = qdyn.evolve(ising, qdyn.haar_random_states(n_qubits=2, seed=1), 0.3 * np.arange(9)).states
    data = SequenceDataset.from_arrays(
        states,
        kind="quantum_state",
        times=0.3 * np.arange(9),
        conditions={"field": fields},
        splits={"train": (0, 8), "test": (8, 12)},
    )
    told = evaluate(Persistence().fit(data), dataset=data, hamiltonian=qdyn.TransverseFieldIsing(2))
    assert told.row("exact").metrics["L_1"].mean < 1e-10
    assert told.row("exact").metrics["L_1"].mean < told.row("mean_hamiltonian").metrics["L_1"].mean
    alone = evaluate(Persistence().fit(data), dataset=data)
    assert "exact" not in {row.key for row in alone.rows}
    assert any("give one as `hamiltonian`" in note for note in alone.notes)
    with pytest.raises(ArgumentError, match="`hamiltonian` must be a Hamiltonian, but is of type Tensor"):
        evaluate(Persistence(), dataset=data, hamiltonian=states)  # type: ignore[arg-type]


def test_data_in_memory(tmp_path: Path) -> None:
    model, training = ModelConfig(layers=1, degree=1), TrainingConfig(steps=2, batch_size=4, seeds=(0,))
    config = RunConfig("own", DatasetConfig("mine"), model, training)
    states = qdyn.evolve(qdyn.XXZ(2), qdyn.haar_random_states(n_qubits=2, batch=6, seed=0), range(9)).states
    mine = SequenceDataset.from_arrays(states, kind="quantum_state", name="mine")
    train(config, dataset=mine, out=tmp_path / "own", progress=False)
    with pytest.raises(RunError, match=r"dataset 'mine' of the run at .* cannot be opened: give it as"):
        evaluate(tmp_path / "own")
    with pytest.raises(ArgumentError, match="the run's own, 16 and 16, are more than the 9 elements"):
        evaluate(tmp_path / "own", dataset=mine)
    judged = evaluate(tmp_path / "own", dataset=mine, context=4, rollout_steps=5)
    assert any("judged on what it was trained on" in note for note in judged.notes)
    others = SequenceDataset.from_arrays(states.flip(0), kind="quantum_state", name="others")
    judged = evaluate(tmp_path / "own", dataset=others, context=4, rollout_steps=5)
    assert not any("trained on" in note for note in judged.notes)
