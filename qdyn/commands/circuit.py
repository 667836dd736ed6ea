"""`qdyn circuit`: a preset's attention as a circuit: its cost, its drawing, and what shots measure."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qdyn.commands.parsing import CommandParser, integer

if TYPE_CHECKING:
    from qdyn.circuits.executors.program import Program
    from qdyn.data.batch import Batch
    from qdyn.data.sequences import SequenceDataset
    from qdyn.models.qsa.predictor import QSAPredictor

SUMMARY = "Show a model's attention as a circuit: count, draw, export, measure"
INTERRUPTED = "Interrupted."

_DETAILS = """
Takes a preset (with its initial angles) or a run (with its trained ones), loads
the first steps of a sequence of the test split, and builds the circuits of mu and
zeta, whose ratio gives the training loss L_B. Without an option it counts gates.

A circuit has 2 ceil(log2 T) + (k + 1) n qubits, and k more for a polynomial
kernel. To run one on a laptop, lower k: --set model.degree=1.
"""


def parser() -> CommandParser:
    """What the command understands."""
    made = CommandParser(
        name="circuit",
        summary=f"{SUMMARY}.\n{_DETAILS}",
        example="qdyn circuit qsa-tfim-4q --count\n"
        "qdyn circuit qsa-monomial-tfim-4q --set model.degree=1 --set model.layers=2 --shots 10000\n"
        "qdyn circuit runs/a --steps 2 --shots 10000 --target qpp-cpu",
    )
    made.add_argument(
        "model", metavar="PRESET", help="a preset's name, its YAML file, or the folder of a run"
    )
    made.add_argument(
        "--set", metavar="KEY=VALUE", action="append", default=[], help="change a key of the preset"
    )
    made.add_argument(
        "--steps", metavar="T", type=integer(minimum=1), default=4, help="predictions (default: 4)"
    )
    made.add_argument(
        "--sequence",
        metavar="I",
        type=integer(minimum=0),
        default=0,
        help="sequence of the test split (default: 0)",
    )
    made.add_argument("--count", action="store_true", help="qubits, gates by kind, depth, parameters, growth")
    made.add_argument(
        "--draw", metavar="FILE", nargs="?", const="-", help="draw it: as text, or an SVG or PNG"
    )
    made.add_argument("--qasm", metavar="FILE", help="export it as OpenQASM 2")
    made.add_argument("--run", action="store_true", help="measure mu, F and L_B exactly")
    made.add_argument(
        "--shots", metavar="N", type=integer(minimum=1), help="measure them from N shots of each circuit"
    )
    made.add_argument(
        "--target", metavar="NAME", help="a CUDA-Q target such as qpp-cpu (default: our own state vector)"
    )
    made.add_argument("--seed", metavar="SEED", type=integer(minimum=0), help="seed of the shots")
    return made


def run(options: Any) -> int:
    """Do it."""
    from qdyn.models.qsa.circuits import loss_circuits

    model, batch = _model_and_sequence(options)
    programs = loss_circuits(model, batch.inputs, batch.targets)
    circuit = programs[0].circuit
    measures = options.run or options.shots or options.target
    asked = options.draw or options.qasm or measures
    if options.count or not asked:
        print(_count(options, programs[0]))
    if options.count:
        print(_growth(options, model, batch))
    if options.draw == "-":
        from qdyn.circuits.drawing import draw_text

        print(draw_text(circuit))
    elif options.draw:
        _draw(programs[0], Path(options.draw))
    if options.qasm:
        from qdyn.circuits.openqasm import to_openqasm
        from qdyn.files import write_text

        (values,) = programs[0].members()
        write_text(Path(options.qasm), to_openqasm(circuit.bind(values)))
        print(options.qasm)
    if measures:
        print(_measured(options, model, batch, programs))
    return 0


def model_and_data(
    name: str, overrides: Sequence[str] = (), *, argument: str = "PRESET"
) -> tuple[QSAPredictor, SequenceDataset]:
    """Quantum self-attention as a preset starts or as a run has trained it, and its dataset."""
    from qdyn.data.load import load_dataset
    from qdyn.errors import ArgumentError
    from qdyn.models.qsa.predictor import QSAPredictor
    from qdyn.models.registry import build_model
    from qdyn.training.config import load_config
    from qdyn.training.run import load_run

    if (Path(name) / "run.json").is_file():
        if overrides:
            raise ArgumentError("Argument `--set` changes a preset, but a run was given.")
        run = load_run(name)
        data, model = run.dataset(), run.model(0)
    else:
        config = load_config(name, overrides=overrides)
        data = load_dataset(config.dataset.name, phase_convention=config.dataset.phase_convention)
        model = build_model(config.model, data.metadata, seed=config.training.seeds[0])
    if not isinstance(model, QSAPredictor):
        raise ArgumentError(f"Argument `{argument}` must be quantum self-attention, but is {model.label}.")
    return model, data


def _model_and_sequence(options: Any) -> tuple[QSAPredictor, Batch]:
    """The predictor, and the first steps of one test sequence."""
    from qdyn.errors import ArgumentError

    model, data = model_and_data(options.model, options.set)
    part = data.split("test")
    batch = part.batch([options.sequence])
    longest = int(batch.mask.sum())
    if options.steps > longest:
        raise ArgumentError(f"Argument `--steps` must be at most {longest}, but is {options.steps}.")
    return model, _cut(batch.item(0), options.steps)


def _cut(item: Batch, steps: int) -> Batch:
    from dataclasses import replace

    return replace(item, inputs=item.inputs[:steps], targets=item.targets[:steps], mask=item.mask[:steps])


def _count(options: Any, program: Program) -> str:
    from qdyn.circuits.counting import count_circuit

    cost = count_circuit(program.circuit)
    registers = ", ".join(
        f"{name} {len(qubits)}" for name, qubits in program.circuit.registers.items() if len(qubits)
    )
    gates = ", ".join(f"{name} {number}" for name, number in cost.gates.items())
    return (
        f"circuit of mu for {options.model}, {options.steps} steps\n"
        f"qubits       {cost.qubits} ({registers})\n"
        f"gates        {cost.total} ({gates})\n"
        f"CNOTs        {cost.two_qubit_gates}, in {cost.two_qubit_depth} layers\n"
        f"depth        {cost.depth}\n"
        f"parameters   {cost.parameters}, those that load the data among them"
    )


def _growth(options: Any, model: QSAPredictor, batch: Batch) -> str:
    """How the CNOTs grow around the model's sizes."""
    from qdyn.attention.qsa.circuit_costs import CircuitSize, circuit_growth

    config = model.config
    dimension = model.embedding.states(batch.inputs, model.embedding.frame()).shape[-1]
    size = CircuitSize(
        steps=options.steps,
        n_qubits=dimension.bit_length() - 1,
        degree=config.degree,
        layers=config.layers,
        kernel=config.kernel,
        ansatz=config.unitaries,
    )
    lines = ["growth       CNOTs ~ size^a around these sizes, the others kept"]
    for one in circuit_growth(size):
        series = ", ".join(f"{value}: {cnots}" for value, cnots in zip(one.sizes, one.cnots, strict=True))
        lines.append(f"  {one.name}          a = {one.exponent:.2f} ({series})")
    return "\n".join(lines)


