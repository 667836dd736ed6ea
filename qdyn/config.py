"""Configurations: a YAML file read strictly into nested frozen dataclasses, and back.

Every refusal is one line that names the file, the dotted key, the rule and what arrived::

    models/mine.yaml: unknown key `training.step`: did you mean 'training.steps'?

Numbers follow the YAML 1.2 core schema: ``2e-2`` is a number, ``no`` and ``1:30`` are strings.
"""

from __future__ import annotations

import copy
import dataclasses
import math
import re
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

import numpy as np
import yaml

from qdyn.errors import ArgumentError, ConfigError, nearest

T = TypeVar("T")

_RESOLVERS = (
    ("null", re.compile(r"^(?:~|null|Null|NULL|)$"), ["~", "n", "N", ""]),
    ("bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")),
    ("int", re.compile(r"^[-+]?[0-9]+$"), list("-+0123456789")),
    (
        "float",
        re.compile(
            r"^[-+]?(?:(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"
        ),
        list("-+0123456789."),
    ),
    ("merge", re.compile(r"^<<$"), ["<"]),
)


class _Loader(yaml.SafeLoader):
    """YAML 1.2 scalars, and no key twice in one mapping."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - PyYAML's own class attribute

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag not in (_tag("str"), _tag("merge")):
                raise yaml.MarkedYAMLError(problem="a key must be a string", problem_mark=key.start_mark)
            if key.value in seen:
                raise yaml.MarkedYAMLError(
                    problem=f"the key `{key.value}` stands twice", problem_mark=key.start_mark
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep=deep)


class _Dumper(yaml.SafeDumper):
    """Quotes what `_Loader` would otherwise read as something else."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - PyYAML's own class attribute


def _tag(name: str) -> str:
    return f"tag:yaml.org,2002:{name}"


for _name, _pattern, _first in _RESOLVERS:
    _Loader.add_implicit_resolver(_tag(_name), _pattern, _first)
    _Dumper.add_implicit_resolver(_tag(_name), _pattern, _first)
# A list of scalars stands on one line, a section on several.
_Dumper.add_representer(
    list, lambda dumper, items: dumper.represent_sequence(_tag("seq"), items, flow_style=True)
)
# PyYAML's own constructor reads 010 as octal.
_Loader.add_constructor(_tag("int"), lambda loader, node: int(cast(yaml.ScalarNode, node).value))


def read_yaml(path: str | Path) -> dict[str, Any]:
    """The mapping at the top of a YAML file.

    Raises:
        ConfigError: the file is missing, is not UTF-8, is broken YAML (the line is named), holds a key twice
            or holds anything but a mapping.
    """
    path = Path(path)
    try:
        content = _parse(path.read_text(encoding="utf-8"), where=str(path))
    except OSError as problem:
        raise ConfigError(f"Cannot read {path}: {problem.strerror or problem}.") from problem
    except UnicodeDecodeError as problem:
        raise ConfigError(f"{path}: not a text file in UTF-8.") from problem
    if content is None:
        raise ConfigError(f"{path}: the file is empty.")
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: must hold keys and values, but holds {_describe(content)}.")
    return content


def to_yaml(mapping: Mapping[str, Any]) -> str:
    """``mapping`` as YAML text that `read_yaml` reads back to the same values, keys in the given order."""
    return yaml.dump(dict(mapping), Dumper=_Dumper, sort_keys=False, default_flow_style=False)


def override(mapping: Mapping[str, Any], assignment: str) -> dict[str, Any]:
    """A copy of ``mapping`` with one dotted key set, the value read as YAML.

    >>> override({"training": {"steps": 400}}, "training.steps=100")
    {'training': {'steps': 100}}
    >>> override({}, "training.seeds=[0, 1]")
    {'training': {'seeds': [0, 1]}}

    Raises:
        ConfigError: ``assignment`` is not of the form ``key=value``, its value is broken YAML, or the key
            passes through something that is not a mapping.
    """
    key, equals, text = assignment.partition("=")
    parts = key.strip().split(".")
    if not equals or not all(parts):
        raise ConfigError(
            f"An override must read key=value, such as training.steps=100, but is {assignment!r}."
        )
    value = _parse(text, where=f"override {assignment!r}")
    result: dict[str, Any] = copy.deepcopy(dict(mapping))
    place = result
    for depth, part in enumerate(parts[:-1], start=1):
        place = place.setdefault(part, {})
        if not isinstance(place, dict):
            raise ConfigError(
                f"override {assignment!r}: `{'.'.join(parts[:depth])}` is {_describe(place)}, not a section."
            )
    place[parts[-1]] = value
    return result


def build(cls: type[T], mapping: Any, *, where: str | Path, key: str = "") -> T:
    """An instance of the dataclass ``cls`` from ``mapping``, types checked strictly.

    Understands bool, int, float (an int will do), str, Literal, unions, tuples, mappings with string keys,
    Any and nested dataclasses. What ``cls.__post_init__`` refuses is passed on with the file in front.
    A dataclass with a classmethod ``variant(mapping, where=..., key=...)`` names the class to build in its
    place.

    Args:
        cls: A dataclass.
        mapping: Its fields by name.
        where: What the messages name as the source, usually the file.
        key: Dotted prefix of the keys in messages, where ``mapping`` is a section of a larger file.

    Raises:
        ConfigError: unknown key (the nearest valid one is named), missing key, wrong type or a value out of
            range.
    """
    if not isinstance(mapping, Mapping):
        raise ConfigError(
            f"{where}: `{key}` must be a section of keys and values, but is {_describe(mapping)}."
        )
    if (variant := getattr(cls, "variant", None)) is not None:
        cls = variant(mapping, where=where, key=key)
    fields = {field.name: field for field in dataclasses.fields(cast(Any, cls)) if field.init}
    prefix = f"{key}." if key else ""
    for name in mapping:
        if name not in fields:
            hint = nearest(f"{prefix}{name}", [f"{prefix}{valid}" for valid in fields])
            raise ConfigError(f"{where}: unknown key `{prefix}{name}`: {hint}")
    hints = get_type_hints(cls)
    values: dict[str, Any] = {}
    for name, field in fields.items():
        if name in mapping:
            values[name] = _convert(hints[name], mapping[name], where=where, key=f"{prefix}{name}")
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise ConfigError(f"{where}: the key `{prefix}{name}` is missing.")
    try:
        return cls(**values)
    except (ArgumentError, ConfigError) as problem:
        raise ConfigError(f"{where}: {problem}") from problem


