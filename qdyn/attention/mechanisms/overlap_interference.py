r"""Overlap-interference attention (QSA): complex scores weight states, and the states interfere.

$$s_{ij} = \langle x_i|W|x_j\rangle, \qquad |z_i\rangle = \sum_j g(s_ij)\, V|x_j\rangle,$$

with a power series or softmax for g, see `qdyn.attention.kernels`. It is what `qdyn.attention.qsa.overlap`
computes for the predictor "qsa", on states of any encoding; `qdyn.qsa_circuit` is its circuit as a whole,
with the read-out, and `circuit` here the one that reads a score.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from qdyn.attention.comparison_circuits import overlap_test
from qdyn.attention.feature_states import FeatureStates
from qdyn.attention.kernels import KernelName, SeriesKernel, make_kernel
from qdyn.attention.mechanism import Attention, register_attention
from qdyn.attention.pair_weights import biased_weights, softmax_weights
from qdyn.attention.paired_states import CircuitOptions, overlaps
from qdyn.attention.trained_circuits import TrainedCircuits
from qdyn.checks import check_integer, check_positive
from qdyn.circuits.circuit import Circuit
from qdyn.circuits.executors.program import Program


@dataclass(frozen=True)
class OverlapOptions(CircuitOptions):
    """Options of `OverlapAttention`: those of `CircuitOptions`, and more.

    Attributes:
        kernel: "monomial" s^k, "polynomial" sum_p beta^p s^p / p!, or "softmax" of beta abs(s)^2.
        degree: k, >= 1; softmax ignores it.
        beta: Inverse temperature, > 0; None takes sqrt(2^n).
        normalise: Whether z is a unit vector, as forecasts are, or keeps its length.
    """

    kernel: KernelName = "polynomial"
    degree: int = 3
    beta: float | None = None
    normalise: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_integer("degree", self.degree, minimum=1, maximum=64)
        if self.beta is not None:
            check_positive("beta", self.beta)


@register_attention("overlap", options=OverlapOptions)
class OverlapAttention(Attention):
    """States interfere, weighted by a power series of complex overlaps: quantum self-attention (QSA).

    The weights returned are abs(g(s_ij)): what multiplies the states has phases as well. The output is the
    state itself, real and then imaginary parts side by side where that is as wide as the elements (encoding
    "complex_amplitude"), else a linear map of these numbers.

    Parameters: 2 circuits a head, and the maps into the encoding and out where they are needed. Device: see
    docs/circuit-costs.md. Simulation: T^2 2^n + T 4^n.

    Args:
        dim: Width of the elements.
        heads: Side by side.
        causal: Whether element i may see elements j <= i only.
        options: `OverlapOptions`.

    Source: arXiv:2602.06699 v2; on other encodings than amplitudes, and bidirectional, it is ours.

    Example: states of two qubits as they are, no parameter but angles.
        >>> from qdyn.attention import build
        >>> attention = build("overlap", dim=8, encoding="complex_amplitude")
        >>> {name: tuple(held.shape) for name, held in attention.named_parameters()}
        {'score_circuits.angles': (1, 1, 2, 3), 'value_circuits.angles': (1, 1, 2, 3)}
    """

    options: OverlapOptions

    def __init__(
        self, *, dim: int, heads: int = 1, causal: bool = True, options: OverlapOptions | None = None
    ) -> None:
        super().__init__(dim=dim, heads=heads, causal=causal, options=options)
        chosen = self.options
        self.states = FeatureStates(dim, heads, chosen)
        self.score_circuits, self.value_circuits = (
            TrainedCircuits(
                chosen.ansatz,
                heads=heads,
                n_qubits=self.states.n_qubits,
                layers=chosen.layers,
                initial_angle=chosen.initial_angle,
            )
            for _ in range(2)
        )
        dimension = 2**self.states.n_qubits
        self.kernel = make_kernel(chosen.kernel, degree=chosen.degree, beta=chosen.beta, dimension=dimension)
        width = 2 * heads * dimension
        mapped = width != dim or bool(chosen.projection)
        self.output = nn.Linear(width, dim, bias=False) if mapped else nn.Identity()

    def attend(
        self, queries: Tensor, keys: Tensor, values: Tensor, allowed: Tensor, bias: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """See `Attention.attend`."""
        of_queries, of_keys, of_values = self.states.each(queries, keys, values)
        scores = overlaps(of_queries, self.score_circuits(of_keys))
        if isinstance(self.kernel, SeriesKernel):
            weights = biased_weights(self.kernel(scores), allowed, bias)
        else:
            squares = scores.real.square() + scores.imag.square()
            weights = softmax_weights(self.kernel.beta * squares, allowed, bias).to(scores.dtype)
        z = weights @ self.value_circuits(of_values)
        if self.options.normalise:
            length = (z.real.square() + z.imag.square()).sum(-1, keepdim=True)
            z = z / torch.where(length > 0, length, 1.0).sqrt()
        found = torch.cat([z.real, z.imag], dim=-1)
        return self.output(self.join_heads(found)), weights.abs()

    def circuit(
        self, queries: Tensor, keys: Tensor, row: int, column: int, *, head: int = 0, part: str = "real"
    ) -> Program:
        """Re or Im s_ij as <Z> of the ancilla of a Hadamard test."""
        query, token = (
            self.states.program(elements, head=head, time=place)
            for elements, place in ((queries, row), (keys, column))
        )
        circuit = Circuit(q=token.n_qubits).compose(token.circuit, range(token.n_qubits))
        circuit.compose(self.score_circuits.named("trained"))
        key = Program(circuit, {**token.values, "trained": self.score_circuits.angles[head]})
        return overlap_test(query, key, part=part)
