from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from qdyn.circuits.circuit import Circuit
from qdyn.circuits.executors.cudaq import CudaqExecutor
from qdyn.circuits.executors.execution import run_circuit
from qdyn.circuits.executors.noise import GateNoise
from qdyn.circuits.executors.program import AllZero, PauliObservable, Program
from qdyn.circuits.executors.statevector import run_statevector
from qdyn.circuits.lowering import lower
from qdyn.circuits.random_circuits import random_circuit
from qdyn.errors import ArgumentError
from qdyn.quantum.states import haar_random_states

cudaq = pytest.importorskip("cudaq", reason="CUDA-Q is not installed")
pytestmark = pytest.mark.cudaq


@given(
    drawn=st.fixed_dictionaries(
        {"n_qubits": st.integers(1, 8), "n_gates": st.integers(0, 15), "seed": st.integers(0, 2**32 - 1)}
    )
)
@settings(max_examples=50)
def test_amplitudes_equal_those_of_torch(drawn: dict[str, Any]) -> None:
    circuit = random_circuit(**drawn)
    theta = {"theta": np.random.default_rng(drawn["seed"]).normal(size=5)}
    ours = run_statevector(circuit, theta).numpy()
    np.testing.assert_allclose(CudaqExecutor().state(circuit.bind(theta)), ours, atol=1e-10)


def test_qubits_are_reversed_in_states_only() -> None:
    """The amplitude of |100> in our order is entry 4; read as bits, qubit 0 stands left."""
    circuit = Circuit(q=3).x(0)
    executor = CudaqExecutor()
    assert int(np.abs(executor.state(circuit)).argmax()) == 4
    assert executor.counts([circuit], shots=7) == [{"100": 7}]
    noisy = CudaqExecutor("density-matrix-cpu")
    assert noisy.state(circuit).shape == (8, 8)
    assert abs(noisy.state(circuit)[4, 4] - 1) < 1e-12


@pytest.mark.parametrize("seed", range(5))
def test_pauli_sums_are_observed(seed: int) -> None:
    rng = np.random.default_rng(seed)
    words = ["".join(rng.choice(list("IXYZ"), size=4)) for _ in range(6)]
    observable = PauliObservable(tuple((float(rng.normal()), word) for word in words))
    circuit = random_circuit(n_qubits=4, n_gates=20, seed=seed)
    program = Program(circuit, {"theta": torch.from_numpy(rng.normal(size=(2, 5)))}, observable)
    exact = run_circuit(program)
    on_cudaq = run_circuit(program, backend="cudaq")
    torch.testing.assert_close(on_cudaq.value, exact.value, atol=1e-10, rtol=0)
    assert (on_cudaq.interval, on_cudaq.qubits, on_cudaq.target) == (None, 4, "qpp-cpu")
    sampled = run_circuit(program, backend="cudaq", shots=4000, seed=seed)
    assert sampled.interval is not None
    # Four standard errors: the interval has two on each side.
    reach = sampled.interval[1] - sampled.interval[0]
    assert bool(((sampled.value - exact.value).abs() < reach).all())


def test_shots_repeat_with_their_seed_and_cover_the_value() -> None:
    circuit = Circuit(q=2)
    circuit.ry(0, circuit.slot("theta", 1)[0]).cx(0, 1)
    program = Program(circuit, {"theta": torch.tensor([[0.7], [1.9]])}, AllZero((1,)))
    exact = run_circuit(program).value
    first, again, other = (run_circuit(program, backend="cudaq", shots=2000, seed=seed) for seed in (5, 5, 6))
    assert torch.equal(first.value, again.value)
    assert not torch.equal(first.value, other.value)
    assert first.interval is not None
    assert bool((first.interval[0] < first.value).all() & (first.value < first.interval[1]).all())
    assert bool(((first.value - exact).abs() < 4 * (exact * (1 - exact) / 2000).sqrt()).all())


