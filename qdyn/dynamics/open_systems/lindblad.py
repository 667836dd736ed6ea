"""evolve_open(): the Lindblad equation for density matrices of few sites."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qdyn.checks import check_choice, check_finite, check_normalised, check_positive
from qdyn.dynamics.evolve import InitialState, Observables, check_hamiltonian, check_problem, expanded_start
from qdyn.dynamics.methods import Problem
from qdyn.dynamics.open_systems.density_trajectory import DensityTrajectory, all_expectations
from qdyn.dynamics.open_systems.dissipation import Generator, Window, choose_window, lindblad
from qdyn.dynamics.open_systems.jumps import check_channels, check_open
from qdyn.dynamics.tensor_networks.matrix_product_state import MatrixProductState
from qdyn.dynamics.trajectory import Quantity
from qdyn.errors import ArgumentError, QdynError
from qdyn.memory import check_memory, empty_tensor
from qdyn.processors import over_threads
from qdyn.quantum.channels import Channel
from qdyn.quantum.hamiltonians import Hamiltonian
from qdyn.quantum.kernel_operator import zeros
from qdyn.quantum.product_states import ProductStates, is_named

_DEFAULT_ERROR = 1e-10
_BLOCK_BYTES = 2**27


def evolve_open(
    hamiltonian: Hamiltonian,
    initial_state: InitialState,
    times: Sequence[float] | Tensor | NDArray[Any],
    *,
    channels: Channel | Sequence[Channel],
    observables: Observables = None,
    store: Literal["states", "none"] = "states",
    error: float | None = None,
) -> DensityTrajectory:
    """Solve the Lindblad equation for the density matrix of a small system.

        d rho / dt = -i [H, rho] + sum_k (L_k rho L_k^H - L_k^H L_k rho / 2 - rho L_k^H L_k / 2)

    by Chebyshev expansion with a generator that is never a matrix. A density matrix has 4**n entries: beyond
    7 or 8 sites `quantum_jumps` is the way.

    Args:
        hamiltonian: H, static; single or a batch.
        initial_state: a pure state, by name, in factors, (2**n,) or (batch, 2**n), or a density matrix,
            (2**n, 2**n) or (batch, 2**n, 2**n). A square array is read as a density matrix. Norms and traces
            must be 1 to 1e-8, in single precision to 1e-4.
        times: increasing times >= 0 in units of 1/J; the initial state is that at t = 0.
        channels: what the environment does: see `dephasing`, `decay`, `excitation`, `depolarising`.
        observables: names or `Observable` objects that are linear in rho; "loschmidt_echo" is
            <psi_0| rho |psi_0>, of a start that is given as state vectors.
        store: "states" keeps every density matrix, "none" only the expectation values.
        error: largest error of an entry; 1e-10 when None.

    Returns:
        A `DensityTrajectory`.

    Raises:
        ArgumentError: an argument breaks its rule, H depends on time, or an observable is not linear.
        MemoryLimitError: the density matrices do not fit in memory.

    Source: G. Lindblad, Communications in Mathematical Physics 48, 119 (1976).

    Example:
        >>> from qdyn import TransverseFieldIsing, dephasing, product_state
        >>> H = TransverseFieldIsing(1, field=0.0)
        >>> traj = evolve_open(H, product_state("+"), [0.0, 2.0], channels=dephasing(0.5))
        >>> (2 * traj.density_matrices[:, 0, 1].real).round(decimals=6)  # exp(-t / T_2)
        tensor([1.0000, 0.3679], dtype=torch.float64)
    """
    check_choice("store", store, ["states", "none"])
    settled = check_channels(channels)
    if error is not None:
        check_positive("error", error)
    check_hamiltonian(hamiltonian)
    n_sites = hamiltonian.n_sites
    check_memory(
        16 * 4**n_sites, f"A density matrix of {n_sites} sites", remedy="Sample quantum_jumps in its place."
    )
    matrices, vectors, batched = _density_matrices(initial_state, n_sites)
    if vectors is None:
        _check_no_echo(observables)
        # Only its shape is read: nothing but the echo looks at the initial state.
        vectors = torch.zeros(matrices.shape[:2], dtype=torch.complex128)
        vectors[:, 0] = 1
    start = vectors if batched else vectors[0]
    dtype = torch.complex128
    problem, has_batch = check_problem(hamiltonian, start, times, observables, "states", None, dtype, "cpu")
    check_open(problem)
    for observable in problem.observables:
        if not observable.is_linear:
            raise ArgumentError(
                f"Argument `observables` must be linear in rho, but {observable.name!r} is not."
            )
    matrices = matrices.expand(problem.n_trajectories, -1, -1)
    # Without states that are kept, those of all times are there for a few trajectories at once.
    one = 16 * problem.n_times * problem.dimension**2
    together = problem.n_trajectories if store == "states" else min(problem.n_trajectories, _room(one))
    what, fewer = (
        ("Storing", 'Keep expectation values only (store="none")')
        if store == "states"
        else ("Following", "Ask for fewer times at once")
    )
    check_memory(
        one * together,
        f"{what} {problem.n_times} density matrices of {problem.n_sites} sites",
        remedy=f"{fewer}, or sample quantum_jumps.",
    )
    return _solve(problem, matrices, settled, store == "states", error or _DEFAULT_ERROR, has_batch)


def _solve(  # noqa: PLR0917
    problem: Problem,
    matrices: Tensor,
    channels: tuple[Channel, ...],
    stored: bool,
    error: float,
    batched: bool,
) -> DensityTrajectory:
    from qdyn.dynamics.lane_kernels import LANES

    dimension, n_times = problem.dimension, problem.n_times
    generator = lindblad(problem.hamiltonian, channels)
    n_zero = int((problem.times == 0).sum())
    later = problem.times.numpy()[n_zero:]
    kept = (
        empty_tensor(problem.n_trajectories, n_times, dimension, dimension, dtype=torch.complex128)
        if stored
        else None
    )
    values: dict[str, list[Tensor]] = {seen.name: [] for seen in problem.observables}
    window = (
        choose_window(
            generator, times=later, error=error, n_rows_bytes=16 * LANES << generator.operators.n_sites
        )
        if len(later)
        else None
    )
    room = _room(16 * n_times * dimension**2)
    for first in range(0, problem.n_trajectories, room):
        members = np.arange(first, min(first + room, problem.n_trajectories))
        part = slice(first, int(members[-1]) + 1)
        own = kept[part] if kept is not None else None
        if own is None:
            own = empty_tensor(len(members), n_times, dimension, dimension, dtype=torch.complex128)
        own[:, :n_zero] = matrices[part, None]
        if window is not None:
            planes = _as_planes(matrices[part].reshape(len(members), -1), 2**generator.operators.n_sites)
            vectors = own.reshape(len(members), n_times, dimension**2)
            _run(problem, generator, window, planes, members, vectors)
        found = all_expectations(problem.observables, own, first)
        for observable, means in zip(problem.observables, found, strict=True):
            values[observable.name].append(means)
    trim = slice(None) if batched else 0
    return DensityTrajectory(
        density_matrices=None if kept is None else kept[trim],
        times=problem.times,
        expectations={name: torch.cat(parts)[trim] for name, parts in values.items()},
        n_sites=problem.n_sites,
        hamiltonian=repr(problem.hamiltonian),
        channels=tuple(repr(channel) for channel in channels),
        quantities={seen.name: Quantity(seen.label, seen.unit, seen.axes) for seen in problem.observables},
        parameters=problem.hamiltonian.parameters,
        formula=problem.hamiltonian.formula,
        parameter_axes=problem.hamiltonian.parameter_axes,
        parameter_units=problem.hamiltonian.parameter_units,
        details={
            "estimated_error": error,
            "vectors_a_window": float(window.lengths.max()) if window is not None else 0.0,
        },
    )


def _room(bytes_each: int) -> int:
    """How many trajectories are followed together through all times."""
    return max(1, _BLOCK_BYTES // bytes_each)


def _run(  # noqa: PLR0917
    problem: Problem,
    generator: Generator,
    window: Window,
    initial: NDArray[np.float64],
    members: NDArray[np.int64],
    out: Tensor,
) -> None:
    """Follow ``members`` to all times > 0, spread over threads.

    Args:
        problem: what the times and the members belong to.
        generator: what they obey.
        window: how far one Chebyshev basis reaches.
        initial: their initial vectors as real planes, (members or 1, 2, 2**sites).
        members: indices of trajectories of the problem.
        out: takes the vectors from the first time > 0 on, (members, times, at most 2**sites), complex.
    """
    from qdyn.dynamics.lane_kernels import GAP, LANES
    from qdyn.dynamics.open_systems import lindblad_kernels as kernels

    operators = generator.operators
    dimension = 2**operators.n_sites
    times = problem.times.numpy()
    n_zero = int((times == 0).sum())
    real = torch.view_as_real(out).reshape(*out.shape[:2], -1).numpy()

    def of_members(values: NDArray[Any]) -> NDArray[Any]:
        return values if len(values) == 1 else values[members]

    shared = (
        of_members(generator.radii),
        of_members(window.lengths),
        of_members(window.spans),
        of_members(operators.energies),
        generator.damping,
        generator.shift,
        operators.flips,
        of_members(operators.coefficients),
        operators.masks,
        operators.signs,
        operators.turns,
    )

    def follow(part: NDArray[np.int64]) -> None:
        length = 2 * (dimension * LANES + GAP) + kernels.PADDING
        rows, nodes = (
            zeros(int(count) * length, np.float64) for count in (window.lengths.max(), window.n_nodes)
        )
        kernels.follow(part, initial, times[n_zero:], real, n_zero, *shared, rows, nodes, dimension)

    n_threads = max(1, min(len(members) // LANES, torch.get_num_threads()))
    over_threads(follow, len(members), n_threads)


def _as_planes(states: Tensor, dimension: int) -> NDArray[np.float64]:
    """(vectors, dim) complex as (vectors, 2, dimension) real, zeros beyond dim."""
    planes = np.zeros((len(states), 2, dimension))
    planes[:, 0, : states.shape[1]] = states.real.numpy(force=True)
    planes[:, 1, : states.shape[1]] = states.imag.numpy(force=True)
    return planes


def _check_no_echo(observables: Observables) -> None:
    listed = observables if isinstance(observables, list | tuple) else [observables]
    if any(isinstance(entry, str) and entry == "loschmidt_echo" for entry in listed):
        raise ArgumentError(
            "Argument `observables` may hold 'loschmidt_echo' only for an initial state that is given as "
            "state vectors, but `initial_state` holds density matrices."
        )


def _density_matrices(initial_state: InitialState, n_sites: int) -> tuple[Tensor, Tensor | None, bool]:
    """The initial state as density matrices (batch, dim, dim) and, where it was given so, as vectors.

    Returns:
        the matrices, the vectors (batch, dim) or None, and whether there was a batch axis.
    """
    try:
        given = torch.as_tensor(expanded_start(initial_state, n_sites))
    except QdynError:
        raise
    except (TypeError, ValueError, RuntimeError):
        raise ArgumentError(
            f"Argument `initial_state` must be a tensor or array, not of type {type(initial_state).__name__}."
        ) from None
    dimension, states = 2**n_sites, given.detach().cpu().to(torch.complex128)
    check_finite("initial_state", states)
    tolerance = 1e-4 if given.dtype in (torch.complex64, torch.float32) else 1e-8
    # Names and factors are pure, also where as many of them as dimensions make a square.
    pure = is_named(initial_state) or isinstance(initial_state, ProductStates | MatrixProductState)
    if not pure and states.shape[-2:] == (dimension, dimension) and states.ndim in (2, 3) and len(states):
        matrices = states if states.ndim == 3 else states[None]
        traces = matrices.diagonal(dim1=-2, dim2=-1).sum(dim=-1)
        hermitian = float((matrices - matrices.mH).abs().max()) < tolerance
        if not hermitian or float((traces - 1).abs().max()) > tolerance:
            raise ArgumentError(
                "Argument `initial_state` must hold Hermitian density matrices of trace 1, but does not."
            )
        lowest = float(torch.linalg.eigvalsh(matrices).min())
        if lowest < -tolerance:
            raise ArgumentError(
                f"Argument `initial_state` must hold positive density matrices, "
                f"but one has the eigenvalue {lowest:g}."
            )
        return matrices, None, states.ndim == 3
    if states.ndim in (1, 2) and states.shape[-1] == dimension and len(states):
        vectors = states.reshape(-1, dimension)
        check_normalised("initial_state", vectors, tolerance=tolerance)
        return vectors[:, :, None] * vectors[:, None, :].conj(), vectors, states.ndim == 2
    raise ArgumentError(
        f"Argument `initial_state` must have shape ({dimension},), (batch, {dimension}), "
        f"({dimension}, {dimension}) or (batch, {dimension}, {dimension}) for {n_sites} sites, "
        f"but has shape {tuple(states.shape)}."
    )
