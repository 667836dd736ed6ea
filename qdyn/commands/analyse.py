"""`qdyn analyse`: what a circuit can do before it is trained."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qdyn.commands.parsing import CommandParser, fraction, integer

if TYPE_CHECKING:
    from qdyn.attention.qasa.adapter import EncodingName
    from qdyn.circuits.analysis.family import CircuitFamily

SUMMARY = "Analyse a circuit: expressibility, entanglement, gradients, noise"
INTERRUPTED = "Interrupted; nothing was written."

ANSATZE = ("hardware_efficient", "brick_wall", "real")
VALUE_CIRCUITS = ("qasa", "qlstm", "qnnformer")

_SIZE = 4
_DETAILS = """
CIRCUIT is an ansatz (hardware_efficient, brick_wall, real), a value circuit of a
forecaster of time series (qasa, qlstm, qnnformer), or a preset or run: of quantum
self-attention, whose unitaries are then analysed with the angles they start from,
or of QASA, whose value circuit is.

Fidelities of pairs of circuits with random angles are compared with those of
random states of the same dimension, real ones where all gates are real. Every
figure stands beside that of random states, with its standard error.
"""


def parser() -> CommandParser:
    """What the command understands."""
    made = CommandParser(
        name="analyse",
        summary=f"{SUMMARY}.\n{_DETAILS}",
        example="qdyn analyse qasa\n"
        "qdyn analyse hardware_efficient --qubits 6 --layers 8\n"
        "qdyn analyse qsa-tfim-4q --noise 0.001 0.01 --out analyses/qsa",
    )
    made.add_argument("circuit", metavar="CIRCUIT", help="an ansatz, a value circuit, a preset or a run")
    made.add_argument("--qubits", metavar="N", type=integer(minimum=1), help="of an ansatz (default: 4)")
    made.add_argument("--layers", metavar="L", type=integer(minimum=1), help="of an ansatz (default: 4)")
    made.add_argument(
        "--angles",
        metavar="RADIANS",
        type=float,
        help="draw angles from 0 to this (default: the whole circle; for a preset, its own start)",
    )
    made.add_argument(
        "--pairs", metavar="N", type=integer(minimum=2), default=5000, help="of circuits (default: 5000)"
    )
    made.add_argument(
        "--samples", metavar="N", type=integer(minimum=2), default=500, help="circuits (default: 500)"
    )
    made.add_argument(
        "--noise",
        metavar="RATE",
        type=fraction,
        nargs="*",
        default=[1e-3, 1e-2, 1e-1],
        help="error rates a gate; none to leave noise out (default: 0.001 0.01 0.1)",
    )
    made.add_argument("--seed", metavar="SEED", type=integer(minimum=0), default=0, help="of all draws")
    made.add_argument("--out", metavar="DIR", help="folder of analysis.json and analysis.png")
    return made


def run(options: Any) -> int:
    """Do it."""
    from qdyn.circuits.analysis.figures import draw_analysis
    from qdyn.circuits.analysis.noise_robustness import MOST_QUBITS
    from qdyn.circuits.analysis.summary import analyse_circuit
    from qdyn.files import make_folder, write_json
    from qdyn.plotting import save_figure

    family, name = _family(options)
    if options.out:
        make_folder(Path(options.out))
    found = analyse_circuit(
        family,
        name=name,
        pairs=options.pairs,
        samples=options.samples,
        rates=options.noise,
        seed=options.seed,
    )
    print(found)
    if options.noise and not found.noise:
        print(f"Noise is left out: it is followed for at most {MOST_QUBITS} qubits.", file=sys.stderr)
    if options.out:
        write_json(Path(options.out) / "analysis.json", found.as_dict())
        print(save_figure(draw_analysis(found), Path(options.out) / "analysis.png"))
    return 0


def _family(options: Any) -> tuple[CircuitFamily, str]:
    """The circuit with its interval, and what the table calls it."""
    from qdyn.checks import check_choice
    from qdyn.circuits.analysis.family import CircuitFamily
    from qdyn.circuits.ansatz.circuits import ansatz_circuit
    from qdyn.circuits.ansatz.variational import ANSATZE as KNOWN
    from qdyn.errors import ArgumentError
    from qdyn.shipped import shipped_names

    interval = (-math.pi, math.pi) if options.angles is None else (0.0, options.angles)
    if options.angles is not None and not (math.isfinite(options.angles) and options.angles > 0):
        raise ArgumentError(f"Argument `--angles` must be a finite number > 0, but is {options.angles}.")
    if options.circuit in KNOWN:
        qubits, layers = options.qubits or _SIZE, options.layers or _SIZE
        if options.circuit == "brick_wall" and qubits < 2:
            raise ArgumentError(f"Argument `--qubits` must be at least 2 for brick_wall, but is {qubits}.")
        circuit = ansatz_circuit(options.circuit, n_qubits=qubits, layers=layers, slot="weights")
        title = f"{KNOWN[options.circuit].label}, {qubits} qubits, {layers} layers"
        return CircuitFamily(circuit, interval=interval), title
    if options.circuit not in VALUE_CIRCUITS and not Path(options.circuit).exists():
        check_choice("CIRCUIT", options.circuit, [*ANSATZE, *VALUE_CIRCUITS, *shipped_names("models")])
    for name in ("qubits", "layers"):
        if getattr(options, name) is not None:
            raise ArgumentError(f"Argument `--{name}` is for an ansatz: {options.circuit!r} has its own.")
    if options.circuit in VALUE_CIRCUITS:
        return _value_circuit(options.circuit, interval), f"value circuit of {options.circuit}"
    return _of_preset(options)


def _value_circuit(
    name: str, interval: tuple[float, float], *, pruned: bool = False, encoding: EncodingName = "rx_rz"
) -> CircuitFamily:
    import torch

    from qdyn.attention.qasa.adapter import N_DATA, WEIGHT_SHAPE, qasa_circuit
    from qdyn.attention.qasa.lstm_circuit import LSTM_WEIGHTS, N_LSTM, qlstm_circuit
    from qdyn.attention.qasa.qnnformer_circuit import N_QNN, QNN_WEIGHTS, qnnformer_circuit
    from qdyn.circuits.analysis.family import CircuitFamily

    if name == "qasa":
        zeros = torch.zeros(N_DATA), torch.zeros(WEIGHT_SHAPE)
        program, read = qasa_circuit(*zeros, pruned=pruned, encoding=encoding), N_DATA
    elif name == "qlstm":
        program, read = qlstm_circuit(torch.zeros(N_LSTM), torch.zeros(LSTM_WEIGHTS)), N_LSTM
    else:
        program, read = qnnformer_circuit(torch.zeros(N_QNN), torch.zeros(QNN_WEIGHTS)), N_QNN
    return CircuitFamily(program.circuit, inputs=("inputs",), read=tuple(range(read)), interval=interval)


def _of_preset(options: Any) -> tuple[CircuitFamily, str]:
    """The unitaries of quantum self-attention, on as many qubits as its states have; or QASA's circuit."""
    from qdyn.circuits.analysis.family import CircuitFamily
    from qdyn.circuits.ansatz.circuits import ansatz_circuit
    from qdyn.circuits.ansatz.variational import ansatz
    from qdyn.commands.circuit import model_and_data
    from qdyn.errors import ArgumentError
    from qdyn.models.series.config import SeriesEncoderConfig
    from qdyn.training.config import load_config
    from qdyn.training.run import load_run

    run = (Path(options.circuit) / "run.json").is_file()
    section = (load_run(options.circuit).config if run else load_config(options.circuit)).model
    if isinstance(section, SeriesEncoderConfig) and section.adapter == "quantum":
        # As its weights start.
        interval = (0.0, options.angles or 2 * math.pi)
        family = _value_circuit("qasa", interval, pruned=section.pruned, encoding=section.adapter_encoding)
        return family, f"{options.circuit}: value circuit of qasa"
    model, data = model_and_data(options.circuit, argument="CIRCUIT")
    config = model.config
    if not ansatz(config.unitaries).is_circuit:
        raise ArgumentError(
            f"Argument `CIRCUIT` must have unitaries made of gates, but those of {options.circuit} are "
            f"{config.unitaries!r}."
        )
    inputs = data.split("test").batch([0]).inputs
    dimension = model.embedding.states(inputs, model.embedding.frame()).shape[-1]
    qubits = dimension.bit_length() - 1
    circuit = ansatz_circuit(config.unitaries, n_qubits=qubits, layers=config.layers, slot="weights")
    family = CircuitFamily(circuit, interval=(0.0, options.angles or config.initial_angle))
    return family, f"{options.circuit}: {config.unitaries}, {qubits} qubits, {config.layers} layers"
