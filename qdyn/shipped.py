"""Where recipes, presets and sweeps that ship with qdyn are: in the wheel, or at the root of a checkout."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from qdyn.errors import ConfigError, nearest

Kind = Literal["datasets", "models", "sweeps"]
_YAML = {"datasets": "recipe.yaml", "models": "preset.yaml", "sweeps": "sweep.yaml"}
_NOUN = {"datasets": "recipe", "models": "preset", "sweeps": "sweep"}


def shipped_folder(kind: Kind) -> Path:
    """The folder whose sub-folders are the shipped recipes (``datasets``), presets (``models``) or sweeps."""
    package = Path(__file__).resolve().parent
    in_wheel = package / "_shipped" / kind
    return in_wheel if in_wheel.is_dir() else package.parent / kind


def shipped_names(kind: Kind) -> list[str]:
    """The names of the shipped recipes, presets or sweeps, sorted."""
    return sorted(path.parent.name for path in shipped_folder(kind).glob(f"*/{_YAML[kind]}"))


def find_yaml(kind: Kind, name_or_path: str | Path) -> Path:
    """The YAML file meant by a shipped name, a path to a YAML file, or a path to a folder that holds one.

    >>> find_yaml("datasets", "tfim-4p")
    Traceback (most recent call last):
    ...
    qdyn.errors.ConfigError: Unknown recipe 'tfim-4p': did you mean 'tfim-4q'?
    """
    path = Path(name_or_path)
    if path.suffix in (".yaml", ".yml"):
        if not path.is_file():
            raise ConfigError(f"The {_NOUN[kind]} file {path} does not exist.")
        return path
    if str(name_or_path) in (names := shipped_names(kind)):
        return shipped_folder(kind) / str(name_or_path) / _YAML[kind]
    if (path / _YAML[kind]).is_file():
        return path / _YAML[kind]
    raise ConfigError(f"Unknown {_NOUN[kind]} {str(name_or_path)!r}: {nearest(str(name_or_path), names)}")
