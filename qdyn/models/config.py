"""What a preset's `model` section says."""

from __future__ import annotations

import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from qdyn.checks import check_integer, check_positive
from qdyn.errors import ConfigError, nearest

UnitaryName = Literal["hardware_efficient", "brick_wall", "real", "free", "matrix"]
KernelName = Literal["monomial", "polynomial", "softmax"]
PhaseName = Literal["optimal", "trained"]
EmbeddingName = Literal["auto", "identity", "parseval"]
FieldName = Literal["complex", "real"]
ReadoutName = Literal["tied", "rotation", "free"]

_DEFAULT_KIND = "qsa"


@dataclass(frozen=True)
class ModelSection:
    """What the `model` section of every preset has; each kind of model extends it by keys of its own.

    Attributes:
        kind: The family of the model, a name known to `qdyn.models.registry`. It decides which keys the rest
            of the section may have.
    """

    kind: str

    @classmethod
    def variant(cls, mapping: Mapping[str, Any], *, where: str | Path, key: str) -> type[ModelSection]:
        """The class that ``mapping`` is to be read into; `qdyn.config.build` asks for it.

        Raises:
            ConfigError: unknown kind (the nearest is named), or none that is a string.
        """
        if cls is not ModelSection:
            return cls
        kind = mapping.get("kind", _DEFAULT_KIND)
        if not isinstance(kind, str):
            raise ConfigError(f"{where}: `{key}.kind` must be a string, but is {kind!r}.")
        try:
            return section_class(kind)
        except ConfigError as problem:
            raise ConfigError(f"{where}: {problem}") from problem


@dataclass(frozen=True)
class ModelConfig(ModelSection):
    """A predictor built from overlap attention: two unitaries, a kernel and a read-out.

    Attributes:
        kind: The family of the model, a name known to `qdyn.models.registry`.
        unitaries: How W and V are parametrised: "hardware_efficient" (RX, RY, RZ and a ring of CNOTs),
            "brick_wall" (blocks of two qubits), "real" (RY and a ring of CNOTs), "free" (exp(iH): the
            classical twin) or "matrix" (the same, its entries moved by the Riemannian optimiser).
        layers: Layers of the circuit, >= 1; free unitaries have none.
        kernel: What is done to a score: "monomial" s^k, "polynomial" sum_p beta^p s^p / p!, or "softmax" of
            beta |s|^2 (classical).
        degree: k, the largest power of the score, >= 1; softmax has none.
        beta: Inverse temperature of the polynomial and softmax kernels, > 0; None takes sqrt(d).
        phases: "optimal" substitutes the phases that maximise mu; "trained" learns one for each step.
        phase_steps: Largest number of steps a trained phase exists for; needed by phases "trained" alone.
        embedding: How elements become states: "identity" takes them as they are, "parseval" has a trainable
            row for each token, orthonormal in its columns; "auto" picks by the kind of data.
        embedding_dimension: Dimension d of the states for tokens; None takes 16.
        embedding_field: Whether the embedding's entries are complex or real.
        readout: Frame that tokens are read out with: "tied" is the embedding's; "rotation" is that frame
            turned by a trainable circuit, as in v1 of the paper; "free" is a second trainable frame.
        initial_angle: Angles start uniform in [0, initial_angle]. Small angles start near the bare CNOT rings
            and bring every seed to the same optimum, where 2 pi leaves some stalled.
        isometric_value: Whether V is unitary; false frees it to any complex matrix (softmax and "free" only).
    """

    kind: str = _DEFAULT_KIND
    unitaries: UnitaryName = "hardware_efficient"
    layers: int = 43
    kernel: KernelName = "polynomial"
    degree: int = 3
    beta: float | None = None
    phases: PhaseName = "optimal"
    phase_steps: int | None = None
    embedding: EmbeddingName = "auto"
    embedding_dimension: int | None = None
    embedding_field: FieldName = "complex"
    readout: ReadoutName = "tied"
    initial_angle: float = 0.3
    isometric_value: bool = True

    def __post_init__(self) -> None:
        check_integer("model.layers", self.layers, minimum=1)
        check_integer("model.degree", self.degree, minimum=1, maximum=64)
        check_positive("model.initial_angle", self.initial_angle)
        if self.beta is not None:
            check_positive("model.beta", self.beta)
        if self.embedding_dimension is not None:
            check_integer("model.embedding_dimension", self.embedding_dimension, minimum=2)
        if self.phase_steps is not None:
            check_integer("model.phase_steps", self.phase_steps, minimum=1)
        if self.phases == "trained" and self.phase_steps is None:
            raise ConfigError(
                "Argument `model.phase_steps` must say how many steps trained phases cover, but is missing."
            )
        if not self.isometric_value and (self.kernel != "softmax" or self.unitaries != "free"):
            raise ConfigError(
                "Argument `model.isometric_value` may be false with kernel 'softmax' and unitaries 'free', "
                f"but they are {self.kernel!r}, {self.unitaries!r}."
            )


def check_places(name: str, places: tuple[int, ...], count: int) -> None:
    """Refuse numbers of layers that are not from 0 to ``count`` - 1, or stand twice.

    >>> check_places("model.adapter_layers", (0, 3), 4)
    """
    for index, place in enumerate(places):
        check_integer(f"{name}[{index}]", place, minimum=0, maximum=count - 1)
    if len(set(places)) < len(places):
        raise ConfigError(f"Argument `{name}` must name each layer once, but is {list(places)}.")


_SECTIONS: dict[str, str | type[ModelSection]] = {
    "qsa": ModelConfig,
    "hybrid_decoder": "qdyn.models.hybrid_decoder.config:HybridDecoderConfig",
    "in_context": "qdyn.models.in_context.config:InContextConfig",
    "lstm_decoder": "qdyn.models.lstm_decoder:LSTMDecoderConfig",
    "measured_qsa": "qdyn.models.qsa.measured:MeasuredQSAConfig",
    "projected_qsa": "qdyn.models.qsa.projected:ProjectedQSAConfig",
    "qlstm": "qdyn.models.series.config:QLSTMConfig",
    "qnnformer": "qdyn.models.series.config:QnnFormerConfig",
    "series_encoder": "qdyn.models.series.config:SeriesEncoderConfig",
    "transformer": "qdyn.models.transformer_config:TransformerConfig",
}


def section_class(kind: str) -> type[ModelSection]:
    """The class that describes models of ``kind``.

    >>> section_class("qsaa")
    Traceback (most recent call last):
    ...
    qdyn.errors.ConfigError: Argument `model.kind` is 'qsaa', which is unknown: did you mean 'qsa'?
    """
    if kind not in _SECTIONS:
        raise ConfigError(f"Argument `model.kind` is {kind!r}, which is unknown: {nearest(kind, _SECTIONS)}")
    found = _SECTIONS[kind]
    if isinstance(found, str):
        loaded: type[ModelSection] = pkgutil.resolve_name(found)
        return loaded
    return found


def register_section(kind: str, section: type[ModelSection]) -> None:
    """Read `model` sections of ``kind`` into the dataclass ``section``; see `registry.register_model`."""
    _SECTIONS[kind] = section
