"""Runs circuits on CUDA-Q: state, exact expectation, shots, noise, any target by name, several GPUs.

A circuit is bound, lowered to CNOTs and one-qubit gates, and handed as lists of numbers to one kernel, which
therefore compiles once. CUDA-Q counts the first qubit as the least significant bit of a state's index; states
are turned to our order, qubit 0 most significant, in `_reversed_qubits` and nowhere else.

CUDA-Q is optional: pip install 'qdyn-toolkit[cudaq]'.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qdyn.checks import check_choice, check_integer
from qdyn.circuits.circuit import Circuit
from qdyn.circuits.executors.noise import GateNoise
from qdyn.circuits.executors.program import AllZero, PauliObservable
from qdyn.circuits.lowering import lower
from qdyn.errors import ArgumentError, QdynError
from qdyn.quantum.cudaq_operators import import_cudaq, spin_operator

_NEEDS_GPU = ("nvidia", "tensornet", "dynamics")
_KNOWS_NOISE = "density-matrix-cpu"  # state-vector targets ignore noise or average over random trajectories
_PHASES = {"z": math.pi, "s": math.pi / 2, "sdg": -math.pi / 2, "t": math.pi / 4, "tdg": -math.pi / 4}
DEFAULT_TARGET = "qpp-cpu"


class CudaqExecutor:
    """One CUDA-Q target, with or without noise.

    Args:
        target: name of a CUDA-Q target, such as "qpp-cpu", "density-matrix-cpu", "nvidia" or "nvidia-mqpu";
            an option may follow after a colon, as in "nvidia:fp64".
        noise: what follows every gate; only for density-matrix-cpu.

    Raises:
        MissingExtraError: CUDA-Q is not installed.
        ArgumentError: the target is unknown, needs a GPU that is not there, or ignores noise.
    """

    def __init__(self, target: str | None = None, *, noise: GateNoise | None = None) -> None:
        self.target = target or DEFAULT_TARGET
        self.noise = noise
        self._cudaq = import_cudaq()
        name, _, self._option = self.target.partition(":")
        self._name = name
        check_choice("target", name, [known.name for known in self._cudaq.get_targets()])
        if name.startswith(_NEEDS_GPU) and self._cudaq.num_available_gpus() == 0:
            raise ArgumentError(
                f"Argument `target` is {name!r}, which needs an NVIDIA GPU, but CUDA-Q finds none; "
                "without one: qpp-cpu, density-matrix-cpu, stim."
            )
        if noise is not None and name != _KNOWS_NOISE:
            raise ArgumentError(
                f"Argument `noise` needs the target {_KNOWS_NOISE!r}, but the target is {name!r}, "
                "which does not simulate noise exactly."
            )

    def state(self, circuit: Circuit) -> NDArray[np.complex128]:
        """The state vector (2**n,) of a bound circuit, or with noise the density matrix (2**n, 2**n)."""
        return self.states([circuit])[0]

    def states(self, circuits: Sequence[Circuit]) -> list[NDArray[np.complex128]]:
        """The states of several bound circuits, spread over the GPUs of a multi-QPU target."""
        with self._active() as (cudaq, kernel, n_qpus):
            if n_qpus > 1:
                jobs = [
                    cudaq.get_state_async(kernel, *arguments, qpu_id=place % n_qpus)
                    for place, arguments in enumerate(map(kernel_arguments, circuits))
                ]
                found = [job.get() for job in jobs]
            else:
                found = [cudaq.get_state(kernel, *kernel_arguments(circuit)) for circuit in circuits]
            return [
                _reversed_qubits(np.array(state), circuit.n_qubits)
                for state, circuit in zip(found, circuits, strict=True)
            ]

    def continued(
        self, circuit: Circuit, states: Sequence[NDArray[np.complex128]], *, repeats: int = 1
    ) -> list[NDArray[np.complex128]]:
        """What a bound circuit, run ``repeats`` times, makes of each of several state vectors (2**n,)."""
        check_integer("repeats", repeats, minimum=1)
        with self._active() as (cudaq, _, _):
            from qdyn.circuits.executors.cudaq_kernel import continue_gates

            n_qubits, *gates = kernel_arguments(circuit)
            found = []
            for state in states:
                start = cudaq.State.from_data(_reversed_qubits(state, n_qubits))
                reached = cudaq.get_state(continue_gates, start, repeats, *gates)
                found.append(_reversed_qubits(np.array(reached), n_qubits))
            return found

    def expectations(
        self, circuits: Sequence[Circuit], observable: AllZero | PauliObservable
    ) -> NDArray[np.float64]:
        """The exact expectation in each of several bound circuits."""
        if isinstance(observable, AllZero):
            return np.array([_zero_probability(state, observable.qubits) for state in self.states(circuits)])
        with self._active() as (cudaq, kernel, n_qpus):
            operator = spin_operator(observable.terms)
            jobs = [
                cudaq.observe_async(kernel, operator, *arguments, qpu_id=place % n_qpus)
                for place, arguments in enumerate(map(kernel_arguments, circuits))
            ]
            return np.array([job.get().expectation() for job in jobs])

    def counts(
        self, circuits: Sequence[Circuit], *, shots: int, seed: int | None = None
    ) -> list[dict[str, int]]:
        """How often each bit string (qubit 0 first) was read in ``shots`` readings of each bound circuit."""
        check_integer("shots", shots, minimum=1)
        with self._active(seed) as (cudaq, kernel, _):
            results = [
                cudaq.sample(kernel, *kernel_arguments(circuit), shots_count=shots) for circuit in circuits
            ]
            return [{str(bits): int(count) for bits, count in result.items()} for result in results]

    @contextmanager
    def _active(self, seed: int | None = None) -> Iterator[tuple[Any, Any, int]]:
        """Set the target, noise and seed, which are global in CUDA-Q, and restore the target afterwards."""
        cudaq = self._cudaq
        from qdyn.circuits.executors.cudaq_kernel import run_gates

        before = cudaq.get_target().name
        # CUDA-Q keeps a bare pointer to the model: it must outlive the run.
        model = None if self.noise is None else self.noise.for_cudaq(cudaq)
        try:
            if self._option:
                cudaq.set_target(self._name, option=self._option)
            else:
                cudaq.set_target(self._name)
            if model is not None:
                with _quietly():
                    cudaq.set_noise(model)
            if seed is not None:
                cudaq.set_random_seed(seed)
            n_qpus = max(1, cudaq.get_target().num_qpus())
            if n_qpus > 1:
                # A kernel that several threads compile at once crashes: it is compiled by now.
                cudaq.get_state(run_gates, *kernel_arguments(Circuit(q=1)))
            yield cudaq, run_gates, n_qpus
        except RuntimeError as error:
            raise QdynError(f"CUDA-Q target {self.target!r} failed: {str(error).splitlines()[0]}") from error
        finally:
            if model is not None:
                with _quietly():
                    cudaq.unset_noise()
            cudaq.set_target(before)


@contextmanager
def _quietly() -> Iterator[None]:
    """CUDA-Q deprecates its global noise model, and states can be had with no other."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        yield


