"""Identification of the couplings of one trajectory from what has been seen of it."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from qdyn.checks import check_integer
from qdyn.data.sequences import SequenceDataset
from qdyn.errors import ArgumentError, DatasetError
from qdyn.models.baselines.common import Baseline, Training, check_dimension, fitted
from qdyn.models.baselines.hamiltonian import couplings, hamiltonian_form, time_step
from qdyn.quantum.hamiltonians import Hamiltonian

# An estimate that forecasts the next state to this norm is kept: stored states are no more exact.
_EXPLAINED = 1e-6
# Between neighbouring points of the search the propagator turns by about this much, in radians.
_SEARCH_ANGLE = 0.5
_LARGEST_SEARCH = 4096
_ITERATIONS = 60
_CHUNK_BYTES = 1 << 28


class _Estimate(NamedTuple):
    """Couplings of some trajectories, (rows, couplings), and what diagonalises their Hamiltonians."""

    values: Tensor
    energies: Tensor
    vectors: Tensor


class HamiltonianIdentification(Baseline):
    r"""Finds the couplings of each trajectory from the states seen of it, and evolves the last one.

    For $H(\lambda) = H_0 + \sum_a \lambda_a H_a$, with all transitions seen,

    $$\hat\lambda = \arg\min_\lambda \sum_{i<j} \lVert P_{i+1}\,(e^{-i H(\lambda) \Delta t} x_i - x_{i+1})
      \rVert^2, \qquad \hat x_{j+1} = e^{-i H(\hat\lambda) \Delta t} x_j .$$

    Where phases are raw, P = 1. Where they were fixed state by state,
    $P_{i+1} = 1 - |x_{i+1}\rangle\langle x_{i+1}|$, so that the terms are infidelities and no phase enters.
    Before the first transition it forecasts with the mean couplings of the training split.

    It is told the form of the Hamiltonian, as `MeanHamiltonian` is. Where that form is right and two states
    determine the couplings, its forecasts are exact from the second on, in either phase convention; with
    noise every transition seen adds to the estimate. The cost is minimised by Levenberg-Marquardt with the
    exact derivative of the propagator, from the better of the last estimate and the best point of a grid over
    the couplings of the training split.

    Args:
        hamiltonian: The form of the Hamiltonian; None takes it from the dataset's recipe. Couplings named in
            the conditions of the data are identified, or all where there are none; each is one number.

    Source: the derivative of a matrix exponential: K. Najfeld, T. F. Havel, Adv. Appl. Math. 16, 321 (1995).

    Example:
        >>> import numpy as np, torch, qdyn
        >>> H = qdyn.TransverseFieldIsing(n_sites=2, coupling=torch.tensor([0.4, 1.9]), field=1.2)
        >>> psi0 = qdyn.haar_random_states(n_qubits=2, batch=2, seed=1)
        >>> states = qdyn.evolve(H, psi0, 0.35 * np.arange(3)).states
        >>> data = SequenceDataset.from_arrays(
        ...     states, kind="quantum_state", times=0.35 * np.arange(3), conditions={"coupling": [0.4, 1.9]}
        ... )
        >>> form = qdyn.TransverseFieldIsing(n_sites=2, field=1.2)
        >>> found = HamiltonianIdentification(form).fit(data).identify(states[:, :2])
        >>> found["coupling"].round(decimals=6)
        tensor([0.4000, 1.9000], dtype=torch.float64)
    """

    name = "identification"
    label = "Couplings identified from the context"
    kinds: ClassVar[frozenset[str]] = frozenset({"quantum_state"})
    training: ClassVar[Training] = "closed form"

    def __init__(self, hamiltonian: Hamiltonian | None = None) -> None:
        self.form = hamiltonian
        self.coupling_names: tuple[str, ...] = ()
        self.time_step = 0.0
        self._by_phase = True
        self._constant: Tensor | None = None
        self._operators: Tensor | None = None
        self._mean: Tensor | None = None
        self._grid: _Estimate | None = None

    @property
    def n_parameters(self) -> int:
        """The mean couplings; those of a trajectory are found in its context."""
        return len(self.coupling_names)

    def _learn(self, dataset: SequenceDataset) -> None:
        form = hamiltonian_form(dataset, self.form, needed_by=self.name)
        self.time_step = time_step(dataset, needed_by=self.name)
        self._by_phase = dataset.metadata.phase_convention == "raw"
        known = couplings(dataset, form) or {
            name: value.reshape(1) for name, value in form.parameters.items() if value.ndim == 0
        }
        for name, values in known.items():
            if values.ndim != 1:
                raise DatasetError(
                    f"The baseline {self.name} finds couplings of one number each, but `{name}` of the "
                    f"dataset {dataset.metadata.name} differs from place to place."
                )
        self.coupling_names = tuple(known)
        self._constant, self._operators = _parts(form, self.coupling_names, needed_by=self.name)
        self._mean = torch.stack([values.double().mean() for values in known.values()])
        self._check_linear(form)
        low = torch.stack([values.double().min() for values in known.values()])
        high = torch.stack([values.double().max() for values in known.values()])
        self._grid = self._at(_search_points(low, high, self._operators, self.time_step))

    def _check_linear(self, form: Hamiltonian) -> None:
        assert self._mean is not None
        at_mean = dict(zip(self.coupling_names, self._mean.tolist(), strict=True))
        whole = replace(form, **at_mean).to_dense()  # type: ignore[type-var]
        deviation = torch.linalg.norm(self._matrices(self._mean) - whole)
        if float(deviation) > 1e-9 * (1 + float(torch.linalg.norm(whole))):
            names = ", ".join(self.coupling_names)
            raise DatasetError(
                f"The baseline {self.name} needs a Hamiltonian that is linear in its couplings, but "
                f"{type(form).__name__} is not linear in {names}."
            )

    def identify(self, context: Tensor, mask: Tensor | None = None) -> dict[str, Tensor]:
        """The couplings by name, (...), from the states ``context`` (..., T, d); the mean ones if T = 1.

        Raises:
            ArgumentError: it has not been fitted, or ``context`` has another dimension.
        """
        states, seen = self._prepare(context, mask)
        values = [self._follow(*part)[0].values for part in self._chunks(states, seen)]
        found = torch.cat(values).reshape(*context.shape[:-2], -1)
        return dict(zip(self.coupling_names, found.unbind(-1), strict=True))

    def forecast(self, inputs: Tensor, mask: Tensor | None = None) -> Tensor:
        """Forecasts (..., T, d) from ``inputs`` (..., T, d), each from the transitions seen up to then.

        Raises:
            ArgumentError: it has not been fitted, or ``inputs`` have another dimension.
        """
        states, seen = self._prepare(inputs, mask)
        parts = [self._follow(*part)[1] for part in self._chunks(states, seen)]
        return torch.cat(parts).reshape(inputs.shape).to(inputs.dtype)

    @torch.no_grad()
    def rollout(self, context: Tensor, steps: int) -> Tensor:
        """Identify the couplings from ``context`` (..., T, d) once, and evolve its last state on.

        Returns:
            (..., steps, d).
        """
        check_integer("steps", steps, minimum=1)
        states, seen = self._prepare(context, None)
        rolled = []
        for part, mask in self._chunks(states, seen):
            estimate, _ = self._follow(part, mask)
            last = part[:, -1] / torch.linalg.vector_norm(part[:, -1], dim=-1, keepdim=True)
            times = self.time_step * torch.arange(1, steps + 1, dtype=torch.float64)
            turns = torch.polar(torch.ones(()).double(), -times[:, None] * estimate.energies[:, None, :])
            turned = turns * _into(estimate.vectors, last[:, None])
            rolled.append(_out_of(estimate.vectors, turned))
        return self.element(torch.cat(rolled).reshape(*context.shape[:-2], steps, -1)).to(context.dtype)

    def _prepare(self, inputs: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        """States (batch, T, d) in double precision, and which of them count (batch, T)."""
        check_dimension(inputs, len(fitted(self._constant, self)))
        if not inputs.is_complex():
            raise ArgumentError(f"Argument `inputs` must be complex states, but are {inputs.dtype}.")
        states = inputs.reshape(-1, *inputs.shape[-2:]).to(torch.complex128)
        seen = (
            torch.ones(states.shape[:2], dtype=torch.bool) if mask is None else mask.reshape(states.shape[:2])
        )
        return states, seen

    def _chunks(self, states: Tensor, seen: Tensor) -> list[tuple[Tensor, Tensor]]:
        """As many trajectories at a time as have matrices that fit."""
        d, working = states.shape[-1], 4 + 2 * len(self.coupling_names)
        size = max(1, _CHUNK_BYTES // (16 * working * d * d))
        return list(zip(torch.split(states, size), torch.split(seen, size), strict=True))

    def _follow(self, states: Tensor, seen: Tensor) -> tuple[_Estimate, Tensor]:
        """The last estimate, and the forecasts (rows, T, d), of trajectories followed state by state."""
        assert self._mean is not None
        assert self._grid is not None
        rows = len(states)
        estimate = self._at(self._mean.expand(rows, -1))
        on_grid = torch.zeros(rows, len(self._grid.values), dtype=torch.float64)
        forecasts = [self._evolve(estimate, states[:, :1])[:, 0]]
        for j in range(1, states.shape[1]):
            # A transition counts when both its ends do.
            counts = (seen[:, :j] & seen[:, 1 : j + 1]).double()
            now = counts[:, -1:]
            on_grid += now * self._grid_costs(states[:, j - 1], states[:, j])
            missed = torch.linalg.vector_norm(self._residual(forecasts[-1], states[:, j]), dim=-1)
            refit = ((missed > _EXPLAINED) & (now[:, 0] > 0)).nonzero()[:, 0]
            if len(refit):
                before, after = states[refit, :j], states[refit, 1 : j + 1]
                start = _rows(estimate, refit)
                best = _rows(self._grid, on_grid[refit].argmin(dim=1))
                better = on_grid[refit].amin(dim=1) < self._costs(start, before, after, counts[refit])
                start = _choose(better, best, start)
                found = self._minimise(start, before, after, counts[refit])
                estimate = _put(estimate, refit, found)
            forecasts.append(self._evolve(estimate, states[:, j : j + 1])[:, 0])
        return estimate, torch.stack(forecasts, dim=1)

    def _minimise(self, start: _Estimate, before: Tensor, after: Tensor, counts: Tensor) -> _Estimate:
        """Levenberg-Marquardt, each row with a damping of its own."""
        best = start
        cost = self._costs(start, before, after, counts)
        damping = torch.full_like(cost, 1e-3)
        active = torch.arange(len(cost))
        for _ in range(_ITERATIONS):
            here, weights = _rows(best, active), counts[active]
            slope, curvature = self._expansion(here, before[active], after[active], weights)
            scale = curvature.diagonal(dim1=-2, dim2=-1).sum(-1).clamp_min(torch.finfo(torch.float64).tiny)
            identity = torch.eye(len(self.coupling_names), dtype=torch.float64)
            damped = curvature + (damping[active] * scale)[:, None, None] * identity
            step = -torch.linalg.solve(damped, slope)
            tried = self._at(here.values + step)
            found = self._costs(tried, before[active], after[active], weights)
            better = found < cost[active]
            best = _put(best, active[better], _rows(tried, better.nonzero()[:, 0]))
            cost[active[better]] = found[better]
            damping[active] *= torch.where(better, 0.1, 10.0)
            moved = torch.linalg.vector_norm(step, dim=-1) > 1e-13 * (
                1 + torch.linalg.vector_norm(here.values, dim=-1)
            )
            active = active[moved & (damping[active] < 1e9)]
            if not len(active):
                break
        return best

    def _expansion(
        self, at: _Estimate, before: Tensor, after: Tensor, counts: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Gradient (rows, p) and Gauss-Newton curvature (rows, p, p) of half the cost."""
        operators = fitted(self._operators, self)
        x, y = _into(at.vectors, before), _into(at.vectors, after)
        residual = self._residual(self._turns(at)[:, None] * x, y) * counts[..., None]
        derivatives = []
        divided = _divided_differences(at.energies, self.time_step)
        for operator in operators:
            turned = at.vectors.mH @ operator @ at.vectors
            moved = x @ (turned * divided).mT
            derivatives.append(self._without_phase(moved, y) * counts[..., None])
        jacobian = torch.stack(derivatives, dim=1).flatten(2)
        slope = (jacobian.conj() @ residual.flatten(1)[..., None])[..., 0].real
        return slope, (jacobian.conj() @ jacobian.mT).real

    def _residual(self, forecast: Tensor, target: Tensor) -> Tensor:
        return self._without_phase(forecast - target, target)

    def _without_phase(self, vectors: Tensor, target: Tensor) -> Tensor:
        """``vectors``, less their part along ``target`` where the phase of a state means nothing."""
        if self._by_phase:
            return vectors
        return vectors - torch.linalg.vecdot(target, vectors)[..., None] * target

    def _costs(self, at: _Estimate, before: Tensor, after: Tensor, counts: Tensor) -> Tensor:
        missed = self._residual(self._evolve(at, before), after).abs().square().sum(-1)
        return (missed * counts).sum(-1)

    def _grid_costs(self, before: Tensor, after: Tensor) -> Tensor:
        """The cost of one transition a row, (rows, points), one grid point at a time."""
        assert self._grid is not None
        costs = []
        for turns, vectors in zip(self._turns(self._grid), self._grid.vectors, strict=True):
            forecast = _out_of(vectors, turns * _into(vectors, before))
            costs.append(self._residual(forecast, after).abs().square().sum(-1))
        return torch.stack(costs, dim=-1)

    def _matrices(self, values: Tensor) -> Tensor:
        """H at couplings (..., p)."""
        constant, operators = fitted(self._constant, self), fitted(self._operators, self)
        return constant + torch.tensordot(values.to(operators.dtype), operators, dims=1)

    def _at(self, values: Tensor) -> _Estimate:
        return _Estimate(values, *torch.linalg.eigh(self._matrices(values)))

    def _turns(self, at: _Estimate) -> Tensor:
        return torch.polar(torch.ones_like(at.energies), -self.time_step * at.energies)

    def _evolve(self, at: _Estimate, states: Tensor) -> Tensor:
        """The states (rows, m, d) one step later."""
        return _out_of(at.vectors, self._turns(at)[:, None] * _into(at.vectors, states))


