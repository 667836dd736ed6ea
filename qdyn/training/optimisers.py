"""Which optimiser a configuration asks for; all of them keep the members of an ensemble apart."""

from __future__ import annotations

import torch

from qdyn.errors import ConfigError
from qdyn.training.config import TrainingConfig
from qdyn.training.ensembles import Ensemble
from qdyn.training.lbfgs import EnsembleLBFGS
from qdyn.training.unitary_descent import UnitaryDescent


def make_optimiser(ensemble: Ensemble, config: TrainingConfig) -> torch.optim.Optimizer:
    """The optimiser of an ensemble's stacked parameters.

    Adam works entry by entry, so no member feels another; its fused kernel is one call for all parameters, on
    the CPU too.

    Raises:
        ConfigError: the model's unitaries are not of the kind that the optimiser is for.
    """
    name, rate = config.optimiser, config.learning_rate
    unitaries = ensemble.unitaries()
    kinds = " and ".join(family.name for family in unitaries.values()) or "absent"
    on_group = any(family.on_group for family in unitaries.values())
    if on_group != (name == "riemannian"):
        raise ConfigError(
            "Argument `training.optimiser` must be 'riemannian' exactly where model.unitaries is 'matrix', "
            f"but is {name!r}, and model.unitaries is {kinds}."
        )
    if name == "adam":
        return torch.optim.Adam(list(ensemble.parameters.values()), lr=rate, fused=True)
    if name == "adamw":
        return torch.optim.AdamW(
            list(ensemble.parameters.values()), lr=rate, weight_decay=config.weight_decay, fused=True
        )
    if name == "lbfgs":
        return EnsembleLBFGS(ensemble.parameters.values(), lr=rate)
    if name == "natural" and not any(family.metric for family in unitaries.values()):
        raise ConfigError(
            "Argument `training.optimiser` 'natural' needs model.unitaries 'hardware_efficient', "
            f"but model.unitaries is {kinds}."
        )
    metrics = {key: "matrices" if family.on_group else family.metric for key, family in unitaries.items()}
    pairs = [(parameter, metrics.get(key)) for key, parameter in ensemble.parameters.items()]
    return UnitaryDescent(pairs, lr=rate)
