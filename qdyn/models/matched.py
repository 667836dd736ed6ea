"""Transformers that differ in their attention alone, and the controls that a quantum mechanism is set beside.

A *contestant* is a mechanism by its name, or a control:

================== ===================================================================================
identity, uniform  attention removed: an element sees itself alone, or all that it may, equally
tanh_bottleneck    for "measured": as many weights, bounded numbers, no circuit
kernel             for "fidelity": as many weights, a Gaussian kernel of linear features
frozen-NAME        the mechanism with circuits that stay as they were drawn; its linear maps are trained
================== ===================================================================================

The feed-forward network of a transformer takes up the difference in parameters, so that every one learns as
many numbers as the one with softmax.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

from torch import nn

from qdyn.attention.mechanism import attention_class, build, names
from qdyn.checks import check_choice, check_integer
from qdyn.data.sequences import SequenceMetadata
from qdyn.models.registry import build_model
from qdyn.models.transformer_config import TransformerConfig

BAND = 0.02
"""Largest relative deviation from the parameters of the softmax transformer that counts as matched."""
REPLACED = {"tanh_bottleneck": "measured", "kernel": "fidelity"}
"""Control -> the mechanism whose number of weights it has."""
_REMOVED: dict[str, tuple[str, dict[str, Any]]] = {
    "identity": ("uniform", {"sees": "itself"}),
    "uniform": ("uniform", {}),
}
CLASSICAL = ("softmax", *_REMOVED, *REPLACED)
"""What no quantum mechanism is needed for: one that is of use beats the best of them."""
_FROZEN = "frozen-"

Role = Literal["quantum", "frozen", "classical", "removed"]


@dataclass(frozen=True)
class Matched:
    """A transformer of as many trained numbers as the one with softmax.

    Attributes:
        config: Its model section.
        weights: Trained numbers of the attention alone.
        deviation: Of all trained numbers from those of the softmax transformer, relative to them.
    """

    config: TransformerConfig
    weights: int
    deviation: float


def quantum_mechanisms() -> tuple[str, ...]:
    """Every mechanism by name but softmax, those that were registered among them."""
    return tuple(name for name in names() if name not in CLASSICAL)


def contestants() -> tuple[str, ...]:
    """The classical ones and controls, every mechanism, and every mechanism frozen."""
    quantum = quantum_mechanisms()
    return (*CLASSICAL, *quantum, *(_FROZEN + name for name in quantum))


def frozen_twin(mechanism: str) -> str:
    """The contestant that is ``mechanism`` with circuits as drawn.

    >>> frozen_twin("fidelity")
    'frozen-fidelity'
    """
    return _FROZEN + mechanism


def role_of(contestant: str) -> Role:
    """What a contestant is there for.

    >>> role_of("fidelity"), role_of("frozen-fidelity"), role_of("kernel"), role_of("uniform")
    ('quantum', 'frozen', 'classical', 'removed')
    """
    if contestant in CLASSICAL:
        return "removed" if contestant in _REMOVED else "classical"
    return "frozen" if contestant.startswith(_FROZEN) else "quantum"


def attention_of(contestant: str, *, width: int, steps: int) -> tuple[str, dict[str, Any]]:
    """Name and options of a contestant's attention, for `qdyn.attention.build` or a model section.

    Args:
        contestant: One of `contestants`.
        width: Of the elements.
        steps: Of the longest sequence, for mechanisms with a table of positions.

    Raises:
        ArgumentError: a name that is unknown; the nearest is named.

    Example:
        >>> attention_of("frozen-quixer", width=8, steps=5)
        ('frozen', {'mechanism': 'quixer', 'options': {'steps': 5}})
    """
    check_choice("contestant", contestant, contestants())
    if contestant in _REMOVED:
        name, options = _REMOVED[contestant]
        return name, dict(options)
    if contestant in REPLACED:
        return contestant, {"features": _features_of(contestant, width)}
    if contestant.startswith(_FROZEN):
        name, held = attention_of(contestant.removeprefix(_FROZEN), width=width, steps=steps)
        return "frozen", {"mechanism": name, "options": held}
    return contestant, {"steps": steps} if contestant in ("compound", "quixer") else {}


def matched_transformer(contestant: str, metadata: SequenceMetadata, *, width: int, steps: int) -> Matched:
    """The transformer of one block whose trained numbers come nearest to those of the one with softmax.

    Args:
        contestant: One of `contestants`.
        metadata: Of the data.
        width: Of the elements, >= 1.
        steps: Of the longest sequence, >= 1.

    Raises:
        QdynError: the mechanism makes no sense on these data.

    Example:
        >>> found = matched_transformer("fidelity", SequenceMetadata("words", "token", 9), width=16, steps=8)
        >>> found.config.feed_forward, abs(found.deviation) < BAND
        (74, True)
    """
    check_integer("width", width, minimum=1)
    attention, chosen = attention_of(contestant, width=width, steps=steps)
    config = TransformerConfig(
        attention=attention,
        attention_options=chosen,
        causal=attention_class(chosen.get("mechanism", attention)).can_be_causal,
        width=width,
        steps=steps,
    )
    wanted = _trained_numbers(TransformerConfig(width=width, steps=steps), metadata)
    one, two = (_trained_numbers(replace(config, feed_forward=units), metadata) for units in (1, 2))
    units = max(1, 1 + round((wanted - one) / (two - one)))
    found = replace(config, feed_forward=units)
    weights = _count(build(attention, dim=width, causal=config.causal, **chosen))
    return Matched(found, weights, _trained_numbers(found, metadata) / wanted - 1)


def _features_of(control: str, width: int) -> int:
    """Features with which a control comes nearest to the weights of the mechanism that it replaces."""
    wanted = _count(build(REPLACED[control], dim=width))
    return min(
        range(1, width + 1),
        key=lambda features: abs(_count(build(control, dim=width, features=features)) - wanted),
    )


def _count(module: nn.Module) -> int:
    """Numbers that are trained."""
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)


def _trained_numbers(config: TransformerConfig, metadata: SequenceMetadata) -> int:
    """Of a whole model."""
    model = build_model(config, metadata, seed=0)
    assert isinstance(model, nn.Module)
    return _count(model)
