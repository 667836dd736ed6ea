"""The published checkpoints of arXiv:2502.19214 themselves, which are pickles, read without running them.

A pickle names functions to be called while it is read. Here nothing but what makes a tensor of numbers is
ever called: whatever else is named becomes an object that does nothing.
"""

from __future__ import annotations

import collections
import pickle
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from qdyn.errors import RunError

_HARMLESS = {
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): torch._utils._rebuild_tensor_v2,
    ("torch._utils", "_rebuild_parameter"): torch._utils._rebuild_parameter,
}


class _Nothing:
    """Stands for anything that is no tensor; takes what a pickle gives it and does nothing."""

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __setstate__(self, _: Any) -> None:
        pass

    def __setitem__(self, *_: Any) -> None:
        pass

    def append(self, _: Any) -> None:
        """Nothing."""

    def extend(self, _: Any) -> None:
        """Nothing."""


class _Reader(pickle.Unpickler):
    """Finds what makes tensors, and `_Nothing` for all the rest."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _HARMLESS:
            return _HARMLESS[module, name]
        if module == "torch" and name.endswith("Storage"):
            return super().find_class(module, name)
        return _Nothing


def read_checkpoint(path: Path) -> tuple[dict[str, Tensor], Mapping[str, Any]]:
    """The tensors of the model and its training configuration, from a checkpoint as ``torch.save`` wrote it.

    Raises:
        RunError: the file is missing, no such checkpoint, or lacks one of the two.
    """
    module = SimpleNamespace(
        __name__="pickle", Unpickler=_Reader, load=lambda file, **options: _Reader(file, **options).load()
    )
    try:
        content = torch.load(path, map_location="cpu", pickle_module=module, weights_only=False)
    except (OSError, RuntimeError, pickle.UnpicklingError, EOFError, ValueError, TypeError) as problem:
        reason = getattr(problem, "strerror", None) or "it is no checkpoint that torch.save wrote"
        raise RunError(f"The checkpoint {path} cannot be read: {reason}.") from problem
    found = content if isinstance(content, dict) else {}
    tensors, settings = found.get("model_state_dict"), found.get("training_configuration")
    if not isinstance(tensors, dict) or not isinstance(settings, dict):
        raise RunError(f"The checkpoint {path} must hold `model_state_dict` and `training_configuration`.")
    wrong = [name for name, tensor in tensors.items() if not isinstance(tensor, Tensor)]
    if wrong:
        raise RunError(f"The checkpoint {path} holds no numbers for {wrong[0]!r}.")
    return {name: tensor.detach() for name, tensor in tensors.items()}, settings
