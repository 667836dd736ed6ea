r"""The decoder of molecules: a small transformer whose attention scores may be overlaps of circuits.

One block, one head, LayerNorm before each part, learnt positions, an MLP four times as wide. With
$x = E[t] + P + W_c c$, where $c$ are the conditions of a molecule, and $h = \mathrm{LN}(x)$,

$$A = \mathrm{softmax}_{j \le i}\, S_{ij}, \quad x \leftarrow x + W_o A W_v h, \quad
x \leftarrow x + \mathrm{MLP}(\mathrm{LN}(x)), \quad p_{i+1} = \mathrm{softmax}(W \mathrm{LN}(x_i) + b).$$

Scores: "classical" $S_{ij} = h_i^T W_q^T W_k h_j / \sqrt{C}$; "classical_eq" the same of a second embedding
of a few components; "quantum" $S_{ij} = \sqrt{C}\, \mathrm{Re}\langle q_i|k_j\rangle$, see
`qdyn.attention.hadamard`; "uniform" $S_{ij} = 0$. Only the scores differ: values, MLP and embedding are
classical everywhere.

Source: arXiv:2502.19214.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from qdyn.checks import check_choice, check_finite, check_integer
from qdyn.data.sequences import SequenceMetadata
from qdyn.data.smiles import SmilesVocabulary
from qdyn.errors import ArgumentError, ConfigError
from qdyn.models.base import Predictor
from qdyn.models.hybrid_decoder_config import HybridDecoderConfig
from qdyn.models.hybrid_decoder_scores import property_angles, quantum_scores

if TYPE_CHECKING:
    from qdyn.models.sampling import Continuation

LOSS_NAMES = ("L_1",)
_BATCH = 1024


class HybridDecoder(nn.Module, Predictor):
    """A decoder of SMILES, or of any other tokens.

    Args:
        config: What a preset's ``model`` section says.
        metadata: Of data of kind "token".
        seed: Fixes the initial parameters.

    Attributes:
        vocabulary: The words as SMILES; None where the data's words are no SMILES vocabulary.

    Raises:
        ConfigError: the data are no tokens.

    Source: arXiv:2502.19214. Names and shapes of parameters are those of its published weights.

    Example:
        >>> words = SmilesVocabulary.of_qm9().words
        >>> metadata = SequenceMetadata("qm9", "token", len(words), vocabulary=words)
        >>> decoder = HybridDecoder(HybridDecoderConfig(score="quantum"), metadata, seed=0)
        >>> sum(parameter.numel() for parameter in decoder.parameters())
        47704
        >>> decoder.negative_log_likelihood(["CCO", "c1ccccc1"]).shape
        torch.Size([2])
    """

    def __init__(self, config: HybridDecoderConfig, metadata: SequenceMetadata, *, seed: int = 0) -> None:
        super().__init__()
        if metadata.kind != "token":
            raise ConfigError(
                f"Argument `model.kind` 'hybrid_decoder' is for tokens, but the data are {metadata.kind!r}."
            )
        self.config = config
        self.metadata = metadata
        self.name = f"hybrid-{config.score.replace('_', '-')}"
        self.label = f"{_LABELS[config.score]} decoder"
        words = metadata.dimension
        # PyTorch draws initial parameters from its global generator, which is left as it was.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.token_embed = nn.Embedding(words, config.width)
            self.position_embed = nn.Parameter(torch.zeros(1, config.block, config.width))
            if config.conditions:
                self.physchem_embed = nn.Linear(len(config.conditions), config.width)
            self.block = _Block(config)
            self.layer_norm = nn.LayerNorm(config.width)
            self.output = nn.Linear(config.width, words)
            if config.score == "quantum":
                self._add_angles(words)
            elif config.score == "classical_eq":
                self._add_reduced(words)
        self.dropout = nn.Dropout(config.dropout)
        self.vocabulary = _smiles_vocabulary(metadata, config.block)

    @classmethod
    def from_published(cls, path: str | Path) -> HybridDecoder:
        """The model of published weights: a .safetensors file with its configuration as .json beside it.

        Args:
            path: The .safetensors file; tensor names as published.

        Returns:
            The decoder, in evaluation mode.

        Raises:
            RunError: a file is missing or broken, or the tensors are not those of the configuration.

        Example:
            >>> HybridDecoder.from_published("weights/quantum_sequence.safetensors")  # doctest: +SKIP
        """
        from qdyn.models.hybrid_decoder_published import read_published

        config, metadata, tensors = read_published(Path(path))
        decoder = cls(config, metadata)
        decoder.load_state_dict(tensors)
        return decoder.eval()

    def forward(
        self,
        inputs: Int64[Tensor, "batch time"],
        conditions: Float[Tensor, "batch conditions"] | None = None,
        mask: Bool[Tensor, "batch time"] | None = None,
    ) -> tuple[Float[Tensor, "batch time words"], Float[Tensor, "batch time time"]]:
        """Logits of the next word after every element, and the attention that they rest on.

        Args:
            inputs: Words, (B, T), T < ``config.block`` + 1.
            conditions: Raw values (B, n), n the number of ``config.conditions``; None without conditions.
            mask: False where an element takes no part; None takes all, padding too, as published.

        Returns:
            Logits (B, T, words), and attention (B, T, T) whose row i sums to 1 over j <= i.

        Raises:
            ArgumentError: too many steps, or conditions that do not fit.
        """
        steps = inputs.shape[1]
        if steps > self.config.block:
            raise ArgumentError(
                f"Argument `inputs` has {steps} steps, but there are positions for {self.config.block}."
            )
        self._check_conditions(inputs, conditions)
        x = self.token_embed(inputs) + self.position_embed[:, :steps]
        if conditions is not None:
            x = x + self.physchem_embed(conditions.to(x.dtype))[:, None]
        x = self.dropout(x)
        hidden = self.block.layer_norm1(x)
        scores = self._scores(inputs, hidden, conditions)
        attention = _causal_softmax(scores, mask)
        x = x + self.block.attention.projection(attention @ self.block.attention.value(hidden))
        x = x + self.dropout(self.block.mlp(self.block.layer_norm2(x)))
        return self.output(self.layer_norm(x)), attention

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
            conditions: Raw values, where the decoder is told any.

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
            conditions: Raw values, where the decoder is told any.
        """
        flat = None if conditions is None else conditions.reshape(-1, conditions.shape[-1])
        flat_mask = None if mask is None else mask.reshape(-1, mask.shape[-1])
        with torch.no_grad():
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
            conditions: Raw values of ``config.conditions``, one row a molecule; None without conditions.
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

    def attention_weights(
        self,
        inputs: Int64[Tensor, "batch time"],
        mask: Bool[Tensor, "batch time"] | None = None,
        conditions: Float[Tensor, "batch conditions"] | None = None,
    ) -> Float[Tensor, "batch time time"]:
        """How each step spreads its attention: row i over the elements up to i."""
        with torch.no_grad():
            return self(inputs, conditions, mask)[1]

    def continuations(
        self, conditions: Float[Tensor, " conditions"] | None = None
    ) -> Callable[[int], Continuation] | None:
        """For `qdyn.models.sampling`: sequences that grow word by word, with keys and values kept.

        Args:
            conditions: Raw values of ``config.conditions``, the same for every sequence.

        Raises:
            ArgumentError: conditions that are missing, too many, or not finite.
        """
        from qdyn.models.hybrid_decoder_cache import CACHED_SCORES, PreparedDecoder

        self._check_conditions(torch.empty(1, 1), None if conditions is None else conditions[None])
        if conditions is not None:
            check_finite("conditions", conditions)
        return PreparedDecoder(self, conditions).begin if self.config.score in CACHED_SCORES else None

    def _add_angles(self, words: int) -> None:
        config, spread = self.config, self.config.initial_spread
        table = torch.randn(words, config.register_angles)
        # As published: the whole table stretched to [0, pi].
        table = torch.pi * (table - table.min()) / (table.max() - table.min())
        self.token_embed_quantum_parameters = nn.Embedding(words, config.register_angles, _weight=table)
        self.position_embed_quantum_parameters = nn.Parameter(
            spread * torch.randn(1, config.block, config.register_angles)
        )
        if config.conditions:
            self.physchem_embed_quantum_parameters = nn.Linear(len(config.conditions), config.register_angles)

    def _add_reduced(self, words: int) -> None:
        config = self.config
        self.reduced_token_embed = nn.Embedding(words, config.register_angles)
        self.reduced_position_embed = nn.Parameter(torch.zeros(1, config.block, config.register_angles))
        if config.conditions:
            self.reduced_physchem_embed = nn.Linear(len(config.conditions), config.register_angles)

    def _scores(self, inputs: Tensor, hidden: Tensor, conditions: Tensor | None) -> Tensor:
        config, attention, steps = self.config, self.block.attention, inputs.shape[1]
        scale = math.sqrt(config.width)
        if config.score == "uniform":
            return hidden.new_zeros(*inputs.shape, steps)
        if config.score == "classical":
            return attention.query(hidden) @ attention.key(hidden).mT / scale
        if config.score == "classical_eq":
            z = self.reduced_token_embed(inputs) + self.reduced_position_embed[:, :steps]
            if conditions is not None:
                z = z + self.reduced_physchem_embed(conditions.to(z.dtype))[:, None]
            z = self.dropout(z)
            return attention.query(z) @ attention.key(z).mT / scale
        told = None
        if conditions is not None:
            raw = self.physchem_embed_quantum_parameters(conditions.to(hidden.dtype))
            told = property_angles(raw, how=config.property_angles)
        return scale * quantum_scores(
            config,
            inputs,
            self.token_embed_quantum_parameters.weight,
            self.position_embed_quantum_parameters[0, :steps],
            query=attention.query_angles.reshape(-1),
            key=attention.key_angles.reshape(-1),
            conditions=told,
        )

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
        device = self.position_embed.device
        words = torch.from_numpy(rows).to(device)
        told = None if conditions is None else torch.as_tensor(conditions).to(self.position_embed)
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


