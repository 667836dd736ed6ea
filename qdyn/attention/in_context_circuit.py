r"""In-context attention as a circuit that measures mu, nu and zeta.

The forecast of step j is a linear operator on x_j, made of the projections |x_i><x_i| and the carriers
|x_{i+1}><x_i| of the transitions seen (`qdyn.attention.in_context`). Both are differences of unitaries, with
R = 1 - 2|0><0| between loads,

    |b><a| = (L_b L_a^dagger - L_b R L_a^dagger) / 2,      1 - 2|a><a| = L_a R L_a^dagger,

so that every layer is a linear combination of unitaries. Registers, in order:

    C1    ceil(log2 T)        the step j
    Q     L                   1 at place l: the answer was given at layer l; all 0: V moved the rest on
    K_l   ceil(log2 T) + 1    which transition layer l looks at, and whether R acts; one for each layer of the
                              regression and of the completion
    A     n                   the vector that the layers work on

1. Prepare C1; for every j, Q with the weights of its branches and K_l with those of the transitions before j.
2. Load x_j on A. Layer l: un-load x_i from A, R, load x_i again, or x_{i+1} where Q_l is 1.
3. Where Q is 0: V, then the layers of the completion, with x_{i+1} in place of x_i.
4. Un-load the target y_j from A; un-prepare K, Q and C1, where signs and phases enter; read zeros.

With the price Lambda_j, the sum of the weights' moduli, and w_j = ||z_j||, A_j = <y_j|z_j>:

    mu = |sum_j e^{i phi_j} A_j|^2 / (sum_j Lambda_j)^2,
    nu = sum_j |A_j|^2 / sum_j Lambda_j^2,      zeta = sum_j w_j^2 / sum_j Lambda_j^2.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from qdyn.attention.in_context import Descent
from qdyn.attention.transitions import OperatorPast, TransitionPhases, length, transition_pairs
from qdyn.checks import check_choice, check_normalised, qubits_of_dimension
from qdyn.circuits.circuit import Circuit
from qdyn.circuits.program import AllZero, Program
from qdyn.circuits.state_preparation import loading_circuit, preparation_angles, unitary_circuit
from qdyn.errors import ArgumentError

_OBSERVABLES = ("mu", "nu", "zeta")


class InContextCircuit(NamedTuple):
    """A circuit of in-context attention, and what its reading has to be divided by.

    Attributes:
        program: Run it with `qdyn.run_circuit`; its value is the observable.
        prices: Lambda_j, (T,).
        predictions: z_j, (T, d), from the closed form.
    """

    program: Program
    prices: Tensor
    predictions: Tensor


def in_context_circuit(
    x: Complex[Tensor, "time dim"],
    y: Complex[Tensor, "time dim"],
    value: Complex[Tensor, "dim dim"],
    sizes: Float[Tensor, "layers time"],
    *,
    completion_sizes: Float[Tensor, "completion time"] | None = None,
    restoration: float = 1.0,
    phases: TransitionPhases = "as_given",
    observable: str = "mu",
) -> InContextCircuit:
    """The circuit of `in_context_predictions` with `Descent` steps, for one sequence.

    What the circuit is told beside the states are numbers that follow from overlaps measured before: the
    bounds that step sizes are divided by, the phase of V, and how much length the completion took.

    Args:
        x: States (T, d), T >= 2, d = 2^n.
        y: Targets (T, d).
        value: V, unitary.
        sizes: Of the regression, (L, T), as in `Descent`.
        completion_sizes: Of the completion, (M, T); None for none.
        restoration: gamma in [0, 1].
        phases: "as_given" or "transport".
        observable: "mu" (with the phases phi_j = -arg A_j, which maximise it), "nu" or "zeta".

    Raises:
        ArgumentError: vectors that are not normalised, or shapes that do not fit.

    Example: one layer on three states of a qubit.
        >>> states = qdyn.haar_random_states(n_qubits=1, batch=4, seed=0)
        >>> one = torch.ones(1, 3, dtype=torch.float64)
        >>> circuit = in_context_circuit(states[:3], states[1:], torch.eye(2, dtype=torch.complex128), one)
        >>> circuit.program.n_qubits
        7
        >>> overlaps = (states[1:].conj() * circuit.predictions).sum(-1)
        >>> mu = (overlaps.abs().sum() / circuit.prices.sum()) ** 2
        >>> bool(abs(qdyn.run_circuit(circuit.program).value - mu) < 1e-9)
        True
    """
    check_choice("observable", observable, _OBSERVABLES)
    if x.shape != y.shape or x.shape[0] < 2 or sizes.shape[-1] != x.shape[0]:
        raise ArgumentError(
            f"Argument `x` must have shape (T, d) with T >= 2, as `y` has, and `sizes` (L, T), but they have "
            f"{tuple(x.shape)}, {tuple(y.shape)} and {tuple(sizes.shape)}."
        )
    check_normalised("x", x)
    check_normalised("y", y)
    x, y, value = x.to(torch.complex128), y.to(torch.complex128), value.to(torch.complex128)
    sizes = sizes.double()
    completion = sizes[:0] if completion_sizes is None else completion_sizes.double()
    keys, values = transition_pairs(x, phases=phases)
    past = OperatorPast.of(keys, values)
    key_bound, value_bound = past.bounds()
    steps = x.shape[0]
    # No step of size: without a past nothing is projected out.
    inverse = [torch.where(bound > 1e-9, 1 / bound, 0.0) for bound in (key_bound, value_bound)]
    eta, theta = sizes * inverse[0], completion * inverse[1]

    left, answer = Descent(sizes).explain(past.attend, key_bound, x)
    phase = past.mean_phase(value)
    rest = (left @ value.mT) * phase.unsqueeze(-1)
    if len(theta):
        completed, _ = Descent(completion).explain(past.attend_to_values, value_bound, rest)
        gain = (length(left) / length(completed)).squeeze(-1) ** restoration
        rest = completed * gain.unsqueeze(-1)
    else:
        gain = torch.ones(steps, dtype=torch.float64)
    predictions = answer + rest

    weights = _branch_weights(eta, theta, gain)
    overlaps = (y.conj() * predictions).sum(dim=-1)
    parts = _Parts(x, y, keys, values, value, eta, theta, weights, phase, overlaps)
    return InContextCircuit(_program(parts, observable), weights.sum(dim=-1), predictions)


def circuit_prices(
    sizes: Float[Tensor, "layers time"],
    completion_sizes: Float[Tensor, "completion time"],
    gain: Float[Tensor, " time"],
) -> Float[Tensor, " time"]:
    """Lambda_j from absolute step sizes eta_l and theta_m and the factor on what V moved.

    A layer costs lambda = |1 - eta n/2| + eta n/2 with n the transitions before j, which is 1 where
    eta n <= 2; an answer at layer l costs eta_l n beside the layers before it.

    Example: step sizes 1/n cost 1 for the answer of each layer, and 1 for the rest.
        >>> sizes = torch.tensor([[0.0, 1.0, 0.5], [0.0, 1.0, 0.5]])
        >>> circuit_prices(sizes, sizes[:0], torch.ones(3))
        tensor([1., 3., 3.])
    """
    return _branch_weights(sizes, completion_sizes, gain).sum(dim=-1)


def _branch_weights(eta: Tensor, theta: Tensor, gain: Tensor) -> Tensor:
    """The weight of the answer at each layer, and last of the rest, (T, L + 1)."""
    seen = torch.arange(eta.shape[-1], dtype=eta.dtype)
    so_far = torch.ones_like(seen)
    weights = []
    for size in eta:
        weights.append(so_far * size * seen)
        so_far = so_far * _layer_price(size * seen)
    for size in theta:
        so_far = so_far * _layer_price(size * seen)
    return torch.stack([*weights, so_far * gain], dim=-1)


def _layer_price(total: Tensor) -> Tensor:
    return (1 - total / 2).abs() + total / 2


class _Parts(NamedTuple):
    """What a circuit is made of.

    Attributes:
        x: States (T, d).
        y: Targets (T, d).
        keys: x_i of the transitions, (T - 1, d).
        values: x_{i+1}, their phases restored, (T - 1, d).
        unitary: V.
        eta: Absolute step sizes of the regression, (L, T).
        theta: Of the completion, (M, T).
        weights: Of the branches, (T, L + 1).
        phase: e^{i alpha_j} of V, (T,).
        overlaps: A_j, (T,).
    """

    x: Tensor
    y: Tensor
    keys: Tensor
    values: Tensor
    unitary: Tensor
    eta: Tensor
    theta: Tensor
    weights: Tensor
    phase: Tensor
    overlaps: Tensor


def _program(parts: _Parts, observable: str) -> Program:
    builder = _Builder(parts)
    prices = parts.weights.sum(dim=-1)
    spare = 2 ** len(builder.step) - len(prices)
    at_step = torch.nn.functional.pad(prices.sqrt() if observable == "mu" else prices, (0, spare))
    # What is prepared first is un-prepared last; signs and phases enter on the way back.
    builder.load("steps", at_step[None], (), builder.step)
    builder.branches(undo=False)
    builder.looks(undo=False)
    builder.load("x", parts.x, builder.step, builder.target)
    for layer in range(len(parts.eta)):
        builder.regress(layer)
    builder.move_on()
    for layer in range(len(parts.theta)):
        builder.complete(layer)
    if observable != "zeta":
        builder.load("y", parts.y, builder.step, builder.target, undo=True)
    builder.looks(undo=True)
    builder.branches(undo=True)
    if observable == "mu":
        aligned = torch.polar(at_step, torch.nn.functional.pad(parts.overlaps.angle(), (0, spare)))
        builder.load("steps_back", aligned[None], (), builder.step, undo=True)
    ignored = {"mu": (), "nu": builder.step, "zeta": builder.step + builder.target}[observable]
    read = tuple(qubit for qubit in range(builder.circuit.n_qubits) if qubit not in ignored)
    return Program(builder.circuit, builder.values, AllZero(read))


class _Builder:
    """Appends the pieces of the circuit and collects the values of its slots."""

    def __init__(self, parts: _Parts) -> None:
        self.parts = parts
        self.values: dict[str, Tensor] = {}
        steps, dimension = parts.x.shape
        layers, completions = len(parts.eta), len(parts.theta)
        #: Qubits that hold a number below T.
        self.n_index = (steps - 1).bit_length()
        looks = {f"K_{layer}": self.n_index + 1 for layer in range(layers + completions)}
        self.circuit = Circuit(C1=self.n_index, Q=layers, **looks, A=qubits_of_dimension("x", dimension))
        self.step, self.branch, self.target = (self.circuit[name] for name in ("C1", "Q", "A"))
        self.look = [self.circuit[name] for name in looks]

    def load(
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
        loading = loading_circuit(len(target), len(select), name, real=not states.is_complex())
        self.values[name] = preparation_angles(states, n_select=len(select))
        self.circuit.compose(loading.adjoint() if undo else loading, select + target, controls=controls)

    def branches(self, *, undo: bool) -> None:
        """One qubit of Q a layer that answers, with the roots of the branches' weights."""
        layers = len(self.branch)
        place = [2 ** (layers - 1 - layer) for layer in range(layers)] + [0]
        roots = torch.zeros(len(self.parts.x), 2**layers, dtype=torch.complex128 if undo else torch.float64)
        roots[:, place] = self.parts.weights.sqrt().to(roots.dtype)
        if undo:
            roots[:, 0] *= self.parts.phase.conj()
        self.load(f"branches_{_way(undo)}", roots, self.step, self.branch, undo=undo)

    def looks(self, *, undo: bool) -> None:
        """The transition that each layer looks at, where it works; elsewhere K stays 0 and does nothing."""
        n_layers = len(self.branch)
        for layer, size in enumerate([*self.parts.eta, *self.parts.theta]):
            working = self.branch[: layer + 1] if layer < n_layers else self.branch
            name = f"look_{layer}_{_way(undo)}"
            self._flip(working)
            self.load(
                name, self._projection(size, undo), self.step, self.look[layer], controls=working, undo=undo
            )
            self._flip(working)
        for layer, size in enumerate(self.parts.eta):
            name, own = f"answer_{layer}_{_way(undo)}", (self.branch[layer],)
            self.load(name, self._carrier(size, undo), self.step, self.look[layer], controls=own, undo=undo)

    def regress(self, layer: int) -> None:
        """1 - 2|x_i><x_i| or 1; where Q says that this layer answers, |x_{i+1}><x_i| by its two halves."""
        *index, reflects = self.look[layer]
        keys, values = self._padded(self.parts.keys), self._padded(self.parts.values)
        self.load("keys", keys, tuple(index), self.target, undo=True)
        self._reflect(reflects)
        self.load("keys_or_values", torch.cat([keys, values]), (self.branch[layer], *index), self.target)

    def move_on(self) -> None:
        """V where no layer has answered."""
        self._flip(self.branch)
        self.circuit.compose(unitary_circuit(self.parts.unitary), self.target, controls=self.branch)
        self._flip(self.branch)

    def complete(self, layer: int) -> None:
        """1 - 2|x_{i+1}><x_{i+1}| or 1."""
        *index, reflects = self.look[len(self.branch) + layer]
        values = self._padded(self.parts.values)
        self.load("values", values, tuple(index), self.target, undo=True)
        self._reflect(reflects)
        self.load("values", values, tuple(index), self.target)

    def _projection(self, size: Tensor, undo: bool) -> Tensor:
        """Roots of weights: 1 - eta sum_i |x_i><x_i| = (1 - eta n/2) + eta/2 sum_i (1 - 2|x_i><x_i|)."""
        weights = self._look_weights()
        weights[..., 1] = self._past() * size[:, None] / 2
        weights[:, 0, 0] = 1 - self._past().sum(dim=-1) * size / 2
        return _roots(weights, signed=undo)

    def _carrier(self, size: Tensor, undo: bool) -> Tensor:
        """Roots of weights: eta/2 without and -eta/2 with reflection make eta |x_{i+1}><x_i|."""
        weights = self._look_weights()
        weights[..., 0] = self._past() * size[:, None] / 2
        weights[..., 1] = -weights[..., 0]
        # Where there is no transition, the branch has weight 0 and K may hold anything.
        weights[0, 0, 0] = 1.0
        return _roots(weights, signed=undo)

    def _look_weights(self) -> Tensor:
        return torch.zeros(len(self.parts.x), 2**self.n_index, 2, dtype=torch.float64)

    def _past(self) -> Tensor:
        """1 where transition i has happened by step j, (T, 2^index)."""
        steps = torch.arange(len(self.parts.x))
        return (torch.arange(2**self.n_index) < steps[:, None]).double()

    def _padded(self, states: Tensor) -> Tensor:
        """One state for every number of the index; those that stand for no transition are never met."""
        rest = torch.zeros(2**self.n_index - len(states), states.shape[-1], dtype=states.dtype)
        rest[:, 0] = 1.0
        return torch.cat([states, rest])

    def _reflect(self, control: int) -> None:
        """1 - 2|0><0| on A where ``control`` is 1."""
        self._flip(self.target)
        self.circuit.z(self.target[-1], controls=(control, *self.target[:-1]))
        self._flip(self.target)

    def _flip(self, qubits: tuple[int, ...]) -> None:
        for qubit in qubits:
            self.circuit.x(qubit)


def _way(undo: bool) -> str:
    return "back" if undo else "there"


def _roots(weights: Tensor, *, signed: bool) -> Tensor:
    """sqrt(|w|), with the sign of w on the way back: the product of both is w. (T, 2 * 2^index)."""
    roots = weights.abs().sqrt()
    return (roots * weights.sign() if signed else roots).flatten(-2)