def noisy_density_matrix(circuit: Circuit, noise: GateNoise) -> np.ndarray:
    """An independent simulation: Kraus operators on a density matrix, qubit by qubit."""
    n = circuit.n_qubits
    rho = np.zeros((2**n, 2**n), dtype=complex)
    rho[0, 0] = 1
    for gate in lower(circuit):
        unitary = np.stack(
            [
                run_statevector(circuit.like([gate]), initial=torch.eye(2**n)[k] + 0j).numpy()
                for k in range(2**n)
            ],
            1,
        )
        rho = unitary @ rho @ unitary.conj().T
        touched = sorted(gate.qubits)
        order = [*touched, *(q for q in range(n) if q not in touched)]
        swap = np.eye(2**n).reshape([2] * n + [2**n]).transpose([*order, n]).reshape(2**n, 2**n)
        operators = [
            swap.T @ np.kron(kraus, np.eye(2 ** (n - len(touched)))) @ swap
            for kraus in noise.kraus_operators(len(touched))
        ]
        rho = sum(k @ rho @ k.conj().T for k in operators)
    return rho


@pytest.mark.parametrize(
    "noise",
    [
        GateNoise(depolarising=0.05),
        GateNoise(amplitude_damping=0.1),
        GateNoise(depolarising=0.02, depolarising_cnot=0.08, amplitude_damping=0.03),
    ],
)
def test_noise_follows_every_gate(noise: GateNoise) -> None:
    circuit = Circuit(q=3).h(0).cx(0, 2).ry(1, 0.7).rz(2, 0.3).cx(2, 1).rx(0, 1.1).y(1).fixed("t", 2)
    found = CudaqExecutor("density-matrix-cpu", noise=noise).state(circuit)
    np.testing.assert_allclose(found, noisy_density_matrix(circuit, noise), atol=1e-10)
    # The noise does not leak into the next run.
    clean = CudaqExecutor("density-matrix-cpu").state(circuit)
    assert abs(np.trace(clean @ clean) - 1) < 1e-10


def test_noisy_shots_agree_with_the_density_matrix() -> None:
    circuit = Circuit(q=2).h(0).cx(0, 1)
    program = Program(circuit, {}, PauliObservable(((1.0, "XX"),)))
    noise = GateNoise(depolarising=0.1)
    options: dict[str, Any] = {"backend": "cudaq", "target": "density-matrix-cpu", "noise": noise}
    exact = run_circuit(program, **options)
    assert float(exact.value) < 0.85
    sampled = run_circuit(program, shots=4000, seed=1, **options)
    assert abs(float(sampled.value - exact.value)) < 4 * (1 / 4000) ** 0.5


def test_impossible_targets_are_refused() -> None:
    circuit = Program(Circuit(q=1).h(0), {}, AllZero((0,)))
    with pytest.raises(ArgumentError, match="'qpp_cpu', which is unknown: did you mean 'qpp-cpu'"):
        run_circuit(circuit, backend="cudaq", target="qpp_cpu")
    with pytest.raises(
        ArgumentError, match="`noise` needs the target 'density-matrix-cpu', but the target is 'qpp-cpu'"
    ):
        run_circuit(circuit, backend="cudaq", noise=GateNoise(0.1))
    if cudaq.num_available_gpus() == 0:
        with pytest.raises(ArgumentError, match="needs an NVIDIA GPU, but CUDA-Q finds none"):
            run_circuit(circuit, backend="cudaq", target="tensornet")
    unbound = Circuit(q=1)
    unbound.rx(0, unbound.slot("theta", 1)[0])
    with pytest.raises(ArgumentError, match="must have values for all slots"):
        CudaqExecutor().state(unbound)


def test_a_run_leaves_the_users_target_as_it_was() -> None:
    cudaq.set_target("density-matrix-cpu")
    CudaqExecutor().state(Circuit(q=1).h(0))
    assert cudaq.get_target().name == "density-matrix-cpu"
    cudaq.reset_target()


