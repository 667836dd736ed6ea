"""What a method of time evolution is given, what it promises, and the list of methods.

A method is a function ``(problem, recorder) -> details``. It solves i d|psi>/dt = H |psi> for every
trajectory of ``problem`` and hands the states to ``recorder`` as they come, in any order of blocks
(trajectories x times); the recorder measures and keeps what was asked for. A method whose states are not
vectors hands over matrix-product states one by one. ``details`` are what is worth reporting: numbers, words,
and arrays whose first axis is the trajectories, such as a discarded weight at every time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from qdyn.checks import check_choice
from qdyn.dynamics.drive_scan import DriveScan, scan_drives
from qdyn.dynamics.tensor_networks.matrix_product_state import MatrixProductState
from qdyn.errors import ArgumentError, MemoryLimitError
from qdyn.memory import available_memory
from qdyn.quantum.drives import DrivenHamiltonian
from qdyn.quantum.hamiltonians import Hamiltonian
from qdyn.quantum.observable import Observable
from qdyn.quantum.pauli import PauliTerms
from qdyn.quantum.product_states import ProductStates

if TYPE_CHECKING:
    from qdyn.dynamics.recorder import Recorder

Store = Literal["states", "final", "none"]
Start = Tensor | ProductStates | MatrixProductState
# How well a drive must be seen where no error is asked for: no method's own default is smaller.
_USUAL_ERROR = 1e-8


@dataclass(frozen=True, eq=False)
class Problem:
    """A checked initial-value problem.

    Attributes:
        hamiltonian: a single Hamiltonian, or one for each trajectory.
        start: the initial states as they were given: product states kept site by site, one matrix-product
            state, or vectors of shape (1 or trajectories, 2**n).
        n_trajectories: how many evolutions there are.
        times: float64, (times,), increasing, in main memory; the state at t is exp(-i H t) psi_0.
        observables: what is measured at every time.
        store: which states are kept.
        error: largest deviation of any amplitude that is acceptable; None asks for what the method gives.
        dtype: complex64 or complex128: type of the stored states.
        device: where to compute.
    """

    hamiltonian: Hamiltonian
    start: Start
    n_trajectories: int
    times: Tensor
    observables: tuple[Observable, ...]
    store: Store
    error: float | None
    dtype: torch.dtype
    device: torch.device

    @cached_property
    def initial_states(self) -> Tensor:
        """The initial states as vectors, complex128, (trajectories, 2**n), on ``device``.

        Raises:
            MemoryLimitError: vectors of so many sites do not fit in memory.
        """
        states = self.start.vectors() if isinstance(self.start, ProductStates) else self.start
        if isinstance(states, MatrixProductState):
            states = states.vector()
        states = states.reshape(-1, self.dimension).to(device=self.device, dtype=torch.complex128)
        return states.expand(self.n_trajectories, -1)

    @property
    def n_times(self) -> int:
        """Number of times."""
        return self.times.shape[0]

    @property
    def interval(self) -> tuple[float, float]:
        """The first and the last time that a solver passes: those asked for, and 0, where it starts."""
        return min(0.0, float(self.times[0])), max(0.0, float(self.times[-1]))

    @cached_property
    def n_stretches(self) -> int:
        """How many stretches no step may cross the end of: at the times, and where samples of a drive lie.

        Raises:
            ArgumentError: the samples of a drive do not cover the times.
        """
        if not isinstance(self.hamiltonian, DrivenHamiltonian):
            return self.n_times
        return self.n_times + len(self.breaks(*self.interval))

    def breaks(self, first: float, last: float) -> list[float]:
        """Times strictly between ``first`` and ``last`` that no step may cross: samples and jumps of drives.

        Raises:
            ArgumentError: the samples of a drive do not cover the interval.
        """
        if not isinstance(self.hamiltonian, DrivenHamiltonian):
            return []
        jumps = {time for time in self.drive_scan.jumps if first < time < last}
        return sorted(jumps | set(self.hamiltonian.breaks(first, last)))

    @property
    def n_sites(self) -> int:
        """Number of sites."""
        return self.hamiltonian.n_sites

    @property
    def dimension(self) -> int:
        """Number of amplitudes of a state vector."""
        return int(2**self.n_sites)

    @property
    def n_hamiltonians(self) -> int:
        """Number of different Hamiltonians."""
        return self.hamiltonian.batch_size or 1

    @cached_property
    def terms(self) -> PauliTerms:
        """The Hamiltonian as Pauli strings; estimates and methods ask for it several times."""
        return self.hamiltonian.pauli_terms()

    @cached_property
    def largest_norm(self) -> float:
        """The sum of the moduli of H's coefficients, which bounds |H|.

        Of a drive it is the largest at 33 times and where one of the functions is largest or smallest.

        Raises:
            ArgumentError: the samples of a drive do not cover the times.
        """
        if not isinstance(self.hamiltonian, DrivenHamiltonian):
            return float(self.terms.coefficients.abs().sum(dim=-1).max())
        evenly = torch.linspace(*self.interval, 33, dtype=torch.float64)
        extremes = torch.tensor(self.drive_scan.extremes, dtype=torch.float64)
        return self.hamiltonian.largest_norm(torch.cat([evenly, extremes]))

    @cached_property
    def drive_scan(self) -> DriveScan:
        """How fine the drives are over all times; nothing limits the steps of a static Hamiltonian.

        Raises:
            ArgumentError: the samples of a drive do not cover the times, or one gives no finite number.
        """
        if not isinstance(self.hamiltonian, DrivenHamiltonian):
            return DriveScan(math.inf, ())
        return scan_drives(self.hamiltonian, *self.interval, error=self.error or _USUAL_ERROR)

    @property
    def stored_bytes(self) -> int:
        """Memory of the state vectors and expectation values that are returned."""
        n_states = {"states": self.n_times, "final": 1, "none": 0}[self.store] * self.n_trajectories
        return self.dtype.itemsize * n_states * self.dimension + self.value_bytes

    @property
    def value_bytes(self) -> int:
        """Memory of the expectation values that are returned."""
        real = self.dtype.itemsize // 2
        sizes = (
            (seen.dtype.itemsize if seen.dtype else real) * seen.size(self.n_sites)
            for seen in self.observables
        )
        return sum(sizes) * self.n_times * self.n_trajectories


@dataclass(frozen=True)
class Estimate:
    """What a method expects of itself before it starts.

    Attributes:
        error: largest deviation of any amplitude from the exact solution.
        memory: bytes in use beside what is returned.
        seconds: rough time on one core; only the order between methods matters.
    """

    error: float
    memory: int
    seconds: float


@dataclass(frozen=True)
class Method:
    """A method of time evolution.

    Attributes:
        name: what the trajectory will say.
        function: solves a `Problem` and hands the states to the `Recorder`.
        description: one line for people who choose a method.
        estimate: error, memory and time that it expects for a problem; raises ArgumentError for a problem
            that it cannot solve.
        drives: whether it follows a Hamiltonian that depends on time.
        vectors: whether it works on state vectors of 2**n amplitudes. "auto" turns to one that does not
            only where none of those fits in memory.
    """

    name: str
    function: Callable[[Problem, Recorder], Mapping[str, Any] | None]
    description: str
    estimate: Callable[[Problem], Estimate]
    drives: bool = False
    vectors: bool = True


METHODS: dict[str, Method] = {}
"""Every method by name."""


def register_method(
    name: str,
    function: Callable[[Problem, Recorder], Mapping[str, Any] | None],
    *,
    description: str,
    estimate: Callable[[Problem], Estimate],
    drives: bool = False,
    vectors: bool = True,
) -> None:
    """Add a method that ``evolve(method=name)`` can use and ``method="auto"`` can choose.

    Args:
        name: its name; not "auto", and not taken.
        function: solves a `Problem` and hands the states to the `Recorder`.
        description: one line for people who choose a method.
        estimate: error, memory and time that it expects for a problem.
        drives: whether it solves problems whose Hamiltonian depends on time.
        vectors: whether it works on state vectors of 2**n amplitudes.

    Raises:
        ArgumentError: the name is taken.

    Example:
        >>> import qdyn.dynamics.evolve
        >>> METHODS["exact"].description
        'exact diagonalisation, in symmetry blocks where H has them'
    """
    if name == "auto" or name in METHODS:
        raise ArgumentError(f"Argument `name` must be a new name for a method, but {name!r} is taken.")
    METHODS[name] = Method(name, function, description, estimate, drives, vectors)


def choose_method(wanted: str | Method, problem: Problem) -> tuple[Method, Estimate]:
    """The method ``wanted``; for "auto" the quickest one that keeps the error and fits in memory.

    "auto" weighs the methods that work on state vectors, which keep any error, wherever one of them fits in
    memory; beyond, the others.

    Raises:
        ArgumentError: the name is unknown, it cannot follow a drive, or the error cannot be kept.
        MemoryLimitError: the problem does not fit in memory.
    """
    driven = isinstance(problem.hamiltonian, DrivenHamiltonian)
    if isinstance(wanted, Method):
        name, candidates = wanted.name, [wanted]
    else:
        check_choice("method", wanted, ["auto", *METHODS])
        name, candidates = wanted, list(METHODS.values()) if wanted == "auto" else [METHODS[wanted]]
    if driven and not any(method.drives for method in candidates):
        able = ", ".join(method.name for method in METHODS.values() if method.drives)
        raise ArgumentError(f"Argument `method` must be one that follows a drive ({able}), but is {name!r}.")
    candidates = [method for method in candidates if method.drives or not driven]
    if wanted != "auto":
        return _quickest(name, candidates, problem)
    try:
        return _quickest(name, [method for method in candidates if method.vectors], problem)
    except MemoryLimitError as too_large:
        others = [method for method in candidates if not method.vectors]
        fits = _vector_fits(problem)
        try:
            if others:
                return _quickest(name, others, problem)
        except MemoryLimitError as refusal:
            raise too_large if fits else refusal from None
        except ArgumentError as refusal:
            raise too_large if fits else _no_vector(problem, str(refusal)) from None
        raise


def choose_static_method(problem: Problem) -> tuple[Method, Estimate]:
    """The quickest of the methods that are for static Hamiltonians alone: those are exact to rounding.

    Raises:
        ArgumentError: the error cannot be kept.
        MemoryLimitError: the problem does not fit in memory.
    """
    static = [method for method in METHODS.values() if method.vectors and not method.drives]
    return _quickest("auto", static, problem)


def _quickest(name: str, candidates: list[Method], problem: Problem) -> tuple[Method, Estimate]:
    if all(method.vectors for method in candidates) and not _vector_fits(problem):
        raise _no_vector(problem, 'For a chain with neighbours coupled use method="mps".')
    estimates = list(_estimates(candidates, problem))
    accurate = [pair for pair in estimates if problem.error is None or pair[1].error <= problem.error]
    if not accurate:
        best = min(estimate.error for _, estimate in estimates)
        raise ArgumentError(
            f"Argument `error` must be at least {best:.1e} for method {name!r} and {problem.dtype}, "
            f"but is {problem.error:g}."
        )
    available = available_memory(problem.device)
    fitting = [
        pair
        for pair in accurate
        if available is None or _kept_bytes(problem, pair[0]) + pair[1].memory <= available
    ]
    if not fitting:
        raise _does_not_fit(problem, min(estimate.memory for _, estimate in accurate), available or 0)
    return min(fitting, key=lambda pair: pair[1].seconds)


def _estimates(candidates: list[Method], problem: Problem) -> Iterator[tuple[Method, Estimate]]:
    """Of those that can solve the problem; where none can, the first one's refusal."""
    refusals = []
    for method in candidates:
        try:
            yield method, method.estimate(problem)
        except ArgumentError as refusal:
            refusals.append(refusal)
    if len(refusals) == len(candidates):
        raise refusals[0]


