r"""Effective dimension: in how many directions the weights of a circuit move its state.

The quantum Fisher information of a pure state,

$$F_{ab} = 4\,\mathrm{Re}\bigl(\langle\partial_a\psi|\partial_b\psi\rangle
  - \langle\partial_a\psi|\psi\rangle\langle\psi|\partial_b\psi\rangle\bigr),$$

has at random weights a rank G that no further weight can raise above 2N - 2, the number of real directions of
a state of dimension N (N - 1 for real amplitudes). Weights beyond G are redundant.

Derivatives are exact and no autograd: after lowering every angle turns one rotation exp(-i a P / 2), and
d|psi>/da is half the state with a + pi in its place.

Source: T. Haug, K. Bharti, M. S. Kim, PRX Quantum 2, 040309 (2021). Effective rank: O. Roy, M. Vetterli,
EUSIPCO 2007.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from qdyn.checks import check_integer
from qdyn.circuits.analysis.family import CircuitFamily, Values, sample_mean
from qdyn.circuits.circuit import Circuit
from qdyn.circuits.executors.gradients import ROTATIONS_SLOT, with_one_slot
from qdyn.circuits.executors.statevector import run_statevector
from qdyn.circuits.lowering import lower

# Eigenvalues below this fraction of the largest one are rounding, and so is any as small as the second.
_CUTOFF, _NOTHING = 1e-9, 1e-14


@dataclass(frozen=True)
class EffectiveDimension:
    """The quantum Fisher information over random weights.

    Attributes:
        rank: Its largest rank over the draws: at almost all weights it is that one.
        effective_rank: Mean over draws of exp(entropy of its eigenvalues): directions of similar speed.
        standard_error: Of ``effective_rank``.
        weights: Number of weights.
        largest: What the rank is at most: 2N - 2, or N - 1 for real amplitudes.
        samples: Number of draws.
    """

    rank: int
    effective_rank: float
    standard_error: float
    weights: int
    largest: int
    samples: int


def effective_dimension(family: CircuitFamily, *, samples: int = 8, seed: int = 0) -> EffectiveDimension:
    """The rank and the effective rank of the quantum Fisher information of a circuit.

    Args:
        family: The circuit; its data are drawn like its weights.
        samples: Draws, >= 2.
        seed: Integer >= 0.

    Example:
        Of three turns of one qubit from |0>, the first about z only changes the phase.

        >>> circuit = Circuit(q=1)
        >>> a = circuit.slot("weights", 3)
        >>> found = effective_dimension(CircuitFamily(circuit.rz(0, a[0]).ry(0, a[1]).rz(0, a[2])))
        >>> found.rank, found.weights, found.largest
        (2, 3, 2)
    """
    check_integer("samples", samples, minimum=2)
    values = family.draw(samples, seed=seed)
    ranks, effective = [], []
    for index in range(samples):
        spectrum = torch.linalg.eigvalsh(
            quantum_fisher(family, {name: value[index] for name, value in values.items()})
        ).clamp_min(0.0)
        spectrum = torch.where(spectrum > max(_CUTOFF * float(spectrum.max()), _NOTHING), spectrum, 0.0)
        ranks.append(int((spectrum > 0).sum()))
        effective.append(effective_rank(spectrum))
    mean, error = sample_mean(torch.stack(effective))
    dimension = 2**family.circuit.n_qubits
    return EffectiveDimension(
        rank=max(ranks),
        effective_rank=mean,
        standard_error=error,
        weights=family.n_weights,
        largest=dimension - 1 if family.is_real else 2 * dimension - 2,
        samples=samples,
    )


def quantum_fisher(family: CircuitFamily, values: Values) -> Float[Tensor, "weights weights"]:
    """The quantum Fisher information by all weights, slot after slot, at one set of values.

    Args:
        family: The circuit.
        values: Slot -> its numbers, without batch axes.

    Example: a qubit turned about y by t moves at the speed F = 1.
        >>> circuit = Circuit(q=1)
        >>> family = CircuitFamily(circuit.ry(0, circuit.slot("weights", 1)[0]))
        >>> round(float(quantum_fisher(family, {"weights": torch.tensor([0.3])})), 12)
        1.0
    """
    state, derivative = state_derivatives(family, values)
    along = derivative @ state.conj()
    overlap = derivative @ derivative.mH - along[:, None] * along[None].conj()
    return 4 * overlap.real


def state_derivatives(
    family: CircuitFamily, values: Values
) -> tuple[Complex[Tensor, " dim"], Complex[Tensor, "weights dim"]]:
    """|psi> and its derivative by every weight, slot after slot.

    Args:
        family: The circuit.
        values: Slot -> its numbers, without batch axes.
    """
    numbers = {name: value.detach().cpu().double().numpy() for name, value in values.items()}
    fixed = {name: numbers[name] for name in family.inputs}
    lowered = lower(family.circuit.bind(fixed))
    flat = {name: numbers[name].reshape(-1).tolist() for name in family.weights}
    owners = [gate.angles[0] for gate in lowered if gate.angles and gate.angles[0].terms]
    here = torch.tensor([angle.bind(flat).constant for angle in owners], dtype=torch.float64)
    shifted = torch.cat([here[None], here + math.pi * torch.eye(len(here), dtype=torch.float64)])
    one_slot = _without_phases(with_one_slot(lowered, len(here)))
    size = max(1, (1 << 21) >> family.circuit.n_qubits)
    states = torch.cat(
        [run_statevector(one_slot, {ROTATIONS_SLOT: part}) for part in torch.split(shifted, size)]
    )
    first, start = {}, 0
    for name in family.weights:
        first[name] = start
        start += math.prod(family.circuit.slots[name])
    chain = torch.zeros(start, len(owners), dtype=torch.complex128)
    for column, angle in enumerate(owners):
        for name, index, coefficient in angle.terms:
            chain[first[name] + index, column] += coefficient
    return states[0], chain @ states[1:] / 2


def effective_rank(weights: Float[Tensor, " values"]) -> Float[Tensor, ""]:
    """exp(-sum p log p) of the non-negative numbers p, such as singular values, scaled to the sum 1.

    It is 0 where all of them are 0.

    >>> round(float(effective_rank(torch.tensor([2.0, 2.0, 2.0, 0.0]))), 6)
    3.0
    """
    total = weights.sum()
    if not bool(total > 0):
        return torch.zeros_like(total)
    return torch.special.entr(weights / total).sum().exp()


def _without_phases(circuit: Circuit) -> Circuit:
    """Every PHASE(t) as RZ(t): the same state up to a phase, which the Fisher information does not see."""
    gates = (
        gate if gate.name != "phase" else type(gate)("rz", gate.target, angles=gate.angles)
        for gate in circuit
    )
    return circuit.like(gates)
