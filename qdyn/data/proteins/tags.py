"""What can be said of a protein from its residues alone, as conditions and as tags in front."""

from __future__ import annotations

from collections.abc import Mapping

from qdyn.checks import check_choice
from qdyn.data.proteins.amino_acids import mean_hydropathy, net_charge
from qdyn.data.tags import tag

PROTEIN_UNITS: Mapping[str, str] = {"residues": "1", "charge": "e", "hydropathy": "1"}
"""Conditions of every protein and their units: length, net charge at pH 7, mean hydropathy."""

PROPERTY_TAGS: Mapping[str, tuple[str, ...]] = {
    "charge": ("negative", "neutral", "positive"),
    "hydropathy": ("polar", "greasy"),
}
"""Values of the tags that follow from the residues."""


def property_tag(name: str, residues: str) -> str:
    """The tag of a property: the sign of the net charge, or that of the mean hydropathy.

    Args:
        name: "charge" or "hydropathy".
        residues: In the 21 letters.

    Example:
        >>> property_tag("charge", "MKKE"), property_tag("hydropathy", "MKKE")
        ('<charge=positive>', '<hydropathy=polar>')
    """
    check_choice("name", name, PROPERTY_TAGS)
    if name == "charge":
        charge = net_charge(residues)
        return tag(name, "neutral" if charge == 0 else "positive" if charge > 0 else "negative")
    return tag(name, "greasy" if mean_hydropathy(residues) > 0 else "polar")
