"""The circuits of QASA and its rivals: published figures, the same recomputed, and what is right.

python scripts/analyse_qasa.py --document docs/benchmarks
"""

from __future__ import annotations

import argparse
import math
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import torch

from qdyn.attention.qasa.adapter import N_DATA, WEIGHT_SHAPE, qasa_circuit
from qdyn.attention.qasa.analysed_circuits import INPUTS, closed_form, rotations_and_chain, scaled, two_chains
from qdyn.attention.qasa.lstm_circuit import LSTM_WEIGHTS, N_LSTM, qlstm_circuit
from qdyn.attention.qasa.qnnformer_circuit import N_QNN, QNN_WEIGHTS, qnnformer_circuit
from qdyn.circuits.analysis.effective_dimension import effective_dimension
from qdyn.circuits.analysis.entangling_capability import entangling_capability
from qdyn.circuits.analysis.expressibility import expressibility_of, pair_fidelities
from qdyn.circuits.analysis.family import CircuitFamily, sample_mean
from qdyn.circuits.analysis.figures import draw_fidelities
from qdyn.circuits.analysis.noise_robustness import noise_robustness
from qdyn.circuits.analysis.summary import PUBLISHED_BINS
from qdyn.circuits.analysis.trainability import ObservableGradient, observable_gradient, pauli_z
from qdyn.config import read_yaml
from qdyn.files import make_folder, write_json, write_text
from qdyn.plotting import BLUE, GREEN, INK, MUTED, ORANGE, VERMILLION, dress, legend, new_figure, save_figure
from qdyn.quantum.observables import entanglement_entropy

PUBLISHED = Path(__file__).parents[1] / "docs" / "benchmarks" / "published" / "qasa_circuits.yaml"
RATES = (1e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1)
# Qubits of the Haar law that published divergences are taken from, for every circuit.
PUBLISHED_DIMENSION = 2**N_DATA
FIGURE = "../images/qasa-circuits.png"
# Of weights and inputs, for noise.
DRAWS = 16


