"""The best parameters of each member so far, by the validation split or by the loss of training itself."""

from __future__ import annotations

import torch
from torch import Tensor

from qdyn.training.ensembles import Ensemble


class Best:
    """Keeps, for each member, the parameters of the evaluation with the lowest figure.

    Attributes:
        figures: The lowest so far, (members,), infinite before the first.
        parameters: Those that reached it, stacked over members; empty before the first.
        losses: Sum of the losses of the mini-batches since the last evaluation, (members,).
        count: How many they are.
    """

    def __init__(self, members: int) -> None:
        self.figures = torch.full((members,), torch.inf, dtype=torch.float64)
        self.parameters: dict[str, Tensor] = {}
        self.losses = torch.zeros(members, dtype=torch.float64)
        self.count = 0

    def add(self, losses: Tensor) -> None:
        """Take note of the losses of one update."""
        self.losses = self.losses + losses.double()
        self.count += 1

    def mean_loss(self) -> Tensor:
        """The mean of the losses since it was asked for last."""
        mean = self.losses / self.count
        self.losses, self.count = torch.zeros_like(self.losses), 0
        return mean

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
