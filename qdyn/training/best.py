"""The best parameters of each member so far, by what the validation split says: early stopping."""

from __future__ import annotations

import torch
from torch import Tensor

from qdyn.training.ensembles import Ensemble


class Best:
    """Keeps, for each member, the parameters of the evaluation with the lowest figure.

    Attributes:
        figures: The lowest so far, (members,), infinite before the first.
        parameters: Those that reached it, stacked over members; empty before the first.
    """

    def __init__(self, members: int) -> None:
        self.figures = torch.full((members,), torch.inf, dtype=torch.float64)
        self.parameters: dict[str, Tensor] = {}

    @torch.no_grad()
    def see(self, ensemble: Ensemble, figures: Tensor) -> None:
        """Take over the members that have become better."""
        if not self.parameters:
            self.parameters = {name: tensor.detach().clone() for name, tensor in ensemble.parameters.items()}
        better = figures < self.figures
        self.figures = torch.where(better, figures, self.figures)
        for name, tensor in ensemble.parameters.items():
            self.parameters[name][better] = tensor.detach()[better]

    @torch.no_grad()
    def give_back(self, ensemble: Ensemble) -> None:
        """Put the best parameters into the ensemble."""
        for name, tensor in self.parameters.items():
            ensemble.parameters[name].copy_(tensor)
