"""Time evolution as a circuit: a product formula whose exponentials are gates.

exp(-i a P) of a Pauli string P is one RZ(2 a) between CNOTs that gather the parity of its sites, in the basis
in which every letter is Z. The order of the strings and the weights are those of qdyn.dynamics.trotter.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray

from qdyn.checks import check_finite, check_integer
from qdyn.circuits.circuit import Circuit
from qdyn.circuits.encodings.state_preparation import add_global_phase
from qdyn.dynamics.trotter import commuting_groups, compositions
from qdyn.errors import ArgumentError
from qdyn.quantum.drives import DrivenHamiltonian
from qdyn.quantum.hamiltonians import Hamiltonian
from qdyn.quantum.pauli import Word


def trotter_circuit(
    hamiltonian: Hamiltonian, time: float, *, steps: int = 1, order: int = 2, start: float = 0.0
) -> Circuit:
    """The circuit of exp(-i H time) by a product formula, in equal steps.

    Args:
        hamiltonian: a single one, on n sites; a drive is followed from ``start`` to ``start + time``, and
            must be smooth within each step: the samples of a sampled one lie where steps end.
        time: in units of 1/J; negative runs backwards.
        steps: number of steps; the error falls like steps**-order.
        order: 2, 4 or 6.
        start: when the evolution starts; matters for a drive only.

    Returns:
        A circuit on the register "q", global phase included.

    Raises:
        ArgumentError: a batch, another order, an argument out of range, or a kink of a drive inside a step.

    Example: one bond and two fields.
        >>> from qdyn import TransverseFieldIsing
        >>> trotter_circuit(TransverseFieldIsing(2), 0.1)
        Circuit(q=2; 8 gates: rx 2, rz 2, x 4)
    """
    check_finite("time", torch.tensor([time, start], dtype=torch.float64))
    check_integer("steps", steps, minimum=1)
    if order not in (2, 4, 6):
        raise ArgumentError(f"Argument `order` must be 2, 4 or 6, but is {order!r}.")
    if hamiltonian.batch_size is not None:
        raise ArgumentError(
            f"A circuit is for one Hamiltonian, but this is a batch of {hamiltonian.batch_size}: "
            "take member(i)."
        )
    words, amounts = _amounts(hamiltonian, start, time, steps, order)
    circuit = Circuit(q=hamiltonian.n_sites)
    for place, amount in amounts:
        add_pauli_rotation(circuit, words[place], 2 * amount)
    return circuit


def add_pauli_rotation(circuit: Circuit, word: Word, angle: float) -> Circuit:
    """Append exp(-i angle P / 2) for a Pauli string P, a phase where P is the identity.

    Example: the rotation about Y Z takes two CNOTs.
        >>> add_pauli_rotation(Circuit(q=2), ((0, "Y"), (1, "Z")), 0.3)
        Circuit(q=2; 5 gates: rx 2, rz 1, x 2)
    """
    if not word:
        return add_global_phase(circuit, 0, -angle / 2)
    if len(word) == 1:
        ((site, letter),) = word
        return circuit.rotation(f"r{letter.lower()}", site, angle)
    turned = Circuit(q=circuit.n_qubits)
    for site, letter in word:
        if letter == "X":
            turned.h(site)
        elif letter == "Y":
            turned.rx(site, np.pi / 2)
    for (site, _), (following, _) in pairwise(word):
        turned.cx(site, following)
    circuit.compose(turned).rz(word[-1][0], angle)
    return circuit.compose(turned.adjoint())


def _amounts(
    hamiltonian: Hamiltonian, start: float, time: float, steps: int, order: int
) -> tuple[tuple[Word, ...], list[tuple[int, float]]]:
    """The strings, and (place of a string, coefficient times duration) in the order in which they act.

    Time is one more part that moves the clock; neighbours of one group of commuting strings are joined.
    """
    if isinstance(hamiltonian, DrivenHamiltonian):
        words, coefficients = hamiltonian.strings()
        table = coefficients.numpy()
        _check_breaks(hamiltonian, start, time, steps)
    else:
        terms = hamiltonian.pauli_terms()
        words, table = terms.words, terms.coefficients.numpy(force=True)[None]
    factors: Callable[[float], NDArray[np.float64]] = _constant
    groups, step = commuting_groups(words), time / steps
    joined: list[tuple[int, NDArray[np.float64]]] = []

    def act(part: int, weight: float, moment: float) -> None:
        amount = weight * step * (factors(moment) @ table[:, groups[part]])
        if joined and joined[-1][0] == part:
            amount = amount + joined.pop()[1]
        joined.append((part, amount))

    for number in range(steps):
        moment = start + number * step
        if isinstance(hamiltonian, DrivenHamiltonian):
            factors = hamiltonian.around(moment + step / 2)
        for beta, alpha in compositions(order):
            moment += beta * step
            for part in range(len(groups)):
                act(part, beta, moment)
            for part in reversed(range(len(groups))):
                act(part, alpha, moment)
            moment += alpha * step
    return words, [
        (place, float(amount))
        for part, amounts in joined
        for place, amount in zip(groups[part], amounts, strict=True)
    ]


def _constant(_: float) -> NDArray[np.float64]:
    return np.ones(1)


def _check_breaks(hamiltonian: DrivenHamiltonian, start: float, time: float, steps: int) -> None:
    """Refuse a kink or a jump inside a step: what holds on one side of it would be continued to the other."""
    end = start + time
    for moment in hamiltonian.breaks(min(start, end), max(start, end)):
        place = (moment - start) / time * steps
        if abs(place - round(place)) > 1e-6:
            raise ArgumentError(
                f"Argument `steps` must let a step end at every sample of a drive, but with {steps} the "
                f"sample at t={moment:g} lies inside step {int(place)}."
            )