def _vector_fits(problem: Problem) -> bool:
    available = available_memory(problem.device)
    return available is None or 16 * problem.dimension <= available


def _kept_bytes(problem: Problem, method: Method) -> int:
    """Memory of what is returned; a last state that is no vector is part of the method's own estimate."""
    return problem.stored_bytes if method.vectors or problem.store == "states" else problem.value_bytes


def _no_vector(problem: Problem, advice: str) -> MemoryLimitError:
    from qdyn.memory import readable_size

    return MemoryLimitError(
        f"A state vector of {problem.n_sites} sites needs {readable_size(16 * problem.dimension)}, but "
        f"{readable_size(available_memory(problem.device) or 0)} are available. {advice}"
    )


def _does_not_fit(problem: Problem, working: int, available: int) -> MemoryLimitError:
    from qdyn.memory import readable_size

    advice = ""
    if problem.store == "states" and problem.stored_bytes > working:
        advice = ' Keep fewer states: store="final", or store="none" with observables.'
    return MemoryLimitError(
        f"Evolving {problem.n_trajectories} x {problem.n_sites} sites to {problem.n_times} times needs about "
        f"{readable_size(problem.stored_bytes)} for what is kept and {readable_size(working)} to work in, "
        f"but {readable_size(available)} are available.{advice}"
    )
