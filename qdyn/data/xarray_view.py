"""A sequence dataset as an ``xarray.Dataset``: the names, coordinates and units that a reader sees."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from qdyn.data.backing import Backing, Kind, SequenceMetadata

if TYPE_CHECKING:
    import xarray

#: The array of each kind and the name of its vector axis.
VALUES: dict[Kind, str] = {"quantum_state": "states", "token": "tokens", "real": "vectors"}
VECTOR_AXIS: dict[Kind, tuple[str, ...]] = {
    "quantum_state": ("basis",),
    "token": (),
    "real": ("component",),
}


def view(
    backing: Backing,
    metadata: SequenceMetadata,
    values: Any,
    *,
    sequences: NDArray[np.int64],
    starts: NDArray[np.int64] | None = None,
    times: NDArray[np.float64] | None = None,
) -> xarray.Dataset:
    """Name and label ``values``, the elements of ``sequences``.

    Args:
        backing: what the sequences were read from.
        metadata: as shown, which may differ from the stored one in its phase convention.
        values: an array, or a lazy xarray variable, of shape (items, time[, vector]).
        sequences: the stored sequence of each item.
        starts: the first element of each item where the items are windows. They are shown as ``start``, and a
            condition of that name as ``condition_start``.
        times: the times to show along the time axis, if any.
    """
    import xarray

    units = metadata.units
    item = "sequence" if starts is None else "window"
    name = VALUES[metadata.kind]
    dims = (item, "time", *VECTOR_AXIS[metadata.kind])
    coordinates: dict[str, Any] = {"sequence": (item, sequences, {"units": "1"})}
    if starts is not None:
        coordinates["start"] = (item, starts, {"units": "1"})
    if times is not None:
        coordinates["time"] = ("time", times, {"units": units.get("time", "1")})
    for key, known in backing.conditions.items():
        # A condition may be called like what a window is placed by: the windows of a series know their start.
        shown = f"condition_{key}" if key in coordinates or key == item else key
        coordinates[shown] = (item, known[sequences], {"units": units.get(key, "1")})
    if backing.splits:
        coordinates["split"] = (item, split_labels(backing.splits, sequences), {"units": "1"})
    if backing.lengths is not None:
        coordinates["length"] = (item, backing.lengths[sequences], {"units": "1"})
    if metadata.vocabulary is not None:
        coordinates["vocabulary"] = ("word", list(metadata.vocabulary), {"units": "1"})
    if metadata.components is not None:
        coordinates["component"] = ("component", list(metadata.components), {"units": "1"})
    variable = (dims, values, {"units": units.get(name, "1")})
    return xarray.Dataset({name: variable}, coords=coordinates, attrs=attributes(metadata))


def attributes(metadata: SequenceMetadata) -> dict[str, Any]:
    """The metadata as attributes that a file can hold."""
    described = {
        "name": metadata.name,
        "kind": metadata.kind,
        "dimension": metadata.dimension,
        "phase_convention": metadata.phase_convention,
        "time_step": metadata.time_step,
        "recipe": json.dumps(metadata.recipe) if metadata.recipe else None,
        "digest": metadata.digest,
        "normalised": None if metadata.normalised else 0,
    }
    return {key: value for key, value in described.items() if value is not None}


def split_labels(splits: Mapping[str, tuple[int, int]], sequences: NDArray[np.int64]) -> NDArray[Any]:
    """The split of each sequence by name; "" where it belongs to none.

    >>> split_labels({"train": (0, 2), "test": (2, 3)}, np.arange(4))
    array(['train', 'train', 'test', ''], dtype='<U10')
    """
    labels = np.full(len(sequences), "", dtype="<U10")
    for name, (first, last) in splits.items():
        labels[(sequences >= first) & (sequences < last)] = name
    return labels
