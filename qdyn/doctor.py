"""The doctor: what is installed, what it runs on, and whether anything is out of order."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import shutil
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path

from qdyn import __version__

DISTRIBUTION = "qdyn-toolkit"
_SMALL_DISK = 2 << 30


@dataclass(frozen=True)
class Finding:
    """One line of the report."""

    topic: str
    text: str


@dataclass(frozen=True)
class Diagnosis:
    """What the doctor found; ``print`` it.

    Attributes:
        findings: How things are.
        problems: What needs mending, each a sentence that says how.
    """

    findings: tuple[Finding, ...]
    problems: tuple[str, ...]

    def __str__(self) -> str:
        width = max(len(one.topic) for one in self.findings) + 2
        lines = [
            textwrap.fill(
                one.text,
                width=110,
                initial_indent=f"{one.topic:<{width}}",
                subsequent_indent=" " * width,
                break_long_words=False,
                break_on_hyphens=False,
            )
            for one in self.findings
        ]
        verdict = [f"problem: {text}" for text in self.problems] or ["All is in order."]
        return "\n".join([*lines, "", *verdict])


def examine() -> Diagnosis:
    """Look at versions, extras, devices, threads, memory and the cache.

    Example:
        >>> found = examine()
        >>> found.findings[0].topic
        'qdyn'
    """
    problems: list[str] = []
    findings = [
        Finding("qdyn", f"{__version__} at {Path(__file__).resolve().parent}"),
        Finding("import name", f"`import qdyn`, from the distribution {DISTRIBUTION}"),
        Finding("python", f"{platform.python_version()} at {sys.executable}"),
        Finding("system", platform.platform()),
        *_versions(problems),
        *_extras(),
        *_processors(),
        *_devices(),
        *_memory(),
        *_cache(problems),
    ]
    problems += _namesake()
    return Diagnosis(tuple(findings), tuple(problems))


def requirements(distribution: str = DISTRIBUTION) -> dict[str, list[str]]:
    """The packages that a distribution asks for: those always needed under "", and those of each extra.

    >>> "torch" in requirements()[""]
    True
    """
    found: dict[str, list[str]] = {}
    for line in importlib.metadata.requires(distribution) or []:
        name = re.match(r"[A-Za-z0-9._-]+", line)
        extra = re.search(r"extra\s*==\s*['\"]([^'\"]+)['\"]", line)
        if name:
            found.setdefault(extra[1] if extra else "", []).append(name[0])
    return found


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _needed() -> dict[str, list[str]]:
    try:
        return requirements()
    except importlib.metadata.PackageNotFoundError:
        return {}


def _versions(problems: list[str]) -> list[Finding]:
    needed = _needed()
    if not needed:
        problems.append(
            "qdyn runs from a folder without being installed: run `pip install .` in "
            f"{Path(__file__).resolve().parents[1]}."
        )
    versions = {package: _version(package) for package in needed.get("", [])}
    for package, version in versions.items():
        if version is None:
            problems.append(f"The package {package} is not installed: pip install {package}.")
    return [
        Finding("packages", ", ".join(f"{name} {version or 'missing'}" for name, version in versions.items()))
    ]


def _extras() -> list[Finding]:
    findings = []
    for extra, packages in sorted(_needed().items()):
        if not extra:
            continue
        missing = [package for package in packages if _version(package) is None]
        text = (
            "complete"
            if not missing
            else f"without {', '.join(missing)}: pip install '{DISTRIBUTION}[{extra}]'"
        )
        findings.append(Finding(f"extra {extra}", text))
    return findings


def _processors() -> list[Finding]:
    import numpy as np
    import torch

    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    setting = os.environ.get("OMP_NUM_THREADS")
    said = f", OMP_NUM_THREADS={setting}" if setting else ""
    blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    has_mkl = torch.backends.mkl.is_available()  # type: ignore[no-untyped-call]
    return [
        Finding("threads", f"{torch.get_num_threads()} for torch, {usable} CPUs to run on{said}"),
        Finding(
            "BLAS", f"torch: {'MKL' if has_mkl else 'without MKL'}; numpy: {blas['name']} {blas['version']}"
        ),
    ]


def _devices() -> list[Finding]:
    import torch

    from qdyn.memory import readable_size

    if not torch.cuda.is_available():
        built = (
            f"this torch is built for CUDA {torch.version.cuda}"
            if torch.version.cuda
            else "this torch has no CUDA"
        )
        return [Finding("devices", f"cpu ({built})")]
    found = []
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        found.append(f"cuda:{index} {properties.name}, {readable_size(properties.total_memory)}")
    return [Finding("devices", "; ".join(["cpu", *found]))]


def _memory() -> list[Finding]:
    from qdyn.memory import available_memory, readable_size

    available = available_memory()
    return [Finding("memory", "unknown" if available is None else f"{readable_size(available)} available")]


def _cache(problems: list[str]) -> list[Finding]:
    from qdyn.data.load import cache_folder
    from qdyn.memory import readable_size

    folder = cache_folder()
    standing = next(place for place in [folder, *folder.absolute().parents] if place.exists())
    free = shutil.disk_usage(standing).free
    if not os.access(standing, os.W_OK) or not standing.is_dir():
        problems.append(f"The cache {folder} cannot be written: set QDYN_CACHE to a folder that can.")
    elif free < _SMALL_DISK:
        problems.append(
            f"Only {readable_size(free)} are free for the cache {folder}: set QDYN_CACHE to a larger disk."
        )
    held = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) if folder.is_dir() else 0
    return [Finding("cache", f"{folder}: {readable_size(held)} used, {readable_size(free)} free")]


def _namesake() -> list[str]:
    """PyPI's `qdyn` is another project under the same import name: each overwrites the other's files."""
    version = _version("qdyn")
    if version is None:
        return []
    return [
        f"The package `qdyn` {version} from PyPI is another project under the same import name, and the two "
        f"overwrite each other's files: pip uninstall qdyn {DISTRIBUTION}, then install {DISTRIBUTION} again."
    ]
