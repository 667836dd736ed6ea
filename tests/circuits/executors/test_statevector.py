from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import qutip
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from qdyn.circuits.circuit import Circuit
from qdyn.circuits.executors.execution import run_circuit
from qdyn.circuits.executors.program import AllZero, PauliObservable, Program
from qdyn.circuits.executors.statevector import circuit_unitary, probability_of_zeros, run_statevector
from qdyn.circuits.random_circuits import random_circuit
from qdyn.errors import ArgumentError, MemoryLimitError
from qdyn.quantum.states import haar_random_states

SIZE = 5  # length of the slot of random_circuit


def circuits(*, most_qubits: int, most_gates: int) -> st.SearchStrategy[dict[str, Any]]:
    """Arguments of random_circuit; it is called inside the test because shape checks draw random numbers."""
    return st.fixed_dictionaries(
        {
            "n_qubits": st.integers(1, most_qubits),
            "n_gates": st.integers(0, most_gates),
            "seed": st.integers(0, 2**32 - 1),
        }
    )


def qutip_unitary(circuit: Circuit, theta: np.ndarray) -> np.ndarray:
    """An independent opinion: gates as projectors times operators, by QuTiP's tensor product."""

    def diagonal(entry: complex) -> Any:
        return qutip.qdiags([1, entry], 0)

    eighth = np.exp(0.25j * np.pi)
    hadamard = (qutip.sigmax() + qutip.sigmaz()) / math.sqrt(2)
    one_qubit = {"x": qutip.sigmax(), "y": qutip.sigmay(), "z": qutip.sigmaz(), "h": hadamard}
    one_qubit |= {"s": diagonal(1j), "sdg": diagonal(-1j), "t": diagonal(eighth), "tdg": diagonal(1 / eighth)}
    axes = {
        "rx": qutip.sigmax(),
        "ry": qutip.sigmay(),
        "rz": qutip.sigmaz(),
        "phase": qutip.basis(2, 1).proj(),
    }
    projector = [qutip.basis(2, bit).proj() for bit in (0, 1)]
    n = circuit.n_qubits
    total = qutip.tensor([qutip.qeye(2)] * n)
    for gate in circuit.bind({"theta": theta}):
        active = qutip.tensor([qutip.qzero(2)] * n)
        acted = active
        for number in range(2 ** len(gate.select)):
            if gate.angles:
                rate = 1 if gate.name == "phase" else -0.5
                operator = (1j * rate * gate.angles[number].constant * axes[gate.name]).expm()
            else:
                operator = one_qubit[gate.name]
            factors = [qutip.qeye(2)] * n
            for control in gate.controls:
                factors[control] = projector[1]
            for qubit, bit in zip(gate.select, f"{number:0{max(len(gate.select), 1)}b}", strict=False):
                factors[qubit] = projector[int(bit)]
            active += qutip.tensor(factors)
            factors[gate.target] = operator
            acted += qutip.tensor(factors)
        total = (qutip.tensor([qutip.qeye(2)] * n) - active + acted) * total
    return total.full()


@given(circuits(most_qubits=6, most_gates=25))
@settings(max_examples=60)
def test_random_circuits_agree_with_qutip(drawn: dict[str, Any]) -> None:
    circuit, seed = random_circuit(**drawn), drawn["seed"]
    theta = np.random.default_rng(seed).normal(size=SIZE)
    ours = circuit_unitary(circuit, {"theta": theta}).numpy()
    np.testing.assert_allclose(ours, qutip_unitary(circuit, theta), atol=1e-12)


@given(circuits(most_qubits=8, most_gates=25))
@settings(max_examples=60)
def test_circuits_are_unitary_and_adjoint_inverts(drawn: dict[str, Any]) -> None:
    circuit, seed = random_circuit(**drawn), drawn["seed"]
    theta = torch.from_numpy(np.random.default_rng(seed).normal(size=SIZE))
    psi = haar_random_states(n_qubits=circuit.n_qubits, seed=seed)
    evolved = run_statevector(circuit, {"theta": theta}, initial=psi)
    assert abs(float(torch.linalg.vector_norm(evolved)) - 1) < 1e-12
    back = run_statevector(circuit.adjoint(), {"theta": theta}, initial=evolved)
    torch.testing.assert_close(back, psi, atol=1e-12, rtol=0)


