r"""Trainability: the variance of the gradient of an observable over random weights.

Where it falls exponentially with the number of qubits there is a barren plateau: shots see no slope. The mean
over weights counts those that do nothing, too; their number is told beside it.

Source: J. R. McClean et al., Nat. Commun. 9, 4812 (2018). For the loss of a whole model see
qdyn.training.gradient_variance.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from qdyn.checks import check_integer
from qdyn.circuits.analysis.family import CircuitFamily, Values, sample_mean
from qdyn.circuits.executors.program import PauliObservable, Program

# Derivatives below this are rounding.
_ZERO = 1e-12


@dataclass(frozen=True)
class ObservableGradient:
    """The gradient of an observable by the weights, over random weights.

    Attributes:
        variance: Population variance of each derivative, averaged over all weights.
        standard_error: Of ``variance``.
        largest: The largest variance of one derivative.
        moving: Weights whose derivative is not always 0.
        weights: Number of weights.
        samples: Number of draws.
        of_each: (weights,) the variances, slot after slot.
    """

    variance: float
    standard_error: float
    largest: float
    moving: int
    weights: int
    samples: int
    of_each: Float[Tensor, " weights"]


def observable_gradient(
    family: CircuitFamily,
    *,
    observable: PauliObservable | None = None,
    inputs: float | None = None,
    samples: int = 200,
    seed: int = 0,
) -> ObservableGradient:
    r"""Var over weights of $\partial\langle O\rangle/\partial w_a$.

    Args:
        family: The circuit.
        observable: O; None for Z of the first qubit that is read.
        inputs: What every input is fixed at, in radians; None draws them as the weights.
        samples: Draws, >= 2.
        seed: Integer >= 0.

    Example:
        <Z> = cos t has the derivative -sin t, whose variance is 1/2.

        >>> from qdyn.circuits.circuit import Circuit
        >>> circuit = Circuit(q=1)
        >>> found = observable_gradient(CircuitFamily(circuit.ry(0, circuit.slot("weights", 1)[0])))
        >>> abs(found.variance - 0.5) < 4 * found.standard_error
        True
    """
    check_integer("samples", samples, minimum=2)
    values = family.draw(samples, seed=seed)
    for name in family.inputs:
        if inputs is not None:
            values[name] = torch.full_like(values[name], inputs)
    measured = observable or pauli_z(family.qubits_read[:1], family.circuit.n_qubits)
    slopes = torch.cat([_slopes(family, part, measured) for part in family.parts(values, copies=8)])
    deviations = (slopes - slopes.mean(dim=0)).square()
    variance, error = sample_mean(deviations.mean(dim=1))
    of_each = deviations.mean(dim=0)
    return ObservableGradient(
        variance=variance,
        standard_error=error,
        largest=float(of_each.max()),
        moving=int((slopes.abs().amax(dim=0) > _ZERO).sum()),
        weights=family.n_weights,
        samples=samples,
        of_each=of_each,
    )


def pauli_z(qubits: tuple[int, ...], n_qubits: int) -> PauliObservable:
    """The mean of Z over some qubits.

    >>> pauli_z((0, 2), 3).terms
    ((0.5, 'ZII'), (0.5, 'IIZ'))
    """
    words = ("".join("Z" if place == qubit else "I" for place in range(n_qubits)) for qubit in qubits)
    return PauliObservable(tuple((1 / len(qubits), word) for word in words))


def _slopes(family: CircuitFamily, values: Values, observable: PauliObservable) -> Tensor:
    """(count, weights): each circuit depends on its own weights, so that the sum has all derivatives."""
    free = {name: value.clone().requires_grad_(name in family.weights) for name, value in values.items()}
    total = Program(family.circuit, free, observable).expectation().sum()
    found = torch.autograd.grad(
        total, [free[name] for name in family.weights], allow_unused=True, materialize_grads=True
    )
    return torch.cat([slope.flatten(1) for slope in found], dim=1)
