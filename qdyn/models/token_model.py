"""What all trainable models of molecules share: losses and forecasts from logits, conditions, likelihoods."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from qdyn.checks import check_choice, check_finite, check_integer
from qdyn.data.sequences import SequenceDataset, SequenceMetadata
from qdyn.data.smiles import SmilesVocabulary
from qdyn.errors import ArgumentError, ConfigError
from qdyn.models.base import Predictor
from qdyn.models.decoder_config import DecoderSection

LOSS_NAMES = ("L_1",)
_BATCH = 1024


class TokenModel(nn.Module, Predictor):
    """A trainable model of tokens that may be told conditions; a subclass defines `forward`.

    Args:
        config: What a preset's ``model`` section says.
        metadata: Of data of kind "token".

    Attributes:
        vocabulary: The words as SMILES; None where the data's words are no SMILES vocabulary.

    Raises:
        ConfigError: the data are no tokens.
    """

    config: DecoderSection

    def __init__(self, config: DecoderSection, metadata: SequenceMetadata) -> None:
        super().__init__()
        if metadata.kind != "token":
            raise ConfigError(
                f"Argument `model.kind` {config.kind!r} is for tokens, but the data are {metadata.kind!r}."
            )
        self.config = config
        self.metadata = metadata
        self.vocabulary = _smiles_vocabulary(metadata, config.block)

    @abstractmethod
    def forward(
        self,
        inputs: Int64[Tensor, "batch time"],
        conditions: Float[Tensor, "batch conditions"] | None = None,
        mask: Bool[Tensor, "batch time"] | None = None,
    ) -> tuple[Float[Tensor, "batch time words"], Float[Tensor, "batch time time"] | None]:
        """Logits of the next word after every element, and the attention that they rest on, if any."""

    def loss(
        self,
        name: str,
        inputs: Int64[Tensor, "batch time"],
        targets: Int64[Tensor, "batch time"],
        mask: Bool[Tensor, "batch time"] | None = None,
        conditions: Float[Tensor, "batch conditions"] | None = None,
    ) -> Float[Tensor, " batch"]:
        """L_1, the mean of -log p over the steps of each sequence.

        Args:
            name: "L_1".
            inputs: Words.
            targets: The words that follow.
            mask: False where a step's target does not exist. Padding counts where the mask says so.
            conditions: Raw values, where the model is told any.

        Raises:
            ArgumentError: another loss.
        """
        check_choice("loss", name, LOSS_NAMES)
        surprise = self._surprise(inputs, targets, mask, conditions)
        if mask is None:
            return surprise.mean(-1)
        return (surprise * mask).sum(-1) / mask.sum(-1).clamp_min(1)

    def forecast(
        self,
        inputs: Int64[Tensor, "*batch time"],
        mask: Bool[Tensor, "*batch time"] | None = None,
        conditions: Float[Tensor, "*batch conditions"] | None = None,
    ) -> Float[Tensor, "*batch time words"]:
        """Probabilities of the next word after every element; see `Predictor.forecast`.

        Args:
            inputs: Words seen.
            mask: False where an element takes no part in any forecast.
            conditions: Raw values, where the model is told any.
        """
        flat = None if conditions is None else conditions.reshape(-1, conditions.shape[-1])
        flat_mask = None if mask is None else mask.reshape(-1, mask.shape[-1])
        with torch.no_grad():
            logits, _ = self(inputs.reshape(-1, inputs.shape[-1]), flat, flat_mask)
        return logits.softmax(-1).reshape(*inputs.shape, -1)

    def with_conditions(self, conditions: Mapping[str, Tensor]) -> Predictor:
        """The same model for sequences of these conditions, name -> (batch,), to judge it like any other.

        Raises:
            ArgumentError: one that the model is told is missing.
        """
        names = self.config.conditions
        if not names:
            return self
        if missing := [name for name in names if name not in conditions]:
            raise ArgumentError(f"Argument `conditions` must hold {missing[0]!r}, which the model is told.")
        return _Told(self, torch.stack([conditions[name] for name in names], -1))

    def warm_start(self, dataset: SequenceDataset) -> None:
        """Find the mean and the standard deviation of the conditions, where they are standardised."""
        names = self.config.conditions
        if not (names and self.config.standardise):
            return
        known = dataset.conditions
        table = torch.stack([known[name].double() for name in names], -1)
        for part in self.modules():
            if isinstance(part, ConditionMap):
                part.measure(table)

    @torch.no_grad()
    def negative_log_likelihood(
        self,
        smiles: Sequence[str],
        conditions: Float[Tensor, "batch conditions"] | Float[np.ndarray, "batch conditions"] | None = None,
        *,
        batch_size: int = _BATCH,
    ) -> Float[Tensor, " batch"]:
        """-log p of each molecule in nats: the sum over its tokens and [EOS], without padding.

        Args:
            smiles: The molecules, in the words of `vocabulary`.
            conditions: Raw values of the conditions, one row a molecule; None without conditions.
            batch_size: Molecules at a time. With ``property_angles: batch_range`` the result depends on it.

        Raises:
            DatasetError: a SMILES that the vocabulary cannot write.
            ArgumentError: conditions that are missing, too many, of another shape, or not finite.
        """
        vocabulary = self._smiles()
        rows, lengths = vocabulary.encode(smiles)
        real = torch.from_numpy(np.arange(vocabulary.block - 1) < lengths[:, None] - 1)
        return (self._batched(rows, conditions, batch_size) * real).sum(-1)

    @torch.no_grad()
    def published_loss(
        self,
        smiles: Sequence[str],
        conditions: Float[Tensor, "batch conditions"] | Float[np.ndarray, "batch conditions"] | None = None,
        *,
        batch_size: int = 256,
    ) -> float:
        """The loss that arXiv:2502.19214 reports: the mean over batches of -log p, padding among its steps.

        For QM9 a third of the steps are padding, which costs next to nothing to forecast, so this is no loss
        for each token. A last, smaller batch counts as much as the others. Arguments as of
        `negative_log_likelihood`.
        """
        rows, _ = self._smiles().encode(smiles)
        steps = self._batched(rows, conditions, batch_size).double()
        return float(torch.stack([part.mean() for part in torch.split(steps, batch_size)]).mean())

    def _surprise(
        self, inputs: Tensor, targets: Tensor, mask: Tensor | None, conditions: Tensor | None
    ) -> Tensor:
        """-log p of every step's target, (B, T)."""
        logits, _ = self(inputs, conditions, mask)
        return -logits.log_softmax(-1).gather(-1, targets[..., None])[..., 0]

    def _batched(
        self, rows: np.ndarray, conditions: Tensor | np.ndarray | None, batch_size: int
    ) -> Float[Tensor, "batch time"]:
        """-log p of every step of blocks of words, padding included, in evaluation mode."""
        check_integer("batch_size", batch_size, minimum=1)
        like = next(self.parameters())
        words = torch.from_numpy(rows).to(like.device)
        told = None if conditions is None else torch.as_tensor(conditions).to(like)
        self._check_conditions(words, told)
        if told is not None:
            check_finite("conditions", told)
        if not len(words):
            return torch.zeros(0, words.shape[1] - 1)
        was_training = self.training
        self.eval()
        try:
            found = [
                self._surprise(
                    part[:, :-1], part[:, 1:], None, None if told is None else told[first : first + len(part)]
                )
                for first, part in zip(
                    range(0, len(words), batch_size), torch.split(words, batch_size), strict=True
                )
            ]
        finally:
            self.train(was_training)
        return torch.cat(found).cpu()

    def _smiles(self) -> SmilesVocabulary:
        if self.vocabulary is None:
            raise ArgumentError("Argument `smiles` needs a decoder of SMILES, but its words are no SMILES.")
        return self.vocabulary

    def _check_conditions(self, inputs: Tensor, conditions: Tensor | None) -> None:
        wanted = self.config.conditions
        if conditions is None and wanted:
            raise ArgumentError(
                f"Argument `conditions` must hold {', '.join(wanted)} of every molecule, but is missing."
            )
        if conditions is not None and not wanted:
            raise ArgumentError("Argument `conditions` must be None for a decoder that is told none.")
        if conditions is not None and tuple(conditions.shape) != (len(inputs), len(wanted)):
            raise ArgumentError(
                f"Argument `conditions` must have shape ({len(inputs)}, {len(wanted)}), "
                f"but has {tuple(conditions.shape)}."
            )