def to_mapping(instance: Any) -> dict[str, Any]:
    """The fields of a dataclass instance as plain mappings, lists and scalars: what `build` reads back."""
    return {
        field.name: _plain(getattr(instance, field.name))
        for field in dataclasses.fields(instance)
        if field.init
    }


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return to_mapping(value)
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return value.item() if isinstance(value, np.generic) else value


def _parse(text: str, *, where: str) -> Any:
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.MarkedYAMLError as problem:
        mark = problem.problem_mark or problem.context_mark
        place = f"{where}:{mark.line + 1}" if mark else where
        raise ConfigError(f"{place}: {problem.problem or 'cannot be read as YAML'}.") from problem
    except yaml.YAMLError as problem:
        raise ConfigError(f"{where}: {' '.join(str(problem).split())}.") from problem


_SCALARS: dict[Any, tuple[str, tuple[type, ...]]] = {
    bool: ("true or false", (bool,)),
    int: ("an integer", (int,)),
    float: ("a finite number", (int, float)),
    str: ("a string", (str,)),
    type(None): ("null", (type(None),)),
}


def _convert(hint: Any, value: Any, *, where: str | Path, key: str) -> Any:
    """``value`` as the annotation ``hint`` wants it, or a ConfigError naming ``key``."""
    origin, arguments = get_origin(hint), get_args(hint)
    if hint is Any:
        converted = value
    elif dataclasses.is_dataclass(hint):
        converted = build(cast(type, hint), value, where=where, key=key)
    elif origin in (Union, types.UnionType):
        converted = _convert_union(arguments, value, where=where, key=key)
    elif origin is Literal:
        converted = _convert_choice(arguments, value, where=where, key=key)
    elif origin is tuple:
        converted = _convert_tuple(arguments, value, where=where, key=key)
    elif (origin or hint) in (dict, Mapping):
        converted = _convert_mapping(arguments, value, where=where, key=key)
    else:
        converted = _convert_scalar(hint, value, where=where, key=key)
    return converted


def _convert_scalar(hint: Any, value: Any, *, where: str | Path, key: str) -> Any:
    rule, accepted = _SCALARS[hint]
    fits = isinstance(value, accepted) and (hint is bool or not isinstance(value, bool))
    if not fits or (hint is float and not math.isfinite(value)):
        raise ConfigError(f"{where}: `{key}` must be {rule}, but is {_describe(value)}.")
    return float(value) if hint is float else value


def _convert_choice(arguments: tuple[Any, ...], value: Any, *, where: str | Path, key: str) -> Any:
    if any(value == choice and type(value) is type(choice) for choice in arguments):
        return value
    choices = ", ".join(str(choice) for choice in arguments)
    valid = nearest(value, map(str, arguments)) if isinstance(value, str) else f"valid: {choices}."
    raise ConfigError(f"{where}: `{key}` is {_describe(value)}, which is unknown: {valid}")


def _convert_mapping(
    arguments: tuple[Any, ...], value: Any, *, where: str | Path, key: str
) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise ConfigError(
            f"{where}: `{key}` must be a section of keys and values, but is {_describe(value)}."
        )
    inner = arguments[1] if arguments else Any
    return {name: _convert(inner, item, where=where, key=f"{key}.{name}") for name, item in value.items()}


def _convert_union(arguments: tuple[Any, ...], value: Any, *, where: str | Path, key: str) -> Any:
    if value is None and type(None) in arguments:
        return None
    options = [argument for argument in arguments if argument is not type(None)]
    problems: list[ConfigError] = []
    for option in options:
        try:
            return _convert(option, value, where=where, key=key)
        except ConfigError as problem:
            problems.append(problem)
    if len(options) == 1:
        raise problems[0]
    rules = " or ".join(_SCALARS[option][0] if option in _SCALARS else str(option) for option in options)
    raise ConfigError(f"{where}: `{key}` must be {rules}, but is {_describe(value)}.") from problems[0]


def _convert_tuple(arguments: tuple[Any, ...], value: Any, *, where: str | Path, key: str) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise ConfigError(f"{where}: `{key}` must be a list, but is {_describe(value)}.")
    repeated = len(arguments) == 2 and arguments[1] is Ellipsis
    if not repeated and len(value) != len(arguments):
        raise ConfigError(
            f"{where}: `{key}` must be a list of {len(arguments)} values, but has {len(value)}."
        )
    hints = [arguments[0]] * len(value) if repeated else list(arguments)
    return tuple(
        _convert(hint, item, where=where, key=f"{key}[{index}]")
        for index, (hint, item) in enumerate(zip(hints, value, strict=True))
    )


def _describe(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        return "a section"
    return repr(value) if isinstance(value, int | float | str) else f"the list {value!r}"
