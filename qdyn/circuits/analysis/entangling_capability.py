r"""Entangling capability: the mean Meyer-Wallach measure of a circuit's states.

$$Q = 2 - \frac2n \sum_k \mathrm{tr}\,\rho_k^2,$$

with the reduced states of the n qubits, or of those that are read. Q is 0 for product states alone, and 1
where every qubit is maximally mixed. Random states have on average Q = (N - 2)/(N + 1), real ones
(N - 2)/(N + 2).

Source: D. A. Meyer, N. R. Wallach, J. Math. Phys. 43, 4273 (2002); G. K. Brennen, quant-ph/0305094.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from qdyn.checks import check_integer, qubits_of_dimension
from qdyn.circuits.analysis.family import CircuitFamily, sample_mean
from qdyn.errors import ArgumentError


@dataclass(frozen=True)
class EntanglingCapability:
    """The Meyer-Wallach measure over circuits with random angles.

    Attributes:
        mean: Of Q.
        standard_error: Of the mean.
        std: Standard deviation of Q from circuit to circuit.
        random_mean: The mean of Q for random states, real ones for a circuit of real gates.
        samples: Number of circuits.
    """

    mean: float
    standard_error: float
    std: float
    random_mean: float
    samples: int


def entangling_capability(
    family: CircuitFamily, *, samples: int = 1000, seed: int = 0
) -> EntanglingCapability:
    """The mean of Q over ``samples`` >= 2 circuits, of the qubits that are read.

    Example:
        Without a two-qubit gate there is no entanglement.

        >>> from qdyn.circuits.circuit import Circuit
        >>> circuit = Circuit(q=2)
        >>> (angle,) = circuit.slot("weights", 1)
        >>> family = CircuitFamily(circuit.ry(0, angle).ry(1, angle))
        >>> found = entangling_capability(family, samples=50)
        >>> abs(found.mean) < 1e-12, found.random_mean
        (True, 0.3333333333333333)
    """
    check_integer("samples", samples, minimum=2)
    quantity = partial(meyer_wallach, qubits=family.qubits_read)
    found = family.averaged(family.draw(samples, seed=seed), quantity)
    mean, error = sample_mean(found)
    dimension = 2**family.circuit.n_qubits
    return EntanglingCapability(
        mean=mean,
        standard_error=error,
        std=float(found.std()),
        random_mean=random_meyer_wallach(dimension, real=family.is_real),
        samples=samples,
    )


def meyer_wallach(
    states: Complex[Tensor, "*batch dim"], *, qubits: Sequence[int] | None = None
) -> Float[Tensor, "*batch"]:
    """Q of each state, from 0 to 1.

    Args:
        states: (..., 2**n), unit vectors.
        qubits: Those averaged over; None for all.

    Example:
        >>> greenberger = torch.zeros(8, dtype=torch.complex128)
        >>> greenberger[[0, 7]] = 0.5**0.5
        >>> meyer_wallach(greenberger)
        tensor(1.0000, dtype=torch.float64)
    """
    n_qubits = qubits_of_dimension("states", states.shape[-1])
    chosen = range(n_qubits) if qubits is None else qubits
    if not len(chosen):
        raise ArgumentError("Argument `qubits` must name at least one qubit, but is empty.")
    purity = torch.zeros(states.shape[:-1], dtype=states.real.dtype, device=states.device)
    for qubit in chosen:
        check_integer("qubits", qubit, minimum=0, maximum=n_qubits - 1)
        halves = states.reshape(*states.shape[:-1], 2**qubit, 2, -1)
        upper, lower = halves[..., 0, :].flatten(-2), halves[..., 1, :].flatten(-2)
        weights = [torch.linalg.vecdot(one, one).real for one in (upper, lower)]
        coherence = torch.linalg.vecdot(upper, lower).abs().square()
        purity = purity + weights[0].square() + weights[1].square() + 2 * coherence
    return 2 - 2 * purity / len(chosen)


def random_meyer_wallach(dimension: int, *, real: bool = False) -> float:
    """The mean of Q over random states of N = ``dimension``, or over random states of real amplitudes.

    Of a qubit and its N/2-dimensional rest, tr rho^2 is on average (2 + N/2)/(N + 1), or (3 + N/2)/(N + 2).

    >>> random_meyer_wallach(4), random_meyer_wallach(512)
    (0.4, 0.9941520467836257)
    """
    return (dimension - 2) / (dimension + (2 if real else 1))
