"""From a preset's model section to a model."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

from qdyn.data.sequences import SequenceMetadata
from qdyn.errors import ConfigError, nearest
from qdyn.models.base import Predictor
from qdyn.models.config import ModelConfig, ModelSection, register_section, section_class
from qdyn.models.hybrid_decoder.config import HybridDecoderConfig
from qdyn.models.hybrid_decoder.decoder import HybridDecoder
from qdyn.models.in_context.config import InContextConfig
from qdyn.models.in_context.predictor import InContextPredictor
from qdyn.models.lstm_decoder import LSTMDecoder, LSTMDecoderConfig
from qdyn.models.qsa.measured import MeasuredQSAConfig, MeasuredQSAPredictor
from qdyn.models.qsa.predictor import QSAPredictor
from qdyn.models.qsa.projected import ProjectedQSAConfig, ProjectedQSAPredictor
from qdyn.models.series.config import QLSTMConfig, QnnFormerConfig, SeriesEncoderConfig
from qdyn.models.series.encoder import QnnFormer, SeriesEncoder
from qdyn.models.series.lstm import QLSTM
from qdyn.models.transformer import Transformer
from qdyn.models.transformer_config import TransformerConfig


@runtime_checkable
class Factory(Protocol):
    """What makes an untrained model; the class of the model itself, as a rule."""

    def __call__(self, config: Any, metadata: SequenceMetadata, *, seed: int) -> Predictor:
        """The model that ``config`` describes, for data described by ``metadata``."""
        ...


_FACTORIES: dict[str, Factory] = {}


def register_model(kind: str, factory: Factory, *, config: type[ModelSection]) -> None:
    """Let presets say ``kind: <kind>``.

    Args:
        kind: The name.
        factory: The model's class, or what is called as it is: (config, metadata of the data, seed=seed).
            A model that is to be trained is a `torch.nn.Module` with `loss(name, inputs, targets, mask)`.
        config: The frozen dataclass that the preset's model section is read into: its fields are the
            section's keys.
    """
    register_section(kind, config)
    _FACTORIES[kind] = factory


def build_model(config: ModelSection, metadata: SequenceMetadata, *, seed: int) -> Predictor:
    """The untrained model that ``config`` describes, for data described by ``metadata``.

    Args:
        config: The model section of a preset.
        metadata: Of the dataset it will meet.
        seed: Fixes the initial parameters.

    Raises:
        ConfigError: unknown kind (the nearest is named), or a configuration of another kind's class.

    Example:
        >>> model = build_model(ModelConfig(layers=2), SequenceMetadata("x", "quantum_state", 16), seed=0)
        >>> model.label
        'poly-3-QSA'
    """
    if config.kind not in _FACTORIES:
        raise ConfigError(
            f"Argument `model.kind` is {config.kind!r}, which is unknown: {nearest(config.kind, _FACTORIES)}"
        )
    wanted = section_class(config.kind)
    if not isinstance(config, wanted):
        raise ConfigError(
            f"Argument `model` must be {wanted.__name__} for the kind {config.kind!r}, "
            f"but is {type(config).__name__}."
        )
    return _FACTORIES[config.kind](config, metadata, seed=seed)


for _kind, _model, _config in (
    ("qsa", QSAPredictor, ModelConfig),
    ("in_context", InContextPredictor, InContextConfig),
    ("hybrid_decoder", HybridDecoder, HybridDecoderConfig),
    ("lstm_decoder", LSTMDecoder, LSTMDecoderConfig),
    ("measured_qsa", MeasuredQSAPredictor, MeasuredQSAConfig),
    ("projected_qsa", ProjectedQSAPredictor, ProjectedQSAConfig),
    ("transformer", Transformer, TransformerConfig),
    ("series_encoder", SeriesEncoder, SeriesEncoderConfig),
    ("qnnformer", QnnFormer, QnnFormerConfig),
    ("qlstm", QLSTM, QLSTMConfig),
):
    register_model(_kind, _model, config=_config)
