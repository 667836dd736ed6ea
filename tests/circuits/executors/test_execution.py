from __future__ import annotations

import sys

import numpy as np
import pytest
import torch

from qdyn.circuits.circuit import Circuit
from qdyn.circuits.executors.execution import run_circuit
from qdyn.circuits.executors.noise import GateNoise
from qdyn.circuits.executors.program import AllZero, PauliObservable, Program, pauli_expectation
from qdyn.errors import ArgumentError, MissingExtraError
from qdyn.quantum.states import haar_random_states


def tilted(angles: list[float]) -> Program:
    circuit = Circuit(q=2)
    circuit.ry(0, circuit.slot("theta", 1)[0]).cx(0, 1)
    return Program(circuit, {"theta": torch.tensor(angles, dtype=torch.float64)[:, None]}, AllZero((0, 1)))


def test_exact_runs_give_the_value_and_no_interval() -> None:
    result = run_circuit(tilted([0.3, 2.0]))
    torch.testing.assert_close(result.value, torch.cos(torch.tensor([0.15, 1.0]).double()) ** 2)
    assert (result.interval, result.qubits, result.shots, result.backend) == (None, 2, None, "torch")


def test_exact_runs_are_differentiable() -> None:
    program = tilted([0.3])
    theta = program.values["theta"].requires_grad_()
    run_circuit(program).value.sum().backward()
    assert theta.grad is not None
    assert abs(float(theta.grad) + 0.5 * np.sin(0.3)) < 1e-12


def test_shots_depend_on_the_seed_alone() -> None:
    program = tilted([0.3, 2.0, 1.0])
    first, again, other = (run_circuit(program, shots=500, seed=seed).value for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize(
    "observable",
    [
        AllZero((0, 1)),
        PauliObservable(((-2.0, "ZY"),)),
        PauliObservable(((1.0, "ZZ"), (0.5, "XI"), (-0.3, "YX"))),
    ],
)
def test_intervals_cover_the_exact_value_at_their_rate(observable: AllZero | PauliObservable) -> None:
    base = tilted([0.9])
    program = Program(base.circuit, base.values, observable)
    exact = run_circuit(program).value
    covered = 0
    for seed in range(200):
        interval = run_circuit(program, shots=400, seed=seed).interval
        assert interval is not None
        covered += bool((interval[0] <= exact) & (exact <= interval[1]))
    # 200 intervals of 95 % cover 190 times; fewer than 180 has probability 1e-3.
    assert covered >= 180


@pytest.mark.parametrize("word", ["XYZ", "IIZ", "YIY", "III", "ZXI"])
def test_pauli_expectations_agree_with_qutip(word: str) -> None:
    import qutip

    letters = {"I": qutip.qeye(2), "X": qutip.sigmax(), "Y": qutip.sigmay(), "Z": qutip.sigmaz()}
    operator = qutip.tensor([letters[letter] for letter in word]).full()
    states = haar_random_states(n_qubits=3, batch=4, seed=0)
    expected = np.einsum("ba,ac,bc->b", states.numpy().conj(), operator, states.numpy()).real
    np.testing.assert_allclose(pauli_expectation(states, word).numpy(), expected, atol=1e-14)


def test_without_cudaq_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cudaq", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'qdyn-toolkit\[cudaq\]'"):
        run_circuit(tilted([0.1]), backend="cudaq")


def test_bad_options_are_refused() -> None:
    program = tilted([0.1])
    with pytest.raises(ArgumentError, match="did you mean 'torch'"):
        run_circuit(program, backend="tourch")
    with pytest.raises(ArgumentError, match="`shots` must be an integer >= 1, but is 0"):
        run_circuit(program, shots=0)
    with pytest.raises(ArgumentError, match="`target` is for the backend 'cudaq'"):
        run_circuit(program, target="qpp-cpu")
    with pytest.raises(ArgumentError, match="`noise` is for the backend 'cudaq'"):
        run_circuit(program, noise=GateNoise(0.1))
    with pytest.raises(ArgumentError, match="`device` is for the backend 'torch'"):
        run_circuit(program, backend="cudaq", device="cpu")
    with pytest.raises(ArgumentError, match="`dtype` is for the backend 'torch'"):
        run_circuit(program, backend="cudaq", dtype=torch.complex64)
    with pytest.raises(ArgumentError, match="must have an observable"):
        run_circuit(Program(program.circuit, program.values))
    with pytest.raises(ArgumentError, match=r"`depolarising` must be in \[0, 0.75\]"):
        GateNoise(0.8)
    with pytest.raises(ArgumentError, match="letters I, X, Y, Z"):
        PauliObservable(((1.0, "AB"),))
    with pytest.raises(ArgumentError, match="one letter for each of 2 qubits"):
        run_circuit(Program(program.circuit, program.values, PauliObservable(((1.0, "ZZZ"),))))
