"""Quantum jumps: pure states whose average over chance solves the Lindblad equation."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qdyn.checks import check_integer
from qdyn.dynamics.evolve import InitialState, Observables, check_hamiltonian, check_problem, expanded_start
from qdyn.dynamics.methods import Problem, Store
from qdyn.dynamics.open_systems.damping import DampedOperator, JumpWindows, choose_windows
from qdyn.dynamics.recorder import Recorder
from qdyn.dynamics.trajectory import Quantity, Trajectory
from qdyn.errors import ArgumentError, QdynError
from qdyn.memory import check_memory, empty_tensor
from qdyn.processors import over_threads
from qdyn.quantum.channels import Channel
from qdyn.quantum.drives import DrivenHamiltonian
from qdyn.quantum.hamiltonians import Hamiltonian
from qdyn.quantum.kernel_operator import zeros

_DEFAULT_ERROR = 1e-9
_CHUNK_BYTES = 2**27
# Numbers between two vectors of a workspace: a power of two apart, they would share cache sets.
_PITCH = 48


def quantum_jumps(
    hamiltonian: Hamiltonian,
    initial_state: InitialState,
    times: Sequence[float] | Tensor | NDArray[Any],
    *,
    channels: Channel | Sequence[Channel],
    trajectories: int,
    seed: int,
    observables: Observables = None,
    store: Store = "states",
    error: float | None = None,
    dtype: torch.dtype = torch.complex128,
) -> Trajectory:
    """Sample trajectories of a system that is watched by its environment.

    Between jumps a state obeys

        d psi / dt = -i (H - (i/2) sum_k L_k^H L_k) psi,

    and loses norm. Where |psi|^2 has fallen to a random number, uniform in (0, 1), one of the jumps
    psi -> L_k psi happens, with probability proportional to |L_k psi|^2, and psi is normalised. The average
    of |psi><psi| over trajectories solves the Lindblad equation (`evolve_open`).

    Args:
        hamiltonian: H, single, or one for each trajectory.
        initial_state: psi_0, of shape (2**n,) or (trajectories, 2**n), by name or in factors as for `evolve`.
        times: increasing times >= 0 in units of 1/J; psi_0 is the state at t = 0.
        channels: what the environment does: see `dephasing`, `decay`, `excitation`, `depolarising`.
        trajectories: number of trajectories.
        seed: seed >= 0 of the jumps. Trajectory i draws from ``SeedSequence(seed, spawn_key=(i,))`` and
            depends on no other trajectory, not even on how many there are.
        observables: as for `evolve`.
        store: as for `evolve`.
        error: largest error of an amplitude between jumps; 1e-9 when None.
        dtype: complex64 or complex128, the type of what is stored.

    Returns:
        A `Trajectory` of normalised states, (trajectories, times, 2**n). ``details["mean_jumps"]`` is the
        mean number of jumps.

    Raises:
        ArgumentError: an argument breaks its rule, or H depends on time.
        MemoryLimitError: the states do not fit in memory.

    Source: J. Dalibard, Y. Castin, K. Molmer, Physical Review Letters 68, 580 (1992).

    Example:
        >>> from qdyn import TransverseFieldIsing, product_state
        >>> from qdyn.quantum.channels import decay
        >>> H, psi0 = TransverseFieldIsing(2, field=0.0), product_state("11")
        >>> traj = quantum_jumps(H, psi0, [0.0, 50.0], channels=decay(1.0), trajectories=3, seed=0)
        >>> traj.states.abs()[:, 1, 0].round(decimals=9)  # all have fallen to |00>
        tensor([1., 1., 1.], dtype=torch.float64)
        >>> traj.details["mean_jumps"]
        2.0
    """
    check_integer("trajectories", trajectories, minimum=1)
    check_integer("seed", seed, minimum=0)
    check_hamiltonian(hamiltonian)
    size = hamiltonian.batch_size
    if size is not None and size != trajectories:
        raise ArgumentError(
            f"Argument `hamiltonian` must be single or hold one for each of the {trajectories} trajectories, "
            f"but holds {size}."
        )
    problem, _ = check_problem(
        hamiltonian,
        _spread(initial_state, trajectories, hamiltonian.n_sites),
        times,
        observables,
        store,
        error,
        dtype,
        "cpu",
    )
    settled = check_channels(channels)
    check_open(problem)
    _check_fits(problem)
    recorder = Recorder(problem)
    jumps = _sample(problem, recorder, settled, seed)
    return Trajectory(
        states=recorder.states,
        last_state=recorder.final_states,
        times=problem.times,
        expectations=recorder.expectations,
        parameters=problem.hamiltonian.parameters,
        method="jumps",
        n_sites=problem.n_sites,
        hamiltonian=repr(problem.hamiltonian),
        formula=problem.hamiltonian.formula,
        quantities={seen.name: Quantity(seen.label, seen.unit, seen.axes) for seen in problem.observables},
        parameter_axes=problem.hamiltonian.parameter_axes,
        parameter_units=problem.hamiltonian.parameter_units,
        details={
            "estimated_error": _DEFAULT_ERROR if error is None else error,
            "mean_jumps": float(jumps.mean()),
            "seed": float(seed),
        },
    )


def _check_fits(problem: Problem) -> None:
    """Refuse what needs more memory than there is, for states that are kept and for those that are not.

    A trajectory is followed through all times before it is measured, whether its states are kept or not.
    """
    count, needed = problem.n_trajectories, problem.stored_bytes
    if problem.store != "states":
        needed += 16 * problem.dimension * problem.n_times * min(count, _room(problem, problem.n_times))
    what = "Storing" if problem.store == "states" else "Following"
    check_memory(
        needed,
        f"{what} {count} trajectories of {problem.n_sites} sites through {problem.n_times} times",
        remedy="Ask for fewer times at once, and go on from the last states.",
    )


def _room(problem: Problem, n_times: int) -> int:
    """How many trajectories are followed together where their states are not kept."""
    return max(torch.get_num_threads(), _CHUNK_BYTES // (16 * problem.dimension * n_times))


def check_channels(channels: Channel | Sequence[Channel]) -> tuple[Channel, ...]:
    """One channel or many as a tuple."""
    given: Any = channels
    if not isinstance(given, Channel | Iterable) or isinstance(given, str):
        raise ArgumentError(
            f"Argument `channels` must be a channel such as decay(0.1), or a list of them, "
            f"but is {given!r:.60}."
        )
    listed = (given,) if isinstance(given, Channel) else tuple(given)
    for channel in listed:
        if not isinstance(channel, Channel):
            raise ArgumentError(
                f"Argument `channels` must hold channels such as decay(0.1), but holds {channel!r:.60}."
            )
    return listed


def check_open(problem: Problem) -> None:
    """Refuse what an open system cannot do: run backwards, or follow a drive."""
    if isinstance(problem.hamiltonian, DrivenHamiltonian):
        raise ArgumentError("Argument `hamiltonian` of an open system must not depend on time.")
    if float(problem.times[0]) < 0:
        raise ArgumentError(
            f"Argument `times` of an open system must be >= 0, but times[0]={float(problem.times[0]):g}."
        )


def _sample(
    problem: Problem, recorder: Recorder, channels: tuple[Channel, ...], seed: int
) -> NDArray[np.int64]:
    """Hand over the states of all trajectories; returns their numbers of jumps."""
    n_zero = int((problem.times == 0).sum())
    jumps = np.zeros(problem.n_trajectories, dtype=np.int64)
    if n_zero:
        for block in sorted({(block.start, block.stop) for block, _ in recorder.blocks()}):
            together = slice(*block)
            recorder.put(together, slice(0, 1), problem.initial_states[together, None])
    later = problem.times.numpy()[n_zero:]
    if not len(later):
        return jumps
    damped = DampedOperator.of(problem.terms, channels)
    error = _DEFAULT_ERROR if problem.error is None else problem.error
    windows = choose_windows(damped, times=later, error=error)
    states = recorder.states
    room = problem.n_trajectories
    if states is None:
        room = _room(problem, len(later))
    for first in range(0, problem.n_trajectories, room):
        together = slice(first, min(first + room, problem.n_trajectories))
        found = states
        if found is None:
            shape = (together.stop - first, len(later), problem.dimension)
            found = empty_tensor(*shape, dtype=torch.complex128)
        index = n_zero if states is not None else 0
        jumps[together] = _follow(problem, damped, windows, together, seed, found, index)
        if states is None:
            recorder.put(together, slice(n_zero, problem.n_times), found)
    if states is not None:
        recorder.measure_stored()
    return jumps


def _follow(  # noqa: PLR0917
    problem: Problem,
    damped: DampedOperator,
    windows: JumpWindows,
    together: slice,
    seed: int,
    out: Tensor,
    first_index: int,
) -> NDArray[np.int64]:
    """Follow some trajectories through all times > 0, spread over threads; returns their numbers of jumps.

    Args:
        problem: what the times and the trajectories belong to.
        damped: what they obey.
        windows: how far one basis reaches.
        together: the trajectories.
        seed: seed of all jumps.
        out: takes their states, (trajectories, times, 2**n).
        first_index: index of the first time > 0 in ``out``.
    """
    from qdyn.dynamics.chebyshev.combination_kernels import GROUP
    from qdyn.dynamics.open_systems import jump_kernels as kernels

    members = np.arange(together.start, together.stop)
    seeds = [np.random.SeedSequence(seed, spawn_key=(i,)).generate_state(1, np.uint64)[0] for i in members]
    states = (
        problem.initial_states[:1]
        if problem.initial_states.stride(0) == 0
        else problem.initial_states[together]
    )
    size = 2 << damped.operator.n_sites
    initial = np.zeros((len(states), size))
    initial[:, : 2 * problem.dimension] = (
        torch.view_as_real(states).reshape(len(states), -1).numpy(force=True)
    )
    jumps = np.zeros(len(members), dtype=np.int64)
    times = problem.times.numpy()
    real = torch.view_as_real(out).reshape(*out.shape[:2], -1).numpy()

    def own(values: NDArray[Any]) -> NDArray[Any]:
        return values if len(values) == 1 else values[together]

    by_hamiltonian = [own(values) for values in (
        damped.middles, damped.radii, windows.lengths, windows.spans, windows.tolerances, windows.growths
    )]  # fmt: skip
    operator = damped.operator.members(members)

    def follow(part: NDArray[np.int64]) -> None:
        pitch = size + _PITCH
        n_columns = GROUP * -(-int(windows.lengths.max()) // GROUP)
        kernels.follow(
            part, np.array(seeds), initial, times[times > 0], real, first_index, jumps, operator.tables,
            *by_hamiltonian, damped.damping, damped.loss, damped.shift,
            damped.jump_bits, damped.jump_weights, damped.jump_matrices,
            zeros(GROUP * pitch, np.float64), pitch, zeros((windows.n_nodes + 3) * pitch, np.float64),
            np.zeros((windows.n_nodes + 2, n_columns)), *operator.workspaces(),
        )  # fmt: skip

    n_threads = min(len(members), torch.get_num_threads())
    over_threads(follow, len(members), n_threads)
    return jumps


def _spread(initial_state: Any, trajectories: int, n_sites: int) -> Any:
    """One state for all trajectories as a view of them all; anything else as it is, to be checked."""
    try:
        states = torch.as_tensor(expanded_start(initial_state, n_sites))
    except QdynError:
        raise
    except (TypeError, ValueError, RuntimeError):
        return initial_state
    if states.ndim == 1:
        return states.expand(trajectories, -1)
    if states.ndim == 2 and len(states) != trajectories:
        raise ArgumentError(
            f"Argument `initial_state` must hold one state or {trajectories}, one for each trajectory, "
            f"but holds {len(states)}."
        )
    return states
