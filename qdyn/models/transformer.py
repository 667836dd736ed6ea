r"""A transformer decoder with any attention mechanism, on any kind of data.

With $x$ the embedded elements and their positions, every block does

$$x \leftarrow x + \mathrm{Attention}(h, h, h), \quad h = \mathrm{LN}(x), \qquad
x \leftarrow x + \mathrm{MLP}(\mathrm{LN}(x)),$$

and a linear head reads the forecast: the logits of the next token, or what is added to the present vector to
give the next one. Only the mechanism differs between models. What is known of a whole sequence is added to
what every element is embedded as; a graph that the elements draw adds to the scores of every block.

A mechanism that cannot be causal sees each prefix of the sequence as a sequence of its own, of which the last
element's forecast counts: no forecast ever rests on what comes after.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor, nn

from qdyn.attention.graph_bias import GraphBias, graph_bins
from qdyn.attention.mechanism import build as build_attention
from qdyn.attention.pair_weights import check_element_mask
from qdyn.attention.qsa.readout import LOSSES, read_out
from qdyn.checks import check_choice
from qdyn.circuits.encodings.positions import sinusoidal_angles
from qdyn.data.sequences import SequenceMetadata
from qdyn.data.tags import given_one_of, label_numbers, label_steps
from qdyn.errors import ArgumentError, ConfigError
from qdyn.models.adapters import make_adapter
from qdyn.models.conditions import ConditionedModel, condition_map
from qdyn.models.context import check_context
from qdyn.models.dropout import BatchDropout, evaluating
from qdyn.models.transformer_config import TransformerConfig


class Transformer(ConditionedModel):
    """A decoder that forecasts tokens, real vectors or quantum states by any attention mechanism.

    Args:
        config: The model section of a preset.
        metadata: Of the data: kind and dimension.
        seed: Fixes the initial parameters.

    Attributes:
        config: As given.
        blocks: The blocks, each with its `attention`.

    Raises:
        ConfigError: what the configuration asks for does not suit the kind of data.
        ArgumentError: what the mechanism cannot do, or data that draw no such graph.

    Example:
        >>> metadata = SequenceMetadata("example", "token", 5)
        >>> model = Transformer(TransformerConfig(width=8, heads=2, steps=10), metadata, seed=0)
        >>> model.forecast(torch.tensor([[0, 3, 1]])).sum(-1).round(decimals=5)
        tensor([[1., 1., 1.]])
        >>> model.label
        'softmax transformer'
    """

    config: TransformerConfig
    metadata: SequenceMetadata

    def __init__(self, config: TransformerConfig, metadata: SequenceMetadata, *, seed: int = 0) -> None:
        super().__init__()
        self.config = config
        self.metadata = metadata
        self.name = f"transformer-{config.attention.replace('_', '-')}"
        self.label = f"{config.attention.replace('_', ' ')} transformer"
        numbers = metadata.dimension * (2 if metadata.kind == "quantum_state" else 1)
        width = _width(config, metadata, numbers)
        # PyTorch draws initial parameters from its global generator, which is left as it was.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.embedding: nn.Module = nn.Identity()
            if metadata.kind == "token":
                self.embedding = nn.Embedding(numbers, width)
            elif config.embedding == "linear":
                self.embedding = nn.Linear(numbers, width)
            self.positions: nn.Parameter | None = None
            if config.positions == "learned":
                self.positions = nn.Parameter(0.02 * torch.randn(config.steps, width))
            self.blocks = nn.ModuleList(
                Block(config, width, adapted=place in config.adapter_blocks) for place in range(config.blocks)
            )
            self.norm = nn.LayerNorm(width) if config.normalise else nn.Identity()
            self.head = nn.Linear(width, numbers)
            if metadata.kind != "token":
                # The forecast starts near the present vector, on the side of the right sign and phase.
                nn.init.normal_(self.head.weight, std=0.1 / math.sqrt(width))
                nn.init.zeros_(self.head.bias)
            if config.conditions:
                self.condition_embedding = condition_map(config, width)
        self.graph_bins = graph_bins(
            config.graph, metadata.vocabulary, longest=config.graph_reach, where="model.graph"
        )
        if self.graph_bins is not None:
            self.graph_bias = GraphBias(bins=self.graph_bins.count, heads=config.heads)
        self.dropout = BatchDropout(config.dropout)

    def forward(
        self,
        inputs: Shaped[Tensor, "*_batch_time"],
        mask: Bool[Tensor, "batch time"] | None = None,
        conditions: Float[Tensor, "batch conditions"] | None = None,
        *,
        bias: Float[Tensor, "#batch #heads time time"] | None = None,
    ) -> tuple[Shaped[Tensor, "batch time numbers"], list[Tensor]]:
        """What the head says of the element after each one, and the weights of every block.

        Args:
            inputs: Tokens (B, T), or vectors (B, T, d).
            mask: (B, T); False where an element takes no part in any forecast.
            conditions: Raw values (B, n), n the number of ``config.conditions``; None without conditions.
            bias: Added to the logarithm of every block's attention weights, beside that of ``config.graph``.

        Returns:
            Logits (B, T, D) of tokens, or vectors (B, T, d) whose length is not fixed; weights
            (B, heads, T, T) of each block.

        Raises:
            ArgumentError: more steps than there are positions for, or conditions that do not fit.
        """
        self._check_conditions(inputs, conditions)
        batch, steps = inputs.shape[:2]
        check_element_mask(mask, batch, steps)
        bias = self._with_graph(inputs, bias)
        if self.config.causal or self.config.blocks == 1:
            # A single block meets elements that nothing has seen yet: only its attention knows of prefixes.
            return self._pass(inputs, mask, conditions, bias, over_prefixes=not self.config.causal)
        prefixes = torch.ones(steps, steps, dtype=torch.bool, device=inputs.device).tril()
        seen = prefixes if mask is None else prefixes & mask[:, None]
        repeated = inputs[:, None].expand(batch, steps, *inputs.shape[1:]).flatten(0, 1)
        own = None if bias is None else bias.expand(batch, -1, -1, -1).repeat_interleave(steps, dim=0)
        told = None if conditions is None else conditions.repeat_interleave(steps, dim=0)
        found, weights = self._pass(repeated, seen.expand(batch, steps, steps).flatten(0, 1), told, own)
        last = torch.arange(steps, device=inputs.device)
        return (
            torch.unflatten(found, 0, (batch, steps))[:, last, last],
            [torch.unflatten(one, 0, (batch, steps))[:, last, :, last].movedim(0, 2) for one in weights],
        )

    def _with_graph(self, inputs: Tensor, bias: Tensor | None) -> Tensor | None:
        """The bias together with that of the graph that the elements draw."""
        if self.graph_bins is None:
            return bias
        drawn: Tensor = self.graph_bias(self.graph_bins(inputs))
        return drawn if bias is None else drawn + bias

    def _pass(
        self,
        inputs: Tensor,
        mask: Tensor | None,
        conditions: Tensor | None,
        bias: Tensor | None,
        *,
        over_prefixes: bool = False,
    ) -> tuple[Tensor, list[Tensor]]:
        """Through all blocks once."""
        steps = inputs.shape[1]
        if self.positions is not None and steps > len(self.positions):
            raise ArgumentError(
                f"Argument `inputs` has {steps} steps, but model.steps gives positions to "
                f"{len(self.positions)}."
            )
        vectors = self._vectors(inputs, mask)
        x = self.embedding(vectors)
        if self.positions is not None:
            x = x + self.positions[:steps]
        elif self.config.positions == "sinusoidal":
            x = x + sinusoidal_angles(torch.arange(steps), n_qubits=x.shape[-1]).to(x)
        if conditions is not None:
            x = x + self.condition_embedding(conditions.to(x.dtype))[:, None]
        x = self.dropout(x)
        weights = []
        for block in self.blocks:
            x, attention = block(x, mask, bias, over_prefixes=over_prefixes)
            weights.append(attention)
        found = self.head(self.norm(x))
        if self.metadata.kind != "token":
            found = vectors + found
        if self.metadata.kind == "quantum_state":
            found = torch.complex(*torch.unflatten(found, -1, (2, -1)).unbind(-2))
        return found, weights

    def loss(
        self,
        name: str,
        inputs: Shaped[Tensor, "*_batch_time"],
        targets: Shaped[Tensor, "*_batch_time"],
        mask: Bool[Tensor, "batch time"] | None = None,
        conditions: Float[Tensor, "batch conditions"] | None = None,
        *,
        bias: Float[Tensor, "#batch #heads time time"] | None = None,
    ) -> Float[Tensor, " batch"]:
        """The loss of that name of each sequence.

        Args:
            name: "L_1", the mean of -log p over the steps: of the next token's probability, or of the
                fidelity with the next unit vector. For real vectors whose length counts it is the squared
                error, averaged over components: the same for a normal density, but for constants. Of unit
                vectors there are "L_half", "L_A" and "L_B" as well. Where the vocabulary has labels, the step
                of the label counts alone, given that one of them comes: see `qdyn.data.tags`.
            inputs: Tokens (B, T), or vectors (B, T, d).
            targets: The elements that follow, of the same shape.
            mask: (B, T); steps where it is False are as if deleted.
            conditions: As of `forward`.
            bias: As of `forward`.

        Raises:
            ArgumentError: a loss that data of this kind do not have.
        """
        unit = self.metadata.kind != "token" and self.metadata.normalised
        check_choice("loss", name, LOSSES if unit else ("L_1",))
        found, _ = self(inputs, mask, conditions, bias=bias)
        if unit:
            return LOSSES[name](read_out(_unit(found), targets.to(found.dtype), mask=mask))
        if self.metadata.kind == "token":
            if labels := label_numbers(self.metadata.vocabulary):
                exists = torch.ones_like(targets, dtype=torch.bool) if mask is None else mask
                mask = label_steps(targets, labels, exists)
                found = given_one_of(found, labels)
            steps = -found.log_softmax(-1).gather(-1, targets[..., None])[..., 0]
        else:
            kept = targets if mask is None else targets.masked_fill(~mask[..., None], 0.0)
            steps = (found - kept).square().mean(-1)
        if mask is None:
            return steps.mean(-1)
        return steps.masked_fill(~mask, 0.0).sum(-1) / mask.sum(-1).clamp_min(1)

    @torch.no_grad()
    def forecast(
        self,
        inputs: Shaped[Tensor, "*_batch_time"],
        mask: Bool[Tensor, "*batch time"] | None = None,
        conditions: Float[Tensor, "*batch conditions"] | None = None,
    ) -> Shaped[Tensor, "*_batch_time_numbers"]:
        """Teacher-forced forecasts; see `Predictor.forecast`, and `forward` for the conditions."""
        with evaluating(self):
            found, _ = self(*self._flat(inputs, mask, conditions))
        return self._read(found).reshape(*self._places(inputs), *found.shape[2:])

    @torch.no_grad()
    def predict(self, context: Shaped[Tensor, "*_batch_time"]) -> Shaped[Tensor, "*_batch_numbers"]:
        """The forecast of the element that follows ``context``; see `Predictor.predict`."""
        seen = check_context(context, self.metadata)
        inputs, *_ = self._flat(seen, None, None)
        self._check_conditions(inputs, None)
        # The whole context is the one prefix that is asked for.
        with evaluating(self):
            found, _ = self._pass(inputs, None, None, self._with_graph(inputs, None))
        return self._read(found[:, -1]).reshape(*self._places(seen)[:-1], -1)

    def _read(self, found: Tensor) -> Tensor:
        """What the head says as forecasts: probabilities, or vectors of the data's length."""
        if self.metadata.kind == "token":
            return found.softmax(-1)
        return _unit(found) if self.metadata.normalised else found

    @torch.no_grad()
    def attention_weights(
        self,
        inputs: Shaped[Tensor, "*_batch_time"],
        mask: Bool[Tensor, "*batch time"] | None = None,
        conditions: Float[Tensor, "*batch conditions"] | None = None,
    ) -> Shaped[Tensor, "*_batch_time_time"]:
        """How each step spreads its attention: moduli in the last block, mean over heads, rows of sum 1."""
        with evaluating(self):
            _, weights = self(*self._flat(inputs, mask, conditions))
        spread = weights[-1].abs().mean(dim=1)
        total = spread.sum(dim=-1, keepdim=True)
        spread = spread / torch.where(total > 0, total, 1.0)
        return spread.reshape(*self._places(inputs), -1)

    def _places(self, inputs: Tensor) -> torch.Size:
        """The shape of the elements: batch axes and time."""
        return inputs.shape if self.metadata.kind == "token" else inputs.shape[:-1]

    def _flat(
        self, inputs: Tensor, mask: Tensor | None, conditions: Tensor | None
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """With one batch axis."""
        places = self._places(inputs)
        return (
            inputs.reshape(-1, *inputs.shape[len(places) - 1 :]),
            None if mask is None else mask.expand(places).reshape(-1, places[-1]),
            None if conditions is None else conditions.reshape(-1, conditions.shape[-1]),
        )

    def _vectors(self, inputs: Tensor, mask: Tensor | None) -> Tensor:
        """Tokens, or real vectors in the precision of the parameters; zero where masked."""
        if self.metadata.kind == "token":
            return inputs
        if inputs.is_complex():
            inputs = torch.cat([inputs.real, inputs.imag], dim=-1)
        inputs = inputs.to(self.head.weight.dtype)
        # Filled, not multiplied: what stands at an element that does not exist may be NaN.
        return inputs if mask is None else inputs.masked_fill(~mask[..., None], 0.0)


class Block(nn.Module):
    """Attention and a feed-forward network, each added to what it sees; between them perhaps an adapter."""

    def __init__(self, config: TransformerConfig, width: int, *, adapted: bool = False) -> None:
        super().__init__()
        options = dict(config.attention_options)
        self.attention = build_attention(
            config.attention, dim=width, heads=config.heads, causal=config.causal, **options
        )
        self.norm_attention = nn.LayerNorm(width) if config.normalise else nn.Identity()
        self.adapter = make_adapter(config.adapter, width) if adapted else nn.Identity()
        hidden = 4 * width if config.feed_forward is None else config.feed_forward
        self.feed_forward: nn.Module | None = None
        if hidden:
            self.norm_feed_forward = nn.LayerNorm(width) if config.normalise else nn.Identity()
            self.feed_forward = nn.Sequential(
                nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width), BatchDropout(config.dropout)
            )

    def forward(
        self, x: Tensor, mask: Tensor | None, bias: Tensor | None, *, over_prefixes: bool = False
    ) -> tuple[Tensor, Tensor]:
        """The block's output (B, T, width) and attention weights (B, heads, T, T).

        Args:
            x: (B, T, width).
            mask: (B, T).
            bias: Of the attention.
            over_prefixes: Whether every element is the last that its attention sees.
        """
        hidden = self.norm_attention(x)
        attend = self.attention.over_prefixes if over_prefixes else self.attention
        output, weights = attend(hidden, hidden, hidden, mask, bias=bias)
        x = self.adapter(x + output)
        if self.feed_forward is not None:
            x = x + self.feed_forward(self.norm_feed_forward(x))
        return x, weights


def _width(config: TransformerConfig, metadata: SequenceMetadata, numbers: int) -> int:
    if config.embedding == "linear":
        return config.width
    if metadata.kind == "token":
        raise ConfigError("Argument `model.embedding` 'identity' is for vectors, but the data are tokens.")
    return numbers


def _unit(vectors: Tensor) -> Tensor:
    length = torch.linalg.vector_norm(vectors, dim=-1, keepdim=True)
    return vectors / length.clamp_min(torch.finfo(length.dtype).tiny)
