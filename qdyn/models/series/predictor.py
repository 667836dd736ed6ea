"""What trained forecasters of time series have in common: windows, losses and forecasts."""

from __future__ import annotations

from abc import abstractmethod

import torch
from jaxtyping import Bool, Float, Real
from torch import Tensor, nn

from qdyn.checks import check_choice
from qdyn.data.sequences import SequenceMetadata
from qdyn.errors import ConfigError
from qdyn.models.base import Predictor
from qdyn.models.context import check_context
from qdyn.models.dropout import evaluating
from qdyn.models.initial import kaiming_linear
from qdyn.models.series.config import SeriesSection
from qdyn.models.series.dropout import Drop, SeededDropout
from qdyn.models.stacked import LayerNorm

LOSS_NAMES = ("MSE", "MSE_last")
# Windows that are forecast at a time: bounds the memory.
_BATCH = 512


class SeriesPredictor(nn.Module, Predictor):
    r"""A network from a window of values to a forecast after each of them; subclasses define `hidden`.

    The stem is $e = \mathrm{Dropout}(\mathrm{LN}(W_e x + b_e))$, the head a linear map.

    Args:
        config: What a preset's ``model`` section says.
        metadata: Of real vectors of any length, d components each.
        seed: Fixes the initial parameters and what is dropped in training.

    Attributes:
        causal: Whether a forecast depends on nothing later in the window.
        validation_metric: The loss that says what a forecast is worth: "MSE", or "MSE_last" where only the
            last position forecasts without having seen its target.
        stackable: Whether `loss` takes parameters, buffers and data that begin with an axis of models.

    Raises:
        ConfigError: the data are not real vectors of any length.
    """

    causal: bool = True
    stackable: bool = True

    def __init__(self, config: SeriesSection, metadata: SequenceMetadata, *, seed: int) -> None:
        super().__init__()
        if metadata.kind != "real" or metadata.normalised:
            found = "unit vectors" if metadata.kind == "real" else repr(metadata.kind)
            raise ConfigError(
                f"Argument `model.kind` {config.kind!r} is for real vectors of any length, "
                f"but the data {metadata.name} are {found}."
            )
        self.config = config
        self.metadata = metadata
        self.embedding = kaiming_linear(metadata.dimension, config.width)
        self.embedding_norm = LayerNorm(config.width)
        self.dropout = SeededDropout(config.dropout, seed=seed)

    @property
    def validation_metric(self) -> str:
        """See the class."""
        return "MSE" if self.causal else "MSE_last"

    @property
    def window(self) -> int:
        """Values that a forecast looks back at."""
        section: SeriesSection = self.config
        return section.window

    @abstractmethod
    def hidden(
        self,
        embedded: Float[Tensor, "*models tokens width"],
        mask: Bool[Tensor, "*models batch time"] | None,
        drop: Drop,
        shape: tuple[int, ...],
    ) -> Float[Tensor, "*models tokens width"]:
        """Hidden vectors (..., batch * time, width) from embedded values; ``shape`` is (..., batch, time)."""

    def forward(
        self,
        values: Float[Tensor, "*models batch time d"],
        mask: Bool[Tensor, "*models batch time"] | None = None,
        *,
        windows: int = 1,
    ) -> Float[Tensor, "*models batch time d"]:
        """The output at every position of windows of up to ``window`` values.

        Only for a causal model are all of them forecasts. An element where ``mask`` is False is not seen.
        Values begin with an axis of models where the parameters do. Every ``windows`` of them belong to one
        sequence of a batch.
        """
        drop = self.dropout(values, windows=windows)
        # One axis for all tokens: products with a weight of each model of a batch stay one product.
        embedded = drop(self.embedding_norm(self.embedding(values.flatten(-3, -2))))
        return self.head(self.hidden(embedded, mask, drop, values.shape[:-1])).reshape(values.shape)

    def loss(
        self,
        name: str,
        inputs: Float[Tensor, "*models batch time d"],
        targets: Float[Tensor, "*models batch time d"],
        mask: Bool[Tensor, "*models batch time"] | None = None,
    ) -> Float[Tensor, "*models batch"]:
        """The mean squared error of each sequence.

        Args:
            name: "MSE" over all positions, or "MSE_last" at the last one. For a model that is not causal
                "MSE" is leaky, as published: all targets but the last are among the inputs.
            inputs: Values; sequences longer than the window are cut into all their windows, of which none
                reaches into padding.
            targets: The values that follow.
            mask: False where a step's target does not exist.

        Raises:
            ArgumentError: another loss.
        """
        check_choice("loss", name, LOSS_NAMES)
        present = torch.ones_like(inputs[..., 0], dtype=torch.bool) if mask is None else mask
        sequences, windows = inputs.shape[:-2], 1
        if inputs.shape[-2] > self.window:
            inputs, targets = (
                one.unfold(-2, self.window, 1).movedim(-1, -2).flatten(-4, -3) for one in (inputs, targets)
            )
            present = present.unfold(-1, self.window, 1)
            # Beyond the end of a sequence its last steps would count again, with ever shorter contexts.
            within = present[..., -1:].clone()
            within[..., 0, :] = True
            windows = present.shape[-2]
            present = (present & within).flatten(-3, -2)
        errors = (self(inputs, present, windows=windows) - targets).square().mean(-1)
        counted = present
        if name == "MSE_last":
            after = torch.cat([present[..., 1:], torch.zeros_like(present[..., :1])], dim=-1)
            counted = present & ~after
        # Padded windows without any step count as nothing.
        errors, counted = (one.reshape(*sequences, -1) for one in (errors, counted))
        return (errors * counted).sum(-1) / counted.sum(-1).clamp_min(1)

    @torch.no_grad()
    def forecast(
        self, inputs: Real[Tensor, "*batch time d"], mask: Bool[Tensor, "*batch time"] | None = None
    ) -> Float[Tensor, "*batch time d"]:
        """The forecast after every element, from at most ``window`` elements; see `Predictor.forecast`.

        It has the precision of the inputs; that of the parameters where these are integers. Nothing is
        dropped.
        """
        steps, dimension = inputs.shape[-2:]
        values = inputs.reshape(-1, steps, dimension).to(self.embedding.weight.dtype)
        seen = None if mask is None else mask.reshape(-1, steps)
        short = min(steps, self.window)
        with evaluating(self):
            if self.causal:
                found = [self(values[:, :short], None if seen is None else seen[:, :short])]
            else:
                found = [self._last(values[:, :length], seen, length) for length in range(1, short + 1)]
            if steps > self.window:
                windows = values.unfold(1, self.window, 1)[:, 1:].movedim(-1, -2)
                masks = None if seen is None else seen.unfold(1, self.window, 1)[:, 1:].flatten(0, 1)
                ahead = self._last(windows.flatten(0, 1), masks, self.window)
                found.append(ahead.reshape(len(values), -1, dimension))
        return torch.cat(found, dim=1).reshape(inputs.shape).to(self._precision(inputs))

    @torch.no_grad()
    def predict(self, context: Real[Tensor, "*batch time d"]) -> Float[Tensor, "*batch d"]:
        """The forecast of the element that follows ``context``; it looks at the last ``window`` only.

        Raises:
            ArgumentError: ``context`` is empty, complex, or of another dimension than the data.
        """
        context = check_context(context, self.metadata)
        seen = context[..., -self.window :, :]
        flat = seen.reshape(-1, *seen.shape[-2:]).to(self.embedding.weight.dtype)
        with evaluating(self):
            ahead = self._last(flat, None, flat.shape[1])[:, 0]
        return ahead.reshape(*seen.shape[:-2], -1).to(self._precision(context))

    def _precision(self, values: Tensor) -> torch.dtype:
        """Of forecasts from ``values``: integers have none."""
        return values.dtype if values.is_floating_point() else self.embedding.weight.dtype

    def _last(self, windows: Tensor, mask: Tensor | None, length: int) -> Tensor:
        """The output at the last position of every window, (windows, 1, d)."""
        parts = []
        for first in range(0, len(windows), _BATCH):
            part = slice(first, first + _BATCH)
            seen = None if mask is None else mask[part, :length]
            parts.append(self(windows[part], seen)[:, -1:])
        return torch.cat(parts)

    def _add_head(self) -> None:
        """The head is drawn last, as in the published programs."""
        assert self.metadata is not None
        self.head = kaiming_linear(self.config.width, self.metadata.dimension)