def _parts(form: Hamiltonian, names: tuple[str, ...], *, needed_by: str) -> tuple[Tensor, Tensor]:
    """H_0 (d, d) and the H_a (p, d, d) of H_0 + sum_a lambda_a H_a."""
    if not names:
        raise DatasetError(f"The baseline {needed_by} needs couplings to identify, but there are none.")
    nothing = dict.fromkeys(names, 0.0)
    constant = replace(form, **nothing).to_dense()  # type: ignore[type-var]
    operators = [
        replace(form, **{**nothing, name: 1.0}).to_dense() - constant  # type: ignore[type-var]
        for name in names
    ]
    return constant, torch.stack(operators)


def _search_points(low: Tensor, high: Tensor, operators: Tensor, step: float) -> Tensor:
    """A grid (points, p) as fine as the propagator varies with the couplings."""
    typical = torch.linalg.matrix_norm(operators) / math.sqrt(operators.shape[-1])
    counts = (1 + torch.ceil((high - low) * typical * step / _SEARCH_ANGLE)).long()
    largest = max(2, int(_LARGEST_SEARCH ** (1 / len(counts))))
    axes = [
        torch.linspace(a, b, min(largest, n), dtype=torch.float64) if n > 1 else torch.tensor([a]).double()
        for a, b, n in zip(low.tolist(), high.tolist(), counts.tolist(), strict=True)
    ]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).reshape(-1, len(axes))


