"""A predictor that learns in context as a circuit: what its numbers are on one sequence."""

from __future__ import annotations

import copy

import torch
from jaxtyping import Complex
from torch import Tensor

from qdyn.attention.in_context.circuit import (
    Block,
    InContextCircuit,
    InContextCosts,
    in_context_circuit,
    in_context_costs,
)
from qdyn.attention.in_context.heads import Heads
from qdyn.errors import ArgumentError
from qdyn.models.in_context.predictor import InContextPredictor


@torch.no_grad()
def forecast_circuit(
    model: InContextPredictor,
    inputs: Complex[Tensor, "time dim"],
    targets: Complex[Tensor, "time dim"],
    *,
    observable: str = "mu",
) -> InContextCircuit:
    """The circuit that measures the forecasts of ``model`` on one sequence.

    Args:
        model: Trained or not, of one block or two.
        inputs: States (T, d).
        targets: The states that follow, (T, d).
        observable: "mu", "nu" or "zeta"; see `in_context_circuit`.

    Raises:
        ArgumentError: the model has a kernel, momentum or score unitaries, more than two blocks, or two and a
            feed-forward.

    Example: ten qubits for three states of one qubit.
        >>> from qdyn.data.sequences import SequenceMetadata
        >>> from qdyn.models.in_context.config import InContextConfig
        >>> config = InContextConfig(layers=1, completion_layers=1)
        >>> model = InContextPredictor(config, SequenceMetadata("example", "quantum_state", 2), seed=0)
        >>> states = qdyn.haar_random_states(n_qubits=1, batch=4, seed=0)
        >>> circuit = forecast_circuit(model, states[:3], states[1:])
        >>> circuit.program.n_qubits
        10
        >>> z = circuit.predictions
        >>> forecast = z / torch.linalg.vector_norm(z, dim=-1, keepdim=True)
        >>> bool((qdyn.fidelity(forecast, model.forecast(states[:3]).to(z.dtype)) > 0.9999).all())
        True
    """
    value, blocks, heads = _told(model, inputs.shape[-2])
    return in_context_circuit(
        inputs,
        targets,
        value,
        blocks,
        phases=model.config.phases,
        symmetries=model.config.symmetries,
        heads=heads,
        observable=observable,
    )


@torch.no_grad()
def forecast_costs(model: InContextPredictor, inputs: Complex[Tensor, "time dim"]) -> InContextCosts:
    """What `forecast_circuit` needs on one sequence: prices and qubits, of circuits of any size."""
    value, blocks, heads = _told(model, inputs.shape[-2])
    return in_context_costs(
        inputs,
        value,
        blocks,
        phases=model.config.phases,
        symmetries=model.config.symmetries,
        heads=heads,
    )


def _told(model: InContextPredictor, n_steps: int) -> tuple[Tensor, list[Block], Heads | None]:
    """V, the blocks and the heads in double precision."""
    if model.kernel_logits is not None:
        raise ArgumentError("Argument `model` must have no kernel to be a circuit, but has one.")
    # Single precision is no unitary for a circuit.
    exact = copy.deepcopy(model).double()
    matrices = exact.matrices()
    blocks = []
    for place in range(model.config.blocks):
        restoration = exact.restoration(place)
        blocks.append(
            Block(
                exact.regression(place, n_steps),
                exact.completion(place, n_steps),
                1.0 if restoration is None else restoration,
                None if matrices.feed_forward is None else matrices.feed_forward[place],
                exact.strength(place, n_steps),
                exact.trust(place, n_steps),
            )
        )
    return matrices.value, blocks, matrices.heads
