"""The matrix of attention mechanisms and datasets: which pairs train, and why the others are refused.

Every mechanism by name goes into the same small transformer, which is trained for a few steps on a few
sequences of every dataset. A pair that trains has finite losses and gradients; one that makes no sense is
refused in one line. It is a test of the parts, not of how well they learn.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from qdyn.attention.mechanism import attention_class, names
from qdyn.checks import check_integer
from qdyn.data.sequences import SequenceDataset
from qdyn.errors import QdynError, RunError
from qdyn.models.registry import build_model
from qdyn.models.transformer import Transformer
from qdyn.models.transformer_config import TransformerConfig

_WIDTH, _LONGEST, _SEQUENCES = 8, 8, 4


@dataclass(frozen=True)
class MatrixCell:
    """A mechanism on a dataset.

    Attributes:
        attention: The mechanism's name.
        dataset: The dataset's name.
        losses: L_1 before each step and after the last one, in nats, or as `Transformer.loss` says for real
            vectors; empty where the pair was refused.
        refusal: Why, in one line; empty where it trained.
    """

    attention: str
    dataset: str
    losses: tuple[float, ...] = ()
    refusal: str = ""

    @property
    def trained(self) -> bool:
        """Whether it was not refused."""
        return not self.refusal


def try_attention(
    attention: str,
    dataset: SequenceDataset,
    *,
    options: Mapping[str, Any] | None = None,
    causal: bool | None = None,
    steps: int = 2,
    seed: int = 0,
) -> tuple[MatrixCell, Transformer | None]:
    """Train a small transformer with one mechanism for a few steps on a few short sequences.

    Args:
        attention: The mechanism's name.
        dataset: Its first 4 sequences serve, cut to 8 steps.
        options: Of the mechanism; None takes its own defaults.
        causal: Of the transformer; None takes True, and False where the mechanism cannot be causal.
        steps: Updates by Adam, >= 1.
        seed: Fixes the initial parameters.

    Returns:
        What came of it, and the trained model; None where the pair was refused.

    Raises:
        RunError: a loss or a gradient is not finite.

    Example:
        >>> words = torch.randint(0, 5, (4, 7), generator=torch.Generator().manual_seed(0))
        >>> dataset = SequenceDataset.from_arrays(words, kind="token", dimension=5, name="words")
        >>> cell, _ = try_attention("fidelity", dataset)
        >>> cell.trained, len(cell.losses)
        (True, 3)
        >>> try_attention("doubly_stochastic", dataset, causal=True)[0].refusal[:70]
        "Argument `causal` must be False for the attention 'doubly_stochastic':"
    """
    check_integer("steps", steps, minimum=1)
    batch = dataset.batch(range(min(_SEQUENCES, len(dataset))))
    inputs, targets, mask = (one[:, :_LONGEST] for one in (batch.inputs, batch.targets, batch.mask))
    if causal is None:
        causal = attention_class(attention).can_be_causal
    try:
        config = TransformerConfig(
            attention=attention,
            attention_options=dict(options or {}),
            causal=causal,
            width=_WIDTH,
            steps=_LONGEST,
        )
        model = build_model(config, dataset.metadata, seed=seed)
    except QdynError as problem:
        return MatrixCell(attention, dataset.metadata.name, refusal=str(problem)), None
    assert isinstance(model, Transformer)
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-2)
    losses = []
    for step in range(steps + 1):
        loss = model.loss("L_1", inputs, targets, mask).mean()
        losses.append(loss.item())
        if step < steps:
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            _check_finite(model, attention, dataset, losses[-1])
            optimiser.step()
    return MatrixCell(attention, dataset.metadata.name, tuple(losses)), model


def attention_matrix(
    datasets: Iterable[SequenceDataset], *, attentions: Sequence[str] | None = None, steps: int = 2
) -> list[MatrixCell]:
    """Every mechanism on every dataset; see `try_attention`.

    Args:
        datasets: A few sequences of each will do.
        attentions: Names of mechanisms; None takes all there are.
        steps: Updates, >= 1.
    """
    chosen = names() if attentions is None else attentions
    held = list(datasets)
    return [try_attention(name, dataset, steps=steps)[0] for name in chosen for dataset in held]


def matrix_table(cells: Sequence[MatrixCell]) -> str:
    """The matrix in Markdown: a line a mechanism, a column a dataset; a pair that trains gets its last loss.

    Example:
        >>> trained = MatrixCell("softmax", "words", (1.2, 1.125))
        >>> print(matrix_table([trained, MatrixCell("mine", "words", (), "no.")]))
        | attention | words |
        |---|---|
        | softmax | 1.12 |
        | mine | refused |
    """
    columns = list(dict.fromkeys(cell.dataset for cell in cells))
    lines = [f"| attention | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    found = {(cell.attention, cell.dataset): cell for cell in cells}
    for name in dict.fromkeys(cell.attention for cell in cells):
        row = [found.get((name, column)) for column in columns]
        said = [
            "" if cell is None else f"{cell.losses[-1]:.3g}" if cell.trained else "refused" for cell in row
        ]
        lines.append(f"| {name} | {' | '.join(said)} |")
    return "\n".join(lines)


def _check_finite(model: Transformer, attention: str, dataset: SequenceDataset, loss: float) -> None:
    gradients = [held.grad for held in model.parameters() if held.grad is not None]
    if not (math.isfinite(loss) and all(bool(one.isfinite().all()) for one in gradients)):
        raise RunError(
            f"The attention {attention!r} on the dataset {dataset.metadata.name} has a loss of {loss:g} or a "
            "gradient that is not finite."
        )
