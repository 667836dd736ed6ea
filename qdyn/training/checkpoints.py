"""Checkpoints: what a run needs to go on exactly where it was, in one file that is replaced in one step."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from qdyn.errors import RunError
from qdyn.files import replacing
from qdyn.training.best import Best
from qdyn.training.ensembles import Ensemble

_FORMAT = "qdyn-checkpoint-1"
_PARAMETERS, _BEST, _LOSSES = "parameters", "best", "losses"


@dataclass(frozen=True)
class Position:
    """Where a run stands: updates done and seconds spent on them."""

    step: int
    seconds: float


def save_checkpoint(
    path: Path,
    ensemble: Ensemble,
    optimiser: torch.optim.Optimizer,
    *,
    position: Position,
    best: Best | None = None,
) -> None:
    """Write all that a run goes on from; a kill leaves the old file or the new one.

    That is the parameters, the optimiser's memory, the position, and the best parameters so far where the run
    keeps them.

    The order of the data and the learning rate are functions of the step, so nothing else needs to be kept.
    """
    tensors: dict[str, Tensor] = {}
    for name, parameter in ensemble.parameters.items():
        tensors[f"{_PARAMETERS}/{name}"] = parameter.detach().cpu().contiguous()
        for key, value in optimiser.state.get(parameter, {}).items():
            if key != "step":
                tensors[f"{key}/{name}"] = value.cpu().contiguous()
    if best is not None:
        tensors[_LOSSES] = best.losses.cpu()
    if best is not None and best.parameters:
        tensors[_BEST] = best.figures.cpu()
        tensors |= {f"{_BEST}/{name}": tensor.cpu() for name, tensor in best.parameters.items()}
    metadata = {"format": _FORMAT, "step": str(position.step), "seconds": repr(position.seconds)}
    metadata |= {} if best is None else {"losses": str(best.count)}
    with replacing(path) as beside:
        save_file(tensors, beside, metadata=metadata)


def load_checkpoint(
    path: Path, ensemble: Ensemble, optimiser: torch.optim.Optimizer, best: Best | None = None
) -> Position:
    """Put a checkpoint's content back into ``ensemble``, ``optimiser`` and ``best``.

    Raises:
        RunError: the file is truncated, foreign, or of another model.
    """
    tensors, metadata = read_tensors(path, expected_format=_FORMAT)
    position = Position(step=int(metadata["step"]), seconds=float(metadata["seconds"]))
    state = optimiser.state_dict()
    for index, (name, parameter) in enumerate(ensemble.parameters.items()):
        stored = tensors.get(f"{_PARAMETERS}/{name}")
        if stored is None or stored.shape != parameter.shape or stored.dtype != parameter.dtype:
            raise RunError(f"The checkpoint {path} does not hold the parameter {name} of this model.")
        with torch.no_grad():
            parameter.copy_(stored)
        if position.step:
            state["state"][index] = {"step": torch.tensor(float(position.step))} | {
                key.removesuffix(f"/{name}"): value.to(parameter.device)
                for key, value in tensors.items()
                if key.endswith(f"/{name}") and not key.startswith((_PARAMETERS, _BEST))
            }
    if best is not None and _LOSSES in tensors:
        best.losses, best.count = tensors[_LOSSES], int(metadata["losses"])
    if best is not None and _BEST in tensors:
        best.figures = tensors[_BEST]
        best.parameters = {
            name: tensors[f"{_BEST}/{name}"].to(parameter.device)
            for name, parameter in ensemble.parameters.items()
        }
    optimiser.load_state_dict(state)
    return position


def checkpoint_position(path: Path) -> Position:
    """Where the run stood when ``path`` was written; the start where there is no such file yet."""
    if not path.is_file():
        return Position(step=0, seconds=0.0)
    _, metadata = read_tensors(path, expected_format=_FORMAT)
    return Position(step=int(metadata["step"]), seconds=float(metadata["seconds"]))


def read_tensors(path: Path, *, expected_format: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors and metadata of a safetensors file of ours.

    Raises:
        RunError: the file is missing, truncated or foreign.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != expected_format:
                raise RunError(f"The file {path} is not a {expected_format} file of qdyn.")
            return {name: file.get_tensor(name) for name in file.keys()}, metadata  # noqa: SIM118 - not a dict
    except (OSError, SafetensorError) as problem:
        reason = " ".join(str(problem).split())
        raise RunError(f"The file {path} cannot be read, it may be truncated: {reason}.") from problem


def save_weights(path: Path, tensors: dict[str, Tensor]) -> None:
    """Write the finished weights, stacked over seeds."""
    with replacing(path) as beside:
        save_file(tensors, beside, metadata={"format": WEIGHTS_FORMAT})


WEIGHTS_FORMAT = "qdyn-weights-1"
