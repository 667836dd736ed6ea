"""Linear maps with the initial weights of the published programs."""

from __future__ import annotations

from torch import nn

from qdyn.models.stacked import Linear


def kaiming_linear(inputs: int, outputs: int) -> Linear:
    """A linear map without offset; weights uniform in +-sqrt(6 / inputs), Kaiming's law for rectifiers."""
    made = Linear(inputs, outputs)
    nn.init.kaiming_uniform_(made.weight, nonlinearity="relu")
    nn.init.zeros_(made.bias)
    return made
