"""Where an in-context predictor starts: unitaries that the training transitions give, as angles."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import Complex, Float
from torch import Tensor

from qdyn.attention.in_context.transitions import TransitionPhases, transition_pairs
from qdyn.circuits.ansatz.variational import Ansatz
from qdyn.data.sequences import SequenceDataset

_BATCH = 256
_FIT_STEPS = 400


def training_transitions(
    dataset: SequenceDataset, phases: TransitionPhases
) -> Iterator[tuple[Complex[Tensor, "batch transitions dim"], Complex[Tensor, "batch transitions dim"]]]:
    """Keys and values of every sequence, in double precision and in the phases that a model works with."""
    for start in range(0, len(dataset), _BATCH):
        batch = dataset.batch(range(start, min(start + _BATCH, len(dataset))))
        states = torch.cat([batch.inputs, batch.targets[:, -1:]], dim=1).to(torch.complex128)
        mask = torch.cat([batch.mask, batch.mask[:, -1:]], dim=1)
        yield transition_pairs(states, phases=phases, mask=mask)


def angles_of(
    unitary: Complex[Tensor, "dim dim"], family: Ansatz, start: Float[Tensor, "*shape"]
) -> Float[Tensor, "*shape"]:
    """Angles of a family whose unitary is the one given: exactly in a free one, else as well as a fit gets.

    Args:
        unitary: (d, d).
        family: How angles become a unitary; up to a phase, where it is a circuit.
        start: The angles that a fit begins with.

    Example:
        >>> from qdyn.circuits.ansatz.variational import ansatz
        >>> flip = torch.tensor([[0, 1], [1, 0]], dtype=torch.complex128)
        >>> free = ansatz("free")
        >>> torch.allclose(free.unitary(angles_of(flip, free, torch.zeros(2, 2, 2))), flip)
        True
    """
    if family.name == "free":
        return _generator(unitary)
    return _fitted(unitary, family, start)


def _generator(unitary: Tensor) -> Tensor:
    """The parameters (2, d, d) of a free unitary: the Hermitian H with exp(iH) equal to ``unitary``."""
    from scipy.linalg import schur

    # Schur vectors of a normal matrix are its eigenvectors, orthogonal also where eigenvalues agree.
    triangle, vectors = schur(unitary.numpy(), output="complex")
    hermitian = torch.from_numpy((vectors * np.angle(np.diagonal(triangle))) @ vectors.conj().T)
    return torch.stack([hermitian.real, hermitian.imag])


@torch.enable_grad()
def _fitted(target: Tensor, family: Ansatz, start: Tensor) -> Tensor:
    """Angles whose circuit is ``target`` up to a phase, as nearly as 400 steps of L-BFGS get."""
    angles = start.detach().double().cpu().clone().requires_grad_()
    optimiser = torch.optim.LBFGS([angles], max_iter=_FIT_STEPS, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimiser.zero_grad()
        overlap = (target.conj() * family.unitary(angles)).sum() / len(target)
        distance = 1 - overlap.abs()
        distance.backward()  # type: ignore[no-untyped-call]
        return distance

    optimiser.step(closure)  # type: ignore[no-untyped-call]
    return angles.detach()
