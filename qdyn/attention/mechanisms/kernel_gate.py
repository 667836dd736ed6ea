r"""Quantum-kernel self-attention (QKSAN): the kernel decides whether a linking block acts on the value.

A first register reads the kernel $K_{ij} = |\langle k_j|q_i\rangle|^2$ as the probability of all zeros; where
it is all zero, rotations act on a second register that holds $U_v|x_j\rangle$, and that one is measured. The
measurement is of a mixture, so that with the two fixed read-outs of the second register

$$E_{ij} = K_{ij}\, \langle P\rangle_{R(\theta)\, U_v|x_j\rangle}
+ (1 - K_{ij})\, \langle P\rangle_{U_v|x_j\rangle}, \qquad y_i = \sum_j a_{ij} E_{ij},$$

where a is uniform over the allowed j: a scalar gate between two features of the value.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from qdyn.attention.comparison_circuits import inverse_test, renamed
from qdyn.attention.mechanism import register_attention
from qdyn.attention.mechanisms.fidelity_kernel import fidelity_kernel
from qdyn.attention.pair_weights import softmax_weights
from qdyn.attention.paired_states import PairAttention, PairOptions, ValueName
from qdyn.attention.trained_circuits import expectations
from qdyn.circuits.circuit import Circuit
from qdyn.circuits.executors.program import PauliObservable, Program
from qdyn.circuits.executors.statevector import run_statevector
from qdyn.errors import ArgumentError


@dataclass(frozen=True)
class KernelGateOptions(PairOptions):
    """Options of `KernelGateAttention`: those of `PairOptions`; values are measured."""

    values: ValueName = "measured"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.values != "measured":
            raise ArgumentError(f"Argument `values` must be 'measured', but is {self.values!r}.")


@register_attention("qksan", options=KernelGateOptions)
class KernelGateAttention(PairAttention):
    """A quantum kernel gates between two read-outs of each value (QKSAN).

    The weights returned are a_ij K_ij: the share of the linked read-out of j. Rows sum to less than 1; the
    rest is what the values give without a link.

    Parameters: 3 circuits and n linking angles a head, and the read-out. Device: T^2 circuits of 2 n qubits
    with a measurement in between. Simulation: T^2 2^n.

    Args:
        dim: Width of the elements.
        heads: Side by side.
        causal: Whether element i may see elements j <= i only.
        options: `KernelGateOptions`.

    Source: arXiv:2308.13422; its settings are known from third parties, and the linking block here is RX on
    every qubit. The closed form is ours.

    Example:
        >>> from qdyn.attention import build
        >>> x = torch.ones(1, 2, 4)
        >>> build("qksan", dim=4, qubits=2, initial_angle=1e-4)(x, x, x)[1].detach().round(decimals=5)
        tensor([[[[1.0000, 0.0000],
                  [0.5000, 0.5000]]]])
    """

    options: KernelGateOptions

    def __init__(
        self, *, dim: int, heads: int = 1, causal: bool = True, options: KernelGateOptions | None = None
    ) -> None:
        super().__init__(dim=dim, heads=heads, causal=causal, options=options)
        self.link_angles = nn.Parameter(1.0 + 0.3 * torch.rand(heads, self.n_qubits))

    def attend(
        self, queries: Tensor, keys: Tensor, values: Tensor, allowed: Tensor, bias: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """See `Attention.attend`."""
        assert self.value_circuits is not None
        of_queries, of_keys, of_values = self.states.each(queries, keys, values)
        q, k = self.query_circuits(of_queries), self.key_circuits(of_keys)
        gates = self.pair_weights(q, k, allowed, bias)
        shares = softmax_weights(torch.zeros_like(gates), allowed, bias)
        prepared = self.value_circuits(of_values)
        linked = run_statevector(
            self._link("link"), {"link": self.link_angles[:, None]}, initial=prepared, dtype=prepared.dtype
        )
        without, with_link = expectations(prepared, self.words), expectations(linked, self.words)
        weights = shares * gates
        measured = weights @ (with_link - without) + shares @ without
        return self.output(self.join_heads(measured)), weights

    def pair_weights(self, queries: Tensor, keys: Tensor, allowed: Tensor, bias: Tensor | None) -> Tensor:
        """K, the gates, of all pairs."""
        return fidelity_kernel(queries, keys)

    def circuit(
        self, queries: Tensor, keys: Tensor, row: int, column: int, *, head: int = 0, observable: int = 0
    ) -> Program:
        """E_ij of one observable, the value being that of ``keys``; the measurement is deferred."""
        n_qubits = self.n_qubits
        kernel = inverse_test(
            self.prepared("query", queries, row, head=head), self.prepared("key", keys, column, head=head)
        )
        value = self.prepared("value", keys, column, head=head)
        circuit = Circuit(kernel=n_qubits, value=n_qubits)
        first, second = circuit["kernel"], circuit["value"]
        circuit.compose(kernel.circuit, first).compose(renamed(value.circuit, "value", circuit), second)
        for qubit in first:
            circuit.x(qubit)
        circuit.compose(self._link("link"), second, controls=first)
        for qubit in first:
            circuit.x(qubit)
        values = {**kernel.values, **{f"value_{name}": held for name, held in value.values.items()}}
        values["link"] = self.link_angles[head]
        return Program(circuit, values, PauliObservable(((1.0, "I" * n_qubits + self.words[observable]),)))

    def _link(self, slot: str) -> Circuit:
        circuit = Circuit(q=self.n_qubits)
        for qubit, angle in enumerate(circuit.slot(slot, self.n_qubits)):
            circuit.rx(qubit, angle)
        return circuit