def test_the_installed_release_does_not_add_qubits() -> None:
    """0.16.0.post1 gives wrong numbers when a kernel allocates plain qubits and then loads a vector."""

    @cudaq.kernel
    def load_after_allocation(amplitudes: list[complex]):  # type: ignore[no-untyped-def]
        plain = cudaq.qvector(1)
        loaded = cudaq.qvector(amplitudes)
        ry(0.4, plain[0])
        x.ctrl(plain[0], loaded[0])

    amplitudes = np.array([0.6, 0.0, 0.0, 0.8j], dtype=np.complex128)
    versions = [d.version for d in importlib.metadata.distributions() if d.name.startswith("cuda-quantum")]
    for target in ("qpp-cpu", "density-matrix-cpu"):
        cudaq.set_target(target)
        found = cudaq.observe(load_after_allocation, cudaq.spin.z(1), amplitudes).expectation()
        size = np.array(cudaq.get_state(load_after_allocation, amplitudes)).shape[0]
        cudaq.reset_target()
        # <Z> of the first loaded qubit is 0.36 - 0.64, and turns over where the plain qubit is 1.
        assert (size, round(found, 6)) == (8, round(-0.28 * np.cos(0.4), 6)), (target, versions)


class ThreeUnits:
    """CUDA-Q with a target that claims three processors, which take turns on the one that is there."""

    def __init__(self) -> None:
        self.used: list[int] = []

    def __getattr__(self, name: str) -> Any:
        if name not in ("observe_async", "get_state_async"):
            return getattr(cudaq, name)

        def submit(*arguments: Any, qpu_id: int) -> Any:
            self.used.append(qpu_id)
            return getattr(cudaq, name)(*arguments)

        return submit

    def get_target(self) -> Any:
        return SimpleNamespace(name="qpp-cpu", num_qpus=lambda: 3)


def test_circuits_are_spread_over_the_processors_of_a_target() -> None:
    """What a machine without several GPUs can show: who gets which circuit, and that order is kept."""
    circuits = [Circuit(q=1).ry(0, 0.2 * k) for k in range(7)]
    executor = CudaqExecutor()
    executor._cudaq = units = ThreeUnits()
    found = executor.expectations(circuits, PauliObservable(((1.0, "Z"),)))
    np.testing.assert_allclose(found, np.cos(0.2 * np.arange(7)), atol=1e-12)
    states = executor.states(circuits)
    np.testing.assert_allclose([abs(s[0]) ** 2 for s in states], np.cos(0.1 * np.arange(7)) ** 2, atol=1e-12)
    assert units.used == [0, 1, 2, 0, 1, 2, 0] * 2


@pytest.mark.gpu
@pytest.mark.parametrize("target", ["nvidia:fp64", "nvidia:mqpu,fp64"])
def test_gpu_targets_give_the_same_amplitudes(target: str) -> None:
    circuits = [random_circuit(n_qubits=5, n_gates=20, seed=seed) for seed in range(4)]
    theta = {"theta": np.arange(5) * 0.3}
    found = CudaqExecutor(target).states([circuit.bind(theta) for circuit in circuits])
    for circuit, state in zip(circuits, found, strict=True):
        np.testing.assert_allclose(state, run_statevector(circuit, theta).numpy(), atol=1e-10)


def test_given_states_are_continued() -> None:
    """The circuit acts as often as asked, on states in our order of the bits."""
    circuit = random_circuit(n_qubits=3, n_gates=12, seed=4).bind({"theta": np.arange(5) * 0.3})
    psi = haar_random_states(n_qubits=3, batch=2, seed=0)
    expected = psi
    for _ in range(3):
        expected = run_statevector(circuit, initial=expected)
    found = CudaqExecutor().continued(circuit, list(psi.numpy()), repeats=3)
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-12)


def test_importing_qdyn_does_not_import_cudaq() -> None:
    code = "import sys; import qdyn.circuits.executors.execution; sys.exit('cudaq' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ})
