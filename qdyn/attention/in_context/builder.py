"""The gates of an encoding of in-context attention; what they do stands in `in_context_encoding`."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from qdyn.attention.in_context.encoding import BRANCH_REGISTERS, Encoding, Loads
from qdyn.circuits.circuit import Circuit
from qdyn.circuits.encodings.state_preparation import loading_circuit, preparation_angles, unitary_circuit


def encoding_circuit(
    encoding: Encoding, n_select: int, *, prefix: str = ""
) -> tuple[Circuit, dict[str, Tensor]]:
    """The circuit of an encoding, on the registers select, its ancillas and A, and the values of its slots.

    Where select holds s, zeros become z_s / Lambda_s on A where the ancillas are 0, up to a phase that all s
    share.

    Args:
        encoding: The numbers of a block.
        n_select: Qubits of select, enough for the steps of the encoding.
        prefix: What the names of slots begin with.
    """
    builder = _Builder(encoding, n_select, prefix)
    builder.build()
    return builder.circuit, builder.values


class _Builder:
    """Appends the pieces of the circuit and collects the values of its slots."""

    def __init__(self, encoding: Encoding, n_select: int, prefix: str) -> None:
        self.encoding = encoding
        self.prefix = prefix
        self.values: dict[str, Tensor] = {}
        dimension = encoding.unitary.shape[-1]
        self.circuit = Circuit(select=n_select, **encoding.sizes, A=dimension.bit_length() - 1)
        self.n_answers = len(encoding.regression.sizes)
        self.n_layers = self.n_answers + len(encoding.completion.sizes)
        self.select, self.target = self.circuit["select"], self.circuit["A"]
        self.direct, self.answer, self.passed, self.stop = (self.circuit[name] for name in BRANCH_REGISTERS)

    def build(self) -> None:
        """All of it. What is prepared first is un-prepared last; signs and phases enter on the way back."""
        self._prepare(undo=False)
        self._load_x()
        for layer in range(self.n_answers):
            self._regress(layer)
        self._on_zero(
            self.direct + self.answer,
            lambda controls: self.circuit.compose(
                unitary_circuit(self.encoding.unitary), self.target, controls=controls
            ),
        )
        for layer in range(self.n_answers, self.n_layers):
            self._complete(layer)
        for unit in range(len(self.encoding.units)):
            self._feed_forward(unit)
        self._prepare(undo=True)

    def _prepare(self, *, undo: bool) -> None:
        pieces = [self._branches, self._looks, self._answers, self._units]
        for piece in reversed(pieces) if undo else pieces:
            piece(undo)

    def _branches(self, undo: bool) -> None:
        weights, places = self.encoding.branches
        roots = torch.zeros(len(weights), 2**self.encoding.n_branch_qubits, dtype=weights.dtype)
        roots[:, places] = weights.abs().sqrt().to(weights.dtype)
        if undo:
            # Un-preparing conjugates: the product of both ways is the weight.
            roots[:, places] = roots[:, places] * torch.polar(torch.ones_like(weights.real), -weights.angle())
        self._load(
            f"branches_{_way(undo)}",
            roots if undo else roots.real,
            self.select,
            self.direct + self.answer + self.passed + self.stop,
            undo=undo,
        )

    def _looks(self, undo: bool) -> None:
        """The transition that each layer looks at, where it works; elsewhere K stays 0 and does nothing."""
        for layer in range(self.n_layers):
            weights = self._table()
            weights[..., 1] = self._padded(self.encoding.projection(layer))
            weights[:, 0, 0] = self.encoding.kept(layer)
            self._look(f"look_{layer}", layer, weights, undo, zero=self._working(layer))

    def _answers(self, undo: bool) -> None:
        """eta/2 without and -eta/2 with reflection make eta |x_{i+1}><x_i|."""
        for layer in range(self.n_answers):
            weights = self._table()
            weights[..., 0] = self._padded(self.encoding.carrier(layer))
            weights[..., 1] = -weights[..., 0]
            # Where there is no transition, the branch has weight 0 and K may hold anything.
            weights[weights.abs().sum(dim=(1, 2)) == 0, 0, 0] = 1.0
            self._look(f"answer_{layer}", layer, weights, undo, one=(self.answer[layer],))

    def _look(
        self,
        name: str,
        layer: int,
        weights: Tensor,
        undo: bool,
        *,
        zero: tuple[int, ...] = (),
        one: tuple[int, ...] = (),
    ) -> None:
        """Load the roots of weights on K, on the way back with their signs: the product is the weight."""
        roots = weights.abs().sqrt()
        roots = (roots * weights.sign() if undo else roots).flatten(-2)
        look = self.circuit[f"K_{layer}"]
        self._on_zero(
            zero,
            lambda controls: self._load(
                f"{name}_{_way(undo)}", roots, self.select, look, controls=(*one, *controls), undo=undo
            ),
        )

    def _units(self, undo: bool) -> None:
        if not len(self.encoding.units):
            return
        spare = 2 ** len(self.circuit["unit"]) - 1 - len(self.encoding.strength)
        weights = torch.nn.functional.pad(self.encoding.strength, (0, 0, 1, spare))
        weights[0] = 1.0
        self._on_zero(
            self.direct,
            lambda controls: self._load(
                "units", weights.mT.sqrt(), self.select, self.circuit["unit"], controls=controls, undo=undo
            ),
        )

    def _load_x(self, *, undo: bool = False) -> None:
        """x_j; or, where it is not a forecast that comes, the state itself."""
        x, mixed = self.encoding.x, self.encoding.mixed
        if mixed is None:
            self._put("x", x, self.select, 0, undo=undo)
            return
        # The direct qubit stands beside the select register, so that both make one number.
        states = torch.cat([x.padded(2 ** len(self.select)).states, mixed])
        self._load("x_or_mixed", states, self.direct + self.select, self.target, undo=undo)

    def _regress(self, layer: int) -> None:
        """1 - 2|x_i><x_i| or 1; where the layer answers, |x_{i+1}><x_i| by its two halves."""
        *index, reflects = self.circuit[f"K_{layer}"]
        keys, values = (loads.padded(2 ** len(index)) for loads in (self.encoding.keys, self.encoding.values))
        self._put("keys", keys, tuple(index), layer + 1, undo=True)
        self._reflect(layer + 1, (reflects,))
        # One load, and not one under a control each, keeps the global phase of a load global.
        self._put("keys_or_values", keys.followed_by(values), (self.answer[layer], *index), layer + 1)

    def _complete(self, layer: int) -> None:
        """1 - 2|x_{i+1}><x_{i+1}| or 1."""
        *index, reflects = self.circuit[f"K_{layer}"]
        values = self.encoding.values.padded(2 ** len(index))
        self._put("values", values, tuple(index), layer + 1, undo=True)
        self._reflect(layer + 1, (reflects,))
        self._put("values", values, tuple(index), layer + 1)

    def _feed_forward(self, unit: int) -> None:
        """F (1 - 2|x_j><x_j|) E where the register holds this unit."""
        register = self.circuit["unit"]
        off = tuple(q for place, q in enumerate(reversed(register)) if not (unit + 1) >> place & 1)
        on = tuple(q for q in register if q not in off)
        first, second = (unitary_circuit(one) for one in self.encoding.units[unit])
        self._on_zero(off, lambda zero: self.circuit.compose(first, self.target, controls=(*on, *zero)))
        self._load_x(undo=True)
        self._on_zero(off, lambda zero: self._reflect(0, (*on, *zero)))
        self._load_x()
        self._on_zero(off, lambda zero: self.circuit.compose(second, self.target, controls=(*on, *zero)))

    def _put(
        self, name: str, loads: Loads, select: tuple[int, ...], place: int, *, undo: bool = False
    ) -> None:
        """One of ``loads`` on A, with the ancillas of that place where it needs some."""
        if loads.encoding is None:
            self._load(name, loads.states, select, self.target, undo=undo)
            return
        made, values = encoding_circuit(loads.encoding, len(select), prefix=f"{self.prefix}{name}.")
        self.values |= values
        qubits = select + self.circuit[f"load_{place}"] + self.target
        self.circuit.compose(made.adjoint() if undo else made, qubits)

    def _load(
        self,
        name: str,
        states: Tensor,
        select: tuple[int, ...],
        target: tuple[int, ...],
        *,
        controls: tuple[int, ...] = (),
        undo: bool = False,
    ) -> None:
        """Load state s of ``states`` on ``target`` where ``select`` holds s, or undo that."""
        slot = self.prefix + name
        loading = loading_circuit(len(target), len(select), slot, real=not states.is_complex())
        self.values[slot] = preparation_angles(states, n_select=len(select))
        self.circuit.compose(loading.adjoint() if undo else loading, select + target, controls=controls)

    def _working(self, layer: int) -> tuple[int, ...]:
        """The qubits that are 0 where a layer works."""
        if layer < self.n_answers:
            return self.direct + self.answer[: layer + 1] + self.passed[: layer + 1]
        return self.direct + self.answer + self.stop[: layer - self.n_answers + 1]

    def _table(self) -> Tensor:
        index = len(self.circuit["K_0"]) - 1
        return torch.zeros(len(self.encoding.seen), 2**index, 2, dtype=torch.float64)

    def _padded(self, weights: Tensor) -> Tensor:
        index = len(self.circuit["K_0"]) - 1
        return torch.nn.functional.pad(weights, (0, 2**index - weights.shape[-1]))

    def _reflect(self, place: int, controls: tuple[int, ...]) -> None:
        """1 - 2|0><0| on A, and the ancillas of its load, where ``controls`` are 1."""
        self._on_zero(
            self.circuit[f"load_{place}"] + self.target,
            lambda zero: self.circuit.z(zero[-1], controls=(*controls, *zero[:-1])),
        )

    def _on_zero(self, qubits: tuple[int, ...], act: Callable[[tuple[int, ...]], object]) -> None:
        """What ``act`` appends with those controls, where the qubits are 0."""
        for qubit in qubits:
            self.circuit.x(qubit)
        act(qubits)
        for qubit in qubits:
            self.circuit.x(qubit)


def _way(undo: bool) -> str:
    return "back" if undo else "there"
