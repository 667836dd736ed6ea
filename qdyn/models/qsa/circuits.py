"""A QSA predictor's loss as circuits: what its closed form says, for a device to measure."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from qdyn.attention.qsa.measured_loss import loss_programs
from qdyn.circuits.ansatz.variational import ansatz
from qdyn.circuits.executors.program import Program
from qdyn.errors import ArgumentError
from qdyn.models.qsa.predictor import QSAPredictor


def loss_circuits(model: QSAPredictor, inputs: Tensor, targets: Tensor) -> tuple[Program, Program]:
    """The circuits of mu and zeta for one model and some sequences; L_B = -log((T+1)/(2T) mu/zeta).

    Args:
        model: A predictor whose W and V are circuits and whose kernel is monomial or polynomial.
        inputs: Elements (..., T, d), or tokens (..., T).
        targets: The elements that follow, of the same shape.

    Returns:
        Programs for `qdyn.run_circuit`, in double precision.

    Raises:
        ArgumentError: the model is classical: free unitaries or a softmax kernel.

    Example:
        >>> from qdyn.data.sequences import SequenceMetadata
        >>> from qdyn.models.config import ModelConfig
        >>> states = qdyn.haar_random_states(n_qubits=1, batch=3, seed=0)
        >>> metadata = SequenceMetadata("example", "quantum_state", 2, phase_convention="raw")
        >>> model = QSAPredictor(ModelConfig(layers=1, degree=1), metadata, seed=0)
        >>> mu, _ = loss_circuits(model, states[:2], states[1:])
        >>> closed = model(states[:2], states[1:]).mu
        >>> bool(abs(qdyn.run_circuit(mu).value - closed) < 1e-6)
        True
    """
    with torch.no_grad():
        mu, zeta = (
            replace(program, values={name: value.detach() for name, value in program.values.items()})
            for program in differentiable_loss_circuits(model, inputs, targets)
        )
    return mu, zeta


def differentiable_loss_circuits(
    model: QSAPredictor, inputs: Tensor, targets: Tensor, *, places: Tensor | None = None
) -> tuple[Program, Program]:
    """As `loss_circuits`, with values that carry the gradient back to the model's parameters.

    ``places`` says at which steps of a longer sequence the elements stood, (T,); their phases are those of
    these steps.
    """
    config = model.config
    if not ansatz(config.unitaries).is_circuit:
        raise ArgumentError(
            "Argument `model` must have circuits for W and V, but its unitaries are 'free': a classical twin."
        )
    matrices, embedding = model.matrices(), model.embedding
    x = embedding.states(inputs, matrices.frame).to(torch.complex128)
    y = embedding.states(targets, matrices.readout).to(torch.complex128)
    leverage = embedding.leverage(targets, matrices.readout)
    angles = model.angles.double()
    if places is None:
        places = torch.arange(x.shape[-2], device=angles.device)
    if model.phases is not None and int(places.max()) >= len(model.phases):
        raise ArgumentError(
            f"Argument `inputs` has {int(places.max()) + 1} steps, but there are trained phases for "
            f"{len(model.phases)}."
        )
    return loss_programs(
        x / torch.linalg.vector_norm(x, dim=-1, keepdim=True),
        y / torch.linalg.vector_norm(y, dim=-1, keepdim=True),
        angles[0],
        angles[1],
        kernel=config.kernel,
        degree=config.degree,
        beta=config.beta,
        phases=None if model.phases is None else model.phases[places].double(),
        leverage=None if leverage is None else leverage.double(),
        ansatz=config.unitaries,
    )
