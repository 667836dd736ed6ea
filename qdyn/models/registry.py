"""From a preset's model section to a model."""

from __future__ import annotations

from collections.abc import Callable

from qdyn.data.sequences import SequenceMetadata
from qdyn.errors import ConfigError, nearest
from qdyn.models.base import Predictor
from qdyn.models.config import ModelConfig
from qdyn.models.qsa import QSAPredictor

Builder = Callable[[ModelConfig, SequenceMetadata, int], Predictor]

_BUILDERS: dict[str, Builder] = {}


def register_model(kind: str, builder: Builder) -> None:
    """Let presets say ``kind: <kind>``.

    Args:
        kind: The name.
        builder: (config, metadata of the data, seed) -> the untrained model. A model that is to be trained is
            a `torch.nn.Module` with `loss(name, inputs, targets, mask)`.
    """
    _BUILDERS[kind] = builder


def build_model(config: ModelConfig, metadata: SequenceMetadata, *, seed: int) -> Predictor:
    """The untrained model that ``config`` describes, for data described by ``metadata``.

    Args:
        config: The model section of a preset.
        metadata: Of the dataset it will meet.
        seed: Fixes the initial parameters.

    Raises:
        ConfigError: unknown kind; the nearest is named.

    Example:
        >>> model = build_model(ModelConfig(layers=2), SequenceMetadata("x", "quantum_state", 16), seed=0)
        >>> model.label
        'poly-3-QSA'
    """
    if config.kind not in _BUILDERS:
        raise ConfigError(
            f"Argument `model.kind` is {config.kind!r}, which is unknown: {nearest(config.kind, _BUILDERS)}"
        )
    return _BUILDERS[config.kind](config, metadata, seed)


register_model("qsa", lambda config, metadata, seed: QSAPredictor(config, metadata, seed=seed))