@given(circuits(most_qubits=4, most_gates=12))
@settings(max_examples=25)
def test_batches_of_parameters_and_inputs_equal_single_runs(drawn: dict[str, Any]) -> None:
    circuit, seed = random_circuit(**drawn), drawn["seed"]
    theta = torch.from_numpy(np.random.default_rng(seed).normal(size=(3, 1, SIZE)))
    inputs = haar_random_states(n_qubits=circuit.n_qubits, batch=2, seed=seed)
    together = run_statevector(circuit, {"theta": theta}, initial=inputs)
    assert together.shape == (3, 2, 2**circuit.n_qubits)
    for p in range(3):
        for i in range(2):
            alone = run_statevector(circuit, {"theta": theta[p, 0]}, initial=inputs[i])
            torch.testing.assert_close(together[p, i], alone, atol=1e-13, rtol=0)


@given(circuits(most_qubits=4, most_gates=12), st.booleans())
@settings(max_examples=25)
def test_gradients_agree_with_finite_differences(drawn: dict[str, Any], batched: bool) -> None:
    circuit, seed = random_circuit(**drawn), drawn["seed"]
    rng = np.random.default_rng(seed)
    theta = torch.from_numpy(rng.normal(size=(2, SIZE) if batched else SIZE)).requires_grad_()
    psi = haar_random_states(n_qubits=circuit.n_qubits, seed=seed).requires_grad_()
    weights = torch.from_numpy(rng.normal(size=2**circuit.n_qubits))

    def value(theta: torch.Tensor, psi: torch.Tensor) -> torch.Tensor:
        states = run_statevector(circuit, {"theta": theta}, initial=psi)
        return (states.abs().square() * weights).sum(-1) + (states * weights).real.sum(-1)

    assert torch.autograd.gradcheck(value, (theta, psi), eps=1e-6, atol=1e-6)


def test_gradients_work_under_vmap() -> None:
    circuit = Circuit(q=3)
    theta = circuit.slot("theta", 4)
    circuit.ry(0, theta[0]).cx(0, 1).rx(2, theta[1], controls=(1,)).cx(1, 2).rz(1, theta[2:], select=(0,)).h(
        1
    )
    values = torch.randn(5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    def value(theta: torch.Tensor) -> torch.Tensor:
        return probability_of_zeros(run_statevector(circuit, {"theta": theta}), [0, 1])

    mapped = torch.func.vmap(torch.func.grad(value))(values)
    one_by_one = torch.stack([torch.func.grad(value)(row) for row in values])
    torch.testing.assert_close(mapped, one_by_one)
    assert mapped.abs().max() > 0.1


def test_first_qubit_is_the_most_significant_bit() -> None:
    assert int(run_statevector(Circuit(q=3).x(0)).abs().argmax()) == 4


def test_ghz_state() -> None:
    circuit = Circuit(q=4).h(0)
    for qubit in range(3):
        circuit.cx(qubit, qubit + 1)
    expected = torch.zeros(16, dtype=torch.complex128)
    expected[[0, 15]] = math.sqrt(0.5)
    torch.testing.assert_close(run_statevector(circuit), expected)


def test_single_precision_follows_double_precision() -> None:
    circuit = Circuit(q=6)
    theta = circuit.slot("theta", 10, 6)
    for layer in range(10):
        for qubit in range(6):
            circuit.ry(qubit, theta[layer, qubit]).cx(qubit, (qubit + 1) % 6)
    values = {"theta": torch.rand(10, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))}
    single = run_statevector(circuit, values, dtype=torch.complex64)
    assert single.dtype == torch.complex64
    torch.testing.assert_close(
        single.to(torch.complex128), run_statevector(circuit, values), atol=1e-5, rtol=0
    )


def test_probability_of_zeros_sums_the_ignored_qubits() -> None:
    states = haar_random_states(n_qubits=4, batch=3, seed=5)
    tensor = states.reshape(3, 2, 2, 2, 2).abs().square()
    torch.testing.assert_close(probability_of_zeros(states, [1, 3]), tensor[:, :, 0, :, 0].sum((1, 2)))
    torch.testing.assert_close(probability_of_zeros(states, []), torch.ones(3, dtype=torch.float64))


def test_large_single_circuit_keeps_its_norm_and_reads_back() -> None:
    circuit = Circuit(q=16)
    for qubit in range(16):
        circuit.ry(qubit, 0.1 * qubit).cx(qubit, (qubit + 5) % 16).rx(qubit, 0.3)
    state = run_statevector(circuit)
    back = run_statevector(circuit.adjoint(), initial=state)
    assert abs(float(back[0].real) - 1) < 1e-12


