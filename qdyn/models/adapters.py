r"""Adapters: a narrow map beside a skip connection, to be put into any transformer.

$$g = u + W_{out}\, q(\theta) + b_{out}, \qquad
\theta = \mathrm{LN}(\tanh(W_{in} u + b_{in})) + s,$$

from a hidden vector u to 8 numbers and back. In QASA q is a circuit; the control is a classical map of 40
parameters. The shift s is the length of the window in the published programs. It turns the starting angles of
the circuit by a constant, which the LayerNorm can undo, and drives most outputs of the control to ±1.

Source: arXiv:2504.05336 and the program of its authors.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
from jaxtyping import Float
from torch import Tensor, nn

from qdyn.attention.qasa.adapter import (
    ENCODINGS,
    N_DATA,
    WEIGHT_SHAPE,
    EncodingName,
    prune_weights,
    qasa_expectations,
)
from qdyn.checks import check_choice, check_integer
from qdyn.models.initial import kaiming_linear
from qdyn.models.stacked import LayerNorm

ADAPTERS = ("quantum", "bottleneck")
_BOTTLENECK_RANK = 2


class Adapter(nn.Module, ABC):
    """A narrow map beside a skip connection.

    Args:
        width: Entries of a hidden vector.
        shift: s, added to the 8 inputs of the map.
        trained: Whether the weights of the map are trained; without, they stay as drawn.
    """

    def __init__(self, width: int, *, shift: float = 0.0, trained: bool = True) -> None:
        super().__init__()
        check_integer("width", width, minimum=1)
        self.shift = shift
        self.narrow = kaiming_linear(width, N_DATA)
        self.norm = LayerNorm(N_DATA)
        self._add_weights(trained)
        self.widen = kaiming_linear(N_DATA, width)

    def forward(self, hidden: Float[Tensor, "*batch width"]) -> Float[Tensor, "*batch width"]:
        """G for every hidden vector u."""
        angles = self.norm(torch.tanh(self.narrow(hidden))) + self.shift
        return hidden + self.widen(self.values(angles))

    @abstractmethod
    def values(self, angles: Float[Tensor, "*batch 8"]) -> Float[Tensor, "*batch 8"]:
        """q, eight numbers from -1 to 1."""

    @abstractmethod
    def _add_weights(self, trained: bool) -> None: ...

    def _add(self, name: str, weights: Tensor, trained: bool) -> None:
        if trained:
            self.register_parameter(name, nn.Parameter(weights))
        else:
            self.register_buffer(name, weights)


class QuantumAdapter(Adapter):
    """The adapter of QASA: q are the <Z> of its value circuit.

    Args:
        width: Entries of a hidden vector.
        shift: s, added to the 8 angles.
        pruned: Leave out the three weights on which nothing depends.
        trained: Whether the weights of the circuit are trained.
        encoding: How an angle turns its qubit, see `qdyn.attention.qasa.adapter.ENCODINGS`.

    Attributes:
        weights: (4, 9), or (33,) where ``pruned``, uniform in [0, 2 pi) at the start.

    Example:
        >>> adapter = QuantumAdapter(64)
        >>> adapter(torch.zeros(2, 5, 64)).shape, sum(p.numel() for p in adapter.parameters())
        (torch.Size([2, 5, 64]), 1148)
    """

    weights: Tensor

    def __init__(
        self,
        width: int,
        *,
        shift: float = 0.0,
        pruned: bool = False,
        trained: bool = True,
        encoding: EncodingName = "rx_rz",
    ) -> None:
        check_choice("encoding", encoding, ENCODINGS)
        self._pruned, self._encoding = pruned, encoding
        super().__init__(width, shift=shift, trained=trained)

    def values(self, angles: Float[Tensor, "*batch 8"]) -> Float[Tensor, "*batch 8"]:
        """See `qdyn.qasa_expectations`."""
        return qasa_expectations(angles, self.weights, encoding=self._encoding)

    def _add_weights(self, trained: bool) -> None:
        drawn = 2 * math.pi * torch.rand(WEIGHT_SHAPE)
        self._add("weights", prune_weights(drawn) if self._pruned else drawn, trained)


class BottleneckAdapter(Adapter):
    r"""The classical control: $q = \tanh(\theta U V + c)$ of rank 2, 40 parameters against the circuit's 36.

    Example:
        >>> sum(p.numel() for p in BottleneckAdapter(64).parameters())
        1152
    """

    down: Tensor
    up: Tensor
    offset: Tensor

    def values(self, angles: Float[Tensor, "*batch 8"]) -> Float[Tensor, "*batch 8"]:
        """Q."""
        offset = self.offset.unsqueeze(-2) if self.offset.ndim > 1 else self.offset
        return torch.tanh(angles @ self.down @ self.up + offset)

    def _add_weights(self, trained: bool) -> None:
        for name, rows, columns in (("down", N_DATA, _BOTTLENECK_RANK), ("up", _BOTTLENECK_RANK, N_DATA)):
            # Kaiming's uniform law with a = sqrt(5) for a map of `rows` inputs.
            bound = 1 / math.sqrt(rows)
            self._add(name, torch.empty(rows, columns).uniform_(-bound, bound), trained)
        self._add("offset", torch.zeros(N_DATA), trained)


def make_adapter(
    name: str,
    width: int,
    *,
    shift: float = 0.0,
    pruned: bool = False,
    trained: bool = True,
    encoding: EncodingName = "rx_rz",
) -> Adapter:
    """The adapter of that name, "quantum" or "bottleneck"; initial weights from PyTorch's generator.

    Raises:
        ArgumentError: an unknown name.
    """
    check_choice("adapter", name, ADAPTERS)
    if name == "quantum":
        return QuantumAdapter(width, shift=shift, pruned=pruned, trained=trained, encoding=encoding)
    return BottleneckAdapter(width, shift=shift, trained=trained)
