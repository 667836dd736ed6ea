"""How compiled kernels are made, and where the code is kept; imported only when one runs."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from typing import no_type_check

from numba import njit


@no_type_check
def compiled(function):
    """Compile on first use, free of the interpreter's lock; keep the code on disk where there is a place."""
    try:
        dispatcher = njit(nogil=True, cache=True)(function)
    except RuntimeError:
        # Neither the package's folder nor the user's cache can be written.
        return njit(nogil=True)(function)
    # numba keeps code until the file of the function changes, but calls from other files are compiled in:
    # here it is kept until any of the files changes that kernels are made of.
    file = getattr(dispatcher._cache, "_cache_file", None)
    if file is not None and hasattr(file, "_source_stamp"):
        file._source_stamp = (file._source_stamp, _stamp_of_sources())
    return dispatcher


def kernel_sources() -> list[Path]:
    """The files that kernels are made of: those called ...kernels.py in every room, and what they share."""
    package = Path(__file__).parents[1]
    return sorted([*package.rglob("*kernels.py"), package / "quantum/vectors.py", Path(__file__)])


@cache
def _stamp_of_sources() -> str:
    digest = hashlib.sha256()
    for path in kernel_sources():
        digest.update(path.read_bytes())
    return digest.hexdigest()