class ConditionMap(nn.Linear):
    r"""A linear map of standardised conditions, $W (c - \bar c) / \sigma + b$.

    Until `measure` has seen data, the mean is 0 and the standard deviation 1.

    Args:
        inputs: Number of conditions.
        outputs: Number of outputs.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs)
        self.register_buffer("mean", torch.zeros(inputs))
        self.register_buffer("deviation", torch.ones(inputs))

    @torch.no_grad()
    def measure(self, table: Float[Tensor, "sequences conditions"]) -> None:
        """Take mean and standard deviation from a table; a condition that never changes keeps 1."""
        spread = table.std(0, correction=0)
        self.mean.copy_(table.mean(0))
        self.deviation.copy_(torch.where(spread > 0, spread, 1.0))

    def forward(self, conditions: Float[Tensor, "batch conditions"]) -> Float[Tensor, "batch outputs"]:
        """The map of raw values."""
        return super().forward((conditions - self.mean) / self.deviation)


def condition_map(config: DecoderSection, outputs: int) -> nn.Linear:
    """The linear map of conditions that a configuration asks for."""
    kind = ConditionMap if config.standardise else nn.Linear
    return kind(len(config.conditions), outputs)


class _Told(Predictor):
    """A model that has been told the conditions of the sequences that it is to forecast."""

    def __init__(self, model: TokenModel, conditions: Tensor) -> None:
        self._model = model
        self.name, self.label, self.metadata = model.name, model.label, model.metadata
        self._conditions = conditions

    def forecast(self, inputs: Tensor, mask: Tensor | None = None) -> Tensor:
        return self._model.forecast(inputs, mask, self._conditions)

    def attention_weights(self, inputs: Tensor, mask: Tensor | None = None) -> Tensor:
        attentive: Any = self._model
        found: Tensor = attentive.attention_weights(inputs, mask, self._conditions)
        return found


def _smiles_vocabulary(metadata: SequenceMetadata, block: int) -> SmilesVocabulary | None:
    try:
        return SmilesVocabulary(metadata.vocabulary or (), block)
    except ArgumentError:
        return None
