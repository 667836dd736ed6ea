"""What a preset's `model` section says for a transformer with any attention."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from qdyn.attention.graph_bias import GraphName
from qdyn.attention.mechanism import check_options
from qdyn.checks import check_integer
from qdyn.errors import ConfigError
from qdyn.models.conditions import ConditionedSection
from qdyn.models.config import check_places

EmbeddingName = Literal["linear", "identity"]
PositionName = Literal["learned", "sinusoidal", "none"]


@dataclass(frozen=True)
class TransformerConfig(ConditionedSection):
    """A decoder of `blocks` times attention and feed-forward network, whose attention a name picks.

    Attributes:
        kind: "transformer".
        conditions: See `ConditionedSection`; they enter the linear embedding.
        standardise: See `ConditionedSection`.
        attention: Any of `qdyn.attention.names()`.
        attention_options: Its own options, such as ``{encoding: ansatz, positions: rotary}``.
        width: Width of the elements between the layers, >= 1; embedding "identity" ignores it.
        causal: Whether element i attends to elements j <= i only. If not, as some mechanisms need, every
            forecast comes from a pass of its own over what it may see, T times the work.
        heads: Attention heads, >= 1.
        blocks: How many, >= 1.
        feed_forward: Width of the hidden layer of the feed-forward network; 0 leaves the network out, None
            takes 4 times the width.
        embedding: "linear" maps elements to the width; "identity" takes vectors as they are, of states the
            real and then the imaginary parts.
        positions: "learned" (one vector a place), "sinusoidal" (fixed), or "none": those that an encoding
            circuit adds are options of the attention.
        steps: Steps of the longest sequence, >= 1: learnt positions end there.
        graph: What biases the scores of every block, one trained number a bin and head: "bonds" between the
            atoms of a molecule, "chain", the separation of a protein's residues, or "none". See
            `qdyn.attention.graph_bias`.
        graph_reach: The longest path with a bin of its own, >= 1.
        normalise: LayerNorm before each part and at the end; false keeps, for example, amplitudes apart.
        dropout: Probability that an entry is dropped in training, in [0, 1).
        adapter: What stands between attention and feed-forward network of the blocks ``adapter_blocks``:
            "quantum" or "bottleneck", see `qdyn.models.adapters`.
        adapter_blocks: Numbers of these blocks, from 0.
    """

    kind: str = "transformer"
    attention: str = "softmax"
    attention_options: Mapping[str, Any] = field(default_factory=dict)
    causal: bool = True
    width: int = 32
    heads: int = 1
    blocks: int = 1
    feed_forward: int | None = None
    embedding: EmbeddingName = "linear"
    positions: PositionName = "learned"
    steps: int = 64
    graph: GraphName = "none"
    graph_reach: int = 8
    normalise: bool = True
    dropout: float = 0.0
    adapter: Literal["quantum", "bottleneck"] = "quantum"
    adapter_blocks: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("width", "heads", "blocks", "steps", "graph_reach"):
            check_integer(f"model.{name}", getattr(self, name), minimum=1)
        if self.feed_forward is not None:
            check_integer("model.feed_forward", self.feed_forward, minimum=0)
        check_places("model.adapter_blocks", self.adapter_blocks, self.blocks)
        # "quantum" is what a transformer without adapters says, too.
        if self.adapter != "quantum" and not self.adapter_blocks:
            raise ConfigError(
                f"Argument `model.adapter_blocks` must name the blocks of the adapter {self.adapter!r}, "
                "but is empty."
            )
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"Argument `model.dropout` must lie in [0, 1), but is {self.dropout:g}.")
        if self.conditions and self.embedding == "identity":
            raise ConfigError(
                "Argument `model.conditions` needs model.embedding 'linear', which they enter, but that is "
                "'identity'."
            )
        check_options(self.attention, dict(self.attention_options), where="model.attention_options")