def _divided_differences(energies: Tensor, step: float) -> Tensor:
    """(f(E_m) - f(E_n)) / (E_m - E_n) of f(E) = exp(-i E dt), (..., d, d), without cancellation."""
    mean = 0.5 * (energies[..., :, None] + energies[..., None, :])
    half = 0.5 * step * (energies[..., :, None] - energies[..., None, :])
    return -1j * step * torch.polar(torch.sinc(half / math.pi), -step * mean)


def _into(vectors: Tensor, states: Tensor) -> Tensor:
    """Coefficients of states (..., m, d) in the eigenvectors, the columns of ``vectors``."""
    return states @ vectors.conj().to(states.dtype)


def _out_of(vectors: Tensor, coefficients: Tensor) -> Tensor:
    return coefficients @ vectors.mT.to(coefficients.dtype)


def _rows(estimate: _Estimate, rows: Tensor) -> _Estimate:
    return _Estimate(*(part[rows] for part in estimate))


def _put(estimate: _Estimate, rows: Tensor, found: _Estimate) -> _Estimate:
    return _Estimate(*(old.index_copy(0, rows, new) for old, new in zip(estimate, found, strict=True)))


def _choose(first: Tensor, one: _Estimate, other: _Estimate) -> _Estimate:
    return _Estimate(
        *(torch.where(first.reshape(-1, *[1] * (a.ndim - 1)), a, b) for a, b in zip(one, other, strict=True))
    )