def _draw(program: Program, path: Path) -> None:
    from qdyn.circuits.drawing import draw_figure
    from qdyn.errors import ArgumentError
    from qdyn.files import replacing

    if path.suffix not in (".svg", ".png"):
        raise ArgumentError(f"Argument `--draw` must end in .svg or .png, but is {str(path)!r}.")
    figure = draw_figure(program.circuit)
    with replacing(path) as beside:
        figure.savefig(beside, format=path.suffix[1:])
    print(path)


def _measured(options: Any, model: QSAPredictor, batch: Batch, programs: tuple[Program, Program]) -> str:
    import torch

    from qdyn.attention.qsa.measured_loss import measure_loss

    found = measure_loss(
        programs,
        steps=options.steps,
        shots=options.shots,
        seed=options.seed,
        backend="cudaq" if options.target else "torch",
        target=options.target,
    )
    with torch.no_grad():
        closed = model(batch.inputs, batch.targets, batch.mask)
    how = f"{options.shots} shots of each circuit" if options.shots else "exactly"
    lines = [
        f"measured {how}, on {options.target or 'the state vector in torch'}, {programs[0].n_qubits} qubits",
        f"{'':<6}{'measured':>12}  {'95 % interval':<26}{'closed form':>12}",
    ]
    for name, value, interval, exact in (
        ("mu", found.mu, found.mu_interval, closed.mu),
        ("F", found.fidelity, found.fidelity_interval, closed.fidelity),
        ("L_B", found.loss_b, found.loss_b_interval, closed.loss_b),
    ):
        shown = "" if interval is None else f"{float(interval[0]):.6g} to {float(interval[1]):.6g}"
        lines.append(f"{name:<6}{float(value):>12.6g}  {shown:<26}{float(exact):>12.6g}")
    return "\n".join(lines)
