"""What the repository promises beside its code: data, presets, versions, a wheel, no traces of a machine."""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml

import qdyn
from qdyn.config import build, read_yaml
from qdyn.data.load import load_dataset
from qdyn.data.recipes import Recipe, read_recipe
from qdyn.shipped import shipped_folder, shipped_names
from qdyn.training.config import RunConfig, load_config

ROOT = Path(__file__).resolve().parents[1]
TEXT = {".py", ".md", ".toml", ".yaml", ".yml", ".cff", ".j2", ".sh", ".txt", ".json", ".svg", ".bib", ""}
# Folders that only exist on somebody's machine. Written so that this file does not match itself.
MACHINE = re.compile(r"(?<![\w.~-])/(?:wor[k]|tm[p]|hom[e]|roo[t]|User[s])/[\w.-]+")
# Documentation and tests may invent a user's folder.
INVENTED = re.compile(r"/hom[e]/(?:user|you|name|ada)\b")


def tracked() -> list[Path]:
    """The files under version control; outside a checkout, every file but what tools leave behind."""
    try:
        listed = subprocess.run(
            ["git", "-C", str(ROOT), "ls-files", "-z"], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return [
            path
            for path in ROOT.rglob("*")
            if path.is_file() and not any(part.startswith(".") for part in path.relative_to(ROOT).parts)
        ]
    return [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


FILES = tracked()
YAMLS = sorted(path for kind in ("datasets", "models") for path in (ROOT / kind).glob("*/*.yaml"))


@pytest.mark.parametrize("folder", ["datasets", "models"])
def test_data_and_models_hold_no_python(folder: str) -> None:
    """A package called `datasets` would shadow another library's."""
    assert list((ROOT / folder).rglob("*.py")) == []
    assert (ROOT / folder / "README.md").is_file()


@pytest.mark.parametrize("kind", ["datasets", "models"])
def test_every_folder_is_whole(kind: str) -> None:
    """A folder under datasets/ or models/ has a card and a recipe or preset, and the index leads to it."""
    index = (ROOT / kind / "README.md").read_text(encoding="utf-8")
    expected = "recipe.yaml" if kind == "datasets" else "preset.yaml"
    folders = [path for path in (ROOT / kind).iterdir() if path.is_dir()]
    assert folders
    for folder in folders:
        assert (folder / expected).is_file(), folder.name
        assert (folder / "README.md").is_file(), folder.name
        assert f"({folder.name}/README.md)" in index, folder.name
        assert len((folder / "README.md").read_text(encoding="utf-8")) > 500, folder.name


@pytest.mark.parametrize("path", YAMLS, ids=[f"{path.parent.name}/{path.name}" for path in YAMLS])
def test_every_yaml_is_read_by_the_real_loader(path: Path) -> None:
    if path.name == "recipe.yaml":
        recipe = read_recipe(path)
        assert recipe == build(Recipe, read_yaml(path), where=path)
        assert recipe.name == path.parent.name
        assert recipe.description
    else:
        assert path.name == "preset.yaml"
        preset = load_config(path)
        assert preset == build(RunConfig, read_yaml(path), where=path)
        assert preset.name == path.parent.name
        assert preset.description
        assert preset.dataset.name in shipped_names("datasets")


@pytest.mark.parametrize("path", YAMLS, ids=[f"{path.parent.name}/{path.name}" for path in YAMLS])
def test_every_section_of_a_yaml_is_explained(path: Path) -> None:
    """A preset is read before it is changed: it begins with a comment and explains what is in it."""
    lines = path.read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith("# ")
    comments = sum("# " in line for line in lines)
    assert comments >= 4


def test_the_installed_recipes_are_the_ones_here() -> None:
    """The wheel's copy, or this checkout itself, and nothing stale."""
    for kind in ("datasets", "models"):
        for path in YAMLS:
            if path.parent.parent.name == kind:
                shipped = shipped_folder(kind) / path.parent.name / path.name  # type: ignore[arg-type]
                assert shipped.read_bytes() == path.read_bytes(), "reinstall qdyn: its copy is out of date"


@pytest.mark.parametrize(
    "name", sorted(path.parent.name for path in (ROOT / "datasets").glob("*/recipe.yaml"))
)
def test_samples_open_and_are_small(name: str) -> None:
    path = ROOT / "datasets" / name / "sample.h5"
    sample = load_dataset(path, verify=True)
    recipe = read_recipe(name)
    assert path.stat().st_size < 200_000
    assert sample.metadata.kind == recipe.make_source().layout(recipe.precision).kind
    assert sample.split_names == tuple(recipe.splits)
    assert len(sample) == 8


def test_one_version_everywhere() -> None:
    assert importlib.metadata.version("qdyn-toolkit") == qdyn.__version__
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    released = re.findall(r"^## \[?(\d+\.\d+\.\d+)\]?", changelog, flags=re.MULTILINE)
    assert released[0] == qdyn.__version__
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == qdyn.__version__


def test_the_citation_is_complete() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["cff-version"] == "1.2.0"
    for key in ("message", "title", "type", "authors", "license", "version", "date-released", "references"):
        assert citation.get(key), key
    assert citation["license"] == "Apache-2.0"
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for reference in citation["references"]:
        assert reference["title"]
        assert reference["authors"]
        if reference.get("scope") == "method":
            assert reference["url"].rsplit("/", 1)[1] in readme


@pytest.mark.parametrize("name", ["LICENSE", "CHANGELOG.md", "CITATION.cff", "CONTRIBUTING.md", "README.md"])
def test_the_repository_says_what_it_must(name: str) -> None:
    assert (ROOT / name).stat().st_size > 400


def test_every_page_of_figures_is_listed_with_its_script() -> None:
    folder = ROOT / "docs/benchmarks"
    text = (folder / "README.md").read_text(encoding="utf-8")
    assert set(re.findall(r"\]\(([\w-]+\.md)\)", text)) == {path.name for path in folder.glob("*.md")} - {
        "README.md"
    }
    scripts = set(re.findall(r"`(\w+\.py)", text))
    assert scripts
    assert scripts <= {path.name for path in (ROOT / "scripts").glob("*.py")}


def test_the_type_marker_is_shipped() -> None:
    assert (Path(qdyn.__file__).parent / "py.typed").is_file()


def test_no_text_names_a_folder_of_a_machine() -> None:
    found = []
    for path in FILES:
        if path.suffix not in TEXT or path.stat().st_size > 2_000_000:
            continue
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        for number, line in enumerate(text.splitlines(), start=1):
            if any(not INVENTED.match(hit.group()) for hit in MACHINE.finditer(line)):
                found.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()[:120]}")
    assert found == []


def test_nothing_large_is_checked_in() -> None:
    large = [
        f"{path.relative_to(ROOT)} {path.stat().st_size}" for path in FILES if path.stat().st_size > 1 << 20
    ]
    assert large == []


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """The names in the wheel: as installed, or of one built from this tree where the install is editable."""
    installed = {str(path) for path in importlib.metadata.files("qdyn-toolkit") or ()}
    if "qdyn/__init__.py" in installed:
        return {name for name in installed if not name.startswith("..") and "__pycache__" not in name}
    pytest.importorskip("hatchling", reason="an editable install, and the build backend is not there")
    folder = tmp_path_factory.mktemp("wheel")
    program = f"from hatchling.build import build_wheel; print(build_wheel({str(folder)!r}))"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    with zipfile.ZipFile(folder / done.stdout.split()[-1]) as archive:
        return set(archive.namelist())


def test_the_wheel_holds_what_is_needed(wheel: set[str]) -> None:
    expected = {f"qdyn/_shipped/{path.relative_to(ROOT).as_posix()}" for path in YAMLS}
    expected |= {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "qdyn").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {"qdyn/py.typed", "qdyn/evaluation/templates/report.html.j2"} <= expected
    assert expected - wheel == set()


def test_the_wheel_holds_nothing_else(wheel: set[str]) -> None:
    assert [name for name in wheel if not name.startswith(("qdyn/", "qdyn_toolkit-"))] == []
    assert [name for name in wheel if name.endswith((".pyc", ".part"))] == []
