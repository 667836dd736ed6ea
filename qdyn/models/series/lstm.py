r"""QLSTM: a long short-term memory whose gates are circuits of 8 qubits.

With the embedded value x_t and the state h of the step before,

$$v = \mathrm{LN}(\tanh(W [x_t; h] + b)), \quad a_g = W_g\, q(v; w_g) + b_g, \quad g \in \{f, i, c, o\},$$
$$c \leftarrow \sigma(a_f)\, c + \sigma(a_i) \tanh(a_c), \quad h \leftarrow \sigma(a_o) \tanh c, \quad
out_t = \mathrm{drop}\, \mathrm{LN}(h + x_t).$$

Source: arXiv:2504.05336 and the program of its authors.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from qdyn.attention.qasa.lstm_circuit import LSTM_WEIGHTS, N_LSTM, qlstm_readings
from qdyn.data.sequences import SequenceMetadata
from qdyn.models.initial import kaiming_linear
from qdyn.models.series.config import QLSTMConfig
from qdyn.models.series.dropout import Drop
from qdyn.models.series.predictor import SeriesPredictor
from qdyn.models.stacked import LayerNorm, Linear

_GATES = 4
_INITIAL_ANGLE = 0.01


class QLSTM(SeriesPredictor):
    """A recurrent forecaster: causal by construction.

    Args:
        config: What a preset's ``model`` section says.
        metadata: Of real vectors of any length.
        seed: Fixes the initial parameters and what is dropped in training.

    Example:
        >>> data = SequenceMetadata("series", "real", 1, normalised=False)
        >>> sum(parameter.numel() for parameter in QLSTM(QLSTMConfig(), data).parameters())
        3929
    """

    name, label = "qlstm", "QLSTM"

    def __init__(self, config: QLSTMConfig, metadata: SequenceMetadata, *, seed: int = 0) -> None:
        # PyTorch draws initial parameters from its global generator, which is left as it was.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            super().__init__(config, metadata, seed=seed)
            width = config.width
            self.narrow = kaiming_linear(2 * width, N_LSTM)
            self.norm = LayerNorm(N_LSTM)
            self.weights = nn.Parameter(_INITIAL_ANGLE * torch.randn(_GATES, *LSTM_WEIGHTS))
            self.widen = nn.ModuleList(Linear(N_LSTM, width) for _ in range(_GATES))
            self.out_norm = LayerNorm(width)
            self._add_head()

    def hidden(
        self,
        embedded: Float[Tensor, "*models tokens width"],
        mask: Bool[Tensor, "*models batch time"] | None,
        drop: Drop,
        shape: tuple[int, ...],
    ) -> Float[Tensor, "*models tokens width"]:
        """See `SeriesPredictor.hidden`; what is left out by ``mask`` comes last and is not told apart."""
        values = embedded.reshape(*shape, -1)
        state = torch.zeros_like(values[..., 0, :])
        cell = torch.zeros_like(state)
        states = []
        readings = qlstm_readings(self.weights)
        # All gates at once: f, i, c, o.
        widen = cast("Iterable[Linear]", self.widen)
        weight = torch.stack([one.weight for one in widen], dim=-3).mT
        bias = torch.stack([one.bias for one in widen], dim=-2).unsqueeze(-2)
        for now in values.unbind(-2):
            v = self.norm(torch.tanh(self.narrow(torch.cat([now, state], dim=-1))))
            wide = readings(v) @ weight + bias
            forget, enter, _, show = torch.sigmoid(wide).unbind(-3)
            cell = forget * cell + enter * torch.tanh(wide[..., 2, :, :])
            state = show * torch.tanh(cell)
            states.append(state)
        return drop(self.out_norm(torch.stack(states, dim=-2).reshape(embedded.shape) + embedded))
