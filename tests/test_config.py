"""Reading configurations strictly: what is accepted, and the one line a mistake gets."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qdyn.checks import check_integer
from qdyn.config import build, override, read_yaml, to_mapping, to_yaml
from qdyn.errors import ArgumentError, ConfigError


@dataclass(frozen=True)
class Inner:
    steps: int = 10
    rate: float = 0.1
    schedule: Literal["cosine", "constant"] = "cosine"
    clip: float | None = None

    def __post_init__(self) -> None:
        check_integer("inner.steps", self.steps, minimum=1)


@dataclass(frozen=True)
class Outer:
    name: str
    inner: Inner = Inner()
    seeds: tuple[int, ...] = (0,)
    interval: tuple[float, float] = (0.0, 1.0)
    flag: bool = False
    size: int | tuple[int, ...] = 1
    extra: dict[str, Any] = field(default_factory=dict)


def written(folder: Path, text: str) -> Path:
    path = folder / "file.yaml"
    path.write_text(text)
    return path


def one_line(problem: pytest.ExceptionInfo[ConfigError]) -> str:
    message = str(problem.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2e-2", 0.02),
        ("1E3", 1000.0),
        (".5", 0.5),
        ("-3", -3),
        ("010", 10),
        ("no", "no"),
        ("1:30", "1:30"),
        ("2026-01-01", "2026-01-01"),
        ("true", True),
        ("~", None),
        ("1_000", "1_000"),
    ],
)
def test_scalars_follow_yaml_1_2(tmp_path: Path, text: str, value: Any) -> None:
    read = read_yaml(written(tmp_path, f"key: {text}\n"))["key"]
    assert read == value
    assert type(read) is type(value)


scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8)


@given(
    st.dictionaries(
        st.text(st.characters(codec="utf-8", categories=["L", "N", "P"]), min_size=1, max_size=6),
        scalars | st.lists(scalars, max_size=3),
        min_size=1,
    )
)
def test_what_is_written_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, mapping: dict[str, Any]
) -> None:
    path = tmp_path_factory.mktemp("yaml") / "file.yaml"
    path.write_text(to_yaml(mapping), encoding="utf-8")
    assert read_yaml(path) == mapping


def test_build_and_back() -> None:
    mapping = {
        "name": "a",
        "inner": {"steps": 3, "rate": 1, "schedule": "constant", "clip": 2.0},
        "seeds": [1, 2],
        "interval": [0, 2],
        "flag": True,
        "size": [2, 3],
        "extra": {"x": [1, "y"]},
    }
    config = build(Outer, mapping, where="file.yaml")
    assert config == Outer(
        "a", Inner(3, 1.0, "constant", 2.0), (1, 2), (0.0, 2.0), True, (2, 3), {"x": [1, "y"]}
    )
    assert type(config.inner.rate) is float
    assert build(Outer, to_mapping(config), where="again") == config


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ({"nam": "a"}, "f: unknown key `nam`: did you mean 'name'?"),
        ({"name": "a", "inner": {"step": 1}}, "f: unknown key `inner.step`: did you mean 'inner.steps'?"),
        ({}, "f: the key `name` is missing."),
        ({"name": 3}, "f: `name` must be a string, but is 3."),
        ({"name": "a", "inner": {"steps": 2.0}}, "f: `inner.steps` must be an integer, but is 2.0."),
        ({"name": "a", "inner": {"steps": True}}, "f: `inner.steps` must be an integer, but is true."),
        (
            {"name": "a", "inner": {"steps": 0}},
            "f: Argument `inner.steps` must be an integer >= 1, but is 0.",
        ),
        ({"name": "a", "inner": {"rate": "fast"}}, "f: `inner.rate` must be a finite number, but is 'fast'."),
        (
            {"name": "a", "inner": {"rate": float("nan")}},
            "f: `inner.rate` must be a finite number, but is nan.",
        ),
        ({"name": "a", "inner": {"clip": "x"}}, "f: `inner.clip` must be a finite number, but is 'x'."),
        (
            {"name": "a", "inner": {"schedule": "cosin"}},
            "f: `inner.schedule` is 'cosin', which is unknown: did you mean 'cosine'?",
        ),
        (
            {"name": "a", "inner": {"schedule": 1}},
            "f: `inner.schedule` is 1, which is unknown: valid: cosine, constant.",
        ),
        ({"name": "a", "inner": None}, "f: `inner` must be a section of keys and values, but is null."),
        ({"name": "a", "seeds": [0, "b"]}, "f: `seeds[1]` must be an integer, but is 'b'."),
        ({"name": "a", "seeds": 3}, "f: `seeds` must be a list, but is 3."),
        ({"name": "a", "interval": [1]}, "f: `interval` must be a list of 2 values, but has 1."),
        ({"name": "a", "flag": 1}, "f: `flag` must be true or false, but is 1."),
        (
            {"name": "a", "extra": [1]},
            "f: `extra` must be a section of keys and values, but is the list [1].",
        ),
    ],
)
def test_mistakes_get_one_line(mapping: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as problem:
        build(Outer, mapping, where="f")
    assert one_line(problem) == message


def test_a_section_of_a_larger_file_is_named_in_full() -> None:
    with pytest.raises(ConfigError) as problem:
        build(Inner, {"rat": 1}, where="f", key="source")
    assert one_line(problem) == "f: unknown key `source.rat`: did you mean 'source.rate'?"


@pytest.mark.parametrize(
    ("text", "tail"),
    [
        ("a: 1\nb: [1, 2\n", ":3: expected ',' or ']', but got '<stream end>'."),
        ("a: 1\nb: 2\na: 3\n", ":3: the key `a` stands twice."),
        ("a:\n  b: 1\n  b: 2\n", ":3: the key `b` stands twice."),
        ("a: 1\n 3: b\n", ":2: "),
        ("3: b\n", ":1: a key must be a string."),
        ("- 1\n", ": must hold keys and values, but holds the list [1]."),
        ("", ": the file is empty."),
        ("a: !!python/object/apply:os.system [ls]\n", ":1: could not determine a constructor for the tag"),
        ("a: \x07\n", "special characters are not allowed"),
    ],
)
def test_broken_yaml_names_file_and_line(tmp_path: Path, text: str, tail: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(ConfigError) as problem:
        read_yaml(path)
    message = one_line(problem)
    assert message.startswith(str(path))
    assert tail in message


def test_missing_folder_and_binary_files(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        read_yaml(tmp_path / "none.yaml")
    with pytest.raises(ConfigError, match="Is a directory"):
        read_yaml(tmp_path)
    path = tmp_path / "binary.yaml"
    path.write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(ConfigError, match="not a text file"):
        read_yaml(path)


def test_override_sets_a_dotted_key_and_leaves_the_original_alone() -> None:
    mapping = {"training": {"steps": 400, "rate": 0.1}}
    assert override(mapping, "training.rate=2e-2") == {"training": {"steps": 400, "rate": 0.02}}
    assert override(mapping, "new.deep.key=[a, 1]")["new"] == {"deep": {"key": ["a", 1]}}
    assert mapping == {"training": {"steps": 400, "rate": 0.1}}


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("training.steps", "must read key=value"),
        ("=3", "must read key=value"),
        ("training..steps=3", "must read key=value"),
        ("name.steps=3", "`name` is 'a', not a section"),
        ("training.steps=[1", "expected"),
    ],
)
def test_bad_overrides(assignment: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as problem:
        override({"name": "a"}, assignment)
    one_line(problem)


def test_numbers_of_numpy_are_written_as_python_writes_them() -> None:
    given = Outer(
        "a", Inner(steps=np.int64(3), rate=np.float64(0.5)), seeds=(np.int32(1),), flag=np.bool_(True)
    )  # type: ignore[arg-type]
    assert to_yaml(to_mapping(given)) == to_yaml(to_mapping(Outer("a", Inner(3, 0.5), (1,), flag=True)))


@pytest.mark.parametrize(
    "wrong", [True, np.bool_(True), 2.0, np.float64(2.0), "2", None, np.int64(0), np.array([2])]
)
def test_whole_numbers_are_those_that_count(wrong: object) -> None:
    with pytest.raises(ArgumentError, match="must be an integer >= 1"):
        check_integer("steps", wrong, minimum=1)
