"""Draws circuits, as text and as a figure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qdyn.checks import check_integer
from qdyn.circuits.circuit import Angle, Circuit, Gate

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_LABELS = {"x": "X", "y": "Y", "z": "Z", "h": "H", "s": "S", "sdg": "S†", "t": "T", "tdg": "T†"}
_LABELS |= {"rx": "RX", "ry": "RY", "rz": "RZ", "phase": "P"}


def draw_text(circuit: Circuit, *, width: int = 100) -> str:
    """The circuit as lines of text, one a qubit, broken into strips of at most ``width`` characters.

    A control is ●, a qubit that selects an angle is □, and the target of a CNOT is ⊕. An angle that a slot
    gives is shown by the slot's name.

    Args:
        circuit: any circuit.
        width: at least 20.

    Example:
        >>> print(draw_text(Circuit(a=1, b=1).h(0).cx(0, 1)))
        a 0: ─H─●─
        b 0: ───⊕─
    """
    check_integer("width", width, minimum=20)
    names = qubit_names(circuit)
    margin = max((len(name) for name in names), default=0)
    columns = []
    for column in layout(circuit):
        cells = [""] * circuit.n_qubits
        for gate in column:
            for qubit, mark in _marks(gate).items():
                cells[qubit] = mark
            touched = gate.qubits
            for qubit in range(min(touched) + 1, max(touched)):
                cells[qubit] = cells[qubit] or "│"
        size = max(len(cell) for cell in cells)
        columns.append([cell.center(size, "─") if cell else "─" * size for cell in cells])
    strips: list[str] = []
    rest = columns
    while rest or not strips:
        taken, used = 0, margin + 3
        while taken < len(rest) and (taken == 0 or used + len(rest[taken][0]) + 1 <= width):
            used += len(rest[taken][0]) + 1
            taken += 1
        lines = [
            f"{name.rjust(margin)}: ─" + "".join(column[qubit] + "─" for column in rest[:taken])
            for qubit, name in enumerate(names)
        ]
        strips.append("\n".join(lines))
        rest = rest[taken:]
    return "\n\n".join(strips)


def draw_figure(circuit: Circuit, *, path: str | None = None) -> Figure:
    """The circuit as a Matplotlib figure, saved as SVG, PNG or PDF by the ending of ``path``.

    Args:
        circuit: any circuit; beyond a few hundred gates the text is easier to read.
        path: where to save it; None saves nothing.

    Returns:
        The figure.
    """
    from matplotlib.figure import Figure
    from matplotlib.patches import Circle, Rectangle

    columns = layout(circuit)
    names = qubit_names(circuit)
    figure = Figure(figsize=(1.2 + 0.62 * len(columns), 0.5 + 0.5 * len(names)), layout="constrained")
    axes: Any = figure.add_subplot()
    axes.set(xlim=(-0.7, len(columns) - 0.3), ylim=(len(names) - 0.4, -0.6), aspect="equal")
    axes.axis("off")
    for row, name in enumerate(names):
        axes.plot([-0.5, len(columns) - 0.5], [row, row], color="0.6", linewidth=0.8, zorder=0)
        axes.text(-0.6, row, name, ha="right", va="center", fontsize=9)
    for place, column in enumerate(columns):
        for gate in column:
            ends = [min(gate.qubits), max(gate.qubits)]
            axes.plot([place, place], ends, color="0.2", linewidth=0.8, zorder=1)
            for qubit in gate.controls:
                axes.add_patch(Circle((place, qubit), 0.08, color="0.2", zorder=2))
            for qubit in gate.select:
                corner = (place - 0.09, qubit - 0.09)
                axes.add_patch(Rectangle(corner, 0.18, 0.18, fc="white", ec="0.2", zorder=2))
            if gate.name == "x" and gate.controls:
                axes.add_patch(Circle((place, gate.target), 0.17, fc="white", ec="0.2", zorder=2))
                cross = ([place - 0.17, place + 0.17], [gate.target - 0.17, gate.target + 0.17])
                axes.plot(cross[0], [gate.target] * 2, color="0.2", linewidth=0.8, zorder=3)
                axes.plot([place] * 2, cross[1], color="0.2", linewidth=0.8, zorder=3)
                continue
            corner = (place - 0.4, gate.target - 0.3)
            axes.add_patch(Rectangle(corner, 0.8, 0.6, fc="#e8eef7", ec="0.2", zorder=2))
            label = _LABELS[gate.name] + ("\n" + _angle_text(gate) if gate.angles else "")
            longest = max(len(line) for line in label.split("\n"))
            size = min(5.5, 50 / longest)  # so that it stays in its box
            axes.text(place, gate.target, label, ha="center", va="center", fontsize=size, zorder=3)
    if path is not None:
        figure.savefig(path, dpi=150)
    return figure


def layout(circuit: Circuit) -> list[list[Gate]]:
    """The gates in columns, each as early as it can be without crossing another gate's line."""
    columns: list[list[Gate]] = []
    free = [0] * circuit.n_qubits
    for gate in circuit:
        span = range(min(gate.qubits), max(gate.qubits) + 1)
        place = max(free[qubit] for qubit in span)
        if place == len(columns):
            columns.append([])
        columns[place].append(gate)
        for qubit in span:
            free[qubit] = place + 1
    return columns


def qubit_names(circuit: Circuit) -> list[str]:
    """Register and place of every qubit, such as "C1 0"."""
    return [f"{name} {place}" for name, qubits in circuit.registers.items() for place in range(len(qubits))]


def _marks(gate: Gate) -> dict[int, str]:
    target = "⊕" if gate.name == "x" and gate.controls else _LABELS[gate.name]
    if gate.angles:
        target += f"({_angle_text(gate)})"
    return {**dict.fromkeys(gate.controls, "●"), **dict.fromkeys(gate.select, "□"), gate.target: target}


def _angle_text(gate: Gate) -> str:
    names = sorted(frozenset().union(*(angle.slots for angle in gate.angles)))
    if len(gate.angles) == 1:
        return _one_angle(gate.angles[0])
    return ",".join(names) if names else f"{len(gate.angles)} angles"


def _one_angle(angle: Angle) -> str:
    if not angle.terms:
        return f"{angle.constant:.3g}"
    name, index, coefficient = angle.terms[0]
    factor = "" if coefficient == 1 else "-" if coefficient == -1 else f"{coefficient:.3g} "
    more = "…" if len(angle.terms) > 1 or angle.constant else ""
    return f"{factor}{name}[{index}]{more}"
