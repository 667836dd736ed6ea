r"""The decoder of molecules: a small transformer whose attention scores may be overlaps of circuits.

One block, one head, LayerNorm before each part, learnt positions, an MLP four times as wide. With
$x = E[t] + P + W_c c$, where $c$ are the conditions of a molecule, and $h = \mathrm{LN}(x)$,

$$A = \mathrm{softmax}_{j \le i}\, S_{ij}, \quad x \leftarrow x + W_o A W_v h, \quad
x \leftarrow x + \mathrm{MLP}(\mathrm{LN}(x)), \quad p_{i+1} = \mathrm{softmax}(W \mathrm{LN}(x_i) + b).$$

Scores: "classical" $S_{ij} = h_i^T W_q^T W_k h_j / \sqrt{C}$; "classical_eq" the same of a second embedding
of a few components; "quantum" $S_{ij} = \sqrt{C}\, \mathrm{Re}\langle q_i|k_j\rangle$, see
`qdyn.attention.hadamard`; "uniform" $S_{ij} = 0$. Only the scores differ: values, MLP and embedding are
classical everywhere. "attention" puts any mechanism of `qdyn.attention` in the place of $W_o A W_v h$.

Source: arXiv:2502.19214.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from qdyn.checks import check_finite
from qdyn.data.sequences import SequenceMetadata
from qdyn.errors import ArgumentError
from qdyn.models.conditions import condition_map
from qdyn.models.dropout import BatchDropout
from qdyn.models.hybrid_decoder.config import HybridDecoderConfig
from qdyn.models.hybrid_decoder.gradients import measured_scores
from qdyn.models.hybrid_decoder.scores import property_angles, quantum_scores
from qdyn.models.token_model import TokenModel

if TYPE_CHECKING:
    from qdyn.models.sampling import Continuation


class HybridDecoder(TokenModel):
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
        >>> from qdyn.data.smiles import SmilesVocabulary
        >>> words = SmilesVocabulary.of_qm9().words
        >>> metadata = SequenceMetadata("qm9", "token", len(words), vocabulary=words)
        >>> decoder = HybridDecoder(HybridDecoderConfig(score="quantum"), metadata, seed=0)
        >>> sum(parameter.numel() for parameter in decoder.parameters())
        47704
        >>> decoder.negative_log_likelihood(["CCO", "c1ccccc1"]).shape
        torch.Size([2])
    """

    config: HybridDecoderConfig

    def __init__(self, config: HybridDecoderConfig, metadata: SequenceMetadata, *, seed: int = 0) -> None:
        super().__init__(config, metadata)
        self.name = f"hybrid-{(config.attention or config.score).replace('_', '-')}"
        self.label = _label(config)
        words = metadata.dimension
        # PyTorch draws initial parameters from its global generator, which is left as it was.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.token_embed = nn.Embedding(words, config.width)
            self.position_embed = nn.Parameter(torch.zeros(1, config.block, config.width))
            if config.conditions:
                self.physchem_embed = condition_map(config, config.width)
            self.block = _Block(config)
            self.layer_norm = nn.LayerNorm(config.width)
            self.output = nn.Linear(config.width, words)
            if config.score == "quantum":
                self._add_angles(words)
            elif config.score == "classical_eq":
                self._add_reduced(words)
        self.dropout = BatchDropout(config.dropout)

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
        from qdyn.models.hybrid_decoder.published import read_published

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
        attended, attention = self._attend(inputs, hidden, conditions, mask)
        x = x + attended
        x = x + self.dropout(self.block.mlp(self.block.layer_norm2(x)))
        return self.output(self.layer_norm(x)), attention

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
        from qdyn.models.hybrid_decoder.cache import CACHED_SCORES, PreparedDecoder

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
            self.physchem_embed_quantum_parameters = condition_map(config, config.register_angles)
        if config.frozen:
            for name, parameter in self.named_parameters():
                parameter.requires_grad_("quantum_parameters" not in name and "_angles" not in name)

    def _add_reduced(self, words: int) -> None:
        config = self.config
        self.reduced_token_embed = nn.Embedding(words, config.register_angles)
        self.reduced_position_embed = nn.Parameter(torch.zeros(1, config.block, config.register_angles))
        if config.conditions:
            self.reduced_physchem_embed = condition_map(config, config.register_angles)

    def _attend(
        self, inputs: Tensor, hidden: Tensor, conditions: Tensor | None, mask: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """What attention adds to every element, (B, T, width), and its weights, (B, T, T)."""
        attention = self.block.attention
        if self.config.score == "attention":
            added, weights = attention.mechanism(hidden, hidden, hidden, mask)
            shown = weights.abs().mean(1)
            return added, shown / shown.sum(-1, keepdim=True).clamp_min(torch.finfo(shown.dtype).tiny)
        weights = _causal_softmax(self._scores(inputs, hidden, conditions), mask)
        return attention.projection(weights @ attention.value(hidden)), weights

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
        exact = config.gradient == "exact" or not torch.is_grad_enabled()
        return scale * (quantum_scores if exact else measured_scores)(
            config,
            inputs,
            self.token_embed_quantum_parameters.weight,
            self.position_embed_quantum_parameters[0, :steps],
            query=attention.query_angles.reshape(-1),
            key=attention.key_angles.reshape(-1),
            conditions=told,
        )


class _Attention(nn.Module):
    """The parameters of attention: values, their projection, and what scores need of queries and keys."""

    def __init__(self, config: HybridDecoderConfig) -> None:
        super().__init__()
        width = config.width
        if config.score == "attention":
            from qdyn.attention.mechanism import build

            assert config.attention is not None
            self.mechanism = build(
                config.attention, dim=width, heads=config.heads, causal=True, **config.attention_options
            )
            return
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


def _label(config: HybridDecoderConfig) -> str:
    if config.attention is not None:
        return f"{config.attention.replace('_', ' ').capitalize()}-attention decoder"
    name = f"Frozen {_LABELS[config.score].lower()}" if config.frozen else _LABELS[config.score]
    return f"{name} decoder" + (f" of {config.layers} layers" if config.layers > 1 else "")


def _causal_softmax(scores: Tensor, mask: Tensor | None) -> Tensor:
    steps = scores.shape[-1]
    allowed = torch.ones(steps, steps, dtype=torch.bool, device=scores.device).tril()
    if mask is not None:
        # Each element may see itself, so that no row is empty.
        allowed = allowed & (mask[:, None, :] | torch.eye(steps, dtype=torch.bool, device=scores.device))
    return scores.masked_fill(~allowed, -math.inf).softmax(-1)
