r"""In-context attention as a circuit that measures mu, nu and zeta.

How a block becomes a circuit stands in `qdyn.attention.in_context.encoding`: it encodes z_j / Lambda_j, with
the price Lambda_j, the sum of the moduli of the weights of all branches. Around it stand

    C1    ceil(log2 T)        the step j, with the root of its price

and the loads of the targets y_j, undone; what is read is zeros. With w_j = ||z_j|| and A_j = <y_j|z_j>,

    mu = |sum_j e^{i phi_j} A_j|^2 / (sum_j Lambda_j)^2,
    nu = sum_j |A_j|^2 / sum_j Lambda_j^2,      zeta = sum_j w_j^2 / sum_j Lambda_j^2.

Steps of conjugate gradients are plain layers of other sizes (`qdyn.attention.in_context.steps`). Symmetries
and heads multiply the transitions that a layer looks at. In a second block the loads are themselves circuits:
of the first block, whose forecasts are added to the states. They put x'_i on A with the amplitude 1/P_i where
their ancillas are 0, so that |x'_i><x'_i| costs P_i^2.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from jaxtyping import Complex
from torch import Tensor

from qdyn.attention.in_context.attention import Conjugate, Descent, refined_states
from qdyn.attention.in_context.builder import encoding_circuit
from qdyn.attention.in_context.encoding import Encoding, Loads
from qdyn.attention.in_context.heads import Heads, feed_forward
from qdyn.attention.in_context.steps import PlainSteps
from qdyn.attention.in_context.transitions import (
    OperatorPast,
    ScorePast,
    Symmetry,
    TransitionPhases,
    length,
    transition_pairs,
    unit_phase,
)
from qdyn.checks import check_choice, check_normalised
from qdyn.circuits.circuit import Circuit
from qdyn.circuits.encodings.state_preparation import loading_circuit, preparation_angles
from qdyn.circuits.executors.program import AllZero, Program
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


class InContextCosts(NamedTuple):
    """What a circuit would need.

    Attributes:
        prices: Lambda_j, (T,): observables are at most of the order of their inverse square.
        predictions: z_j, (T, d), from the closed form.
        qubits: Of the circuit.
    """

    prices: Tensor
    predictions: Tensor
    qubits: int


@dataclass(frozen=True)
class Block:
    """One block of the closed form, as `in_context_predictions`, `feed_forward` and `refined_states` take it.

    Attributes:
        regression: How r and z are found: `Conjugate`, or `Descent` without momentum and score unitaries.
        completion: How q is found, or None.
        restoration: gamma in [0, 1].
        units: E_u and F_u of a feed-forward, (units, 2, d, d), or None.
        strength: kappa_u of its units, (units, T), or None.
        trust: kappa of the forecasts that are added to the states of the next block, (T,); None in the last.
    """

    regression: Descent | Conjugate
    completion: Descent | Conjugate | None = None
    restoration: float | Tensor = 1.0
    units: Tensor | None = None
    strength: Tensor | None = None
    trust: Tensor | None = None


def in_context_circuit(
    x: Complex[Tensor, "time dim"],
    y: Complex[Tensor, "time dim"],
    value: Complex[Tensor, "dim dim"],
    blocks: Block | Sequence[Block],
    *,
    phases: TransitionPhases = "as_given",
    symmetries: tuple[Symmetry, ...] = (),
    heads: Heads | None = None,
    observable: str = "mu",
) -> InContextCircuit:
    """The circuit of in-context attention for one sequence, of one block or of two.

    What the circuit is told beside the states are numbers that follow from overlaps measured before: the
    sizes of steps, the phase of V, how much length the completion took, and in a second block the length and
    phase of the forecasts that are added.

    Args:
        x: States (T, d), T >= 2, d = 2^n.
        y: Targets (T, d).
        value: V, unitary.
        blocks: One or two blocks; a feed-forward in the first of one only.
        phases: "as_given" or "transport".
        symmetries: As in `in_context_predictions`.
        heads: Likewise.
        observable: "mu" (with the phases phi_j = -arg A_j, which maximise it), "nu" or "zeta".

    Raises:
        ArgumentError: vectors that are not normalised, shapes that do not fit, or steps with momentum or
            score unitaries.

    Example: one layer on three states of a qubit.
        >>> states = qdyn.haar_random_states(n_qubits=1, batch=4, seed=0)
        >>> block = Block(Descent(torch.ones(1, 3, dtype=torch.float64)))
        >>> circuit = in_context_circuit(states[:3], states[1:], torch.eye(2, dtype=torch.complex128), block)
        >>> circuit.program.n_qubits
        6
        >>> overlaps = (states[1:].conj() * circuit.predictions).sum(-1)
        >>> mu = (overlaps.abs().sum() / circuit.prices.sum()) ** 2
        >>> bool(abs(qdyn.run_circuit(circuit.program).value - mu) < 1e-9)
        True
    """
    check_choice("observable", observable, _OBSERVABLES)
    _check_targets(x, y)
    told = _Told(value.to(torch.complex128), phases, symmetries, heads)
    encoding, predictions = _last_encoding(x, blocks, told)
    y = y.to(torch.complex128)
    overlaps = (y.conj() * predictions).sum(dim=-1)
    program = _program(encoding, y, overlaps, observable)
    return InContextCircuit(program, encoding.prices, predictions)


def in_context_costs(
    x: Complex[Tensor, "time dim"],
    value: Complex[Tensor, "dim dim"],
    blocks: Block | Sequence[Block],
    *,
    phases: TransitionPhases = "as_given",
    symmetries: tuple[Symmetry, ...] = (),
    heads: Heads | None = None,
) -> InContextCosts:
    """What `in_context_circuit` costs, without the circuit, which may be far too large to build.

    Example: steps of size 1/n cost 1 for the answer of each layer, and 1 for what V moves. The states are
        orthogonal, so that the norm of rho is the root of n.
        >>> states = torch.eye(4, dtype=torch.complex128)[:3]
        >>> sizes = torch.tensor([[0.0, 1.0, 0.5**0.5]], dtype=torch.float64)
        >>> in_context_costs(states, torch.eye(4, dtype=torch.complex128), Block(Descent(sizes))).prices
        tensor([1., 2., 2.], dtype=torch.float64)
    """
    told = _Told(value.to(torch.complex128), phases, symmetries, heads)
    encoding, predictions = _last_encoding(x, blocks, told)
    n_target = x.shape[-1].bit_length() - 1
    qubits = (len(x) - 1).bit_length() + encoding.n_ancillas + n_target
    return InContextCosts(encoding.prices, predictions, qubits)


def _last_encoding(x: Tensor, blocks: Block | Sequence[Block], told: _Told) -> tuple[Encoding, Tensor]:
    several = (blocks,) if isinstance(blocks, Block) else tuple(blocks)
    _check_blocks(x, several)
    x = x.to(torch.complex128)
    loads = Loads(x, torch.ones(len(x), dtype=torch.float64))
    for block in several[:-1]:
        loads = _mixed(block, loads, told)
    return _encoding(several[-1], loads, told)


class _Told(NamedTuple):
    """What all blocks are told."""

    value: Tensor
    phases: TransitionPhases
    symmetries: tuple[Symmetry, ...]
    heads: Heads | None


def _encoding(block: Block, loads: Loads, told: _Told) -> tuple[Encoding, Tensor]:
    """The numbers of a block on the states of ``loads``, and its forecasts."""
    x, steps = loads.states, len(loads.states)
    past = OperatorPast.of(*transition_pairs(x, phases=told.phases), told.symmetries, told.heads)
    key_bound, value_bound = past.bounds()
    regression = PlainSteps.of(block.regression, past.rho, key_bound, x)
    left, answer = block.regression.explain(past.attend, key_bound, x)
    phase = past.mean_phase(told.value)
    rest = (left @ told.value.mT) * phase.unsqueeze(-1)
    nothing = torch.zeros(steps, dtype=torch.float64)
    completion, gain = PlainSteps(nothing.new_zeros(0, steps), nothing), torch.ones_like(nothing)
    if block.completion is not None:
        completion = PlainSteps.of(block.completion, past.image, value_bound, rest)
        completed, _ = block.completion.explain(past.attend_to_values, value_bound, rest)
        gain = (length(left) / length(completed)).squeeze(-1) ** block.restoration
        rest = completed * gain.unsqueeze(-1)
    predictions = answer + rest
    units = torch.zeros(0, 2, *told.value.shape, dtype=x.dtype)
    strength = nothing.new_zeros(0, steps)
    if block.units is not None and block.strength is not None:
        units, strength = block.units.to(x.dtype), block.strength.double()
        predictions = feed_forward(predictions, x, units[:, 0], units[:, 1], strength)
    keys, values, seen = _transitions(loads, told)
    one = torch.ones(steps, dtype=x.dtype)
    encoding = Encoding(
        loads, keys, values, seen, told.value, regression, completion, gain, phase, units, strength, one, one
    )
    return encoding, predictions


def _transitions(loads: Loads, told: _Told) -> tuple[Loads, Loads, Tensor]:
    """Keys and values as loads, and the weight of each at each step, (T, M)."""
    pairs = transition_pairs(loads.states, phases=told.phases)
    past = ScorePast.of(*pairs, told.symmetries, heads=told.heads)
    if loads.encoding is None:
        exact = torch.ones(len(past.keys), dtype=torch.float64)
        return Loads(past.keys, exact), Loads(past.values, exact), past.weights
    numbers = torch.arange(len(loads.states))
    turned = (loads.states[1:].conj() * pairs[1]).sum(dim=-1)
    return loads.rows(numbers[:-1]), loads.rows(numbers[1:], phases=turned), past.weights


def _mixed(block: Block, loads: Loads, told: _Told) -> Loads:
    """The states that the next block works on, as circuits."""
    encoding, predictions = _encoding(block, loads, told)
    x, trust = loads.states, block.trust
    assert trust is not None
    refined = refined_states(x, predictions, trust.to(x.real.dtype))
    # Entry j is made of x_j and the forecast of step j - 1; the first has none.
    before = torch.arange(len(x)).sub(1).clamp_min(0)
    expected = predictions[before] / length(predictions[before])
    phase = unit_phase((expected.conj() * x).sum(dim=-1))
    factor = trust * phase / length(predictions[before]).squeeze(-1)
    factor[0] = 0.0
    size = length(x + factor.unsqueeze(-1) * predictions[before]).squeeze(-1)
    rows = encoding.rows(before, torch.ones_like(factor))
    mixed = replace(rows, mixed=x, trust=factor, scale=(1 / size).to(x.dtype))
    return Loads(refined, mixed.prices, mixed)


def _program(encoding: Encoding, y: Tensor, overlaps: Tensor, observable: str) -> Program:
    """C1 around the encoding, the targets un-loaded, zeros read."""
    steps = len(y)
    n_index, n_target = (steps - 1).bit_length(), y.shape[-1].bit_length() - 1
    circuit = Circuit(C1=n_index, ancillas=encoding.n_ancillas, A=n_target)
    step, target = circuit["C1"], circuit["A"]
    values: dict[str, Tensor] = {}

    def load(name: str, states: Tensor, select: tuple[int, ...], on: tuple[int, ...], *, undo: bool) -> None:
        made = loading_circuit(len(on), len(select), name, real=not states.is_complex())
        values[name] = preparation_angles(states, n_select=len(select))
        circuit.compose(made.adjoint() if undo else made, select + on)

    prices = torch.nn.functional.pad(encoding.prices, (0, 2**n_index - steps))
    at_step = prices.sqrt() if observable == "mu" else prices
    load("steps", at_step[None], (), step, undo=False)
    made, own = encoding_circuit(encoding, n_index)
    values |= own
    circuit.compose(made)
    if observable != "zeta":
        load("y", y, step, target, undo=True)
    if observable == "mu":
        aligned = torch.polar(at_step, torch.nn.functional.pad(overlaps.angle(), (0, 2**n_index - steps)))
        load("steps_back", aligned[None], (), step, undo=True)
    ignored = {"mu": (), "nu": step, "zeta": step + target}[observable]
    read = tuple(qubit for qubit in range(circuit.n_qubits) if qubit not in ignored)
    return Program(circuit, values, AllZero(read))


def _check_targets(x: Tensor, y: Tensor) -> None:
    if x.shape != y.shape or x.shape[0] < 2:
        raise ArgumentError(
            f"Argument `x` must have shape (T, d) with T >= 2, as `y` has, but they have {tuple(x.shape)} "
            f"and {tuple(y.shape)}."
        )
    check_normalised("y", y)


def _check_blocks(x: Tensor, blocks: tuple[Block, ...]) -> None:
    check_normalised("x", x)
    if not 1 <= len(blocks) <= 2:
        raise ArgumentError(f"Argument `blocks` must hold one or two blocks, but holds {len(blocks)}.")
    if len(blocks) == 2 and (blocks[0].trust is None or blocks[1].units is not None):
        raise ArgumentError(
            "Argument `blocks` must have a trust in the first of two blocks and no units in the second."
        )
