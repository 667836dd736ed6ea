"""What a preset's `model` section says for every model that writes sequences word by word."""

from __future__ import annotations

from dataclasses import dataclass

from qdyn.checks import check_integer
from qdyn.errors import ConfigError
from qdyn.models.config import ModelSection


@dataclass(frozen=True)
class DecoderSection(ModelSection):
    """What the decoder of molecules and the models beside it have in common.

    Attributes:
        kind: The family of the model.
        conditions: Names of the data's conditions that the model is told, in this order; none of them for a
            model of sequences alone.
        standardise: Whether conditions are told in units of their standard deviation from their mean, both of
            the training split. Without, raw values go into linear maps, as published, where a molecular
            weight of 120 outweighs everything else and saturates bounded angles.
        width: Width of the embedding, >= 1.
        block: Elements of the longest sequence, [CLS] and [EOS] among them, >= 3.
        dropout: Probability that an entry is dropped in training, in [0, 1).
    """

    kind: str = ""
    conditions: tuple[str, ...] = ()
    standardise: bool = False
    width: int = 64
    block: int = 24
    dropout: float = 0.0

    def __post_init__(self) -> None:
        check_integer("model.width", self.width, minimum=1)
        check_integer("model.block", self.block, minimum=3)
        if len(set(self.conditions)) < len(self.conditions):
            raise ConfigError(f"Argument `model.conditions` must name each once, but is {self.conditions}.")
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"Argument `model.dropout` must lie in [0, 1), but is {self.dropout:g}.")
