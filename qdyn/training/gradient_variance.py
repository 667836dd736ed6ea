"""How large gradients are at the start of training, and how they vanish with qubits and layers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from torch import nn

from qdyn.checks import check_integer
from qdyn.data.sequences import SequenceDataset
from qdyn.errors import ArgumentError
from qdyn.models.base import WarmStart
from qdyn.models.baselines.common import training_part
from qdyn.models.config import ModelSection
from qdyn.models.registry import build_model
from qdyn.training.batches import BatchSource
from qdyn.training.config import LossName
from qdyn.training.ensembles import Ensemble


@dataclass(frozen=True)
class GradientVariance:
    r"""The gradient of a loss at random starts.

    Attributes:
        variance: Var over starts of dL/dtheta, averaged over the parameters.
        measured: The same of e^{-L}, which for L_B is the fidelity that shots estimate: where it falls
            exponentially with the number of qubits there is a barren plateau. L itself may not show it, since
            its gradient is that of e^{-L} divided by a small number.
        norm: Mean over starts of the Euclidean norm of the gradient of L.
        loss: Mean over starts of L.
        starts: How many starts.
    """

    variance: float
    measured: float
    norm: float
    loss: float
    starts: int


def gradient_variance(
    model: ModelSection,
    dataset: SequenceDataset,
    *,
    starts: Sequence[int] = tuple(range(32)),
    loss: LossName = "L_B",
    batch_size: int = 32,
) -> GradientVariance:
    r"""Var over seeds of $\partial L/\partial\theta_a$ where training would start.

    All starts are differentiated as one batch, on the first sequences of the training split; the model is
    told their conditions and drops nothing. Parameters that training leaves alone are no part of it.

    Args:
        model: What a preset's ``model`` section says.
        dataset: What the loss is evaluated on.
        starts: Seeds of the initial parameters, at least 2.
        loss: The loss by name.
        batch_size: How many sequences, >= 1.

    Raises:
        ArgumentError: fewer than two starts.
        DatasetError: the data lack a condition that the model is told.

    Source: J. R. McClean et al., Nat. Commun. 9, 4812 (2018); the loss decides whether a plateau is there: M.
        Cerezo et al., Nat. Commun. 12, 1791 (2021).

    Example: angles over the whole circle flatten the loss, small ones do not.
        >>> data = qdyn.load_dataset("tfim-4q")  # doctest: +SKIP
        >>> gradient_variance(ModelConfig(initial_angle=6.28), data).variance  # doctest: +SKIP
    """
    if len(starts) < 2:
        raise ArgumentError(f"Argument `starts` must hold at least 2 seeds, but holds {len(starts)}.")
    check_integer("batch_size", batch_size, minimum=1)
    part = training_part(dataset)
    # Parameters start in single precision.
    batch = part.batch(range(min(batch_size, len(part)))).to(dtype=torch.complex64)
    told = None
    if names := getattr(model, "conditions", ()):
        source = BatchSource(part, device=batch.mask.device, dtype=torch.complex64, told=names)
        told = source.told(batch)
    # Where gradients themselves are drawn, as "spsa" does, they are those of the first update.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(np.random.SeedSequence(0).generate_state(1)[0]))
        ensemble = Ensemble([_start(model, part, seed) for seed in starts])
        with ensemble.evaluating():
            values = ensemble.losses(loss, batch.inputs, batch.targets, batch.mask, told, same_data=True)
        trained = [one for one in ensemble.parameters.values() if one.requires_grad]
        slopes = torch.autograd.grad(values.sum(), trained, allow_unused=True)
    flat = torch.cat([slope.flatten(1).double() for slope in slopes if slope is not None], dim=1)
    values = values.detach().double()
    return GradientVariance(
        variance=float(flat.var(dim=0).mean()),
        measured=float((flat * (-values).exp()[:, None]).var(dim=0).mean()),
        norm=float(flat.norm(dim=1).mean()),
        loss=float(values.mean()),
        starts=len(starts),
    )


def _start(model: ModelSection, data: SequenceDataset, seed: int) -> nn.Module:
    built = cast(nn.Module, build_model(model, data.metadata, seed=seed))
    if isinstance(built, WarmStart):
        built.warm_start(data)
    return built
