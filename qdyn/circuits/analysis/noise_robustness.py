"""Noise robustness: what gate noise leaves of a circuit's state and of the signal that is read from it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from qdyn.checks import check_choice, check_integer
from qdyn.circuits.analysis.family import CircuitFamily, sample_mean
from qdyn.circuits.executors.density_matrix import fidelity_with, run_density_matrix
from qdyn.circuits.executors.noise import GateNoise
from qdyn.circuits.executors.statevector import run_statevector
from qdyn.quantum.local_observables import site_values

NOISES: dict[str, Callable[[float], GateNoise]] = {
    "depolarising": lambda rate: GateNoise(depolarising=rate),
    "amplitude damping": lambda rate: GateNoise(amplitude_damping=rate),
}
"""Kinds of noise by one rate a gate."""

MOST_QUBITS = 10
"""Beyond, density matrices take gigabytes and minutes."""

_MOST_ENTRIES = 2**20


@dataclass(frozen=True)
class NoiseRobustness:
    r"""What is left at one error rate, over circuits with random angles.

    Attributes:
        noise: Kind of noise.
        rate: Probability of an error after each gate of the lowered circuit.
        fidelity: Mean of <psi|rho|psi>, rho being the noisy state.
        fidelity_error: Its standard error.
        signal: Slope s of the least squares <Z_k>_noisy = s <Z_k> + c_k over all draws and qubits read: 1
            without noise, 0 where nothing of the signal is left. A constant c_k carries none.
        signal_error: Its standard error.
        samples: Number of draws.
    """

    noise: str
    rate: float
    fidelity: float
    fidelity_error: float
    signal: float
    signal_error: float
    samples: int


def noise_robustness(
    family: CircuitFamily,
    *,
    rates: Sequence[float] = (1e-3, 1e-2, 1e-1),
    noises: Sequence[str] = tuple(NOISES),
    samples: int = 16,
    seed: int = 0,
) -> list[NoiseRobustness]:
    """Fidelity and signal at each error rate, from exact density matrices.

    Args:
        family: The circuit, of at most `MOST_QUBITS` qubits.
        rates: Error rates a gate.
        noises: Some of `NOISES`.
        samples: Draws, >= 2, the same for every rate.
        seed: Integer >= 0.

    Raises:
        ArgumentError: a kind of noise is unknown, a rate is no probability, or the circuit is too large.

    Example:
        One gate, then an error of 3 Pauli matrices with p = 0.3: <Z> shrinks by 1 - 4p/3.

        >>> from qdyn.circuits.circuit import Circuit
        >>> circuit = Circuit(q=1)
        >>> family = CircuitFamily(circuit.rx(0, circuit.slot("weights", 1)[0]))
        >>> (found,) = noise_robustness(family, rates=[0.3], noises=["depolarising"])
        >>> round(found.signal, 12)
        0.6
    """
    check_integer("samples", samples, minimum=2)
    check_integer("family.circuit.n_qubits", family.circuit.n_qubits, minimum=1, maximum=MOST_QUBITS)
    for kind in noises:
        check_choice("noises", kind, NOISES)
    values = family.draw(samples, seed=seed)
    size = max(1, _MOST_ENTRIES >> (2 * family.circuit.n_qubits))
    parts = [{name: value[k : k + size] for name, value in values.items()} for k in range(0, samples, size)]
    pure = [run_statevector(family.circuit, part) for part in parts]
    qubits = list(family.qubits_read)
    clean = torch.cat([site_values(one.abs().square())[:, qubits] for one in pure])
    found = []
    for kind in noises:
        for rate in rates:
            fidelities, read = [], []
            for part, states in zip(parts, pure, strict=True):
                noisy = run_density_matrix(family.circuit, part, noise=NOISES[kind](rate))
                fidelities.append(fidelity_with(noisy, states))
                read.append(site_values(noisy.diagonal(dim1=-2, dim2=-1).real)[:, qubits])
            found.append(
                NoiseRobustness(
                    kind, rate, *sample_mean(torch.cat(fidelities)), *_slope(torch.cat(read), clean), samples
                )
            )
    return found


def _slope(noisy: Tensor, clean: Tensor) -> tuple[float, float]:
    """Least squares with a constant for each qubit; the error from draw to draw, whose qubits are alike."""
    noisy, clean = noisy - noisy.mean(dim=0), clean - clean.mean(dim=0)
    total = clean.square().sum()
    slope = (noisy * clean).sum() / total
    residuals = ((noisy - slope * clean) * clean).sum(dim=1)
    count = len(clean)
    return float(slope), float((residuals.square().sum() * count / (count - 1)).sqrt() / total)
