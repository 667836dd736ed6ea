"""`import qdyn` is cheap, and what is optional or slow is loaded by those who use it."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

import qdyn

NEVER_BEFORE_USE = ("qutip", "numba", "matplotlib", "cudaq", "rdkit", "dask", "distributed")
TIMED = "began = time.process_time(); import qdyn; print(time.process_time() - began)"


def run(program: str) -> str:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment
    )
    return done.stdout.strip()


def test_import_costs_little_more_than_torch() -> None:
    """At most 0.3 s beyond ``import torch``.

    Processor time, in fresh processes until one keeps to it, so that a busy machine does not decide.
    """
    assert any(float(run(f"import time, torch; {TIMED}")) <= 0.3 for _ in range(5))


def test_import_without_torch_is_quicker_still() -> None:
    """The public names are resolved on first use, so the name alone costs next to nothing."""
    assert any(float(run(f"import time; {TIMED}")) <= 0.3 for _ in range(5))
    assert run("import sys, qdyn; print('torch' in sys.modules)") == "False"


def test_the_public_face_loads_nothing_heavy() -> None:
    """Not even when every public name has been touched."""
    program = (
        "import sys, qdyn\n"
        "for name in qdyn.__all__: getattr(qdyn, name)\n"
        f"print([name for name in {NEVER_BEFORE_USE!r} if name in sys.modules])"
    )
    assert run(program) == "[]"


def test_no_module_loads_anything_heavy(imported_on_use: frozenset[str]) -> None:
    """Nor when every module has been imported, but for those that are compiled or foreign by nature."""
    program = (
        "import importlib, pkgutil, sys, qdyn\n"
        "names = [one.name for one in pkgutil.walk_packages(qdyn.__path__, 'qdyn.')]\n"
        f"for name in names:\n    if name not in {set(imported_on_use)!r}: importlib.import_module(name)\n"
        f"print(len(names) > 60, [name for name in {NEVER_BEFORE_USE!r} if name in sys.modules])"
    )
    assert run(program) == "True []"


@pytest.mark.parametrize("name", qdyn.__all__)
def test_public_names_exist(name: str) -> None:
    assert getattr(qdyn, name) is not None
    assert name in dir(qdyn)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'evolv'"):
        qdyn.evolv  # noqa: B018
