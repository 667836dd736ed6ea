"""What a preset's `model` section says for every model that writes sequences word by word."""

from __future__ import annotations

from dataclasses import dataclass

from qdyn.checks import check_integer
from qdyn.errors import ConfigError
from qdyn.models.conditions import ConditionedSection


@dataclass(frozen=True)
class DecoderSection(ConditionedSection):
    """What the decoder of molecules and the models beside it have in common.

    Attributes:
        kind: The family of the model.
        conditions: See `ConditionedSection`.
        standardise: See `ConditionedSection`. As published, raw values go into linear maps, where a molecular
            weight of 120 outweighs everything else and saturates bounded angles.
        width: Width of the embedding, >= 1.
        block: Elements of the longest sequence, [CLS] and [EOS] among them, >= 3.
        dropout: Probability that an entry is dropped in training, in [0, 1).
    """

    kind: str = ""
    width: int = 64
    block: int = 24
    dropout: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_integer("model.width", self.width, minimum=1)
        check_integer("model.block", self.block, minimum=3)
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"Argument `model.dropout` must lie in [0, 1), but is {self.dropout:g}.")
