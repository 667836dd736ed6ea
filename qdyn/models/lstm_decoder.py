r"""A long short-term memory of tokens: what a recurrence without attention does with as many parameters.

With the embedding $x_t = E[t] + W_c c$, where $c$ are the conditions, and the state $(h, m)$ of the step
before,

$$[a_i, a_f, a_g, a_o] = W x_t + U h + b, \quad m \leftarrow \sigma(a_f)\, m + \sigma(a_i) \tanh a_g,$$
$$h \leftarrow \sigma(a_o) \tanh m, \quad p_{t+1} = \mathrm{softmax}(W_o h + b_o).$$

Source: S. Hochreiter, J. Schmidhuber, Neural Computation 9, 1735 (1997); with the forget gate of F. A. Gers
et al., Neural Computation 12, 2451 (2000).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from qdyn.checks import check_integer
from qdyn.data.sequences import SequenceMetadata
from qdyn.models.conditions import condition_map
from qdyn.models.decoder_config import DecoderSection
from qdyn.models.dropout import BatchDropout
from qdyn.models.token_model import TokenModel


@dataclass(frozen=True)
class LSTMDecoderConfig(DecoderSection):
    """One layer of LSTM between an embedding and a linear output.

    Attributes:
        kind: "lstm_decoder".
        conditions: See `DecoderSection`.
        standardise: See `DecoderSection`.
        width: Width of the embedding, >= 1.
        block: Elements of the longest sequence, [CLS] and [EOS] among them, >= 3.
        dropout: Probability that an entry of the embedding or of the output's input is dropped in training,
            in [0, 1).
        hidden: Width of the state, >= 1. With 76, QM9's words and a width of 64 it has 47,517 parameters,
            where the decoder without scores has 47,521.
    """

    kind: str = "lstm_decoder"
    hidden: int = 76

    def __post_init__(self) -> None:
        super().__post_init__()
        check_integer("model.hidden", self.hidden, minimum=1)


class LSTMDecoder(TokenModel):
    """An LSTM with the interface of `qdyn.models.HybridDecoder`.

    Args:
        config: What a preset's ``model`` section says.
        metadata: Of data of kind "token".
        seed: Fixes the initial parameters.

    Raises:
        ConfigError: the data are no tokens.

    Example:
        >>> metadata = SequenceMetadata("qm9", "token", 33)
        >>> model = LSTMDecoder(LSTMDecoderConfig(), metadata)
        >>> sum(parameter.numel() for parameter in model.parameters())
        47517
    """

    name = "lstm"
    label = "LSTM"
    config: LSTMDecoderConfig

    def __init__(self, config: LSTMDecoderConfig, metadata: SequenceMetadata, *, seed: int = 0) -> None:
        super().__init__(config, metadata)
        # PyTorch draws initial parameters from its global generator, which is left as it was.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.token_embed = nn.Embedding(metadata.dimension, config.width)
            if config.conditions:
                self.condition_embed = condition_map(config, config.width)
            self.gates = nn.Linear(config.width, 4 * config.hidden)
            self.recurrence = nn.Linear(config.hidden, 4 * config.hidden, bias=False)
            self.output = nn.Linear(config.hidden, metadata.dimension)
        self.dropout = BatchDropout(config.dropout)

    def forward(
        self,
        inputs: Int64[Tensor, "batch time"],
        conditions: Float[Tensor, "batch conditions"] | None = None,
        mask: Bool[Tensor, "batch time"] | None = None,
    ) -> tuple[Float[Tensor, "batch time words"], None]:
        """Logits of the next word after every element; there is no attention.

        Args:
            inputs: Words, (B, T).
            conditions: Raw values (B, n), n the number of ``config.conditions``; None without conditions.
            mask: False where an element takes no part: the state passes it by.

        Raises:
            ArgumentError: conditions that do not fit.
        """
        self._check_conditions(inputs, conditions)
        x = self.token_embed(inputs)
        if conditions is not None:
            x = x + self.condition_embed(conditions.to(x.dtype))[:, None]
        entering = self.gates(self.dropout(x))
        state = memory = entering.new_zeros(len(inputs), self.config.hidden)
        states = []
        # The recurrence is spelt out: PyTorch's own LSTM cannot be batched over seeds.
        for step, entered in enumerate(entering.unbind(1)):
            enter, forget, change, show = (entered + self.recurrence(state)).chunk(4, dim=-1)
            kept = forget.sigmoid() * memory + enter.sigmoid() * change.tanh()
            shown = show.sigmoid() * kept.tanh()
            if mask is not None:
                present = mask[:, step, None]
                kept, shown = torch.where(present, kept, memory), torch.where(present, shown, state)
            memory, state = kept, shown
            states.append(state)
        return self.output(self.dropout(torch.stack(states, dim=1))), None
