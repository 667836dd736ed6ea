r"""Mixing by a linear combination of token unitaries and a polynomial of it (Quixer).

Every element is a unitary $U_j$, a circuit whose angles are a linear map of the element. The elements that i
sees are added with complex coefficients, and a polynomial of the sum acts on $|0\rangle$:

$$M_i = \sum_j b_{ij} U_j, \qquad |\psi_i\rangle \propto U_{ff} \sum_{k=0}^{d} c_k M_i^k |0\rangle,
\qquad \sum_j |b_{ij}| = \sum_k |c_k| = 1 .$$

X, Y and Z of every qubit are read and mapped to the output. The coefficient b depends on the distance i - j
only: a window that slides along the sequence.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from qdyn.attention.mechanism import Attention, register_attention
from qdyn.attention.pair_weights import biased_weights, levelled
from qdyn.attention.trained_circuits import TrainedCircuits, expectations, pauli_words
from qdyn.checks import check_integer
from qdyn.circuits.ansatz.circuits import ansatz_circuit
from qdyn.circuits.circuit import Circuit
from qdyn.circuits.encodings.blocks import linear_combination
from qdyn.circuits.executors.program import PauliObservable, Program
from qdyn.circuits.executors.statevector import circuit_unitary
from qdyn.errors import ArgumentError


@dataclass(frozen=True)
class LCUOptions:
    """Options of `LCUAttention`.

    Attributes:
        qubits: n of the token unitaries, >= 2.
        layers: Layers of each token unitary, >= 1.
        degree: d of the polynomial, >= 1.
        steps: Elements of the longest sequence, >= 1: distances that have a coefficient.
        ansatz: "controlled_rings" (as published) or another circuit of angles.
        projection: Whether a trained linear map makes the angles; None where their number is not that of a
            head's components.
    """

    qubits: int = 3
    layers: int = 1
    degree: int = 3
    steps: int = 64
    ansatz: Literal["controlled_rings", "hardware_efficient", "real", "layered", "brick_wall"] = (
        "controlled_rings"
    )
    projection: bool | None = None

    def __post_init__(self) -> None:
        check_integer("qubits", self.qubits, minimum=2, maximum=8)
        for name in ("layers", "degree", "steps"):
            check_integer(name, getattr(self, name), minimum=1)


@register_attention("quixer", options=LCUOptions)
class LCUAttention(Attention):
    """Element unitaries are added with complex coefficients, and a polynomial mixes them (Quixer).

    The weights returned are abs(b_ij), rows of sum 1: they are the same for all data; what depends on the
    data are the unitaries. There are no queries and keys: values alone make unitaries.

    Parameters: dim 4 n layers and as many biases for the angles, 2 steps coefficients (4 steps where not
    causal), d + 1 of the polynomial, 12 n or so of the last circuit, 3 n dim of the read-out, a head. Device:
    T circuits of n + ceil(log2 T) d + ceil(log2(d + 1)) qubits with d T controlled unitaries; the state is
    kept with probability ||sum_k c_k M^k|0>||^2. Simulation: T^2 4^n.

    Args:
        dim: Width of the elements.
        heads: Side by side.
        causal: Whether element i may see elements j <= i only.
        options: `LCUOptions`.

    Source: arXiv:2406.04305 and its program, which predicts the element after a window; coefficients by
    distance, so that every element has its own window, are ours.

    Example:
        >>> from qdyn.attention import build
        >>> x = torch.randn(2, 4, 6)
        >>> output, weights = build("quixer", dim=6, qubits=2, steps=4)(x, x, x)
        >>> output.shape, bool((weights.sum(-1) - 1).abs().max() < 1e-6)
        (torch.Size([2, 4, 6]), True)
    """

    options: LCUOptions

    def __init__(
        self, *, dim: int, heads: int = 1, causal: bool = True, options: LCUOptions | None = None
    ) -> None:
        super().__init__(dim=dim, heads=heads, causal=causal, options=options)
        chosen = self.options
        self.token_circuit = ansatz_circuit(
            chosen.ansatz, n_qubits=chosen.qubits, layers=chosen.layers, slot="angles"
        )
        self.angle_shape = self.token_circuit.slots["angles"]
        inputs = torch.Size(self.angle_shape).numel()
        fits = dim == heads * inputs
        if chosen.projection is False and not fits:
            raise ArgumentError(
                f"Argument `projection` must not be false: {heads} heads take {heads * inputs} angles, "
                f"but elements have {dim} components."
            )
        mapped = not fits if chosen.projection is None else chosen.projection
        self.map: nn.Module = nn.Linear(dim, heads * inputs) if mapped else nn.Identity()
        distances = chosen.steps if causal else 2 * chosen.steps - 1
        start = torch.stack([torch.ones(heads, distances), torch.zeros(heads, distances)], dim=-1)
        self.coefficients = nn.Parameter(start + 0.1 * torch.randn(heads, distances, 2))
        self.polynomial = nn.Parameter(torch.ones(heads, chosen.degree + 1))
        self.last_circuits = TrainedCircuits(
            "hardware_efficient", heads=heads, n_qubits=chosen.qubits, layers=1
        )
        self.words = pauli_words(chosen.qubits, 3 * chosen.qubits)
        self.output = nn.Linear(heads * len(self.words), dim, bias=False)

    def attend(
        self, queries: Tensor, keys: Tensor, values: Tensor, allowed: Tensor, bias: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """See `Attention.attend`."""
        b = self.combination(values.shape[1], allowed, bias)
        states = self.last_circuits(self.mixed(self.unitaries(values), b))
        length = (states.real.square() + states.imag.square()).sum(-1, keepdim=True)
        unit = states / torch.where(length > 0, length, 1.0).sqrt()
        weights = b.abs().expand(len(values), -1, -1, -1)
        return self.output(self.join_heads(expectations(unit, self.words))), weights

    def unitaries(self, values: Tensor) -> Tensor:
        """U_j of every head, (batch, heads, T, 2^n, 2^n)."""
        angles = torch.unflatten(self.map(values), -1, (self.heads, *self.angle_shape)).movedim(2, 1)
        return circuit_unitary(self.token_circuit, {"angles": angles}, dtype=values.dtype.to_complex())

    def combination(self, steps: int, allowed: Tensor, bias: Tensor | None = None) -> Tensor:
        """b_ij, (batch or 1, heads, T, T), moduli of sum 1 in each row that sees somebody.

        Raises:
            ArgumentError: more elements than `LCUOptions.steps`.
        """
        if steps > self.options.steps:
            raise ArgumentError(
                f"Argument `steps` gives coefficients to {self.options.steps} elements, "
                f"but there are {steps}."
            )
        place = torch.arange(steps, device=self.coefficients.device)
        distance = place[:, None] - place
        # Causal: what lies ahead is not allowed, whatever stands there. Else distances begin at 1 - steps.
        at = distance.clamp_min(0) if self.causal else distance + self.options.steps - 1
        held = self.coefficients[:, at]
        level = None if bias is None else levelled(bias, allowed)
        b = biased_weights(torch.complex(held[..., 0], held[..., 1])[None], allowed, level)
        total = b.abs().sum(-1, keepdim=True)
        return b / torch.where(total > 0, total, 1.0)

    def mixed(self, unitaries: Tensor, b: Tensor) -> Tensor:
        """sum_k c_k M_i^k |0> of every element, (batch, heads, T, 2^n), by Horner's rule."""
        mixing = torch.einsum("bhij,bhjxy->bhixy", b.expand(len(unitaries), -1, -1, -1), unitaries)
        c = self.polynomial / self.polynomial.abs().sum(-1, keepdim=True)
        zero = torch.zeros(mixing.shape[-1], dtype=mixing.dtype, device=mixing.device)
        zero[0] = 1
        terms = c.to(mixing.dtype)[:, None, :, None] * zero
        state = terms[..., -1, :].expand(mixing.shape[:-1])
        for k in reversed(range(self.options.degree)):
            state = (mixing @ state[..., None])[..., 0] + terms[..., k, :]
        return state

    @torch.no_grad()
    def circuit(self, values: Tensor, row: int, *, head: int = 0, observable: int | None = None) -> Program:
        """sum_k c_k M_i^k |0> of one sequence as a circuit, read only where all ancillas are 0.

        Each power of M is a block encoding of its own, and a further combination adds the powers. What is
        read is <psi|P|psi> of the state that is not normalised, or its squared norm.

        Args:
            values: (1, T, dim).
            row: i.
            head: Which head.
            observable: Which Pauli string, before the last circuit; None reads the norm.
        """
        n_qubits, degree = self.options.qubits, self.options.degree
        steps = values.shape[1]
        allowed = torch.ones(1, 1, steps, steps, dtype=torch.bool)
        b = self.combination(steps, allowed.tril() if self.causal else allowed)[0, head, row].tolist()
        angles = torch.unflatten(self.map(values), -1, (self.heads, *self.angle_shape))[0, :, head]
        seen = [j for j in range(steps) if b[j] != 0]
        tokens = [self.token_circuit.bind({"angles": angles[j].numpy()}) for j in seen]
        combined = linear_combination([b[j] for j in seen], tokens).circuit
        width = len(combined["ancilla"])
        powers = []
        for k in range(degree + 1):
            power = Circuit(ancilla=degree * width, system=n_qubits)
            for factor in range(k):
                own = range(factor * width, (factor + 1) * width)
                power.compose(combined, (*own, *power["system"]))
            powers.append(power)
        c = self.polynomial[head] / self.polynomial[head].abs().sum()
        encoded = linear_combination(c.tolist(), powers).circuit
        ancillas = encoded.n_qubits - n_qubits
        word = "I" * n_qubits if observable is None else self.words[observable]
        return Program(encoded, {}, _where_zero(ancillas, word))


def _where_zero(ancillas: int, word: str) -> PauliObservable:
    """The projector of all ancillas on 0, times a Pauli string: prod (1 + Z) / 2."""
    masks = range(2**ancillas)
    letters = ["".join("Z" if mask >> place & 1 else "I" for place in range(ancillas)) for mask in masks]
    return PauliObservable(tuple((0.5**ancillas, one + word) for one in letters))
