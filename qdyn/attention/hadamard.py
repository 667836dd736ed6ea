r"""Attention scores that a Hadamard test reads: overlaps of a query and a key circuit.

An element has angles for each of R registers of n qubits (its token, its position, perhaps its properties),
which prepare them by the ansatz $T$; query and key circuits $U_q$ and $U_k$ then act on all of them,

$$|q_i\rangle = U_q \bigotimes_r T(\theta^r_i)|0\rangle, \qquad
|k_j\rangle = U_k \bigotimes_r T(\theta^r_j)|0\rangle,$$

and one more qubit, put into superposition before and after, reads $\mathrm{Re}\langle q_i|k_j\rangle$ as its
$\langle Z\rangle$; with its phase turned by $-\pi/2$ in between, it reads the imaginary part.

**One layer factorises.** The ring of CNOTs that ends both $U_q$ and $U_k$ cancels, $U_q^\dagger U_k$ is a
product of rotations of single qubits, and

$$\langle q_i|k_j\rangle = \prod_r M_r(\theta^r_i, \theta^r_j), \qquad
M_r(a, b) = \langle 0|T(a)^\dagger \bigotimes_{k \in r} R(\phi_k)^\dagger R(\kappa_k)\, T(b)|0\rangle:$$

a product of small tables, by which the whole attention is computed as fast as a classical one. Deeper
circuits entangle the registers, and take the states themselves.

Source: arXiv:2502.19214; the factorisation is ours.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import reduce

import torch
from jaxtyping import Float, Inexact
from torch import Tensor

from qdyn.checks import check_choice
from qdyn.circuits.ansatz.circuits import ansatz_circuit
from qdyn.circuits.ansatz.variational import ansatz as find_ansatz
from qdyn.circuits.circuit import Circuit
from qdyn.circuits.executors.program import PauliObservable, Program
from qdyn.errors import ArgumentError

OVERLAP_ANSATZE = ("real", "hardware_efficient")
"""One rotation on every qubit and the ring of CNOTs in each layer: RY, or RX, RY and RZ."""


def register_states(
    angles: Float[Tensor, "*_angles"],
    *,
    ansatz: str = "real",
) -> Inexact[Tensor, "*batch d"]:
    """T(theta)|0>, the state of one register.

    Args:
        angles: (..., L, n), or (..., L, n, 3) for "hardware_efficient", in radians; n >= 2.
        ansatz: "real" or "hardware_efficient".

    Returns:
        (..., 2**n), real for "real".

    Example: without rotations the ring of CNOTs leaves |00> as it is.
        >>> register_states(torch.zeros(1, 2))
        tensor([1., 0., 0., 0.])
    """
    check_choice("ansatz", ansatz, OVERLAP_ANSATZE)
    return find_ansatz(ansatz).unitary(angles)[..., 0]


def register_rotations(
    query: Float[Tensor, "*_angles"],
    key: Float[Tensor, "*_angles"],
    *,
    ansatz: str = "real",
) -> Inexact[Tensor, "*batch d d"]:
    """The product of R(phi_k)^H R(kappa_k) over the qubits of one register, for circuits of one layer.

    Args:
        query: phi of the register's qubits, (1, n) or (1, n, 3), in radians.
        key: kappa, likewise.
        ansatz: "real" or "hardware_efficient".

    Raises:
        ArgumentError: more than one layer, which does not factorise.

    Example: equal circuits cancel.
        >>> angles = torch.tensor([[0.3, -1.2]])
        >>> bool((register_rotations(angles, angles) - torch.eye(4)).abs().max() < 1e-6)
        True
    """
    axis = _qubit_axis(ansatz)
    if query.shape[axis - 1] != 1 or key.shape[axis - 1] != 1:
        raise ArgumentError(
            "Argument `query` must have one layer for the scores to factorise, but has "
            f"{query.shape[axis - 1]}."
        )
    unitary = find_ansatz(ansatz).unitary
    factors = [
        unitary(a.unsqueeze(axis)).mH @ unitary(b.unsqueeze(axis))
        for a, b in zip(query.unbind(axis), key.unbind(axis), strict=True)
    ]
    return reduce(_kronecker, factors)


def overlap_table(
    query_states: Inexact[Tensor, "*batch rows d"],
    rotation: Inexact[Tensor, "*batch d d"],
    key_states: Inexact[Tensor, "*batch columns d"],
) -> Inexact[Tensor, "*batch rows columns"]:
    """M_r(a, b) of every pair of a register's states: the factor that this register gives the score.

    Args:
        query_states: T(a)|0>, (A, d).
        rotation: What `register_rotations` gives.
        key_states: T(b)|0>, (B, d).

    Example:
        >>> states = register_states(torch.tensor([[[0.0, 0.0]], [[0.4, 0.0]]]))
        >>> overlap_table(states, torch.eye(4), states).diagonal()
        tensor([1., 1.])
    """
    return query_states.conj() @ rotation @ key_states.mT


def factorised_overlaps(
    registers: Sequence[Float[Tensor, "*_angles"]],
    query: Float[Tensor, "*_angles"],
    key: Float[Tensor, "*_angles"],
    *,
    ansatz: str = "real",
) -> Inexact[Tensor, "*batch time time"]:
    """<q_i|k_j> by tables, for query and key circuits of one layer; the registers may be of any depth.

    Args:
        registers: For each register its angles (..., T, L, n[, 3]); batch axes broadcast.
        query: phi, (1, R n[, 3]).
        key: kappa, likewise.
        ansatz: "real" or "hardware_efficient".

    Returns:
        Row i the query, column j the key; real for "real", of which a Hadamard test reads the real part.

    Raises:
        ArgumentError: query or key circuits of more than one layer.

    Example: see `exact_overlaps`, which gives the same.
    """
    axis = _qubit_axis(ansatz)
    widths = [register.shape[axis] for register in registers]
    rotations = [
        register_rotations(a, b, ansatz=ansatz)
        for a, b in zip(torch.split(query, widths, dim=axis), torch.split(key, widths, dim=axis), strict=True)
    ]
    states = [register_states(register, ansatz=ansatz) for register in registers]
    tables = [overlap_table(state, turn, state) for state, turn in zip(states, rotations, strict=True)]
    return reduce(torch.mul, tables)


def exact_overlaps(
    registers: Sequence[Float[Tensor, "*_angles"]],
    query: Float[Tensor, "*_angles"],
    key: Float[Tensor, "*_angles"],
    *,
    ansatz: str = "real",
) -> Inexact[Tensor, "*batch time time"]:
    """<q_i|k_j> from the states of all qubits: for circuits of any depth.

    Args:
        registers: For each register its angles (..., T, L, n[, 3]); batch axes broadcast.
        query: phi, (L', R n[, 3]).
        key: kappa, likewise.
        ansatz: "real" or "hardware_efficient".

    Returns:
        Row i the query, column j the key.

    Example: one layer factorises, two do not.
        >>> generator = torch.Generator().manual_seed(0)
        >>> token, position = torch.randn(2, 5, 1, 3, generator=generator, dtype=torch.float64)
        >>> query, key = torch.randn(2, 2, 6, generator=generator, dtype=torch.float64)
        >>> shallow = exact_overlaps([token, position], query[:1], key[:1])
        >>> tables = factorised_overlaps([token, position], query[:1], key[:1])
        >>> bool((shallow - tables).abs().max() < 1e-14), exact_overlaps([token, position], query, key).shape
        (True, torch.Size([5, 5]))
    """
    unitary = find_ansatz(ansatz).unitary
    states = joint_states([register_states(register, ansatz=ansatz) for register in registers])
    queries, keys = states @ unitary(query).mT, states @ unitary(key).mT
    return queries.conj() @ keys.mT


def joint_states(states: Sequence[Inexact[Tensor, "*_batch_d"]]) -> Inexact[Tensor, "*batch product"]:
    """The product state of all registers; batch axes broadcast.

    Example:
        >>> joint_states([torch.tensor([0.0, 1.0]), torch.tensor([1.0, 0.0])])
        tensor([0., 0., 1., 0.])
    """
    return reduce(lambda left, right: (left[..., :, None] * right[..., None, :]).flatten(-2), states)


def hadamard_test(
    registers: Sequence[Float[Tensor, "*_angles"]],
    others: Sequence[Float[Tensor, "*_angles"]],
    query: Float[Tensor, "*_angles"],
    key: Float[Tensor, "*_angles"],
    *,
    ansatz: str = "real",
    part: str = "real",
) -> Program:
    """The circuit whose ancilla reads Re or Im <q|k> as <Z>: run it with `qdyn.run_circuit`.

    One more qubit is the first. H on it; the query's registers and U_q; where it is 1, all of that undone and
    the key's registers and U_k done instead; H again. A register that is the same tensor in ``others``, such
    as the properties of the molecule that both elements belong to, is prepared once and never undone.

    Args:
        registers: The query's angles, for each register (*batch, L, n[, 3]).
        others: The key's, likewise.
        query: phi, (L', R n[, 3]).
        key: kappa, likewise.
        ansatz: "real" or "hardware_efficient".
        part: "real" or "imaginary" part of the overlap.

    Returns:
        A program over 1 + R n qubits; its value is in [-1, 1] and has the batch shape of the angles.

    Raises:
        ArgumentError: unknown ansatz or part.

    Source: arXiv:2502.19214.

    Example:
        >>> from qdyn.circuits.executors.execution import run_circuit
        >>> token = torch.tensor([[0.3, 1.0]], dtype=torch.float64)
        >>> angles = torch.zeros(1, 2, dtype=torch.float64)
        >>> round(float(run_circuit(hadamard_test([token], [token], angles, angles)).value), 12)
        1.0
    """
    check_choice("ansatz", ansatz, OVERLAP_ANSATZE)
    check_choice("part", part, ("real", "imaginary"))
    axis = _qubit_axis(ansatz)
    widths = [register.shape[axis] for register in registers]
    circuit = Circuit(ancilla=1, **{f"register_{place}": width for place, width in enumerate(widths)})
    working = tuple(range(1, circuit.n_qubits))
    blocks = {
        name: ansatz_circuit(ansatz, n_qubits=len(working), layers=angles.shape[axis - 1], slot=name)
        for name, angles in (("query", query), ("key", key))
    }
    values: dict[str, Tensor] = {"query": query, "key": key}
    before, changed = [], []
    for place, (mine, other) in enumerate(zip(registers, others, strict=True)):
        qubits = circuit[f"register_{place}"]
        first, second = (
            ansatz_circuit(
                ansatz, n_qubits=len(qubits), layers=angles.shape[axis - 1], slot=f"{name}_{place}"
            )
            for name, angles in (("query_register", mine), ("key_register", other))
        )
        before.append((first, qubits))
        values[f"query_register_{place}"] = mine
        if mine is not other:
            changed.append((first, second, qubits))
            values[f"key_register_{place}"] = other
    circuit.h(0)
    for block, qubits in before:
        circuit.compose(block, qubits)
    circuit.compose(blocks["query"], working).compose(blocks["query"].adjoint(), working, controls=(0,))
    for first, second, qubits in changed:
        circuit.compose(first.adjoint(), qubits, controls=(0,)).compose(second, qubits, controls=(0,))
    circuit.compose(blocks["key"], working, controls=(0,))
    if part == "imaginary":
        circuit.phase(0, -math.pi / 2)
    circuit.h(0)
    word = "Z" + "I" * len(working)
    return Program(circuit, values, PauliObservable(((1.0, word),)))


def _kronecker(left: Tensor, right: Tensor) -> Tensor:
    product = left[..., :, None, :, None] * right[..., None, :, None, :]
    return product.flatten(-4, -3).flatten(-2)


def _qubit_axis(ansatz: str) -> int:
    """Where the qubits stand in an array of angles; the layers come before them."""
    check_choice("ansatz", ansatz, OVERLAP_ANSATZE)
    return -1 if ansatz == "real" else -2
