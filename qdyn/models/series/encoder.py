"""Transformer encoders of time series: classical, QASA with its adapter anywhere, and QnnFormer."""

from __future__ import annotations

from abc import abstractmethod

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from qdyn.data.sequences import SequenceMetadata
from qdyn.models.adapters import make_adapter
from qdyn.models.series.config import (
    MULTI_HEAD,
    QnnFormerConfig,
    SeriesEncoderConfig,
    SeriesTransformerConfig,
)
from qdyn.models.series.dropout import Drop
from qdyn.models.series.layers import (
    AdapterLayer,
    CircuitAttention,
    ClassicalLayer,
    MultiHeadAttention,
    make_attention,
)
from qdyn.models.series.predictor import SeriesPredictor


class SeriesTransformer(SeriesPredictor):
    """Positions as sines and cosines, encoder layers and a linear head; subclasses make the layers."""

    config: SeriesTransformerConfig
    positions: Tensor

    def __init__(self, config: SeriesTransformerConfig, metadata: SequenceMetadata, *, seed: int) -> None:
        # PyTorch draws initial parameters from its global generator, which is left as it was.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            super().__init__(config, metadata, seed=seed)
            self.causal = config.causal
            self.register_buffer("positions", _sinusoids(config.window, config.width), persistent=False)
            self.layers = nn.ModuleList(self._make_layers(config))
            self._add_head()
            self._start()

    def hidden(
        self,
        embedded: Float[Tensor, "*models tokens width"],
        mask: Bool[Tensor, "*models batch time"] | None,
        drop: Drop,
        shape: tuple[int, ...],
    ) -> Float[Tensor, "*models tokens width"]:
        """See `SeriesPredictor.hidden`."""
        batch, steps = shape[-2:]
        seen = torch.ones(steps, steps, dtype=torch.bool, device=embedded.device)
        seen = (seen.tril() if self.config.causal else seen).expand(*shape, steps)
        if mask is not None:
            # Each element may see itself, so that no row is empty.
            itself = torch.eye(steps, dtype=torch.bool, device=embedded.device)
            seen = seen & (mask.unsqueeze(-2) | itself)
        tokens = embedded + self.positions[:steps].to(embedded.dtype).repeat(batch, 1)
        for layer in self.layers:
            tokens = layer(tokens, seen, drop)
        return tokens

    @abstractmethod
    def _make_layers(self, config: SeriesTransformerConfig) -> list[nn.Module]: ...

    def _start(self) -> None:
        """Change the initial parameters, where that is wanted."""


class SeriesEncoder(SeriesTransformer):
    """A transformer encoder, some of whose layers may hold an adapter: QASA and its controls.

    Args:
        config: What a preset's ``model`` section says.
        metadata: Of real vectors of any length.
        seed: Fixes the initial parameters and what is dropped in training.

    Source: arXiv:2504.05336; ``adapter_layers: [3]`` is the QASA of its tables.

    Example:
        >>> data = SequenceMetadata("series", "real", 1, normalised=False)
        >>> qasa = SeriesEncoder(SeriesEncoderConfig(adapter="quantum", adapter_layers=(3,)), data, seed=0)
        >>> qasa.label, sum(parameter.numel() for parameter in qasa.parameters())
        ('QASA, layer 3', 201405)
        >>> qasa.forecast(torch.zeros(2, 20, 1)).shape
        torch.Size([2, 20, 1])
    """

    config: SeriesEncoderConfig

    def __init__(self, config: SeriesEncoderConfig, metadata: SequenceMetadata, *, seed: int = 0) -> None:
        super().__init__(config, metadata, seed=seed)
        self.name = f"series-{config.adapter}" if config.adapter_layers else "series-encoder"
        self.label = _label(config)
        # What a named mechanism computes is one model at a time.
        self.stackable = config.attention == MULTI_HEAD

    def _make_layers(self, config: SeriesTransformerConfig) -> list[nn.Module]:
        assert isinstance(config, SeriesEncoderConfig)
        layers: list[nn.Module] = []
        for place in range(config.layers):
            adapted = place in config.adapter_layers
            attention = make_attention(config, drops=not adapted)
            if not adapted:
                layers.append(ClassicalLayer(config.width, attention))
                continue
            adapter = None
            if config.adapter != "none":
                adapter = make_adapter(
                    config.adapter,
                    config.width,
                    shift=config.adapter_shift,
                    pruned=config.pruned and config.adapter == "quantum",
                    trained=config.trained_adapter,
                    encoding=config.adapter_encoding,
                )
            layers.append(AdapterLayer(config.width, attention, adapter))
        return layers

    def _start(self) -> None:
        if self.config.start != "copies":
            return
        for linear in (self.embedding, self.head):
            linear.reset_parameters()
        for layer in self.layers[1:]:
            layer.load_state_dict(self.layers[0].state_dict())


class QnnFormer(SeriesTransformer):
    """An encoder whose last layer projects to queries, keys and values by circuits of 4 qubits.

    Args:
        config: What a preset's ``model`` section says.
        metadata: Of real vectors of any length.
        seed: Fixes the initial parameters and what is dropped in training.

    Source: arXiv:2504.05336, its baseline QnnFormer. Angles start at 0.01 N(0, 1).

    Example:
        >>> data = SequenceMetadata("series", "real", 1, normalised=False)
        >>> sum(p.numel() for p in QnnFormer(QnnFormerConfig(), data, seed=0).parameters())
        190631
    """

    name, label = "qnnformer", "QnnFormer"

    def __init__(self, config: QnnFormerConfig, metadata: SequenceMetadata, *, seed: int = 0) -> None:
        super().__init__(config, metadata, seed=seed)

    def _make_layers(self, config: SeriesTransformerConfig) -> list[nn.Module]:
        width, heads = config.width, config.heads
        classical = [
            ClassicalLayer(width, MultiHeadAttention(width, heads, drops=True))
            for _ in range(config.layers - 1)
        ]
        return [*classical, AdapterLayer(width, CircuitAttention(width, heads, drops=False), None)]


def _label(config: SeriesEncoderConfig) -> str:
    if not config.adapter_layers:
        return "Classical encoder"
    where = "layers" if len(config.adapter_layers) > 1 else "layer"
    places = ", ".join(map(str, config.adapter_layers))
    what = {"quantum": "QASA", "bottleneck": "Classical bottleneck", "none": "Adapter removed"}
    frozen = "" if config.trained_adapter or config.adapter == "none" else ", frozen"
    return f"{what[config.adapter]}{frozen}, {where} {places}"


def _sinusoids(steps: int, width: int) -> Float[Tensor, "steps width"]:
    """Sines and cosines of p 10000^(-2k / width) for position p, side by side."""
    rates = 10000.0 ** (-torch.arange(0, width, 2, dtype=torch.float64) / width)
    angles = torch.arange(steps, dtype=torch.float64)[:, None] * rates
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(-2).float()
