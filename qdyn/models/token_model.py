"""What all trainable models of molecules share: losses and forecasts from logits, likelihoods."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from qdyn.checks import check_choice, check_finite, check_integer
from qdyn.data.sequences import SequenceMetadata
from qdyn.data.smiles import SmilesVocabulary
from qdyn.errors import ArgumentError, ConfigError
from qdyn.models.conditions import ConditionedModel
from qdyn.models.decoder_config import DecoderSection
from qdyn.models.dropout import evaluating

LOSS_NAMES = ("L_1",)
_BATCH = 1024


class TokenModel(ConditionedModel):
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
        with torch.no_grad(), evaluating(self):
            logits, _ = self(inputs.reshape(-1, inputs.shape[-1]), flat, flat_mask)
        return logits.softmax(-1).reshape(*inputs.shape, -1)

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


def _smiles_vocabulary(metadata: SequenceMetadata, block: int) -> SmilesVocabulary | None:
    try:
        return SmilesVocabulary(metadata.vocabulary or (), block)
    except ArgumentError:
        return None