def test_bad_values_are_refused() -> None:
    circuit = Circuit(q=2)
    theta = circuit.slot("theta", 2)
    circuit.rx(0, theta[0]).ry(1, theta[1])
    with pytest.raises(ArgumentError, match="must give every slot, but lacks 'theta'"):
        run_statevector(circuit)
    with pytest.raises(ArgumentError, match=r"shape \(..., 2\) for the slot 'theta', but has \(3,\)"):
        run_statevector(circuit, {"theta": torch.zeros(3)})
    with pytest.raises(ArgumentError, match="'thetta', which is unknown: did you mean 'theta'"):
        run_statevector(circuit, {"thetta": torch.zeros(2)})
    with pytest.raises(ArgumentError, match=r"`initial` must have shape \(..., 4\), but has \(8,\)"):
        run_statevector(circuit, {"theta": torch.zeros(2)}, initial=torch.zeros(8))
    with pytest.raises(ArgumentError, match="batch axes that broadcast"):
        run_statevector(circuit, {"theta": torch.zeros(3, 2)}, initial=torch.zeros(4, 4))
    with pytest.raises(ArgumentError, match="must be torch"):
        run_statevector(circuit, {"theta": torch.zeros(2)}, dtype=torch.float64)
    with pytest.raises(MemoryLimitError):
        run_statevector(Circuit(q=60).h(0))


def test_a_gate_is_only_moved_past_gates_on_other_qubits() -> None:
    circuit = Circuit(q=2).x(0).h(0).x(0).cx(0, 1).x(0).h(0).x(1).h(1)
    circuit.slot("theta", SIZE)
    theta = np.zeros(SIZE)
    ours = circuit_unitary(circuit, {"theta": theta}).numpy()
    np.testing.assert_allclose(ours, qutip_unitary(circuit, theta), atol=1e-14)


def every_kind_of_step() -> tuple[Circuit, dict[str, torch.Tensor]]:
    circuit = Circuit(q=4)
    theta = circuit.slot("theta", 6)
    for qubit in range(4):
        circuit.ry(qubit, theta[qubit]).h(qubit)
    circuit.cx(0, 2).x(3, controls=(0, 1)).rx(1, theta[4], controls=(3,)).rz(2, theta[:4], select=(0, 1))
    circuit.fixed("t", 0).phase(3, theta[5]).y(2, controls=(1,))
    draws = torch.Generator().manual_seed(3)
    return circuit, {"theta": torch.rand(5, 6, dtype=torch.float64, generator=draws)}


@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128])
def test_nothing_stays_behind_on_another_device(dtype: torch.dtype) -> None:
    """The meta device computes shapes only and refuses to mix with the CPU, as a GPU would."""
    circuit, values = every_kind_of_step()
    elsewhere = {name: value.to("meta").requires_grad_() for name, value in values.items()}
    states = run_statevector(circuit, elsewhere, dtype=dtype)
    assert (states.device.type, states.shape, states.dtype) == ("meta", (5, 16), dtype)
    words = PauliObservable(((0.5, "ZZII"), (1.0, "XYIZ"))).expectation(states)
    total = (words + AllZero((1, 3)).expectation(states)).sum()
    assert torch.autograd.grad(total, [elsewhere["theta"]])[0].shape == (5, 6)


@pytest.mark.gpu
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.complex64, 1e-5), (torch.complex128, 1e-12)])
def test_a_gpu_gives_the_same_states_and_gradients(dtype: torch.dtype, tolerance: float) -> None:
    circuit, values = every_kind_of_step()
    found = {}
    for device in ("cpu", "cuda"):
        theta = values["theta"].to(device).requires_grad_()
        program = Program(circuit, {"theta": theta}, PauliObservable(((0.5, "ZZII"), (1.0, "XYIZ"))))
        states = program.states(dtype=dtype)
        assert states.device.type == device
        (gradient,) = torch.autograd.grad(program.expectation(dtype=dtype).sum(), [theta])
        measured = run_circuit(program, device=device, dtype=dtype, shots=1000, seed=1).value
        found[device] = [tensor.detach().cpu() for tensor in (states, gradient, measured)]
    for here, there in zip(found["cpu"][:2], found["cuda"][:2], strict=True):
        torch.testing.assert_close(there, here, atol=tolerance, rtol=0)
    assert (found["cpu"][2] - found["cuda"][2]).abs().max() < 0.05
