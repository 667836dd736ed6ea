r"""Expressibility: how far the states of a circuit are from random states.

For pairs of circuits with independent weights the fidelity $F = |\langle\psi|\phi\rangle|^2$ is compared with
its law for random states of the same dimension N,

$$P(F > f) = (1 - f)^{N-1} \;\text{(Haar)}, \qquad F \sim \mathrm{Beta}(\tfrac12, \tfrac{N-1}2)
  \;\text{(real amplitudes)},$$

by the Kullback-Leibler divergence D of two histograms, the bins of the law integrated exactly. A circuit of
real gates can only be compared with real random states: its fidelities never follow the complex law.

D from M pairs is too large on average: about (K - 1) / 2M for K bins that the law fills. Three numbers show
it: D as it is, D without its bias by the jackknife, and what M pairs of random states give on average, summed
exactly over the binomial law of each bin.

Source: S. Sim, P. D. Johnson, A. Aspuru-Guzik, Adv. Quantum Technol. 2, 1900070 (2019).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray

from qdyn.checks import check_choice, check_integer
from qdyn.circuits.analysis.family import CircuitFamily
from qdyn.errors import ArgumentError

Bins = Literal["uniform", "equal"]

# What random states reach less often than this counts as reached so often: D stays finite, as published.
_RAREST = 1e-10
# How far a fidelity may lie outside [0, 1].
_ROUNDING = 1e-6


@dataclass(frozen=True)
class Expressibility:
    """The divergence of a circuit's fidelities from those of random states, in nats.

    Attributes:
        divergence: D of the histogram as it is; smaller is more expressive.
        corrected: D less its bias by the jackknife; it may be negative.
        standard_error: Of both, by the jackknife over pairs.
        random_level: The mean of D for as many pairs of random states: below it nothing can be told.
        edges: (bins + 1,) of the histogram.
        observed: (bins,) shares of the pairs.
        expected: (bins,) probabilities for random states, at least 1e-10.
        pairs: Number of pairs.
        mean_fidelity: Over the pairs; for random states 1/N.
    """

    divergence: float
    corrected: float
    standard_error: float
    random_level: float
    edges: NDArray[np.float64]
    observed: NDArray[np.float64]
    expected: NDArray[np.float64]
    pairs: int
    mean_fidelity: float


def expressibility(
    family: CircuitFamily,
    *,
    pairs: int = 5000,
    bins: int = 75,
    kind: Bins = "equal",
    seed: int = 0,
    dimension: int | None = None,
) -> Expressibility:
    """The expressibility of a circuit whose weights are drawn from its interval.

    Args:
        family: The circuit; the two of a pair share their data.
        pairs: M >= 2.
        bins: K >= 2.
        kind: "equal": bins of equal probability for random states, which see all of the law. "uniform": bins
            of equal width, as published tables have it; from 6 qubits on nearly all pairs lie in the first.
        seed: Integer >= 0.
        dimension: N of the law; None for that of the circuit.

    Example:
        One qubit turned about two axes has the states of an RY and a phase: not quite uniform on the sphere.

        >>> from qdyn.circuits.circuit import Circuit
        >>> circuit = Circuit(q=1)
        >>> angles = circuit.slot("weights", 2)
        >>> family = CircuitFamily(circuit.ry(0, angles[0]).rz(0, angles[1]))
        >>> found = expressibility(family, pairs=8000, bins=20)
        >>> found.corrected > 4 * found.standard_error
        True
    """
    return expressibility_of(
        pair_fidelities(family, pairs=pairs, seed=seed),
        dimension=dimension or 2**family.circuit.n_qubits,
        real=family.is_real,
        bins=bins,
        kind=kind,
    )


def pair_fidelities(family: CircuitFamily, *, pairs: int, seed: int = 0) -> Float[np.ndarray, " pairs"]:
    """|<psi|phi>|^2 of ``pairs`` >= 1 pairs of circuits with independent weights and the same data."""
    both = (family.parts(family.draw(pairs, seed=seed, member=member)) for member in (0, 1))
    found = [
        torch.linalg.vecdot(family.states(left), family.states(right)).abs().square()
        for left, right in zip(*both, strict=True)
    ]
    return np.asarray(torch.cat(found).numpy())


def expressibility_of(
    fidelities: Float[np.ndarray, " pairs"],
    *,
    dimension: int,
    real: bool = False,
    bins: int = 75,
    kind: Bins = "equal",
) -> Expressibility:
    """The same from fidelities (pairs,) of independent pairs.

    Args:
        fidelities: In [0, 1] up to rounding.
        dimension: N >= 2.
        real: Compare with random states of real amplitudes.
        bins: K >= 2.
        kind: See `expressibility`.
    """
    check_integer("dimension", dimension, minimum=2)
    check_integer("bins", bins, minimum=2)
    check_choice("kind", kind, get_args(Bins))
    pairs = len(fidelities)
    if not (np.isfinite(fidelities).all() and (np.abs(fidelities - 0.5) <= 0.5 + _ROUNDING).all()):
        wrong = fidelities[~(np.abs(fidelities - 0.5) <= 0.5 + _ROUNDING)][0]
        raise ArgumentError(f"Argument `fidelities` must hold numbers in [0, 1], but holds {wrong:g}.")
    if pairs < 2:
        raise ArgumentError(f"Argument `fidelities` must hold at least 2 pairs, but holds {pairs}.")
    law = _law(dimension, real)
    edges = np.linspace(0.0, 1.0, bins + 1)
    if kind == "equal":
        edges = law.ppf(edges)
    # From whichever end is nearer to it: a difference of two numbers close to 1 would lose the tail.
    shares = np.where(edges[1:] < law.median(), np.diff(law.cdf(edges)), -np.diff(law.sf(edges)))
    expected = np.maximum(shares, _RAREST)
    counts = np.histogram(np.clip(fidelities, 0.0, 1.0), bins=edges)[0]
    divergence, bias, error = _jackknife(counts, expected)
    return Expressibility(
        divergence=divergence,
        corrected=divergence - bias,
        standard_error=error,
        random_level=_level(expected, pairs),
        edges=edges,
        observed=counts / pairs,
        expected=expected,
        pairs=pairs,
        mean_fidelity=float(fidelities.mean()),
    )


def fidelity_density(
    fidelities: Float[np.ndarray, " points"], *, dimension: int, real: bool = False
) -> Float[np.ndarray, " points"]:
    """The density of the fidelity of two random states, (N - 1)(1 - F)^(N - 2), or that of real ones.

    >>> fidelity_density(np.array([0.0, 0.5]), dimension=4)
    array([3.  , 0.75])
    """
    return np.asarray(_law(dimension, real).pdf(fidelities))


def _law(dimension: int, real: bool) -> Any:
    from scipy.stats import beta

    return beta(0.5, (dimension - 1) / 2) if real else beta(1.0, dimension - 1.0)


def _divergence(counts: NDArray[np.floating], expected: NDArray[np.float64]) -> NDArray[np.float64]:
    """D of histograms (..., bins) from probabilities (bins,); a bin without pairs adds nothing."""
    share = counts / counts.sum(axis=-1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(counts > 0, share * np.log(share / expected), 0.0)
    return np.asarray(terms.sum(axis=-1))


def _jackknife(counts: NDArray[np.int64], expected: NDArray[np.float64]) -> tuple[float, float, float]:
    """D, its bias and its standard error, by leaving out one pair of each filled bin in turn."""
    pairs, filled = int(counts.sum()), np.flatnonzero(counts)
    without = np.repeat(counts[None].astype(float), len(filled), axis=0)
    without[np.arange(len(filled)), filled] -= 1
    found, weights = _divergence(without, expected), counts[filled]
    mean = float((weights * found).sum()) / pairs
    whole = float(_divergence(counts.astype(float), expected))
    variance = (pairs - 1) / pairs * float((weights * np.square(found - mean)).sum())
    return whole, (pairs - 1) * (mean - whole), variance**0.5


def _level(expected: NDArray[np.float64], pairs: int) -> float:
    """E of D for random states: sum over bins of E[(n/M) log(n/(M q))], n binomial."""
    from scipy.special import gammaln, xlog1py

    count = np.arange(1, pairs + 1)
    ways = gammaln(pairs + 1) - gammaln(count + 1) - gammaln(pairs - count + 1)
    share, total = count / pairs, 0.0
    for q in expected:
        chance = np.exp(ways + count * np.log(q) + xlog1py(pairs - count, -q))
        total += float((chance * share * (np.log(share) - np.log(q))).sum())
    return total
