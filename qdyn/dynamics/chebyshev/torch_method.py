"""The Chebyshev method in torch operations alone: what runs on a GPU.

The windows and their weights are those of `qdyn.dynamics.chebyshev.plan`. A product with H is one pass over
the vectors for each set of flipped bits, a group of vectors is added to the states of a window by one matrix
product, and all trajectories that share a spectral radius advance together.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qdyn.dynamics.chebyshev.method import Precision, put_states, states_a_window
from qdyn.dynamics.chebyshev.plan import PlanArguments, make_plan, round_up
from qdyn.dynamics.chebyshev.spectral_bounds import spectral_bounds
from qdyn.dynamics.methods import Estimate, Problem
from qdyn.dynamics.recorder import Recorder
from qdyn.quantum.pauli import PauliTerms

_GROUP = 10


def evolve_chebyshev_torch(problem: Problem, recorder: Recorder) -> dict[str, float]:
    """Solve ``problem`` by Chebyshev expansion on its device."""
    precision = Precision.of(problem)
    terms = problem.terms
    lower, upper = spectral_bounds(terms)
    radii = round_up(((upper - lower) / 2).numpy())
    vector_bytes = precision.dtype.itemsize * problem.dimension
    limit = states_a_window(vector_bytes)
    n_products = 0
    for radius in np.unique(radii):
        plan = make_plan(
            problem.times.numpy(),
            radius=float(radius),
            error=precision.truncation,
            n_terms=len(set(terms.flips)),
            vector_bytes=vector_bytes,
            limit=limit,
        )
        members = np.flatnonzero(np.broadcast_to(radii == radius, problem.n_trajectories))
        room = max(1, _bytes_for_vectors(problem.device) // (vector_bytes * (_GROUP + limit + 6)))
        for first in range(0, len(members), room):
            part = members[first : first + room]
            operator = _Operator(terms, (upper + lower) / 2, part, precision.dtype, problem.device)
            initial = problem.initial_states[part].to(precision.dtype)
            for index in np.flatnonzero(problem.times.numpy() == 0):
                put_states(recorder, part, int(index), initial[:, None])
            states = initial.new_empty(len(part), limit + 1, problem.dimension)
            centre = initial
            for window in range(plan.n_windows):
                own, hop, arguments = plan.one_window(window, np.float64)
                centre = initial if plan.sources[window] < 0 else centre
                states.zero_()
                _fill(states, centre, operator, arguments, float(radius))
                if plan.sources[window] >= 0:
                    states[:, plan.sources[window] - own[0]] = centre
                if len(own):
                    put_states(recorder, part, int(own[0]), states[:, : len(own)])
                if hop:
                    centre = states[:, len(own)].clone()
        n_products = max(n_products, int(plan.lengths.sum()) - plan.n_windows)
    return {"products_with_hamiltonian": float(n_products)}


def estimate_chebyshev_torch(problem: Problem) -> Estimate:
    """As the compiled method; on a GPU by its bandwidth, on a CPU slower than the compiled one."""
    precision = Precision.of(problem)
    terms = problem.terms
    vector = precision.dtype.itemsize * problem.dimension
    memory = max(_bytes_for_vectors(problem.device), 20 * vector) + 16 * 2**20
    n_products = 1.1 * precision.phase + 35 * (1 + problem.n_times / 5)
    passes = n_products * 3 * len(set(terms.flips)) + 40 * problem.n_times
    rate = 1.5e12 if problem.device.type == "cuda" else 5e9
    seconds = 1e-2 + n_products * len(terms.words) * 1e-5
    return Estimate(precision.error, memory, seconds + problem.n_trajectories * vector * passes / rate)


def _bytes_for_vectors(device: torch.device) -> int:
    return 2**31 if device.type == "cuda" else 2**28


class _Operator:
    """H - middle for some trajectories: a diagonal, and factors for each set of flipped bits."""

    def __init__(
        self,
        terms: PauliTerms,
        middles: Tensor,
        members: NDArray[np.int64],
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        if terms.batch_size is not None:
            terms = PauliTerms(terms.n_sites, terms.words, terms.coefficients[members])
            middles = middles[members]
        self.middles = middles
        self._basis = torch.arange(2**terms.n_sites, device=device)
        real = torch.float32 if dtype == torch.complex64 else torch.float64
        self.diagonal = (-middles[:, None]).to(device=device, dtype=real)
        self.flips: list[tuple[int, Tensor]] = []
        for flip, values in terms.diagonals():
            factors = values.reshape(-1, values.shape[-1])
            # A field along x has one factor for the whole basis: no need to keep it 2**n times.
            if bool((factors == factors[:, :1]).all()):
                factors = factors[:, :1]
            factors = factors.to(device=device, dtype=dtype if factors.is_complex() else real)
            if flip == 0:
                self.diagonal = self.diagonal + factors.real
            else:
                self.flips.append((flip, factors))

    def apply(self, vectors: Tensor) -> Tensor:
        """(H - middle) psi for vectors of shape (trajectories, dim)."""
        result = self.diagonal * vectors
        for flip, factors in self.flips:
            product = factors * vectors
            if flip.bit_count() == 1:
                pairs = product.reshape(len(product), -1, 2, flip)
                result += pairs.flip(2).reshape(product.shape)
            else:
                result += product[:, self._basis ^ flip]
        return result


def _fill(
    states: Tensor, centre: Tensor, operator: _Operator, arguments: PlanArguments, radius: float
) -> None:
    """Add up the series of one window, a group of vectors at a time, into zeroed states."""
    n_vectors = int(arguments.lengths[0])
    # exp(-i R s G) after the centre and its adjoint before it: odd vectors carry -i and i.
    weights = torch.from_numpy(arguments.weights).to(torch.complex128)
    weights[:, 1::2] *= -1j
    older, old = centre, operator.apply(centre) / radius
    group = [centre]
    for order in range(1, n_vectors + 1):
        if len(group) == _GROUP or order == n_vectors:
            part = weights[:, order - len(group) : order].to(device=states.device, dtype=states.dtype)
            vectors = torch.stack(group, dim=1)
            for places, factors in ((arguments.after, part), (arguments.before, part.conj())):
                entries = np.flatnonzero(places >= 0)
                states[:, places[entries]] += factors[entries] @ vectors
            group = []
        if order < n_vectors:
            group.append(old)
            older, old = old, operator.apply(old) * (2 / radius) - older
    for places, sign in ((arguments.after, -1), (arguments.before, 1)):
        entries = np.flatnonzero(places >= 0)
        angles = sign * operator.middles[:, None] * torch.from_numpy(arguments.distances[entries])
        turns = torch.polar(torch.ones_like(angles), angles).to(device=states.device, dtype=states.dtype)
        states[:, places[entries]] *= turns[..., None]