def families() -> dict[str, tuple[str, CircuitFamily]]:
    """Key -> label and circuit; those "analysed" are what published tables are of, and were never trained."""
    data = ("inputs",)
    qasa = qasa_circuit(torch.zeros(N_DATA), torch.zeros(WEIGHT_SHAPE)).circuit
    qlstm = qlstm_circuit(torch.zeros(N_LSTM), torch.zeros(LSTM_WEIGHTS)).circuit
    qnnformer = qnnformer_circuit(torch.zeros(N_QNN), torch.zeros(QNN_WEIGHTS)).circuit
    return {
        "qasa": ("QASA", CircuitFamily(qasa, inputs=data, read=tuple(range(N_DATA)))),
        "qlstm_analysed": ("QLSTM as analysed", CircuitFamily(two_chains(), inputs=data)),
        "qlstm": ("QLSTM as trained", CircuitFamily(qlstm, inputs=data)),
        "qnnformer_analysed": ("QnnFormer as analysed", CircuitFamily(rotations_and_chain(), inputs=data)),
        "qnnformer": ("QnnFormer as trained", CircuitFamily(qnnformer, inputs=data)),
    }


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Everything that the page shows."""
    found: dict[str, Any] = {"pairs": options.pairs, "samples": options.samples, "circuits": {}}
    for key, (label, family) in families().items():
        fidelities = pair_fidelities(family, pairs=options.pairs, seed=options.seed)
        dimension = 2**family.circuit.n_qubits
        as_published = min(dimension, PUBLISHED_DIMENSION)
        recomputed = expressibility_of(
            fidelities, dimension=as_published, bins=PUBLISHED_BINS, kind="uniform"
        )
        right = expressibility_of(fidelities, dimension=dimension, real=family.is_real)
        entangling = entangling_capability(family, samples=options.samples, seed=options.seed)
        cnots = sum(bool(gate.controls) for gate in family.circuit)
        found["circuits"][key] = {
            "label": label,
            "qubits": family.circuit.n_qubits,
            "controlled_gates": cnots,
            "real": family.is_real,
            "recomputed": recomputed.divergence,
            "recomputed_error": recomputed.standard_error,
            "recomputed_dimension": as_published,
            "right": right.divergence,
            "right_corrected": right.corrected,
            "right_error": right.standard_error,
            "random_level": right.random_level,
            "entanglement": entangling.mean,
            "entanglement_error": entangling.standard_error,
            "entanglement_random": entangling.random_mean,
            "fisher_rank": effective_dimension(family, seed=options.seed).rank,
            "weights": family.n_weights,
        }
    qasa = families()["qasa"][1]
    found["entropy"] = {"random": page_entropy(16, 32)}
    for name, high in (("circle", None), ("unit", 1.0)):
        mean, error = entropy(qasa, high, options)
        found["entropy"][name] = {"nats": mean, "error": error, "fraction": mean / (4 * math.log(2))}
    published = read_yaml(PUBLISHED)
    found["gradients"] = [
        {"qubits": n, "layers": layers, **numbers(gradient(scaled(n, layers), n, options))}
        for layers in (1, 4)
        for n in published["gradients"]["qubits"]
    ]
    found["deployed"] = {}
    for name, read in (("one_z", 1), ("mean_z", N_DATA)):
        observable = pauli_z(tuple(range(read)), N_DATA + 1)
        slopes = observable_gradient(
            qasa, observable=observable, inputs=INPUTS, samples=options.samples, seed=options.seed
        )
        found["deployed"][name] = numbers(slopes)
    found["noise"] = [
        vars(one) for one in noise_robustness(qasa, rates=RATES, samples=DRAWS, seed=options.seed)
    ]
    return found


def gradient(family: CircuitFamily, n_qubits: int, options: argparse.Namespace) -> ObservableGradient:
    """As many samples as published up to 8 qubits, fewer beyond."""
    samples = max(100, options.samples >> max(0, n_qubits - 8))
    return observable_gradient(family, inputs=INPUTS, samples=samples, seed=options.seed)


def numbers(found: ObservableGradient) -> dict[str, Any]:
    """Of a gradient: what a table shows."""
    moved = found.variance * found.weights / found.moving
    return {
        "variance": found.variance, "error": found.standard_error, "moving": found.moving,
        "weights": found.weights, "of_moving": moved, "samples": found.samples,
    }  # fmt: skip


def entropy(family: CircuitFamily, high: float | None, options: argparse.Namespace) -> tuple[float, float]:
    """Of qubits 0 to 3, in nats: mean and error; inputs from the whole circle, or from 0 to ``high``."""
    values = family.draw(options.samples, seed=options.seed)
    if high is not None:
        values["inputs"] = (values["inputs"] / (2 * math.pi) + 0.5) * high
    return sample_mean(family.averaged(values, entanglement_entropy(4).expectation))


def page_entropy(small: int, large: int) -> float:
    """Of random states of dimension small * large, in nats: D. N. Page, PRL 71, 1291 (1993)."""
    return float((1 / np.arange(large + 1, small * large + 1)).sum() - (small - 1) / (2 * large))


def page(found: dict[str, Any], published: dict[str, Any]) -> str:
    """The page of the documentation."""
    lines = [
        "# The circuits of QASA and its rivals",
        "",
        *prose(
            "Made by `scripts/analyse_qasa.py`: the analysis of circuits of arXiv:2504.05336, as",
            "published, the",
            f"same recomputed ({found['pairs']} pairs, {found['samples']} samples), and",
            "corrected. Errors are",
            "standard errors.",
        ),
        "",
        f"![fidelities, published and corrected; gradients; noise]({FIGURE})",
        "",
        *circuits_section(found, published),
        "",
        *gradients_section(found, published),
        "",
        *noise_section(found),
    ]
    return "\n".join(lines) + "\n"


def prose(*parts: str, first: str = "", rest: str = "") -> list[str]:
    """A paragraph, wrapped."""
    return textwrap.wrap(" ".join(parts), 118, initial_indent=first, subsequent_indent=rest)


def point(*parts: str) -> list[str]:
    """An item of a list, wrapped."""
    return prose(*parts, first="- ", rest="  ")


def with_error(value: float, error: float, digits: int = 4) -> str:
    """A number and its standard error."""
    return f"{value:.{digits}f} ± {error:.{digits}f}"


def circuits_section(found: dict[str, Any], published: dict[str, Any]) -> list[str]:
    """Expressibility and entanglement of all five circuits."""
    columns = "circuit, qubits, controlled gates, D published, recomputed, right less bias, right, random"
    columns += ", Q published, Q, Q random, Fisher rank"
    lines = [
        "## Expressibility and entanglement",
        "",
        *prose(
            "D: divergence in nats of the fidelities of pairs from the law of random states; smaller is more",
            f"expressive. *Recomputed* is the published definition, {PUBLISHED_BINS} bins of",
            "equal width and the",
            "law of 8 qubits (of 4 for the circuit of 4). *Right* is the law of as many qubits",
            "as the circuit",
            "has, of real states where all gates are real, in bins of equal probability; *random* is what as",
            "many pairs of random states give. Q: Meyer-Wallach, of the qubits read.",
        ),
        "",
        "| " + columns.replace(", ", " | ") + " |",
        "|---" * (columns.count(",") + 1) + "|",
    ]
    for key, row in found["circuits"].items():
        said = published["circuits"].get(key, {})
        right = with_error(row["right_corrected"], row["right_error"])
        cells = [
            row["label"], row["qubits"], row["controlled_gates"], said.get("divergence", "–"),
            with_error(row["recomputed"], row["recomputed_error"]),
            right + (" (real)" if row["real"] else ""),
            f"{row['right']:.4f}", f"{row['random_level']:.4f}", said.get("entanglement", "–"),
            with_error(row["entanglement"], row["entanglement_error"]),
            f"{row['entanglement_random']:.4f}", f"{row['fisher_rank']} of {row['weights']}",
        ]  # fmt: skip
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    said, qasa = published["entropy"], found["circuits"]["qasa"]
    circle, unit, random = (found["entropy"][name] for name in ("circle", "unit", "random"))
    return [
        *lines,
        "",
        *point(
            "QASA's D was taken from the law of 8 qubits, while its fidelities are of 9. Against",
            "the right law",
            f"it is {qasa['right']:.4f}, where as many pairs of random states have",
            f"{qasa['random_level']:.4f}.",
        ),
        *point(
            "The tables of QLSTM and QnnFormer are of circuits that were never trained: twice the CNOTs, or",
            "twice the qubits and other gates. The circuits of the models are the rows *as trained*.",
        ),
        *point("QLSTM's gates are real: its fidelities can only follow the law of real states."),
        *point(
            f"Entropy of qubits 0 to 3 of QASA: published {said['mean']} nats over a maximum of",
            f"{said['maximum']:g} bits, a fraction of {said['mean'] / said['maximum']:.3f}. Here,",
            "with inputs",
            f"from 0 to 1, {with_error(unit['nats'], unit['error'])} nats, {unit['fraction']:.3f} of the",
            "maximum in the same unit; with inputs from the whole circle",
            f"{with_error(circle['nats'], circle['error'])} nats, {circle['fraction']:.3f}.",
            "Random states have",
            f"{random:.4f} nats.",
        ),
    ]


def gradients_section(found: dict[str, Any], published: dict[str, Any]) -> list[str]:
    """Gradients against qubits, and of the circuit as deployed."""
    columns = "layers, qubits, published, recomputed, closed form, weights that move it, variance over these"
    lines = [
        "## Gradients",
        "",
        *prose(
            "Variance of the derivative of $\\langle Z_0\\rangle$ over weights in (-π, π), inputs",
            f"{INPUTS}, mean over all weights; and over those that move it at all.",
        ),
        "",
        "| " + columns.replace(", ", " | ") + " |",
        "|---" * (columns.count(",") + 1) + "|",
    ]
    for row in found["gradients"]:
        place = published["gradients"]["qubits"].index(row["qubits"])
        said = published["gradients"]["one_layer" if row["layers"] == 1 else "four_layers"][place]
        cells = [
            row["layers"], row["qubits"], f"{said:.3g}", f"{row['variance']:.3g} ± {row['error']:.1g}",
            f"{closed_form(row['qubits']):.4f}" if row["layers"] == 1 else "–",
            f"{row['moving']} of {row['weights']}", f"{row['of_moving']:.3g}",
        ]  # fmt: skip
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    four = [row for row in found["gradients"] if row["layers"] == 4]
    logarithms = np.log([row["of_moving"] for row in four])
    rate = float(np.polyfit([row["qubits"] for row in four], logarithms, 1)[0])
    one_z, mean_z = found["deployed"]["one_z"], found["deployed"]["mean_z"]
    return [
        *lines,
        "",
        *prose(
            '"One layer" has no gate between qubits and one weight that moves the output: its',
            "mild decay is the",
            "division by the number of weights. With four layers, over the weights that move it,",
            "the variance",
            f"falls by a factor of {math.exp(2 * rate):.2f} for every two qubits.",
        ),
        "",
        *prose(
            f"The circuit as deployed: published {published['deployed_gradient']:.3g}; here",
            f"{one_z['variance']:.3g} ± {one_z['error']:.1g} ({one_z['moving']} of",
            f"{one_z['weights']} weights",
            f"move $\\langle Z_0\\rangle$), and {mean_z['variance']:.3g} ± {mean_z['error']:.1g} for the",
            f"mean of all eight ({mean_z['moving']} move it).",
        ),
    ]


def noise_section(found: dict[str, Any]) -> list[str]:
    """What noise leaves of QASA's circuit."""
    return [
        "## Noise",
        "",
        *prose(
            f"QASA's circuit with an error after every gate, exact density matrices, {DRAWS}",
            "draws of weights",
            "and inputs. *Signal* is the slope of the noisy outputs over the exact ones, constants aside.",
        ),
        "",
        "| noise | rate | fidelity | signal |",
        "|---|---|---|---|",
        *(
            f"| {one['noise']} | {one['rate']:g} | {with_error(one['fidelity'], one['fidelity_error'], 3)} "
            f"| {with_error(one['signal'], one['signal_error'], 3)} |"
            for one in found["noise"]
        ),
    ]


