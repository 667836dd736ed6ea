"""Published weights of arXiv:2502.19214: what is read from them, and what is refused.

A published model is a table of tensors and the configuration that it was trained with. Neither names its
words, which the published code takes anew from whatever file it opens: 33 rows of the embedding are those of
QM9, in sorted order.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from qdyn.data.molecules.properties import PROPERTIES
from qdyn.data.sequences import SequenceMetadata
from qdyn.data.smiles import QM9_VOCABULARY
from qdyn.errors import ConfigError, RunError
from qdyn.models.hybrid_decoder.config import HybridDecoderConfig, ScoreName

DROPOUT = 0.1
"""Of every published model; no file says so."""
_KEYS: dict[str, type] = {
    "classical_attention": bool,
    "classical_parameter_reduction": bool,
    "conditional_training": bool,
    "num_qubits": int,
    "ansatz_layers": int,
}

Published = tuple[HybridDecoderConfig, SequenceMetadata, dict[str, Tensor]]


def read_published(path: Path) -> Published:
    """Configuration, metadata and tensors of published weights.

    Args:
        path: A .safetensors file with its configuration as .json beside it; a word list under the key
            "vocabulary" there, if any, takes the place of QM9's.

    Raises:
        RunError: a file is missing, broken, or of another model than its configuration says.
    """
    beside = path.with_suffix(".json")
    if not path.is_file():
        raise RunError(f"The weights {path} cannot be read: No such file or directory.")
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as problem:
        raise RunError(f"The weights {path} cannot be read: {_reason(problem)}.") from problem
    try:
        settings = json.loads(beside.read_text(encoding="utf-8"))
    except (OSError, ValueError) as problem:
        raise RunError(f"The configuration {beside} cannot be read: {_reason(problem)}.") from problem
    return understood(tensors, settings, where=path, configured=beside)


def understood(tensors: Mapping[str, Tensor], settings: Any, *, where: Path, configured: Path) -> Published:
    """What published tensors and settings say, checked against each other.

    Args:
        tensors: The state dictionary.
        settings: The training configuration.
        where: The file of the weights, for messages.
        configured: The file of the configuration, for messages.

    Raises:
        RunError: a setting is missing or of another type, or a tensor is missing, extra or misshapen.
    """
    if not isinstance(settings, Mapping):
        raise RunError(f"The configuration {configured} must be a mapping, but is {type(settings).__name__}.")
    for key, wanted in _KEYS.items():
        if type(settings.get(key)) is not wanted:
            raise RunError(
                f"The configuration {configured} must give `{key}` as {wanted.__name__}, "
                f"but gives {settings.get(key)!r}."
            )
    for name in ("token_embed.weight", "position_embed"):
        if name not in tensors or tensors[name].ndim < 2:
            raise RunError(f"The weights {where} hold no table {name!r}: they are not those of the decoder.")
    score: ScoreName = "quantum"
    if settings["classical_attention"]:
        score = "classical_eq" if settings["classical_parameter_reduction"] else "classical"
    try:
        config = HybridDecoderConfig(
            score=score,
            conditions=PROPERTIES if settings["conditional_training"] else (),
            width=tensors["token_embed.weight"].shape[1],
            block=tensors["position_embed"].shape[1],
            qubits=settings["num_qubits"],
            layers=settings["ansatz_layers"],
            property_angles="batch_range",
            dropout=DROPOUT,
            initial_spread=0.0,
        )
    except ValueError as problem:
        raise RunError(f"The configuration {configured} describes no decoder: {problem}") from problem
    words = _words(settings, tensors["token_embed.weight"].shape[0], configured)
    metadata = SequenceMetadata(
        name=Path(str(settings.get("training_data", "qm9"))).stem,
        kind="token",
        dimension=len(words),
        vocabulary=words,
        recipe={"published": dict(settings)},
    )
    found = {name: tensor.to(torch.float32) for name, tensor in tensors.items()}
    _check_shapes(found, config, metadata, where)
    return config, metadata, found


def _words(settings: Mapping[str, Any], rows: int, configured: Path) -> tuple[str, ...]:
    words = tuple(settings.get("vocabulary", QM9_VOCABULARY))
    if len(words) != rows:
        raise RunError(
            f"The weights know {rows} words, but the vocabulary has {len(words)}: give {configured} the "
            "words as a list under the key `vocabulary`."
        )
    return words


def _check_shapes(
    tensors: Mapping[str, Tensor], config: HybridDecoderConfig, metadata: SequenceMetadata, where: Path
) -> None:
    from qdyn.models.hybrid_decoder.decoder import HybridDecoder

    try:
        wanted = HybridDecoder(config, metadata).state_dict()
    except ConfigError as problem:
        raise RunError(f"The weights {where} cannot be those of a decoder: {problem}") from problem
    for name, tensor in wanted.items():
        if name not in tensors:
            raise RunError(f"The weights {where} lack the tensor {name!r} of a {config.score} decoder.")
        if tensors[name].shape != tensor.shape:
            raise RunError(
                f"The tensor {name!r} of {where} must have shape {tuple(tensor.shape)}, "
                f"but has {tuple(tensors[name].shape)}."
            )
        if not bool(torch.isfinite(tensors[name]).all()):
            raise RunError(f"The tensor {name!r} of {where} must be finite.")
    extra = [name for name in tensors if name not in wanted]
    if extra:
        raise RunError(f"The weights {where} hold {extra[0]!r}, which no {config.score} decoder has.")


def _reason(problem: Exception) -> str:
    return str(getattr(problem, "strerror", None) or problem)
