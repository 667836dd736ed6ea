r"""What mechanisms have in common that compare a query state with a key state.

Every element becomes a state; trained circuits act on it, one for queries and one for keys,

$$|q_i\rangle = U_q|x_i\rangle, \qquad |k_j\rangle = U_k|x_j\rangle,$$

and a number made from the two says how much of value j element i takes. Values are a trained linear map of
the elements, or Pauli expectations measured on $U_v|x_j\rangle$.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor, nn

from qdyn.attention.feature_states import FeatureStates, StateOptions
from qdyn.attention.mechanism import Attention
from qdyn.attention.trained_circuits import TrainedCircuits, expectations, pauli_words
from qdyn.checks import check_integer, check_positive
from qdyn.circuits.circuit import Circuit
from qdyn.circuits.executors.program import Program
from qdyn.errors import ArgumentError

CircuitName = Literal["hardware_efficient", "brick_wall", "real", "layered", "controlled_rings"]
ValueName = Literal["linear", "measured"]


@dataclass(frozen=True)
class CircuitOptions(StateOptions):
    """How elements become states (see `StateOptions`), and the trained circuits that act on them.

    Attributes:
        ansatz: "hardware_efficient", "brick_wall", "real", "layered" or "controlled_rings".
        layers: Layers of each trained circuit, >= 1.
        initial_angle: Its angles start uniform in [0, initial_angle], > 0.
    """

    ansatz: CircuitName = "hardware_efficient"
    layers: int = 1
    initial_angle: float = 0.3

    def __post_init__(self) -> None:
        super().__post_init__()
        check_integer("layers", self.layers, minimum=1)
        check_positive("initial_angle", self.initial_angle)


@dataclass(frozen=True)
class PairOptions(CircuitOptions):
    """Options of mechanisms that compare states: those of `CircuitOptions`, and of values.

    Attributes:
        values: "linear", or "measured": Pauli expectations on U_v|x_j>.
        observables: How many are measured a head, >= 1; None takes 3 for every qubit.
    """

    values: ValueName = "linear"
    observables: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.observables is not None:
            check_integer("observables", self.observables, minimum=1)
            if self.values != "measured":
                raise ArgumentError(
                    f"Argument `observables` needs values 'measured', but they are {self.values!r}."
                )


class PairAttention(Attention):
    """Attention whose weights come from pairs of states; a subclass defines `pair_weights`.

    Attributes:
        states: From elements to states.
        query_circuits: U_q.
        key_circuits: U_k.
    """

    options: Any

    def __init__(self, *, dim: int, heads: int = 1, causal: bool = True, options: Any = None) -> None:
        super().__init__(dim=dim, heads=heads, causal=causal, options=options)
        self.states = FeatureStates(dim, heads, self.options)
        self.n_qubits = self.states.n_qubits
        self.query_circuits, self.key_circuits = self.new_circuits(), self.new_circuits()
        self.value_circuits: TrainedCircuits | None = None
        self.value: nn.Module = nn.Identity()
        self.output: nn.Module = nn.Identity()
        if self.options.values == "measured":
            self.value_circuits = self.new_circuits()
            self.words = pauli_words(self.n_qubits, self.options.observables or 3 * self.n_qubits)
            width = heads * len(self.words)
            if width != dim or self.options.projection:
                self.output = nn.Linear(width, dim, bias=False)
        else:
            if dim % heads:
                raise ArgumentError(f"Argument `heads` must divide dim={dim}, but is {heads}.")
            self.value, self.output = nn.Linear(dim, dim, bias=False), nn.Linear(dim, dim, bias=False)

    def new_circuits(self) -> TrainedCircuits:
        """Circuits of this mechanism's ansatz on all qubits, one a head."""
        options = self.options
        return TrainedCircuits(
            options.ansatz,
            heads=self.heads,
            n_qubits=self.n_qubits,
            layers=options.layers,
            initial_angle=options.initial_angle,
        )

    def attend(
        self, queries: Tensor, keys: Tensor, values: Tensor, allowed: Tensor, bias: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """See `Attention.attend`."""
        held = (queries, keys, values) if self.value_circuits is not None else (queries, keys)
        of_queries, of_keys, *of_values = self.states.each(*held)
        weights = self.pair_weights(
            self.query_circuits(of_queries), self.key_circuits(of_keys), allowed, bias
        )
        if self.value_circuits is None:
            mixed = weights @ self.split_heads(self.value(values))
        else:
            mixed = weights @ expectations(self.value_circuits(of_values[0]), self.words)
        return self.output(self.join_heads(mixed)), weights

    @abstractmethod
    def pair_weights(self, queries: Tensor, keys: Tensor, allowed: Tensor, bias: Tensor | None) -> Tensor:
        """Weights (batch, heads, T, T) from states |q_i> and |k_j>, each (batch, heads, T, 2^n)."""

    @abstractmethod
    def circuit(self, queries: Tensor, keys: Tensor, row: int, column: int, *, head: int = 0) -> Program:
        """The circuit whose value is the score of query ``row`` and key ``column``, for every batch member.

        Args:
            queries: (batch, T, dim).
            keys: Likewise.
            row: i.
            column: j.
            head: Which head.
        """

    def prepared(self, role: str, elements: Tensor, place: int, *, head: int = 0) -> Program:
        """The program that prepares |q_i>, |k_j> or U_v|x_j> of one element, by role.

        Args:
            role: "query", "key" or "value".
            elements: (batch, T, dim).
            place: i or j.
            head: Which head.
        """
        token = self.states.program(elements, head=head, time=place)
        trained: TrainedCircuits = getattr(self, f"{role}_circuits")
        circuit = Circuit(q=token.n_qubits).compose(token.circuit, range(token.n_qubits))
        circuit.compose(trained.named("trained"))
        return Program(circuit, {**token.values, "trained": trained.angles[head]})


def overlaps(queries: Tensor, keys: Tensor) -> Tensor:
    """<q_i|k_j>, (..., T, T), row i the query.

    >>> overlaps(torch.tensor([[1.0j, 0.0]]), torch.tensor([[1.0 + 0.0j, 0.0]]))
    tensor([[0.-1.j]])
    """
    return queries.conj() @ keys.mT
