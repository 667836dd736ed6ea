r"""Elements of a sequence as states of qubits, by the name of an encoding and of a position encoding.

Every mechanism that compares states uses `FeatureStates`: a head takes its share of an element's components
(or a trained linear map of all of them, where the numbers differ), an encoding of
`qdyn.circuits.encodings.vectors` makes a state of them, and a position encoding of
`qdyn.circuits.encodings.positions` acts after it. States are computed in batches and differentiated;
`FeatureStates.program` is the same thing as a circuit.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Complex, Float
from torch import Tensor, nn

from qdyn.attention.hadamard import joint_states, register_states
from qdyn.checks import check_choice, check_integer
from qdyn.circuits.ansatz.circuits import ansatz_circuit
from qdyn.circuits.circuit import Circuit
from qdyn.circuits.encodings import vectors as encodings
from qdyn.circuits.encodings.positions import (
    entangled_positions,
    position_register,
    rotary_positions,
    sinusoidal_angles,
)
from qdyn.circuits.encodings.unary import unary_encoding
from qdyn.circuits.executors.program import Program
from qdyn.circuits.executors.statevector import run_statevector
from qdyn.errors import ArgumentError

EncodingName = Literal[
    "angle", "ansatz", "real", "reuploading", "basis", "amplitude", "complex_amplitude", "unary"
]
PositionName = Literal["none", "rotary", "entangled", "register"]
_DEFAULT_QUBITS = 3


@dataclass(frozen=True)
class StateOptions:
    """How elements become states.

    Attributes:
        encoding: "angle" (rotations about `axes`), "ansatz" (every angle of a layered circuit after H),
            "real" (RY and a ring of CNOTs), "reuploading" (rotations and a trained layer in turn), "basis"
            (signs as bits; gradients are those of a sigmoid), "amplitude", "complex_amplitude" (the first
            half of the components the real, the second the imaginary parts) or "unary" (one excitation).
        qubits: n, >= 1; None takes as many as "amplitude" and "unary" need for the head's components, else 3.
        encoding_layers: D of "ansatz", layers of "real" and of "reuploading".
        axes: Rotations of a qubit in "angle" and "reuploading", the first to act first.
        positions: "none", "rotary" (RZ, relative), "entangled" (RY and a ring of CZ) or "register" (qubits
            of their own: RY and a ring of CNOTs).
        position_qubits: Qubits of "register", >= 1.
        steps: Positions with trained angles for "entangled" and "register"; None takes fixed sinusoids.
        projection: Whether a trained linear map makes the numbers that are encoded; None where their number
            is not that of the head's components.
    """

    encoding: EncodingName = "ansatz"
    qubits: int | None = None
    encoding_layers: int = 1
    axes: str = "y"
    positions: PositionName = "none"
    position_qubits: int = 2
    steps: int | None = None
    projection: bool | None = None

    def __post_init__(self) -> None:
        if self.qubits is not None:
            check_integer("qubits", self.qubits, minimum=1, maximum=12)
        check_integer("encoding_layers", self.encoding_layers, minimum=0 if self.encoding == "ansatz" else 1)
        check_integer("position_qubits", self.position_qubits, minimum=1, maximum=8)
        if self.steps is not None:
            check_integer("steps", self.steps, minimum=1)
            if self.positions not in ("entangled", "register"):
                raise ArgumentError(
                    "Argument `steps` needs positions 'entangled' or 'register', which have angles to train, "
                    f"but they are {self.positions!r}."
                )
        for axis in self.axes or "?":
            check_choice("axes", axis, "xyz")


class FeatureStates(nn.Module):
    """The state of every element, for every head.

    Args:
        dim: Components of an element.
        heads: How many share them.
        options: Encoding and positions.

    Attributes:
        token_qubits: Qubits of the encoding.
        n_qubits: Qubits of a state: those of the encoding, and of the positions where they have their own.
        inputs: Numbers that the encoding takes.

    Raises:
        ArgumentError: no map is wanted, and the numbers do not fit.

    Example:
        >>> states = FeatureStates(8, 2, StateOptions(encoding="amplitude", positions="rotary"))
        >>> states.n_qubits, states(torch.randn(5, 7, 8)).shape
        (2, torch.Size([5, 2, 7, 4]))
    """

    def __init__(self, dim: int, heads: int, options: StateOptions) -> None:
        super().__init__()
        self.heads, self.options = heads, options
        self.token_qubits = _qubits(dim, heads, options)
        own = options.position_qubits if options.positions == "register" else 0
        self.n_qubits = self.token_qubits + own
        self.inputs = _inputs(self.token_qubits, options)
        fits = dim % heads == 0 and (
            dim // heads == self.inputs
            or (options.encoding == "amplitude" and 1 < dim // heads <= self.inputs)
        )
        if options.projection is False and not fits:
            raise ArgumentError(
                f"Argument `projection` must not be false: the encoding {options.encoding!r} takes "
                f"{self.inputs} numbers a head, but {heads} heads share {dim}."
            )
        mapped = not fits if options.projection is None else options.projection
        self.map: nn.Module = nn.Linear(dim, heads * self.inputs) if mapped else nn.Identity()
        self.weights: nn.Parameter | None = None
        if options.encoding == "reuploading":
            shape = (heads, options.encoding_layers, self.token_qubits, 3)
            self.weights = nn.Parameter(0.3 * torch.rand(shape))
        # The circuit whose slots take the numbers; None where the amplitudes are known without one.
        self._circuit: Circuit | None = None
        if options.encoding in ("angle", "ansatz", "reuploading", "basis"):
            self._circuit = self._token_program(torch.zeros(self.inputs), 0).circuit
        self.position_angles: nn.Parameter | None = None
        if options.steps is not None and options.positions in ("entangled", "register"):
            self.position_angles = nn.Parameter(0.1 * torch.randn(options.steps, own or self.token_qubits))

    def forward(self, elements: Float[Tensor, "batch time dim"]) -> Complex[Tensor, "batch heads time d"]:
        """Unit vectors."""
        states = self._token_states(self.numbers(elements))
        positions = self.options.positions
        if positions == "none":
            return states
        program = self._position_program(torch.arange(elements.shape[1], device=elements.device))
        values = {name: value.to(elements.dtype) for name, value in program.values.items()}
        if positions == "register":
            own = run_statevector(program.circuit, values, dtype=states.dtype)
            return joint_states([states, own])
        return run_statevector(program.circuit, values, initial=states, dtype=states.dtype)

    def each(self, *elements: Float[Tensor, "batch time dim"]) -> list[Complex[Tensor, "batch heads time d"]]:
        """The states of several tensors; what is the same tensor is computed once."""
        known: dict[int, Tensor] = {}
        for one in elements:
            if id(one) not in known:
                known[id(one)] = self(one)
        return [known[id(one)] for one in elements]

    def numbers(self, elements: Float[Tensor, "batch time dim"]) -> Float[Tensor, "batch heads time inputs"]:
        """What each head encodes."""
        return torch.unflatten(self.map(elements), -1, (self.heads, -1)).movedim(-2, 1)

    def program(
        self, elements: Float[Tensor, "batch time dim"], *, head: int = 0, time: int | None = None
    ) -> Program:
        """The circuit that prepares the states of one head; its batch axes are (batch, T).

        Args:
            elements: As of `forward`.
            head: Which head.
            time: The state of this element alone, with batch axes (batch,); None takes all.

        Example:
            >>> states = FeatureStates(6, 1, StateOptions(qubits=2, positions="register"))
            >>> x = torch.randn(3, 4, 6)
            >>> program = states.program(x)
            >>> bool((program.states() - states(x)[:, 0]).abs().max() < 1e-6)
            True
        """
        numbers = self.numbers(elements)[:, head]
        places = torch.arange(elements.shape[1])
        if time is not None:
            numbers, places = numbers[:, time], places[time]
        token = self._token_program(numbers, head)
        if self.options.positions == "none":
            return token
        if self.options.positions == "register":
            return position_register(token, self._angles(places, self.options.position_qubits))
        following = self._position_program(places)
        circuit = Circuit(q=token.n_qubits).compose(token.circuit).compose(following.circuit)
        return Program(circuit, {**token.values, **following.values})

    def _token_states(self, numbers: Tensor) -> Tensor:
        """(batch, heads, T, 2^n) from (batch, heads, T, inputs)."""
        complex_dtype = numbers.dtype.to_complex()
        encoding = self.options.encoding
        if encoding == "real":
            angles = torch.unflatten(numbers, -1, (self.options.encoding_layers, self.token_qubits))
            return register_states(angles, ansatz="real").to(complex_dtype)
        if encoding in ("amplitude", "complex_amplitude", "unary"):
            amplitudes = _unit(self._amplitudes(numbers))
            if encoding != "unary":
                return self._filled(amplitudes)
            places = 2 ** torch.arange(self.token_qubits - 1, -1, -1, device=numbers.device)
            empty = amplitudes.new_zeros(*amplitudes.shape[:-1], 2**self.token_qubits)
            return empty.index_copy(-1, places, amplitudes)
        assert self._circuit is not None
        values = {"bits": math.pi * _bits(numbers)} if encoding == "basis" else {"x": numbers}
        if self.weights is not None:
            values["weights"] = self.weights[:, None].to(numbers.dtype)
        return run_statevector(self._circuit, values, dtype=complex_dtype)

    def _token_program(self, numbers: Tensor, head: int) -> Program:
        options, n_qubits = self.options, self.token_qubits
        if options.encoding == "real":
            circuit = ansatz_circuit("real", n_qubits=n_qubits, layers=options.encoding_layers, slot="x")
            return Program(circuit, {"x": torch.unflatten(numbers, -1, (options.encoding_layers, n_qubits))})
        makers: dict[str, Callable[[], Program]] = {
            "angle": lambda: encodings.angle_encoding(numbers, axes=options.axes),
            "ansatz": lambda: encodings.ansatz_encoding(numbers, n_qubits=n_qubits),
            "reuploading": lambda: self._reuploaded(numbers, head),
            "basis": lambda: encodings.basis_encoding((numbers > 0).long()),
            "amplitude": lambda: encodings.amplitude_encoding(self._filled(numbers)),
            "complex_amplitude": lambda: encodings.amplitude_encoding(
                self._filled(self._amplitudes(numbers))
            ),
            "unary": lambda: unary_encoding(numbers),
        }
        return makers[options.encoding]()

    def _filled(self, amplitudes: Tensor) -> Tensor:
        """As many amplitudes as the qubits have."""
        return nn.functional.pad(amplitudes, (0, 2**self.token_qubits - amplitudes.shape[-1]))

    def _reuploaded(self, numbers: Tensor, head: int) -> Program:
        assert self.weights is not None
        return encodings.reuploading(numbers, self.weights[head], axes=self.options.axes)

    def _amplitudes(self, numbers: Tensor) -> Tensor:
        if self.options.encoding == "complex_amplitude":
            return torch.complex(*torch.unflatten(numbers, -1, (2, -1)).unbind(-2))
        return numbers.to(numbers.dtype.to_complex())

    def _position_program(self, places: Tensor) -> Program:
        if self.options.positions == "rotary":
            return rotary_positions(places, n_qubits=self.token_qubits)
        if self.options.positions == "entangled":
            return entangled_positions(self._angles(places, self.token_qubits))
        own = self.options.position_qubits
        circuit = ansatz_circuit("real", n_qubits=own, layers=1, slot="position")
        return Program(circuit, {"position": self._angles(places, own)[..., None, :]})

    def _angles(self, places: Tensor, count: int) -> Tensor:
        if self.position_angles is None:
            return sinusoidal_angles(places.cpu(), n_qubits=count).to(places.device)
        if int(places.max()) >= len(self.position_angles):
            raise ArgumentError(
                f"Argument `steps` gives positions to {len(self.position_angles)} elements, "
                f"but there are {int(places.max()) + 1}."
            )
        return self.position_angles[places]


def _qubits(dim: int, heads: int, options: StateOptions) -> int:
    if options.qubits is not None:
        return options.qubits
    own = math.ceil(dim / heads)
    if options.encoding == "unary":
        return max(2, own)
    if options.encoding == "amplitude":
        return max(1, (own - 1).bit_length())
    if options.encoding == "complex_amplitude":
        return max(1, (math.ceil(own / 2) - 1).bit_length())
    return _DEFAULT_QUBITS


def _inputs(n_qubits: int, options: StateOptions) -> int:
    return {
        "angle": n_qubits * len(options.axes),
        "reuploading": n_qubits * len(options.axes),
        "ansatz": n_qubits * (options.encoding_layers + 2),
        "real": n_qubits * options.encoding_layers,
        "basis": n_qubits,
        "unary": n_qubits,
        "amplitude": 2**n_qubits,
        "complex_amplitude": 2 ** (n_qubits + 1),
    }[options.encoding]


def _bits(numbers: Tensor) -> Tensor:
    """1 where positive, else 0, with the derivative of a sigmoid."""
    soft = torch.sigmoid(numbers)
    return soft + ((numbers > 0).to(soft.dtype) - soft).detach()


def _unit(amplitudes: Tensor) -> Tensor:
    """Normalised, and the first basis state where there is nothing to normalise, as in masked elements."""
    squares = amplitudes.real.square() + amplitudes.imag.square()
    total = squares.sum(-1, keepdim=True)
    first = torch.zeros_like(amplitudes)
    first[..., 0] = 1
    nothing = total == 0
    return torch.where(nothing, first, amplitudes / torch.where(nothing, 1.0, total).sqrt())
