"""Operators in the words of CUDA-Q, and the one place where that library is imported.

CUDA-Q is optional: pip install 'qdyn-toolkit[cudaq]'.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterable
from typing import Any

from qdyn.errors import MissingExtraError


def import_cudaq() -> Any:
    """The CUDA-Q module; MissingExtraError with what to install where it is absent."""
    if "cudaq" not in sys.modules:
        # With more threads than it has work for, a call of 0.3 ms takes 300 ms.
        os.environ.setdefault("OMP_NUM_THREADS", "1")
    words = sys.argv
    try:
        # While it is imported, CUDA-Q obeys a --target among the words of whatever program is running.
        sys.argv = words[:1]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            import cudaq
    except ImportError:
        raise MissingExtraError("Running circuits on CUDA-Q", package="cudaq", extra="cudaq") from None
    finally:
        sys.argv = words
    return cudaq


def spin_operator(terms: Iterable[tuple[float, str]]) -> Any:
    """The operator sum_k c_k P_k as a cudaq.SpinOperator.

    Letter q of a string acts on CUDA-Q's qubit q. CUDA-Q writes matrices with qubit 0 as the least
    significant bit, so that ``to_matrix(dimensions, invert_order=True)`` is the matrix in our order.

    Args:
        terms: pairs (c_k, P_k), where P_k has one letter of I, X, Y, Z a qubit.

    Raises:
        MissingExtraError: CUDA-Q is not installed.
    """
    cudaq = import_cudaq()
    total = cudaq.SpinOperator.empty()
    for coefficient, word in terms:
        total += coefficient * cudaq.SpinOperator.from_word(word)
    return total
