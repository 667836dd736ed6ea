"""What qdyn raises, and how a message is worded.

A message is one line and names the argument, the rule and what arrived::

    Argument `times` must be increasing, but times[3]=0.2 follows 0.3.

The command line prints that line and exits with status 2. ``--debug`` shows the traceback instead.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class QdynError(Exception):
    """Base class of every error that a user can cause and mend."""


class ArgumentError(QdynError, ValueError):
    """An argument breaks its rule: shape, dtype, range, normalisation, NaN."""


class ConfigError(QdynError, ValueError):
    """A preset or recipe cannot be read: broken YAML, unknown key, wrong type."""


class DatasetError(QdynError):
    """A dataset is missing, foreign, truncated or does not suit what is asked of it."""


class RunError(QdynError):
    """A training run is missing, incomplete or does not match its configuration."""


class ClusterError(QdynError):
    """The workers of a cluster cannot be reached, do not suit the work, or were lost."""


class OutputError(QdynError, OSError):
    """An output cannot be written, or would overwrite what it must not."""


class MemoryLimitError(QdynError, MemoryError):
    """A job's estimated memory exceeds what the machine has."""


class MissingExtraError(QdynError, ImportError):
    """An optional package is needed and not installed."""

    def __init__(self, feature: str, *, package: str, extra: str) -> None:
        super().__init__(
            f"{feature} needs the package {package}, which is not installed: "
            f"pip install 'qdyn-toolkit[{extra}]'."
        )


def nearest(name: str, valid: Iterable[str]) -> str:
    """The tail of a message about an unknown name: the nearest valid one, or all of them.

    >>> nearest("tfim-4", ["tfim-4q", "grammar"])
    "did you mean 'tfim-4q'?"
    >>> nearest("zzz", ["tfim-4q", "grammar"])
    'valid: grammar, tfim-4q.'
    """
    names = sorted(valid)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    return f"did you mean {close[0]!r}?" if close else f"valid: {', '.join(names)}."
