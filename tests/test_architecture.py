"""The house keeps its order: who imports whom, and what is never imported before it is used."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import qdyn

PACKAGE = Path(qdyn.__file__).resolve().parent
# From the ground up. A room imports from rooms below it; rooms in one tuple do not import each other.
ORDER = (
    ("errors",),
    ("checks", "files"),
    ("shipped", "config", "hdf5", "memory", "plotting", "processors"),
    ("quantum",),
    ("circuits",),
    ("dynamics",),
    ("data",),
    ("attention",),
    ("models",),
    ("training",),
    ("evaluation",),
    ("demo", "doctor"),
    ("commands",),
    ("cli",),
    ("__main__",),
)
LEVEL = {room: level for level, rooms in enumerate(ORDER) for room in rooms}
# The one public face, whose names are resolved on first use: every room may ask it for the version.
FACE = "qdyn"
HEAVY = {
    *("qutip", "numba", "llvmlite", "matplotlib", "cudaq", "rdkit", "xarray", "h5py", "h5netcdf"),
    *("scipy", "pandas", "jinja2", "pooch", "dask", "distributed"),
}


@dataclass(frozen=True)
class Import:
    """One import statement: who asks for what, where, and whether that happens when the module is loaded."""

    importer: str
    imported: str
    line: int
    on_load: bool

    def __str__(self) -> str:
        return f"{self.importer}:{self.line} imports {self.imported}"


def modules() -> dict[str, Path]:
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        if "_shipped" not in parts:
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


def imports_of(module: str) -> Iterator[Import]:
    yield from walk(module, ast.parse(MODULES[module].read_text(encoding="utf-8")), on_load=True)


def walk(module: str, node: ast.AST, *, on_load: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            for alias in child.names:
                yield Import(module, alias.name, child.lineno, on_load)
        elif isinstance(child, ast.ImportFrom):
            assert child.level == 0, f"{module}:{child.lineno} is a relative import"
            for alias in child.names:
                submodule = f"{child.module}.{alias.name}"
                yield Import(
                    module, submodule if submodule in MODULES else str(child.module), child.lineno, on_load
                )
        # What stands in a function or under TYPE_CHECKING does not happen when the module is loaded.
        later = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) or (
            isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)
        )
        yield from walk(module, child, on_load=on_load and not later)


IMPORTS = [one for module in MODULES for one in imports_of(module)]


def room_of(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else FACE


def test_the_package_is_seen() -> None:
    """Guards the tests below against an empty search."""
    assert {"qdyn.errors", "qdyn.models.qsa.predictor", "qdyn.dynamics.evolve"} <= set(MODULES)
    assert any(one.imported == "qdyn.errors" for one in IMPORTS)


def test_planted_imports_are_found() -> None:
    """What the rules look for is seen in functions, under TYPE_CHECKING and by either form of import."""
    planted = (
        "import qutip\n"
        "def f():\n    from qdyn.training import run\n"
        "if TYPE_CHECKING:\n    from qdyn.evaluation.evaluate import evaluate\n"
        "class A:\n    import numba\n"
    )
    found = [
        (one.imported, one.on_load) for one in walk("qdyn.quantum.planted", ast.parse(planted), on_load=True)
    ]
    assert found == [
        ("qutip", True),
        ("qdyn.training.run", False),
        ("qdyn.evaluation.evaluate", False),
        ("numba", True),
    ]


def test_every_room_has_its_place() -> None:
    assert {room_of(module) for module in MODULES} - {FACE} - set(LEVEL) == set()


def test_rooms_import_downwards_only() -> None:
    """Also in functions and for types: an order with exceptions cannot be read off the files."""
    upwards = [
        str(one)
        for one in IMPORTS
        if one.imported.split(".")[0] == FACE
        and room_of(one.importer) != FACE
        and room_of(one.imported) not in (FACE, room_of(one.importer))
        and LEVEL[room_of(one.imported)] >= LEVEL[room_of(one.importer)]
    ]
    assert upwards == []


def test_rooms_use_no_face() -> None:
    """Of `qdyn` itself a room takes the version and where the package stands, never a name from above."""
    allowed = {"__version__", "__file__"}
    for module, path in MODULES.items():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        used = {
            node.attr
            for node in ast.walk(tree)
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == FACE
        } | {
            alias.name
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom) and node.module == FACE
            for alias in node.names
            if f"{FACE}.{alias.name}" not in MODULES
        }
        assert used <= allowed, f"{module} uses {sorted(used - allowed)} of the public face"


def test_no_file_imports_itself_in_a_circle() -> None:
    graph: dict[str, set[str]] = {module: set() for module in MODULES}
    for one in IMPORTS:
        if one.on_load and one.imported in MODULES and one.imported != FACE:
            graph[one.importer].add(one.imported)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as problem:
        pytest.fail(" imports ".join(problem.args[1]))


def test_heavy_packages_are_imported_where_they_are_used(imported_on_use: frozenset[str]) -> None:
    early = [
        str(one)
        for one in IMPORTS
        if one.on_load
        and one.importer not in imported_on_use
        and (one.imported.split(".")[0] in HEAVY or one.imported in imported_on_use)
    ]
    assert early == []


def test_every_package_that_is_imported_is_declared() -> None:
    """Nothing works only because another package happens to bring it along."""
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))[
        "project"
    ]
    declared = {re.split(r"[^\w.-]", one)[0].lower() for one in project["dependencies"]}
    declared |= {"yaml"} if "pyyaml" in declared else set()
    # numba brings llvmlite and jinja2 markupsafe, of versions that suit them; CUDA-Q and dask are extras.
    declared |= {"llvmlite", "markupsafe", "cudaq", "distributed", "rdkit", FACE}
    imported = {one.imported.split(".")[0] for one in IMPORTS} - set(sys.stdlib_module_names)
    assert imported - declared == set()


def test_nothing_is_star_imported() -> None:
    for module, path in MODULES.items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom):
                assert all(alias.name != "*" for alias in node.names), f"{module}:{node.lineno}"
