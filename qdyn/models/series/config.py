"""What a preset's `model` section says for forecasters of time series."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from qdyn.attention.qasa.adapter import EncodingName
from qdyn.checks import check_choice, check_integer
from qdyn.errors import ConfigError
from qdyn.models.config import ModelSection, check_places

MULTI_HEAD = "multi_head"
"""The attention of PyTorch's encoder layer, with offsets and dropped weights."""

AdapterName = Literal["none", "quantum", "bottleneck"]
StartName = Literal["independent", "copies"]


@dataclass(frozen=True)
class SeriesSection(ModelSection):
    """What every forecaster of time series has.

    Attributes:
        kind: Names the class of the model.
        width: Width of the hidden vectors, an even number >= 2.
        window: Values that a forecast looks back at, >= 1: positions are counted within it.
        dropout: Probability that an entry is dropped in training, in [0, 1).
    """

    kind: str = ""
    width: int = 64
    window: int = 20
    dropout: float = 0.1

    def __post_init__(self) -> None:
        check_integer("model.width", self.width, minimum=2)
        check_integer("model.window", self.window, minimum=1)
        if self.width % 2:
            raise ConfigError(f"Argument `model.width` must be even, but is {self.width}.")
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"Argument `model.dropout` must lie in [0, 1), but is {self.dropout:g}.")


@dataclass(frozen=True)
class SeriesTransformerConfig(SeriesSection):
    """What the transformers have beside.

    Attributes:
        layers: Encoder layers, >= 1.
        heads: Heads of attention; they divide the width.
        causal: Whether a position sees only itself and those before it. Without, as published, it sees the
            whole window: forecasts are then made from the last position alone, and training on the loss of
            all positions ("MSE") lets them copy what they are to forecast.
    """

    layers: int = 4
    heads: int = 4
    causal: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_integer("model.layers", self.layers, minimum=1)
        check_integer("model.heads", self.heads, minimum=1)
        if self.width % self.heads:
            raise ConfigError(
                f"Argument `model.heads` must divide `model.width` ({self.width}), but is {self.heads}."
            )


@dataclass(frozen=True)
class SeriesEncoderConfig(SeriesTransformerConfig):
    """A transformer encoder, some of whose layers may hold an adapter: QASA and its controls.

    Attributes:
        kind: "series_encoder".
        attention: "multi_head" (that of PyTorch's encoder layer, as published), or any mechanism of
            `qdyn.attention`. One that cannot be causal takes ``causal: false``.
        attention_options: The options of that mechanism, such as ``{temperature: 2.0}``.
        adapter: What stands between attention and the perceptron of the layers ``adapter_layers``: "quantum"
            (QASA's value circuit), "bottleneck" (a classical map of nearly as many parameters), or "none"
            (such layers with the adapter removed).
        adapter_layers: Numbers of these layers, from 0; empty for the classical encoder.
        adapter_shift: Added to the angles of the circuit or the inputs of the map. As published the length of
            the window, 20: it saturates the bottleneck and only moves the start of the circuit.
        adapter_encoding: How an angle turns its qubit: "rx_rz" uses it twice, as published, "ry" once, and
            "phase" as a phase alone.
        pruned: Whether the three weights of the circuit without any effect are left out.
        trained_adapter: Whether the weights of circuit or map are trained; without, they stay random.
        start: "independent" draws every layer anew, weights of stem and head from Kaiming's law; "copies"
            starts all classical layers from the same weights, as PyTorch's TransformerEncoder does.
    """

    kind: str = "series_encoder"
    attention: str = MULTI_HEAD
    attention_options: Mapping[str, Any] = field(default_factory=dict)
    adapter: AdapterName = "none"
    adapter_layers: tuple[int, ...] = ()
    adapter_shift: float = 0.0
    adapter_encoding: EncodingName = "rx_rz"
    pruned: bool = False
    trained_adapter: bool = True
    start: StartName = "independent"

    def __post_init__(self) -> None:
        super().__post_init__()
        kinds = {"adapter": AdapterName, "adapter_encoding": EncodingName, "start": StartName}
        for name, valid in kinds.items():
            check_choice(f"model.{name}", getattr(self, name), get_args(valid))
        check_places("model.adapter_layers", self.adapter_layers, self.layers)
        if self.attention_options and self.attention == MULTI_HEAD:
            raise ConfigError(
                f"Argument `model.attention_options` is for a mechanism of qdyn.attention, but "
                f"`model.attention` is {MULTI_HEAD!r}."
            )
        if self.adapter != "none" and not self.adapter_layers:
            raise ConfigError(
                f"Argument `model.adapter_layers` must name the layers of the adapter {self.adapter!r}, "
                "but is empty."
            )
        if not abs(self.adapter_shift) < float("inf"):
            raise ConfigError(
                f"Argument `model.adapter_shift` must be finite, but is {self.adapter_shift:g}."
            )
        if self.start == "copies" and self.adapter_layers:
            raise ConfigError("Argument `model.start` 'copies' is for an encoder without adapter layers.")


@dataclass(frozen=True)
class QnnFormerConfig(SeriesTransformerConfig):
    """An encoder whose last layer projects to queries, keys and values by circuits of 4 qubits: QnnFormer.

    Attributes:
        kind: "qnnformer".
        layers: Encoder layers, that of the circuits among them.
    """

    kind: str = "qnnformer"


@dataclass(frozen=True)
class QLSTMConfig(SeriesSection):
    """A long short-term memory whose four gates are circuits of 8 qubits: QLSTM.

    Attributes:
        kind: "qlstm".
    """

    kind: str = "qlstm"
