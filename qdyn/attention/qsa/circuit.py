"""Quantum self-attention as a circuit that measures mu, nu and zeta.

Registers, in order: C1 and C2 (ceil(log2 T) qubits each) hold the step j and the element i <= j; A (n qubits)
holds the value; B_1 ... B_k (n each) the copies of the key; P (k, polynomial kernel only) how many copies
take part; R (1, with a leverage only) the weight of the target.

1. Prepare sum_{i<=j} |j>|i> / sqrt(T(T+1)/2) on C1, C2 and sum_p sqrt(c_p/lambda) |1^p 0^(k-p)> on P.
2. Where C2 holds i: load x_i on A and on every B_c (there also controlled on P_c).
3. Apply V to A and W to every B_c (controlled on P_c).
4. Where C1 holds j: apply the phase exp(i phi_j), un-load y_j from A and x_j from every B_c, and turn R so
   that |0> has amplitude sqrt(alpha_j).
5. Un-prepare P and the index registers; read zeros.

Source: arXiv:2602.06699 v2; v1 for the circuit of prefix states.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Inexact
from torch import Tensor

from qdyn.attention.kernels import SeriesKernel, make_kernel
from qdyn.attention.qsa.overlap import overlap_predictions
from qdyn.checks import check_choice, check_normalised, qubits_of_dimension
from qdyn.circuits.ansatz.circuits import ansatz_circuit
from qdyn.circuits.ansatz.variational import ansatz as find_ansatz
from qdyn.circuits.circuit import Circuit
from qdyn.circuits.encodings.state_preparation import loading_circuit, preparation_angles
from qdyn.circuits.executors.program import AllZero, Program
from qdyn.errors import ArgumentError

QSAObservable = Literal["mu", "nu", "zeta", "mu_v1"]
_OBSERVABLES = ("mu", "nu", "zeta", "mu_v1")


def qsa_circuit(
    x: Inexact[Tensor, "*batch time dim"],
    y: Inexact[Tensor, "*batch time dim"],
    query_key_angles: Float[Tensor, "*more layers qubits axes"] | Float[Tensor, "*more layers qubits"],
    value_angles: Float[Tensor, "*more layers qubits axes"] | Float[Tensor, "*more layers qubits"],
    *,
    kernel: str = "polynomial",
    degree: int = 3,
    beta: float | None = None,
    phases: Float[Tensor, "*#batch time"] | str | None = None,
    leverage: Float[Tensor, "*#batch time"] | None = None,
    observable: str = "mu",
    ansatz: str = "hardware_efficient",
) -> Program:
    """The circuit whose all-zero probability is an observable of quantum self-attention.

    With N = T(T+1)/2, A_j = <y_j|z_j>, w_j = ||z_j|| and z_j = sum_{i<=j} g(<x_j|W|x_i>) V|x_i>:

        mu   = |sum_j exp(i phi_j) A_j|^2 / (lambda N)^2
        nu   = sum_j |A_j|^2 / (lambda^2 T N)
        zeta = sum_j w_j^2 / (lambda^2 T N)

    Args:
        x: inputs (*batch, T, 2**n), unit vectors, T >= 1. Batch axes broadcast with those of the angles.
        y: targets (*batch, T, 2**n), unit vectors.
        query_key_angles: angles of W: (*batch, L, n, 3) in the order RX, RY, RZ for the default ansatz, in
            general (*batch, L, *rest) as the ansatz has them.
        value_angles: angles of V, of the same form; its number of layers may differ.
        kernel: "monomial" (g = s^k) or "polynomial" (g = sum_{p<=k} beta^p s^p / p!).
        degree: k, the number of copies of the key.
        beta: inverse temperature of the polynomial; sqrt(d) when None.
        phases: phi_j in radians, (*batch, T) or (T,) for all; "optimal" and None take -arg A_j from the
            closed form.
        leverage: alpha_{j+1} in (0, 1] of the targets, (*batch, T), for token data: A_j gains the factor
            sqrt(alpha_{j+1}), by one more qubit. zeta does not depend on it.
        observable: "mu", "nu" or "zeta", or "mu_v1", the circuit of v1 that loads normalised prefix states
            sum_{i<=j} x_i (x) x_i (x) ... on A and all B (monomial kernel only).
        ansatz: the circuit of W and V, see qdyn.circuits.ansatz.variational.

    Returns:
        A program; run it with qdyn.run_circuit on torch or CUDA-Q. Its value is the observable.

    Raises:
        ArgumentError: vectors that are not normalised, or shapes or options that do not fit.

    Example:
        >>> import qdyn
        >>> states = qdyn.haar_random_states(n_qubits=2, batch=4, seed=1)
        >>> angles = torch.zeros(1, 2, 3, dtype=torch.float64)
        >>> program = qsa_circuit(states[:3], states[1:], angles, angles, kernel="monomial", degree=1)
        >>> program.n_qubits
        8
    """
    check_choice("observable", observable, _OBSERVABLES)
    x, y = torch.as_tensor(x), torch.as_tensor(y)
    if x.ndim < 2 or x.shape[-2:] != y.shape[-2:]:
        raise ArgumentError(
            f"Argument `y` must have shape (..., T, d) like `x`, but has {tuple(y.shape)} "
            f"where `x` has {tuple(x.shape)}."
        )
    check_normalised("x", x.detach())
    check_normalised("y", y.detach())
    qubits_of_dimension("x", x.shape[-1])
    series = make_kernel(kernel, degree=degree, beta=beta, dimension=x.shape[-1])
    if not isinstance(series, SeriesKernel):
        raise ArgumentError("Argument `kernel` must be 'monomial' or 'polynomial': softmax is no circuit.")
    attention = _Attention(
        x,
        y,
        {
            "query_key": _floating(torch.as_tensor(query_key_angles)),
            "value": _floating(torch.as_tensor(value_angles)),
        },
        ansatz,
    )
    for name in attention.angles:
        attention.block(name)
    if isinstance(phases, str):
        check_choice("phases", phases, ("optimal",))
        phases = None
    if observable == "mu_v1":
        if leverage is not None or series.name != "monomial":
            raise ArgumentError("Argument `observable` 'mu_v1' needs the monomial kernel and no leverage.")
        return _prefix_program(attention, series.degree, phases)
    if phases is None and observable == "mu":
        phases = attention.optimal_phases(series)
    return _overlap_program(attention, series, phases, leverage, observable)


@dataclass(frozen=True)
class _Attention:
    """What every circuit of this file is made of."""

    x: Tensor
    y: Tensor
    angles: dict[str, Tensor]
    ansatz: str

    @property
    def steps(self) -> int:
        return self.x.shape[-2]

    @property
    def n_qubits(self) -> int:
        return qubits_of_dimension("x", self.x.shape[-1])

    @property
    def n_index(self) -> int:
        """Qubits that hold a number below T."""
        return (self.steps - 1).bit_length()

    def padded(self, per_step: Tensor) -> Tensor:
        """(..., T) with zeros for the index values that no step has."""
        return torch.nn.functional.pad(torch.as_tensor(per_step), (0, 2**self.n_index - self.steps))

    def block(self, name: str) -> Circuit:
        """The circuit of W or V, its slot named after it; the number of layers is read off the angles."""
        angles = self.angles[name]
        trailing = find_ansatz(self.ansatz).parameter_shape(self.n_qubits, 1)[1:]
        axes = len(trailing) + 1
        if angles.ndim < axes or tuple(angles.shape[angles.ndim - axes + 1 :]) != trailing:
            raise ArgumentError(
                f"Argument `{name}_angles` must have shape (..., L, {', '.join(map(str, trailing))}) "
                f"for the ansatz {self.ansatz!r} on {self.n_qubits} qubits, but has {tuple(angles.shape)}."
            )
        return ansatz_circuit(self.ansatz, n_qubits=self.n_qubits, layers=angles.shape[-axes], slot=name)

    def unitaries(self) -> dict[str, Tensor]:
        """W and V as matrices."""
        return {name: find_ansatz(self.ansatz).unitary(angle) for name, angle in self.angles.items()}

    @torch.no_grad()
    def optimal_phases(self, kernel: SeriesKernel) -> Tensor:
        """-arg A_j. mu is stationary in the optimal phases, so its gradient needs none through them."""
        unitaries = self.unitaries()
        z = overlap_predictions(self.x, unitaries["query_key"], unitaries["value"], kernel)
        return -torch.linalg.vecdot(self.y.to(z.dtype), z).to(torch.complex128).angle()

    @torch.no_grad()
    def optimal_prefix_phases(self, prefixes: Tensor, degree: int) -> Tensor:
        """-arg <y_j, x_j, ..., x_j| V (x) W (x) ... (x) W |Psi_j>."""
        unitaries = self.unitaries()
        dtype = torch.promote_types(torch.promote_types(self.x.dtype, self.y.dtype), unitaries["value"].dtype)
        joint = self.y.to(dtype).conj() @ unitaries["value"].to(dtype)
        for _ in range(degree):
            joint = _products(joint, self.x.to(dtype).conj() @ unitaries["query_key"].to(dtype))
        return -(joint * prefixes).sum(-1).to(torch.complex128).angle()


def _overlap_program(
    attention: _Attention,
    kernel: SeriesKernel,
    phases: Tensor | None,
    leverage: Tensor | None,
    observable: str,
) -> Program:
    steps, n_qubits, n_index = attention.steps, attention.n_qubits, attention.n_index
    copies = kernel.degree
    combines = kernel.name == "polynomial"
    weighs = leverage is not None and observable != "zeta"
    circuit = Circuit(
        C1=n_index,
        C2=n_index,
        A=n_qubits,
        **{f"B_{copy}": n_qubits for copy in range(1, copies + 1)},
        P=copies if combines else 0,
        R=int(weighs),
    )
    values = dict(attention.angles)
    pairs = circuit["C1"] + circuit["C2"]
    triangle = _triangle_state(n_index, steps)
    cascade = _copy_number_state(kernel.coefficients) if combines else Circuit(P=0)
    switches = [(qubit,) for qubit in circuit["P"]] if combines else [()] * copies
    keys = [(circuit[f"B_{copy}"], switches[copy - 1]) for copy in range(1, copies + 1)]
    loads = {}
    for name, states in (("x", attention.x), ("y", attention.y)):
        loads[name] = loading_circuit(n_qubits, n_index, name, real=not states.is_complex())
        values[name] = preparation_angles(states, n_select=n_index)

    circuit.compose(triangle, pairs).compose(cascade, circuit["P"])
    circuit.compose(loads["x"], circuit["C2"] + circuit["A"])
    for register, switch in keys:
        circuit.compose(loads["x"], circuit["C2"] + register, controls=switch)
    circuit.compose(attention.block("value"), circuit["A"])
    for register, switch in keys:
        circuit.compose(attention.block("query_key"), register, controls=switch)
    if phases is not None and observable == "mu":
        values["phases"] = attention.padded(phases)
        _add_step_phases(circuit, circuit["C1"])
    circuit.compose(loads["y"].adjoint(), circuit["C1"] + circuit["A"])
    for register, switch in keys:
        circuit.compose(loads["x"].adjoint(), circuit["C1"] + register, controls=switch)
    if weighs:
        values["leverage"] = attention.padded(2 * torch.acos(torch.as_tensor(leverage).clamp(0, 1).sqrt()))
        circuit.ry(circuit["R"][0], circuit.slot("leverage", 2**n_index), select=circuit["C1"])
    circuit.compose(cascade.adjoint(), circuit["P"])
    if observable == "mu":
        circuit.compose(triangle.adjoint(), pairs)
    else:
        uniform = _index_state(circuit["C2"], [1.0] * steps)
        circuit.compose(uniform.adjoint(), circuit["C2"])
    ignored = {"mu": (), "nu": circuit["C1"], "zeta": circuit["C1"] + circuit["A"]}[observable]
    read = tuple(qubit for qubit in range(circuit.n_qubits) if qubit not in ignored)
    return Program(circuit, values, AllZero(read))


def _prefix_program(attention: _Attention, degree: int, phases: Tensor | None) -> Program:
    """mu_v1 = |1/T sum_j exp(i phi_j) <y_j, x_j, ...| V (x) W (x) ... |Psi_j>/||Psi_j|| |^2."""
    x, steps, n_qubits, n_index = attention.x, attention.steps, attention.n_qubits, attention.n_index
    copies = x
    for _ in range(degree):
        copies = _products(copies, x)
    prefixes = copies.cumsum(-2)
    prefixes = prefixes / torch.linalg.vector_norm(prefixes, dim=-1, keepdim=True)
    if phases is None:
        phases = attention.optimal_prefix_phases(prefixes, degree)
    keys = [f"B_{copy}" for copy in range(1, degree + 1)]
    circuit = Circuit(C1=n_index, A=n_qubits, **dict.fromkeys(keys, n_qubits))
    uniform = _index_state(circuit["C1"], [1.0] * steps)
    values = {**attention.angles, "phases": attention.padded(phases)}
    loads = {}
    for name, states in (("prefix", prefixes), ("x", x), ("y", attention.y)):
        width = circuit.n_qubits - n_index if name == "prefix" else n_qubits
        loads[name] = loading_circuit(width, n_index, name, real=not states.is_complex())
        values[name] = preparation_angles(states, n_select=n_index)
    circuit.compose(uniform, circuit["C1"]).compose(loads["prefix"])
    circuit.compose(attention.block("value"), circuit["A"])
    for key in keys:
        circuit.compose(attention.block("query_key"), circuit[key])
    _add_step_phases(circuit, circuit["C1"])
    circuit.compose(loads["y"].adjoint(), circuit["C1"] + circuit["A"])
    for key in keys:
        circuit.compose(loads["x"].adjoint(), circuit["C1"] + circuit[key])
    circuit.compose(uniform.adjoint(), circuit["C1"])
    return Program(circuit, values, AllZero(tuple(range(circuit.n_qubits))))


def _add_step_phases(circuit: Circuit, index: tuple[int, ...]) -> None:
    phases = circuit.slot("phases", 2 ** len(index))
    if not index:
        return  # one step: its phase is a global one
    # diag(exp(i phi_j)) from phases on the last index bit where it is 1, and where it is 0.
    last, select = index[-1], index[:-1]
    circuit.phase(last, phases[1::2], select=select)
    circuit.x(last).phase(last, phases[0::2], select=select).x(last)


def _products(left: Tensor, right: Tensor) -> Tensor:
    """The tensor product of the states of every step."""
    return (left[..., :, None] * right[..., None, :]).flatten(-2)


def _floating(angles: Tensor) -> Tensor:
    return angles.to(torch.promote_types(angles.dtype, torch.float32))


def _triangle_state(n_index: int, steps: int) -> Circuit:
    """Prepare sum_{i<=j} |j>|i> / sqrt(T(T+1)/2) with O(T log T) gates; a general state would take T^2.

    j is drawn with amplitude sqrt(j+1). The bits of i follow, most significant first: where the bits so far
    equal those of j, the next one turns by an angle that depends on j; where they are smaller it is even.
    "Equal so far" reads as zeros once j has been added to i bit by bit.
    """
    circuit = Circuit(C1=n_index, C2=n_index)
    if n_index == 0:
        return circuit
    c1, c2 = circuit["C1"], circuit["C2"]
    circuit.compose(_index_state(c1, [math.sqrt(j + 1) for j in range(steps)]), c1)
    j = np.arange(2**n_index)
    for level in range(n_index):
        half = 2 ** (n_index - 1 - level)
        is_one = (j // half) % 2 == 1
        zeros, ones = np.where(is_one, half, j % half + 1), np.where(is_one, j % half + 1, 0)
        turn = 2 * np.arctan2(np.sqrt(ones), np.sqrt(zeros))
        if level == 0:
            circuit.ry(c2[0], turn, select=c1)
        else:
            # A rotation by turn - pi/2 where all earlier bits agree: halves that cancel unless Z intervenes.
            circuit.ry(c2[level], (turn + math.pi / 2) / 2, select=c1)
            _add_agreement(circuit, c2[level], c2[:level])
            circuit.ry(c2[level], (math.pi / 2 - turn) / 2, select=c1)
            _add_agreement(circuit, c2[level], c2[:level])
        circuit.cx(c1[level], c2[level])
    for level in range(n_index):
        circuit.cx(c1[level], c2[level])
    return circuit


def _add_agreement(circuit: Circuit, target: int, zeros: tuple[int, ...]) -> None:
    """Z on the target where all of ``zeros`` are 0."""
    for qubit in zeros:
        circuit.x(qubit)
    circuit.z(target, controls=zeros)
    for qubit in zeros:
        circuit.x(qubit)


def _index_state(qubits: tuple[int, ...], weights: list[float]) -> Circuit:
    """The circuit that prepares the real state proportional to ``weights`` (padded by zeros)."""
    if not qubits:
        return Circuit(target=0)
    target = torch.zeros(1, 2 ** len(qubits), dtype=torch.float64)
    target[0, : len(weights)] = torch.tensor(weights, dtype=torch.float64)
    loading = loading_circuit(len(qubits), 0, "weights", real=True)
    return loading.bind({"weights": preparation_angles(target).numpy()})


def _copy_number_state(coefficients: tuple[float, ...]) -> Circuit:
    """Prepare sum_p sqrt(c_p/lambda) |1^p 0^(k-p)> by a cascade of controlled RY."""
    circuit = Circuit(P=len(coefficients) - 1)
    for place in range(circuit.n_qubits):
        stop, go_on = coefficients[place], sum(coefficients[place + 1 :])
        angle = 2 * math.atan2(math.sqrt(go_on), math.sqrt(stop))
        circuit.ry(place, angle, controls=() if place == 0 else (place - 1,))
    return circuit
