"""Published weights as a run, so that whatever takes a run takes them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch

from qdyn.config import to_mapping
from qdyn.errors import RunError
from qdyn.models.hybrid_decoder.decoder import HybridDecoder
from qdyn.models.hybrid_decoder.published import read_published, understood
from qdyn.models.hybrid_decoder.published_checkpoint import read_checkpoint
from qdyn.training.checkpoints import save_weights
from qdyn.training.config import DatasetConfig, RunConfig, TrainingConfig
from qdyn.training.ensembles import stack_states
from qdyn.training.folder import WEIGHTS, refuse_occupied, start_run
from qdyn.training.record import RunRecord, machine, now, versions
from qdyn.training.run import Run

_TRAINED_ON = 127_109


def import_published(path: str | Path, out: str | Path) -> Run:
    """Make a run of published weights of the decoder of molecules.

    Args:
        path: A .safetensors file with its configuration as .json beside it, or a checkpoint (.pt) as it was
            published, which is read without running what it names.
        out: The run's folder; it must not hold anything yet.

    Returns:
        A finished run of one model; its record says where it came from. There are no training curves.

    Raises:
        RunError: the file cannot be read, or holds another model.
        OutputError: ``out`` holds something, or cannot be written.

    Example:
        >>> import_published("nowhere.safetensors", "runs/published")
        Traceback (most recent call last):
        ...
        qdyn.errors.RunError: The weights nowhere.safetensors cannot be read: No such file or directory.
    """
    file, folder = Path(path), Path(out)
    if file.suffix == ".safetensors":
        config, metadata, tensors = read_published(file)
    else:
        config, metadata, tensors = understood(*read_checkpoint(file), where=file, configured=file)
    decoder = HybridDecoder(config, metadata)
    decoder.load_state_dict(tensors)
    preset = RunConfig(
        name=f"published {decoder.label[0].lower()}{decoder.label[1:]}",
        dataset=DatasetConfig(name=metadata.name, count_padding=True),
        model=config,
        training=_training(metadata.recipe["published"], file),
        description=f"Published weights of arXiv:2502.19214, from {file.name}.",
    )
    refuse_occupied(folder)
    record = RunRecord(
        status="finished",
        reason=f"imported from {file.name}",
        seeds=preset.training.seeds,
        parameters=sum(parameter.numel() for parameter in decoder.parameters()),
        dataset=to_mapping(metadata),
        sequences={},
        threads=torch.get_num_threads(),
        device="unknown",
        versions=versions(),
        platform=machine(),
        started=now(),
        ended=now(),
        step=preset.training.steps,
    )
    start_run(folder, preset, record)
    save_weights(folder / WEIGHTS, stack_states([decoder]))
    return Run(folder, preset, record)


def _training(settings: dict[str, Any], file: Path) -> TrainingConfig:
    """What the published settings say that a preset can say too."""
    try:
        batch_size = int(settings["batch_size"])
        return TrainingConfig(
            loss="L_1",
            steps=int(settings["epochs"]) * math.ceil(_TRAINED_ON / batch_size),
            batch_size=batch_size,
            optimiser="adamw",
            learning_rate=float(settings["learning_rate"]),
            weight_decay=float(settings.get("weight_decay", 0.0)),
            schedule="constant",
            seeds=(int(settings["seed"]),),
        )
    except (KeyError, ValueError, TypeError, ZeroDivisionError) as problem:
        raise RunError(
            f"The configuration of {file} must give numbers for batch_size, epochs, learning_rate and seed."
        ) from problem
