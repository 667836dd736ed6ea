"""All that is asked of a circuit before it is trained: `qdyn analyse` and its table."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from qdyn.circuits.analysis.effective_dimension import EffectiveDimension, effective_dimension
from qdyn.circuits.analysis.entangling_capability import EntanglingCapability, entangling_capability
from qdyn.circuits.analysis.expressibility import Expressibility, expressibility_of, pair_fidelities
from qdyn.circuits.analysis.family import CircuitFamily
from qdyn.circuits.analysis.noise_robustness import MOST_QUBITS, NoiseRobustness, noise_robustness
from qdyn.circuits.analysis.trainability import ObservableGradient, observable_gradient, pauli_z
from qdyn.circuits.counting import CircuitCount, count_circuit

PUBLISHED_BINS = 75
"""Bins of equal width in published histograms of fidelities."""


@dataclass(frozen=True)
class CircuitAnalysis:
    """What was found about one circuit.

    Attributes:
        name: Of the circuit.
        interval: Of the random angles, in radians.
        real: Whether its states are real.
        cost: Gates and depth.
        weights: Number of weights.
        expressibility: In bins of equal probability.
        uniform: The same pairs in `PUBLISHED_BINS` bins of equal width.
        entangling: The Meyer-Wallach measure of the qubits read.
        local: Gradient of <Z> of the first qubit read.
        mean_z: Gradient of the mean of <Z> over the qubits read.
        dimension: Quantum Fisher information.
        noise: At each error rate; empty beyond `qdyn.circuits.analysis.noise_robustness.MOST_QUBITS` qubits.
        seed: Of all draws.
    """

    name: str
    interval: tuple[float, float]
    real: bool
    cost: CircuitCount
    weights: int
    expressibility: Expressibility
    uniform: Expressibility
    entangling: EntanglingCapability
    local: ObservableGradient
    mean_z: ObservableGradient
    dimension: EffectiveDimension
    noise: tuple[NoiseRobustness, ...]
    seed: int

    def as_dict(self) -> dict[str, Any]:
        """Plain numbers and lists, for JSON."""
        return _plain(asdict(self))

    def __str__(self) -> str:
        """The table."""
        e, u, q, d = self.expressibility, self.uniform, self.entangling, self.dimension
        law = "real random states" if self.real else "random states"
        low, high = self.interval
        rows = [
            ("qubits", f"{self.cost.qubits}"),
            (
                "gates",
                f"{self.cost.total}, of these {self.cost.two_qubit_gates} CNOTs; depth {self.cost.depth}",
            ),
            ("weights", f"{self.weights}, drawn from {low:.4g} to {high:.4g}"),
            ("expressibility", f"D = {e.divergence:.2e} nats, {e.pairs} pairs, {len(e.expected)} equal bins"),
            ("  less its bias", f"{e.corrected:.2e} ± {e.standard_error:.1e}"),
            (f"  {law}", f"{e.random_level:.2e}"),
            ("  as published", f"{u.divergence:.2e}, {len(u.expected)} uniform bins; {u.random_level:.2e}"),
            ("entanglement Q", f"{q.mean:.4f} ± {q.standard_error:.4f}, spread {q.std:.4f}"),
            (f"  {law}", f"{q.random_mean:.4f}"),
            ("Var d<Z>", _gradient(self.local)),
            ("  of the mean Z", _gradient(self.mean_z)),
            ("Fisher rank", f"{d.rank} of {d.weights} weights, at most {d.largest}"),
            ("  effective", f"{d.effective_rank:.1f} ± {d.standard_error:.1f}"),
        ]
        rows += [
            (
                f"{one.noise} {one.rate:g}",
                f"fidelity {one.fidelity:.3f} ± {one.fidelity_error:.3f}, "
                f"signal {one.signal:.3f} ± {one.signal_error:.3f}",
            )
            for one in self.noise
        ]
        width = max(len(name) for name, _ in rows) + 2
        return "\n".join([self.name, *(f"{name:<{width}}{text}" for name, text in rows)])


def analyse_circuit(
    family: CircuitFamily,
    *,
    name: str,
    pairs: int = 5000,
    samples: int = 500,
    rates: Sequence[float] = (1e-3, 1e-2, 1e-1),
    seed: int = 0,
) -> CircuitAnalysis:
    """Measure everything that `CircuitAnalysis` holds.

    Args:
        family: The circuit and the interval of its angles.
        name: What the table calls it.
        pairs: Of fidelities, for the expressibility.
        samples: Circuits, for entanglement and gradients; Fisher information and noise take 8.
        rates: Error rates a gate; empty for no noise.
        seed: Integer >= 0.

    Example:
        >>> from qdyn.circuits.ansatz.circuits import ansatz_circuit
        >>> circuit = ansatz_circuit("real", n_qubits=2, layers=2, slot="weights")
        >>> found = analyse_circuit(CircuitFamily(circuit), name="real", pairs=200, samples=50, rates=[0.01])
        >>> found.dimension.rank, found.real
        (3, True)
    """
    read, n_qubits = family.qubits_read, family.circuit.n_qubits
    wanted = rates if n_qubits <= MOST_QUBITS else ()
    fidelities = pair_fidelities(family, pairs=pairs, seed=seed)
    law: dict[str, Any] = {"dimension": 2**n_qubits, "real": family.is_real}
    return CircuitAnalysis(
        name=name,
        interval=family.interval,
        real=family.is_real,
        cost=count_circuit(family.circuit),
        weights=family.n_weights,
        expressibility=expressibility_of(fidelities, **law),
        uniform=expressibility_of(fidelities, **law, bins=PUBLISHED_BINS, kind="uniform"),
        entangling=entangling_capability(family, samples=samples, seed=seed),
        local=observable_gradient(family, samples=samples, seed=seed),
        mean_z=observable_gradient(family, observable=pauli_z(read, n_qubits), samples=samples, seed=seed),
        dimension=effective_dimension(family, seed=seed),
        noise=tuple(noise_robustness(family, rates=wanted, samples=8, seed=seed) if len(wanted) else ()),
        seed=seed,
    )


def _gradient(found: ObservableGradient) -> str:
    moving = f"{found.moving} of {found.weights} weights move it"
    return f"{found.variance:.2e} ± {found.standard_error:.1e}; {moving}"


def _plain(content: Any) -> Any:
    if isinstance(content, dict):
        return {str(key): _plain(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_plain(value) for value in content]
    if hasattr(content, "tolist"):
        return _plain(content.tolist())
    return content if not isinstance(content, float) or math.isfinite(content) else None
