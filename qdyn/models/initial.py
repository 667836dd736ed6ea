"""Linear maps with the initial weights of the published programs."""

from __future__ import annotations

from torch import nn


def kaiming_linear(inputs: int, outputs: int) -> nn.Linear:
    """A linear map without offset; weights uniform in +-sqrt(6 / inputs), Kaiming's law for rectifiers."""
    made = nn.Linear(inputs, outputs)
    nn.init.kaiming_uniform_(made.weight, nonlinearity="relu")
    nn.init.zeros_(made.bias)
    return made