class _Attention(nn.Module):
    """The parameters of attention: values, their projection, and what scores need of queries and keys."""

    def __init__(self, config: HybridDecoderConfig) -> None:
        super().__init__()
        width = config.width
        if config.score == "classical":
            self.query = nn.Linear(width, width, bias=False)
            self.key = nn.Linear(width, width, bias=False)
        elif config.score == "classical_eq":
            # One output a register makes as many parameters as the query and key circuits have angles.
            self.query = nn.Linear(config.register_angles, config.registers, bias=False)
            self.key = nn.Linear(config.register_angles, config.registers, bias=False)
        elif config.score == "quantum":
            shape = (1, 1, config.layers * config.qubits * config.angles_per_qubit)
            self.query_angles = nn.Parameter(config.initial_spread * torch.randn(shape))
            self.key_angles = nn.Parameter(config.initial_spread * torch.randn(shape))
        self.value = nn.Linear(width, width, bias=False)
        self.projection = nn.Linear(width, width)


class _Block(nn.Module):
    """The parameters of the one block."""

    def __init__(self, config: HybridDecoderConfig) -> None:
        super().__init__()
        width = config.width
        self.layer_norm1 = nn.LayerNorm(width)
        self.attention = _Attention(config)
        self.layer_norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))


_LABELS = {
    "classical": "Classical",
    "classical_eq": "Classical, as many parameters as angles,",
    "quantum": "Quantum",
    "uniform": "Uniform-attention",
}


def _causal_softmax(scores: Tensor, mask: Tensor | None) -> Tensor:
    steps = scores.shape[-1]
    allowed = torch.ones(steps, steps, dtype=torch.bool, device=scores.device).tril()
    if mask is not None:
        # Each element may see itself, so that no row is empty.
        allowed = allowed & (mask[:, None, :] | torch.eye(steps, dtype=torch.bool, device=scores.device))
    return scores.masked_fill(~allowed, -math.inf).softmax(-1)


def _smiles_vocabulary(metadata: SequenceMetadata, block: int) -> SmilesVocabulary | None:
    try:
        return SmilesVocabulary(metadata.vocabulary or (), block)
    except ArgumentError:
        return None