def draw(found: dict[str, Any], published: dict[str, Any], path: Path, options: argparse.Namespace) -> None:
    """Fidelities as published and corrected, gradients against qubits, noise."""
    figure = new_figure(12.5, 8.4)
    (left, right), (below, last) = figure.subplots(2, 2)
    family = families()["qasa"][1]
    fidelities = pair_fidelities(family, pairs=options.pairs, seed=options.seed)
    wrong = expressibility_of(fidelities, dimension=PUBLISHED_DIMENSION, bins=PUBLISHED_BINS, kind="uniform")
    dress(
        left, xlabel="fidelity $F$", ylabel="share of pairs", title="QASA, as published: 9 qubits, law of 8"
    )
    shown = slice(0, 8)
    left.stairs(wrong.observed[shown], wrong.edges[:9], color=BLUE, linewidth=1.8, label="circuit, 9 qubits")
    for n_qubits, colour, dash in ((8, VERMILLION, "--"), (9, GREEN, ":")):
        law = expressibility_of(fidelities, dimension=2**n_qubits, bins=PUBLISHED_BINS, kind="uniform")
        left.stairs(
            law.expected[shown], law.edges[:9], color=colour, linestyle=dash, linewidth=1.8,
            label=f"random states, {n_qubits} qubits",
        )  # fmt: skip
    left.set_yscale("log")
    left.set_ylim(1e-5, 2)
    legend(left)
    draw_fidelities(
        right,
        expressibility_of(fidelities, dimension=2**family.circuit.n_qubits),
        title="QASA, corrected: law of 9 qubits, equal bins",
    )
    dress(
        below,
        xlabel="qubits",
        ylabel=r"variance of $\partial\langle Z_0\rangle/\partial w$",
        title="Gradients",
    )
    qubits = published["gradients"]["qubits"]
    for layers, name, colour in ((1, "one_layer", ORANGE), (4, "four_layers", BLUE)):
        rows = [row for row in found["gradients"] if row["layers"] == layers]
        below.plot(qubits, published["gradients"][name], linestyle="none", marker="x", color=INK,
                   label="published, mean over all weights" if layers == 1 else None)  # fmt: skip
        below.plot(qubits, [row["variance"] for row in rows], color=colour, marker="o", markersize=4,
                   label=f"layers {layers}: all weights")  # fmt: skip
        below.plot(qubits, [row["of_moving"] for row in rows], color=colour, linestyle="--", marker="s",
                   markersize=4, label=f"layers {layers}: those that move it")  # fmt: skip
    dense = np.linspace(qubits[0], qubits[-1], 50)
    below.plot(
        dense, [closed_form(n) for n in dense], color=MUTED, linewidth=0.9, label="closed form, one layer"
    )
    below.set_yscale("log")
    legend(below, fontsize=9)
    dress(last, xlabel="error rate a gate", ylabel="what noise leaves", title="QASA's circuit with noise")
    for kind, colour in (("depolarising", BLUE), ("amplitude damping", VERMILLION)):
        rows = [row for row in found["noise"] if row["noise"] == kind]
        for name, dash in (("fidelity", "-"), ("signal", "--")):
            last.errorbar(
                [row["rate"] for row in rows], [row[name] for row in rows],
                yerr=[row[f"{name}_error"] for row in rows], color=colour, linestyle=dash, marker="o",
                markersize=4, capsize=3, label=f"{name}, {kind}",
            )  # fmt: skip
    last.set_xscale("log")
    last.set_ylim(0, 1.05)
    legend(last)
    save_figure(figure, path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument(
        "--document", type=Path, required=True, help="folder of the page; the figure goes to ../images"
    )
    parser.add_argument("--pairs", type=int, default=5000)
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    found, published = measure(options), read_yaml(PUBLISHED)
    make_folder(options.document)
    write_json(options.document / "qasa-circuits.json", found)
    text = page(found, published)
    write_text(options.document / "qasa-circuits.md", text)
    draw(found, published, options.document / FIGURE, options)
    print(text)


if __name__ == "__main__":
    main()
