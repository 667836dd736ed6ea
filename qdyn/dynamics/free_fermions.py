"""The quench of an Ising chain solved by free fermions: exact for hundreds of sites.

The chain H = -sum_j J_j Z_j Z_{j+1} - sum_j h_j X_j is quadratic in the Majorana operators

    a_j = (prod_{l<j} X_l) Z_j,   b_j = (prod_{l<j} X_l) Y_j,
    X_j = i a_j b_j,   Z_j Z_{j+1} = i b_j a_{j+1},

so that each of them evolves linearly, dg/dt = A g, and with it the covariance C_mn = (i/2) <[g_m, g_n]>:

    C(t) = e^(A t) C(0) e^(A t)^T,   A[a_j, b_j] = -2 h_j,   A[b_j, a_{j+1}] = -2 J_j,   A antisymmetric.

From a product of X eigenstates C determines everything by Wick's theorem. A product of Z eigenstates is the
superposition of two such Gaussian states, one for each sign of prod_j X_j; what is even under that parity is
the mean of the two, and a single Z is made even by a spectator spin before the chain.

Source: E. Lieb, T. Schultz, D. Mattis, Annals of Physics 16, 407 (1961); E. Barouch, B. McCoy, M. Dresden,
Physical Review A 2, 1075 (1970).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike, NDArray

from qdyn.errors import ArgumentError

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class IsingQuench:
    """Exact expectation values of a quench.

    Attributes:
        times: (times,), in units of 1/J.
        magnetisation: <X_j>, (times, sites).
        bond_correlation: <Z_j Z_{j+1}>, (times, sites - 1).
        energy: <H>, (times,); constant.
        entropy: entanglement entropy in nats of the sites left of the middle, (times,); None from a product
            of Z eigenstates, which is not Gaussian.
        echo: |<psi(0)|psi(t)>|^2, (times,); None from a product of Z eigenstates.
    """

    times: Array
    magnetisation: Array
    bond_correlation: Array
    energy: Array
    entropy: Array | None
    echo: Array | None


def ising_quench(
    couplings: ArrayLike, fields: ArrayLike, initial_state: str, times: ArrayLike
) -> IsingQuench:
    """Evolve a product state of an open Ising chain.

        H = -sum_j J_j Z_j Z_{j+1} - sum_j h_j X_j

    Args:
        couplings: J_j, (sites - 1,).
        fields: h_j, (sites,).
        initial_state: one letter a site, all from "+-" (X eigenstates) or all from "01" (Z eigenstates).
        times: (times,), in units of 1/J; any order.

    Returns:
        An `IsingQuench`.

    Raises:
        ArgumentError: lengths do not agree, or the letters are mixed or unknown.

    Source: the equations of this module.

    Example:
        >>> quench = ising_quench(np.ones(199), np.full(200, 0.5), "+" * 200, [0.0, 1.0])
        >>> quench.magnetisation[:, 100].round(4)
        array([1.    , 0.2817])
    """
    J, h, signs, along_x = _check(couplings, fields, initial_state)
    values = np.atleast_1d(np.asarray(times, dtype=np.float64))
    n_sites = len(h)
    start = _covariance_of_x_product(signs) if along_x else _covariance_of_z_product(signs, edge=0.0)
    sites = np.arange(n_sites)
    n_left = n_sites // 2
    magnetisation, correlation = np.empty((len(values), n_sites)), np.empty((len(values), n_sites - 1))
    entropy, echo = np.empty(len(values)), np.empty(len(values))
    for index, covariance in enumerate(_evolve(_generator(J, h), start, values)):
        magnetisation[index] = covariance[2 * sites, 2 * sites + 1]
        correlation[index] = covariance[2 * sites[:-1] + 1, 2 * sites[1:]]
        if along_x:
            entropy[index] = _entropy(covariance[: 2 * n_left, : 2 * n_left])
            echo[index] = np.sqrt(abs(np.linalg.det((np.eye(2 * n_sites) - start @ covariance) / 2)))
    return IsingQuench(
        times=values,
        magnetisation=magnetisation,
        bond_correlation=correlation,
        energy=-correlation @ J - magnetisation @ h,
        entropy=entropy if along_x else None,
        echo=echo if along_x else None,
    )


def ising_correlation(
    couplings: ArrayLike,
    fields: ArrayLike,
    initial_state: str,
    times: ArrayLike,
    *,
    pairs: Sequence[tuple[int, int]],
) -> Float[NDArray[np.float64], "times pairs"]:
    """The correlations <Z_i Z_j> of the same quench, each a Pfaffian of the covariance.

    Args:
        couplings: J_j, (sites - 1,).
        fields: h_j, (sites,).
        initial_state: as for `ising_quench`.
        times: (times,), in units of 1/J.
        pairs: the sites (i, j), i < j.

    Returns:
        (times, pairs).

    Raises:
        ArgumentError: as `ising_quench`, or a pair is not of two sites in increasing order.

    Example:
        >>> ising_correlation(np.ones(3), np.ones(4), "0000", [0.0], pairs=[(0, 3)])
        array([[1.]])
    """
    J, h, signs, along_x = _check(couplings, fields, initial_state)
    _check_pairs(pairs, len(h))
    values = np.atleast_1d(np.asarray(times, dtype=np.float64))
    sectors = [
        [
            [_string(covariance, i, j) for i, j in pairs]
            for covariance in _evolve(_generator(J, h), start, values)
        ]
        for start in _starts(signs, along_x)
    ]
    return np.mean(sectors, axis=0).reshape(len(values), len(pairs))


def ising_field_correlation(
    couplings: ArrayLike,
    fields: ArrayLike,
    initial_state: str,
    times: ArrayLike,
    *,
    pairs: Sequence[tuple[int, int]],
) -> Float[NDArray[np.float64], "times pairs"]:
    """The connected correlations of the spins along the field, in the same quench.

        <X_i X_j> - <X_i> <X_j>,   <X_i X_j> = C[a_i, b_i] C[a_j, b_j] - C[a_i, a_j] C[b_i, b_j]
                                               + C[a_i, b_j] C[b_i, a_j]

    They spread in a light cone: from all spins along the field of a uniform chain the front moves at
    4 min(J, h) sites per unit of time, twice the largest velocity of a quasiparticle.

    Args:
        couplings: J_j, (sites - 1,).
        fields: h_j, (sites,).
        initial_state: as for `ising_quench`.
        times: (times,), in units of 1/J.
        pairs: the sites (i, j), i < j.

    Returns:
        (times, pairs).

    Raises:
        ArgumentError: as `ising_correlation`.

    Source: P. Calabrese, J. Cardy, Physical Review Letters 96, 136801 (2006), for the front.

    Example:
        >>> ising_field_correlation(np.ones(3), np.ones(4), "++++", [0.0, 0.5], pairs=[(0, 1)]).round(4)
        array([[0.    ],
               [0.3296]])
    """
    J, h, signs, along_x = _check(couplings, fields, initial_state)
    _check_pairs(pairs, len(h))
    values = np.atleast_1d(np.asarray(times, dtype=np.float64))
    i, j = (2 * np.array([pair[side] for pair in pairs], dtype=np.int64) for side in (0, 1))
    products, means = [], []
    for start in _starts(signs, along_x):
        covariances = np.array(list(_evolve(_generator(J, h), start, values)))
        x_i, x_j = covariances[:, i, i + 1], covariances[:, j, j + 1]
        exchanged = covariances[:, i, j + 1] * covariances[:, i + 1, j]
        products.append(x_i * x_j - covariances[:, i, j] * covariances[:, i + 1, j + 1] + exchanged)
        means.append((x_i, x_j))
    (x_i, x_j) = np.mean(means, axis=0)
    return np.mean(products, axis=0) - x_i * x_j


def ising_magnetisation_z(
    couplings: ArrayLike, fields: ArrayLike, initial_state: str, times: ArrayLike, *, sites: Sequence[int]
) -> Float[NDArray[np.float64], "times sites"]:
    """The order parameter <Z_i> of the same quench from a product of Z eigenstates; 0 from one of X.

    Args:
        couplings: J_j, (sites - 1,).
        fields: h_j, (sites,).
        initial_state: letters "0" and "1", one a site.
        times: (times,), in units of 1/J.
        sites: which sites.

    Returns:
        (times, sites).

    Raises:
        ArgumentError: as `ising_quench`.

    Example:
        >>> ising_magnetisation_z(np.ones(2), np.zeros(3), "010", [1.0], sites=[0, 1])
        array([[ 1., -1.]])
    """
    J, h, _, along_x = _check(couplings, fields, initial_state)
    values = np.atleast_1d(np.asarray(times, dtype=np.float64))
    if along_x:
        return np.zeros((len(values), len(sites)))
    spectator = (np.append(0.0, J), np.append(0.0, h), "0" + initial_state)
    return ising_correlation(*spectator, values, pairs=[(0, site + 1) for site in sites])


def ring_magnetisation(
    n_sites: int, coupling: float, field: float, times: ArrayLike
) -> Float[NDArray[np.float64], " times"]:
    """The magnetisation <X>(t) of a ring of any length from all spins along the field.

        <X>(t) = (1/n) sum_k [1 - (J sin k / w_k)^2 (1 - cos 4 w_k t)],
        w_k = sqrt(J^2 + h^2 - 2 J h cos k),  k = (2 m + 1) pi / n

    Args:
        n_sites: n.
        coupling: J.
        field: h.
        times: (times,), in units of 1/J.

    Example:
        >>> ring_magnetisation(10, 1.0, 1.0, [0.0])
        array([1.])
    """
    k = (2 * np.arange(n_sites) + 1) * np.pi / n_sites
    w = np.sqrt(coupling**2 + field**2 - 2 * coupling * field * np.cos(k))
    # At J = h the smallest w vanishes only for k = 0, which is not among these k unless J = h = 0.
    weights = np.divide(coupling * np.sin(k), w, out=np.zeros_like(k), where=w > 0) ** 2
    phases = 4 * w * np.atleast_1d(np.asarray(times, dtype=np.float64))[:, None]
    return np.mean(1 - weights * (1 - np.cos(phases)), axis=1)


def _check(couplings: ArrayLike, fields: ArrayLike, initial_state: str) -> tuple[Array, Array, Array, bool]:
    J = np.atleast_1d(np.asarray(couplings, dtype=np.float64))
    h = np.atleast_1d(np.asarray(fields, dtype=np.float64))
    if J.shape != (len(h) - 1,):
        raise ArgumentError(
            f"Argument `couplings` must have one value for each of {len(h) - 1} bonds, "
            f"but has shape {J.shape}."
        )
    if len(initial_state) != len(h):
        raise ArgumentError(
            f"Argument `initial_state` must have one letter for each of {len(h)} sites, "
            f"but has {len(initial_state)}."
        )
    for letters, along_x in (("+-", True), ("01", False)):
        if set(initial_state) <= set(letters):
            signs = np.array([1.0 if letter == letters[0] else -1.0 for letter in initial_state])
            return J, h, signs, along_x
    raise ArgumentError(
        "Argument `initial_state` must consist of '+' and '-' or of '0' and '1', "
        f"but is {initial_state!r:.60}."
    )


def _check_pairs(pairs: Sequence[tuple[int, int]], n_sites: int) -> None:
    for i, j in pairs:
        if not 0 <= i < j < n_sites:
            raise ArgumentError(
                f"Argument `pairs` must hold sites i < j below {n_sites}, but holds {(i, j)}."
            )


def _starts(signs: Array, along_x: bool) -> list[Array]:
    """The Gaussian states of which the product state is made: one, or one for each parity."""
    if along_x:
        return [_covariance_of_x_product(signs)]
    return [_covariance_of_z_product(signs, edge=edge) for edge in (1.0, -1.0)]


def _generator(J: Array, h: Array) -> Array:
    n_sites = len(h)
    generator = np.zeros((2 * n_sites, 2 * n_sites))
    sites = np.arange(n_sites)
    generator[2 * sites, 2 * sites + 1] = -2 * h
    generator[2 * sites[:-1] + 1, 2 * sites[1:]] = -2 * J
    return generator - generator.T


def _evolve(generator: Array, start: Array, times: Array) -> Iterator[Array]:
    """C(t) = O C(0) O^T with O = exp(A t), from the Hermitian i A."""
    energies, vectors = np.linalg.eigh(1j * generator)
    for time in times:
        rotation = ((vectors * np.exp(-1j * energies * time)) @ vectors.conj().T).real
        yield rotation @ start @ rotation.T


def _covariance_of_x_product(signs: Array) -> Array:
    covariance = np.zeros((2 * len(signs), 2 * len(signs)))
    sites = np.arange(len(signs))
    covariance[2 * sites, 2 * sites + 1] = signs
    return covariance - covariance.T


def _covariance_of_z_product(signs: Array, *, edge: float) -> Array:
    """One parity sector; with edge 0 the mean of the two."""
    covariance = np.zeros((2 * len(signs), 2 * len(signs)))
    sites = np.arange(len(signs) - 1)
    covariance[2 * sites + 1, 2 * sites + 2] = signs[:-1] * signs[1:]
    covariance[-1, 0] += edge * signs[0] * signs[-1]
    return covariance - covariance.T


def _entropy(covariance: Array) -> float:
    """S = -sum_nu (1+nu)/2 ln (1+nu)/2 + (1-nu)/2 ln (1-nu)/2 over the pairs +-nu of eigenvalues of i C."""
    from scipy.special import entr

    spectrum = np.clip(np.linalg.eigvalsh(1j * covariance), -1, 1)
    return float(entr((1 + spectrum) / 2).sum())


def _string(covariance: Array, i: int, j: int) -> float:
    """<Z_i Z_j> by Wick's theorem: Z_i Z_j is the product of i b_k a_{k+1} for k = i ... j-1."""
    inside = slice(2 * i + 1, 2 * j + 1)
    return _pfaffian(covariance[inside, inside])


def _pfaffian(matrix: Array) -> float:
    """The Pfaffian of an antisymmetric matrix by elimination with pivoting (Parlett and Reid)."""
    work = matrix.copy()
    result = 1.0
    for row in range(0, len(work) - 1, 2):
        pivot = row + 1 + int(np.argmax(np.abs(work[row + 1 :, row])))
        if pivot != row + 1:
            work[[row + 1, pivot]] = work[[pivot, row + 1]]
            work[:, [row + 1, pivot]] = work[:, [pivot, row + 1]]
            result = -result
        if work[row, row + 1] == 0:
            return 0.0
        result *= work[row, row + 1]
        if row + 2 < len(work):
            ratio = work[row, row + 2 :] / work[row, row + 1]
            column = work[row + 2 :, row + 1].copy()
            work[row + 2 :, row + 2 :] += np.outer(ratio, column) - np.outer(column, ratio)
    return float(result)
