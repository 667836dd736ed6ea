"""The documentation as a site: sphinx-build -W -c docs . docs/_build.

The source folder is the repository, so that pages, cards and README lie where their links say.
"""

from __future__ import annotations

import re
from importlib.metadata import version as version_of
from typing import Any

project = "qdyn"
author = "The qdyn developers"
version = release = version_of("qdyn-toolkit")

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinxcontrib.mermaid",
]
root_doc = "docs/contents"
include_patterns = ["*.md", "docs/**.md", "datasets/**.md", "models/**.md", "sweeps/**.md"]
exclude_patterns = ["docs/_build"]

html_theme = "furo"
html_title = f"qdyn {version}"
html_copy_source = False

myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 4
myst_fence_as_directive = ["mermaid"]

default_role = "code"
autodoc_typehints = "none"
autodoc_member_order = "bysource"
napoleon_numpy_docstring = False


MARKS = re.compile(r"(?<!\\)[|*]|(?<=\w)_(?!\w)")
"""What reStructuredText would take for markup in plain equations: |psi>, A*, x_."""
KEPT = re.compile(r"(`[^`]*`|\*\*[^*]+\*\*)")


def typeset(*arguments: Any) -> None:
    """Set the equations of docstrings: in dollars as formulas, indented as blocks, others as they stand."""
    lines: list[str] = arguments[-1]
    text = re.sub(r"^( *)\$\$(.+?)\$\$", _displayed, "\n".join(lines), flags=re.MULTILINE | re.DOTALL)
    lines[:] = re.sub(r"\$([^$]+)\$", _inline, text).split("\n")
    literal_below: int | None = None
    in_example = False
    for number, line in enumerate(lines):
        indent = len(line) - len(line.lstrip())
        if line.strip() and literal_below is not None and indent <= literal_below:
            literal_below = None
        in_example = line.lstrip().startswith(">>>") or (in_example and bool(line.strip()))
        if literal_below is not None or in_example or line.lstrip().startswith(".. attribute::"):
            continue
        if line.lstrip().startswith(".. math::"):
            literal_below = indent
            continue
        field = re.match(r"\s*:(?!math)[^:]+:|", line)
        end = field.end() if field else 0
        parts = KEPT.split(line[end:])
        parts[::2] = [MARKS.sub(r"\\\g<0>", part) for part in parts[::2]]
        lines[number] = line[:end] + "".join(parts)
        below = next((one for one in lines[number + 1 :] if one.strip()), "")
        opens = line.endswith(":") and lines[number + 1 : number + 2] == [""]
        if opens and len(below) - len(below.lstrip()) >= indent + 4:
            lines[number] += ":"
            literal_below = indent


def _displayed(found: re.Match[str]) -> str:
    indent, formula = found[1], " ".join(found[2].split())
    return f"\n{indent}.. math::\n\n{indent}   {formula}\n\n{indent}"


def _inline(found: re.Match[str]) -> str:
    return f":math:`{' '.join(found[1].split())}`"


def setup(app: Any) -> None:
    """Called by Sphinx; after napoleon, whose priority is the default of 500."""
    app.connect("autodoc-process-docstring", typeset, priority=600)
