"""Pure states of qubits: random, basis and product states, their fidelity and their global phase.

A state of n qubits is a complex vector of length 2**n on the last axis. Qubit 0 is the most significant bit
of the basis index: the vector is kron(qubit 0, qubit 1, ...).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
import torch
from jaxtyping import Complex, Float
from torch import Tensor

from qdyn.checks import check_choice, check_integer
from qdyn.errors import ArgumentError
from qdyn.memory import check_memory
from qdyn.quantum.product_states import ProductStates, Sites

PhaseConvention = Literal["raw", "first_real"]


def haar_random_states(
    *, n_qubits: int, batch: int | None = None, seed: int, dtype: torch.dtype = torch.complex128
) -> Complex[Tensor, "*batch dim"]:
    """Draw pure states from the unitarily invariant (Haar) measure.

    A vector of independent standard complex normal amplitudes, divided by its norm. State i depends on
    ``seed`` and i alone, so a larger batch begins with the states of a smaller one.

    Args:
        n_qubits: number of qubits, at least 1.
        batch: number of states; None gives one state without a batch axis (the first one).
        seed: integer >= 0.
        dtype: complex64 or complex128. The draw is made in double precision and rounded.

    Returns:
        States of shape (batch, 2**n_qubits), or (2**n_qubits,) when ``batch`` is None.

    Raises:
        ArgumentError: an argument is out of range.

    Example:
        >>> states = haar_random_states(n_qubits=3, batch=5, seed=7)
        >>> states.shape
        torch.Size([5, 8])
        >>> bool(torch.equal(states[:2], haar_random_states(n_qubits=3, batch=2, seed=7)))
        True
    """
    shape = _check_batch(n_qubits, batch, seed, dtype)
    dimension = 2**n_qubits
    states = np.empty((1 if batch is None else batch, dimension), dtype=np.complex128)
    for index in range(len(states)):
        real, imaginary = _generator(seed, index).standard_normal((2, dimension))
        drawn = real + 1j * imaginary
        states[index] = drawn / np.linalg.norm(drawn)
    return torch.from_numpy(states).to(dtype).reshape(*shape, dimension)


def random_product_states(
    *, n_qubits: int, batch: int | None = None, seed: int, dtype: torch.dtype = torch.complex128
) -> Complex[Tensor, "*batch dim"]:
    """Draw product states whose sites point in independent, uniformly random directions of the Bloch sphere.

    State i depends on ``seed`` and i alone.

    Args:
        n_qubits: number of qubits, at least 1.
        batch: number of states; None gives one state without a batch axis (the first one).
        seed: integer >= 0.
        dtype: complex64 or complex128.

    Returns:
        States of shape (batch, 2**n_qubits), or (2**n_qubits,) when ``batch`` is None.

    Raises:
        ArgumentError: an argument is out of range.

    Example:
        >>> random_product_states(n_qubits=4, batch=3, seed=0).shape
        torch.Size([3, 16])
    """
    shape = _check_batch(n_qubits, batch, seed, dtype)
    angles = np.empty((1 if batch is None else batch, n_qubits, 2))
    for index, site_angles in enumerate(angles):
        height, turn = _generator(seed, index).random((2, n_qubits))
        site_angles[:, 0], site_angles[:, 1] = np.arccos(1 - 2 * height), 2 * np.pi * turn
    return product_state(angles, dtype=dtype).reshape(*shape, 2**n_qubits)


def basis_state(
    bits: str | Sequence[int], *, dtype: torch.dtype = torch.complex128
) -> Complex[Tensor, " dim"]:
    """The computational basis state with the given bits, qubit 0 first.

    Args:
        bits: a string such as "0101" or a sequence of 0 and 1.
        dtype: complex64 or complex128.

    Returns:
        The state, of shape (2**n,), with a one at the index whose binary digits are ``bits``.

    Raises:
        ArgumentError: ``bits`` is empty or holds anything but 0 and 1.

    Example:
        >>> int(basis_state("10").abs().argmax())
        2
    """
    _check_dtype(dtype)
    digits = [str(bit) for bit in bits]
    for place, digit in enumerate(digits):
        if digit not in ("0", "1"):
            raise ArgumentError(
                f"Argument `bits` must hold 0 and 1 only, but bits[{place}] is {bits[place]!r}."
            )
    if not digits:
        raise ArgumentError("Argument `bits` must name at least one qubit, but is empty.")
    check_memory(16 * 2 ** len(digits), f"A state of {len(digits)} qubits")
    state = torch.zeros(2 ** len(digits), dtype=dtype)
    state[int("".join(digits), 2)] = 1
    return state


def product_state(
    sites: Sites,
    *,
    dtype: torch.dtype = torch.complex128,
) -> Complex[Tensor, "*batch dim"]:
    """A product of single-qubit states, qubit 0 first.

    Each site is cos(theta/2) |0> + exp(i phi) sin(theta/2) |1>.

    Args:
        sites: one of

            * a string with one character a site: "0" "1" (along +z, -z), "+" "-" (+x, -x), "r" "l" (+y, -y);
            * a sequence of the labels "z+" "z-" "x+" "x-" "y+" "y-";
            * angles (theta, phi) in radians, of shape (..., n, 2);
            * unit Bloch vectors, of shape (..., n, 3).
        dtype: complex64 or complex128.

    Returns:
        States of shape (..., 2**n).

    Raises:
        ArgumentError: an unknown label, a wrong shape, a NaN, or a Bloch vector that is not a unit vector.

    Example:
        >>> product_state("+0").real
        tensor([0.7071, 0.0000, 0.7071, 0.0000], dtype=torch.float64)
    """
    _check_dtype(dtype)
    return ProductStates.of(sites).vectors().to(dtype)


def fidelity(
    a: Complex[Tensor, "*#batch dim"], b: Complex[Tensor, "*#batch dim"]
) -> Float[Tensor, "*#batch"]:
    """The overlap |<a|b>|^2 of pure states; it does not depend on their global phases.

    Args:
        a: unit vectors of shape (..., d).
        b: unit vectors of shape (..., d); leading axes broadcast against those of ``a``.

    Returns:
        Real tensor of shape (...), between 0 and 1.

    Raises:
        ArgumentError: the shapes do not go together.

    Example:
        >>> round(float(fidelity(product_state("+"), product_state("0"))), 12)
        0.5
    """
    try:
        overlap = torch.linalg.vecdot(a, b)
    except RuntimeError:
        raise ArgumentError(
            f"Arguments `a` and `b` must be states of one dimension and type, "
            f"but are {a.dtype} of shape {tuple(a.shape)} and {b.dtype} of shape {tuple(b.shape)}."
        ) from None
    return overlap.real.square() + overlap.imag.square()


def with_phase_convention(
    states: Complex[Tensor, "*batch dim"], convention: PhaseConvention
) -> Complex[Tensor, "*batch dim"]:
    """Fix the global phase of every state.

    Args:
        states: complex tensor of shape (..., d).
        convention: "raw" returns the states as they are; "first_real" turns each one by conj(a_0) / |a_0|, so
            that its first amplitude is real and >= 0. A state whose first amplitude is exactly 0 already
            obeys that and is returned as it is.

    Returns:
        Tensor of the same shape.

    Raises:
        ArgumentError: ``convention`` is unknown.

    Example:
        >>> with_phase_convention(torch.tensor([0.6j, 0.8]), "first_real")
        tensor([0.6000+0.0000j, 0.0000-0.8000j])
    """
    check_choice("convention", convention, get_args(PhaseConvention))
    if convention == "raw":
        return states
    first = states[..., :1]
    modulus = first.abs()
    vanishes = modulus == 0
    turn = torch.where(vanishes, torch.ones_like(first), first.conj() / torch.where(vanishes, 1.0, modulus))
    # The first amplitude is set, not turned, so that its imaginary part is exactly zero.
    return torch.cat([modulus.to(states.dtype), states[..., 1:] * turn], dim=-1)


def _generator(seed: int, index: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(index,)))


def _check_dtype(dtype: torch.dtype) -> None:
    if dtype not in (torch.complex64, torch.complex128):
        raise ArgumentError(f"Argument `dtype` must be torch.complex64 or torch.complex128, but is {dtype}.")


def _check_batch(n_qubits: int, batch: int | None, seed: int, dtype: torch.dtype) -> tuple[int, ...]:
    check_integer("n_qubits", n_qubits, minimum=1)
    check_integer("seed", seed, minimum=0)
    _check_dtype(dtype)
    count = 1 if batch is None else check_integer("batch", batch, minimum=1)
    check_memory(32 * count * 2**n_qubits, f"A batch of {count} states of {n_qubits} qubits")
    return () if batch is None else (count,)
