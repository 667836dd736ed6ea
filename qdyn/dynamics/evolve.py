"""evolve(): one entry to every method of time evolution."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qdyn.checks import (
    check_choice,
    check_finite,
    check_normalised,
    check_positive,
    native_array,
    real_numbers,
)
from qdyn.dynamics.chebyshev.method import estimate_chebyshev, evolve_chebyshev
from qdyn.dynamics.chebyshev.torch_method import estimate_chebyshev_torch, evolve_chebyshev_torch
from qdyn.dynamics.cudaq import estimate_cudaq, evolve_by_cudaq
from qdyn.dynamics.exact import estimate_exact, evolve_exactly
from qdyn.dynamics.magnus import estimate_magnus, evolve_by_magnus
from qdyn.dynamics.methods import METHODS, Method, Problem, Start, Store, choose_method, register_method
from qdyn.dynamics.piecewise import estimate_piecewise, evolve_piecewise
from qdyn.dynamics.qutip import estimate_qutip, evolve_by_qutip
from qdyn.dynamics.recorder import Recorder
from qdyn.dynamics.tensor_networks.canonical import right_canonical
from qdyn.dynamics.tensor_networks.matrix_product_state import MatrixProductState
from qdyn.dynamics.tensor_networks.mps import mps
from qdyn.dynamics.trajectory import Quantity, Trajectory
from qdyn.dynamics.trotter import trotter
from qdyn.errors import ArgumentError
from qdyn.quantum.hamiltonians import Hamiltonian
from qdyn.quantum.observable import Observable, is_reserved
from qdyn.quantum.observable_names import named_observable
from qdyn.quantum.product_states import ProductStates, is_named

__all__ = ["METHODS", "evolve", "register_method"]

Observables = str | Observable | Sequence[str | Observable] | None
InitialState = Tensor | NDArray[Any] | ProductStates | MatrixProductState | str | Sequence[str]


def evolve(
    hamiltonian: Hamiltonian,
    initial_state: InitialState,
    times: Sequence[float] | Tensor | NDArray[Any],
    *,
    method: str | Method = "auto",
    observables: Observables = None,
    store: Store = "states",
    error: float | None = None,
    dtype: torch.dtype = torch.complex128,
    device: torch.device | str | None = None,
) -> Trajectory:
    """Solve the Schroedinger equation i d|psi>/dt = H |psi> for one initial state or many.

        |psi(t)> = exp(-i H t) |psi_0>

    A batch arises from the initial states, from the couplings of the Hamiltonian, or from both, trajectory i
    having Hamiltonian i and initial state i; a single one serves every trajectory.

    Args:
        hamiltonian: H on n sites, single or a batch; a `DrivenHamiltonian` depends on time.
        initial_state: psi_0: unit vectors of shape (2**n,) or (batch, 2**n), site 0 the most significant bit;
            or product states by name, one character a site as in `product_state`: "+" * 100, or a list of
            such strings for a batch; or `ProductStates`; or a `MatrixProductState` of norm 1 in any form.
        times: increasing times in units of 1/J, shape (times,). psi_0 is the state at t = 0, whether 0 is
            among them or not; negative times run backwards.
        method: "auto", a name in `METHODS`, or a method made to measure, such as ``trotter(order=2,
            step=0.1)``; the trajectory says which one ran.
        observables: what to measure at every time, on the way: names such as "magnetisation_x" (all of them
            in `qdyn.quantum.observable_names`) or `Observable` objects, such as `operator_mean` makes of any
            sum of Pauli strings. "energy" is <H(t)>.
        store: "states" keeps every state, "final" the last one, "none" only the expectation values.
        error: largest deviation of any amplitude from the exact solution that you accept; for matrix-product
            states the largest distance of the whole state, see `mps`.
        dtype: complex64 or complex128, the type of what is stored. "chebyshev" also computes in single
            precision unless ``error`` asks for more; "exact" computes in double and rounds at the end.
        device: "cpu" or "cuda"; None for the device of ``initial_state``.

    Returns:
        A `Trajectory` with states of shape (batch, times, 2**n), without the batch axis when neither argument
        has one.

    Raises:
        ArgumentError: an argument breaks its rule.
        MemoryLimitError: the result, or the method, does not fit in memory.

    Example:
        >>> from qdyn import TransverseFieldIsing, evolve, product_state
        >>> H = TransverseFieldIsing(n_sites=1, field=1.0)  # one spin precesses about x at 2 h
        >>> traj = evolve(H, product_state("0"), [0.0, torch.pi / 2], observables=["magnetisation_z"])
        >>> traj.expectations["magnetisation_z"].round(decimals=12)
        tensor([ 1., -1.], dtype=torch.float64)
    """
    problem, batched = check_problem(
        hamiltonian, initial_state, times, observables, store, error, dtype, device
    )
    chosen, estimate = choose_method(method, problem)
    with torch.no_grad():
        recorder = Recorder(problem)
        details = chosen.function(problem, recorder) or {}
    trim = slice(None) if batched else 0
    return Trajectory(
        states=None if recorder.states is None else recorder.states[trim],
        last_state=None if recorder.final_states is None else recorder.final_states[trim],
        last_mps=_in_order(recorder.final_mps, batched),
        times=problem.times,
        expectations={name: values[trim] for name, values in recorder.expectations.items()},
        parameters=problem.hamiltonian.parameters,
        method=chosen.name,
        n_sites=problem.n_sites,
        hamiltonian=repr(problem.hamiltonian),
        formula=problem.hamiltonian.formula,
        quantities={seen.name: Quantity(seen.label, seen.unit, seen.axes) for seen in problem.observables},
        parameter_axes=problem.hamiltonian.parameter_axes,
        parameter_units=problem.hamiltonian.parameter_units,
        details={"estimated_error": estimate.error, **_plain(details, trim)},
    )


def _plain(details: Mapping[str, Any], trim: slice | int) -> dict[str, Any]:
    """Numbers, words and lists: arrays have the trajectories first, which a single one does without."""
    return {
        name: value[trim].tolist() if isinstance(value, np.ndarray) else value
        for name, value in details.items()
    }


def _in_order(
    states: Mapping[int, MatrixProductState], batched: bool
) -> MatrixProductState | tuple[MatrixProductState, ...] | None:
    if not states:
        return None
    return tuple(states[member] for member in sorted(states)) if batched else states[0]


def check_problem(  # noqa: PLR0917 - the arguments of evolve, in its order
    hamiltonian: Hamiltonian,
    initial_state: InitialState,
    times: Sequence[float] | Tensor | NDArray[Any],
    observables: Observables,
    store: Store,
    error: float | None,
    dtype: torch.dtype,
    device: torch.device | str | None,
) -> tuple[Problem, bool]:
    """The problem as every method sees it, with a batch axis, and whether the caller gave one."""
    check_hamiltonian(hamiltonian)
    check_choice("store", store, get_args(Store))
    if dtype not in (torch.complex64, torch.complex128):
        raise ArgumentError(f"Argument `dtype` must be torch.complex64 or torch.complex128, but is {dtype}.")
    start = _check_start(initial_state, hamiltonian.n_sites)
    n_states = _count(start)
    size = hamiltonian.batch_size
    batched = n_states is not None or size is not None
    if size == 1:
        hamiltonian, size = hamiltonian.member(0), None
    if size is not None and n_states not in (None, 1, size):
        raise ArgumentError(
            f"Argument `initial_state` must hold one state, or {size} to go with the {size} Hamiltonians, "
            f"but holds {n_states}."
        )
    n_trajectories = size or n_states or 1
    place = _check_device(device) if device is not None else _device_of(start)
    # One state for many trajectories is given to the observables as one.
    shown = start if n_states == n_trajectories else _single(start)
    settled = _check_times(times)
    measured = _check_observables(
        observables, hamiltonian, shown, settled, n_trajectories if batched else None
    )
    if store == "none" and not measured:
        raise ArgumentError(
            "Argument `store` is 'none' and `observables` is empty: nothing would be returned."
        )
    if error is not None:
        check_positive("error", error)
    problem = Problem(hamiltonian, start, n_trajectories, settled, measured, store, error, dtype, place)
    return problem, batched


def check_hamiltonian(hamiltonian: object) -> None:
    """Refuse what is no Hamiltonian, before anything is measured against its number of sites."""
    if not isinstance(hamiltonian, Hamiltonian):
        raise ArgumentError(
            f"Argument `hamiltonian` must be a Hamiltonian, but is of type {type(hamiltonian).__name__}."
        )


def product_start(initial_state: object, n_sites: int) -> ProductStates | None:
    """The product states that ``initial_state`` names or is; None where it is something else.

    Raises:
        ArgumentError: a name is unknown, or is for another number of sites.
    """
    if isinstance(initial_state, ProductStates):
        if initial_state.n_sites != n_sites or initial_state.sites.ndim > 3:
            raise ArgumentError(
                f"Argument `initial_state` must be a state of {n_sites} sites or a batch of them, "
                f"but has sites of shape {tuple(initial_state.sites.shape)}."
            )
        return initial_state
    return ProductStates.named(initial_state, n_sites=n_sites) if is_named(initial_state) else None


def expanded_start(initial_state: Any, n_sites: int) -> Any:
    """What names a state or has it in factors as vectors, complex128; anything else as it is, to be checked.

    Raises:
        ArgumentError: it is for another number of sites, or it is no unit vector.
        MemoryLimitError: the vectors do not fit in memory.
    """
    product = product_start(initial_state, n_sites)
    if product is not None:
        return product.vectors()
    if isinstance(initial_state, MatrixProductState):
        return right_canonical("initial_state", initial_state, n_sites).vector()
    return native_array(initial_state)


def _count(start: Start) -> int | None:
    if isinstance(start, ProductStates):
        return start.batch_size
    return start.shape[0] if isinstance(start, Tensor) and start.ndim == 2 else None


def _single(start: Start) -> Start:
    if isinstance(start, MatrixProductState) or _count(start) is None:
        return start
    return ProductStates(start.sites[0]) if isinstance(start, ProductStates) else start[0]


def _device_of(start: Start) -> torch.device:
    if isinstance(start, ProductStates):
        return start.sites.device
    return start.tensors[0].device if isinstance(start, MatrixProductState) else start.device


def _check_start(initial_state: InitialState, n_sites: int) -> Start:
    product = product_start(initial_state, n_sites)
    if product is not None:
        return product
    if isinstance(initial_state, MatrixProductState):
        return right_canonical("initial_state", initial_state, n_sites)
    try:
        states = torch.as_tensor(native_array(initial_state))
    except (TypeError, ValueError, RuntimeError):
        raise ArgumentError(
            f"Argument `initial_state` must be a tensor, an array or the name of a product state, "
            f"not of type {type(initial_state).__name__}."
        ) from None
    if states.ndim not in (1, 2) or 0 in states.shape or states.shape[-1] != 2**n_sites:
        raise ArgumentError(
            f"Argument `initial_state` must have shape ({2**n_sites},) or (batch, {2**n_sites}) "
            f"for {n_sites} sites, but has shape {tuple(states.shape)}."
        )
    if not states.is_complex():
        states = states.to(torch.complex64 if states.dtype == torch.float32 else torch.complex128)
    check_normalised("initial_state", states)
    return states


def _check_times(times: Sequence[float] | Tensor | NDArray[Any]) -> Tensor:
    values = real_numbers("times", times).cpu()
    if values.ndim != 1 or not len(values):
        raise ArgumentError(
            f"Argument `times` must have one axis with at least one entry, not shape {tuple(values.shape)}."
        )
    check_finite("times", values)
    steps = values.diff()
    if bool((steps <= 0).any()):
        place = int((steps <= 0).to(torch.uint8).argmax()) + 1
        raise ArgumentError(
            f"Argument `times` must be increasing, but times[{place}]={float(values[place]):g} "
            f"follows {float(values[place - 1]):g}."
        )
    return values


def _check_observables(
    observables: Observables,
    hamiltonian: Hamiltonian,
    start: Start,
    times: Tensor,
    batch_size: int | None,
) -> tuple[Observable, ...]:
    if observables is None:
        return ()
    given: Any = [observables] if isinstance(observables, str | Observable) else observables
    if not isinstance(given, Iterable):
        raise ArgumentError(
            f"Argument `observables` must be a name, an Observable or a list of them, but is {given!r:.60}."
        )
    listed = list(given)
    measured: dict[str, Observable] = {}
    for place, entry in enumerate(listed):
        if isinstance(entry, str):
            observable = named_observable(entry, hamiltonian.n_sites, hamiltonian, start, times)
        elif isinstance(entry, Observable):
            observable = entry
            observable.check_sites(hamiltonian.n_sites)
        else:
            raise ArgumentError(
                f"Argument `observables` must hold names or Observable objects (see `operator_mean`), "
                f"but observables[{place}] is of type {type(entry).__name__}."
            )
        if observable.batch_size is not None and observable.batch_size != (batch_size or 1):
            raise ArgumentError(
                f"The observable {observable.name!r} is for {observable.batch_size} trajectories, "
                f"but there {'is 1' if batch_size in (None, 1) else f'are {batch_size}'}."
            )
        if observable.name in measured:
            raise ArgumentError(f"Argument `observables` holds {observable.name!r} twice.")
        if is_reserved(observable.name):
            raise ArgumentError(
                f"Argument `observables` holds {observable.name!r}, which another array or an axis of a "
                "trajectory is called: choose another name."
            )
        if observable.name in hamiltonian.parameters:
            raise ArgumentError(
                f"Argument `observables` holds {observable.name!r}, which is a coupling of the Hamiltonian: "
                "choose another name."
            )
        measured[observable.name] = observable
    return tuple(measured.values())


def _check_device(device: torch.device | str) -> torch.device:
    try:
        place = torch.device(device)
    except (RuntimeError, TypeError):
        place = torch.device("meta")
    if place.type not in ("cpu", "cuda"):
        raise ArgumentError(f"Argument `device` must be 'cpu' or 'cuda', but is {device!r}.")
    if place.type == "cuda" and not torch.cuda.is_available():
        raise ArgumentError(f"Argument `device` is {str(device)!r}, but torch finds no CUDA device here.")
    return place


register_method(
    "exact",
    evolve_exactly,
    description="exact diagonalisation, in symmetry blocks where H has them",
    estimate=estimate_exact,
)
register_method(
    "chebyshev",
    evolve_chebyshev,
    description="Chebyshev expansion with a Hamiltonian that is never a matrix",
    estimate=estimate_chebyshev,
)
register_method(
    "chebyshev_torch",
    evolve_chebyshev_torch,
    description="the same expansion in torch operations, for a GPU",
    estimate=estimate_chebyshev_torch,
)
register_method(
    "magnus",
    evolve_by_magnus,
    description="commutator-free Magnus expansion of order 4, for drives",
    estimate=estimate_magnus,
    drives=True,
)
register_method(
    "piecewise",
    evolve_piecewise,
    description="static methods one after the other, for drives that are constant between steps",
    estimate=estimate_piecewise,
    drives=True,
)
register_method(
    "qutip",
    evolve_by_qutip,
    description="QuTiP's ninth-order Runge-Kutta solver with tight tolerances, an independent witness",
    estimate=estimate_qutip,
    drives=True,
)
register_method(
    "cudaq",
    evolve_by_cudaq,
    description="Trotter circuits of order 6 on CUDA-Q's simulators, an independent witness",
    estimate=estimate_cudaq,
    drives=True,
)
_mps = mps()
register_method(
    _mps.name, _mps.function, description=_mps.description, estimate=_mps.estimate, vectors=_mps.vectors
)
for _order in (2, 4, 6):
    _formula = trotter(order=_order)
    register_method(
        _formula.name,
        _formula.function,
        description=_formula.description,
        estimate=_formula.estimate,
        drives=True,
    )
