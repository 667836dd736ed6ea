"""What a dataset hands out: one item, or a batch of items, with the same fields."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor
from torch.utils.data._utils.collate import default_collate_fn_map

_SINGLE = (torch.float32, torch.complex64)
_DOUBLE = (torch.float64, torch.complex128)


@dataclass(frozen=True)
class Batch:
    """B items of T steps; a single item has the same fields without the batch axis.

    Step j sees ``inputs[:, :j+1]`` and predicts ``targets[:, j]``, the next element of the sequence.

    Args:
        inputs: complex states (B, T, d), token numbers int64 (B, T), or real vectors (B, T, d).
        targets: the next elements, of the same shape and type.
        mask: bool (B, T); True where the step's target exists, False where the sequence has ended.
        conditions: what is known of a whole sequence, such as the coupling: name -> real (B,).
        indices: int64 (B,); the positions of the items in the dataset that was asked.
    """

    inputs: Tensor
    targets: Tensor
    mask: Tensor
    conditions: dict[str, Tensor]
    indices: Tensor

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Batch:
        """The same batch on ``device`` and in another precision.

        Args:
            device: where to; None leaves it.
            dtype: float32 or complex64 for single, float64 or complex128 for double precision. Complex
                numbers stay complex, real ones real; token numbers, mask and indices keep their type.
        """

        def move(tensor: Tensor) -> Tensor:
            return tensor.to(device=device, dtype=_in_precision(tensor.dtype, dtype))

        return self._map(move)

    def pin_memory(self) -> Batch:
        """The same batch in page-locked memory (called by ``DataLoader(pin_memory=True)``)."""
        return self._map(lambda tensor: tensor.pin_memory())

    def _map(self, change: Callable[[Tensor], Tensor]) -> Batch:
        return Batch(
            inputs=change(self.inputs),
            targets=change(self.targets),
            mask=change(self.mask),
            conditions={name: change(values) for name, values in self.conditions.items()},
            indices=change(self.indices),
        )

    def item(self, position: int) -> Batch:
        """The item at ``position``, without the batch axis."""
        return self._map(lambda tensor: tensor[position])


class Gathered(Sequence[Batch]):
    """The items of one batch, read in one go; DataLoader's collate function takes the whole as it is."""

    def __init__(self, whole: Batch) -> None:
        self.whole = whole

    def __len__(self) -> int:
        return len(self.whole.indices)

    def __getitem__(self, position: Any) -> Any:
        return self.whole.item(position)


def collate(items: Sequence[Batch], *, collate_fn_map: Any = None) -> Batch:
    """Put items side by side on a new first axis."""
    if isinstance(items, Gathered):
        return items.whole
    columns = {
        field.name: [getattr(item, field.name) for item in items]
        for field in fields(Batch)
        if field.name != "conditions"
    }
    return Batch(
        conditions={
            name: torch.stack([item.conditions[name] for item in items]) for name in items[0].conditions
        },
        **{name: torch.stack(column) for name, column in columns.items()},
    )


# torch's documented way to let DataLoader's default collate function know a type of ours.
default_collate_fn_map[Batch] = collate


def _in_precision(found: torch.dtype, wanted: torch.dtype | None) -> torch.dtype:
    if wanted is None or not (found.is_floating_point or found.is_complex):
        return found
    if wanted in _SINGLE:
        return torch.complex64 if found.is_complex else torch.float32
    if wanted in _DOUBLE:
        return torch.complex128 if found.is_complex else torch.float64
    raise ValueError(f"a batch can be in single or double precision, not in {wanted}")