def kernel_arguments(circuit: Circuit) -> tuple[int, list[int], list[int], list[int], list[float]]:
    """A bound circuit as the arguments of the kernel: qubits, codes, targets, controls, angles."""
    from qdyn.circuits.executors.cudaq_kernel import OPCODES

    codes, targets, controls, angles = [-1], [0], [0], [0.0]
    for gate in lower(circuit):
        name, angle = gate.name, 0.0
        if gate.controls:
            name = "cx"
        elif name in _PHASES:
            name, angle = "phase", _PHASES[name]
        elif gate.angles:
            if gate.angles[0].terms:
                raise ArgumentError(
                    f"Argument `circuit` must have values for all slots, but has {sorted(circuit.slots)}."
                )
            angle = gate.angles[0].constant
        codes.append(OPCODES[name])
        targets.append(gate.target)
        controls.append(gate.controls[0] if gate.controls else 0)
        angles.append(angle)
    return circuit.n_qubits, codes, targets, controls, angles


def _reversed_qubits(state: NDArray[Any], n_qubits: int) -> NDArray[np.complex128]:
    """From CUDA-Q's order to ours and back: a vector, or both sides of a density matrix."""
    sides = state.ndim
    reverse = [side * n_qubits + qubit for side in range(sides) for qubit in reversed(range(n_qubits))]
    turned = state.reshape([2] * (n_qubits * sides)).transpose(reverse)
    return turned.reshape(state.shape).astype(np.complex128)


def _zero_probability(state: NDArray[np.complex128], qubits: Sequence[int]) -> float:
    probabilities = np.diagonal(state).real if state.ndim == 2 else np.abs(state) ** 2
    n_qubits = len(probabilities).bit_length() - 1
    where = tuple(0 if qubit in qubits else slice(None) for qubit in range(n_qubits))
    return float(probabilities.reshape([2] * n_qubits)[where].sum())
