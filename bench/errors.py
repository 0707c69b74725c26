"""What can go wrong, as one tree. The command line prints these without a traceback.

BenchError                 anything below; exit code 1
├── UsageError             the command or a call was given something it cannot mean; exit code 2
├── DataError              a data set, label file or image is not what it should be
├── MethodError            an adapter breaks the contract of a method
├── TrialError             one trial cannot go on (a loss that is not finite); the others can
└── ResultsError           a results folder cannot be written, is held, or holds a bad record
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class BenchError(Exception):
    """Raised with a sentence that says what went wrong, where, and what to do."""

    exit_code = 1


class UsageError(BenchError):
    """Raised when a name, option or argument is unknown or impossible."""

    exit_code = 2


class DataError(BenchError):
    """Raised when data on disk is missing, unreadable or contradicts its schema."""


class MethodError(BenchError):
    """Raised when a method does not keep the contract of `bench.protocol.method.Method`."""


class TrialError(BenchError):
    """Raised when a single trial has to stop; it is recorded as failed and the study goes on."""


class ResultsError(BenchError):
    """Raised when results cannot be written or a record on disk cannot be trusted."""


def unknown(kind: str, name: str, known: Iterable[str]) -> str:
    """A sentence for an unknown name: what is known and, when one is close, which was meant.

    >>> unknown("method", "cxrlcm", ["cxrcml", "chexzero"])
    "Unknown method 'cxrlcm'. Did you mean 'cxrcml'? Known: chexzero, cxrcml."
    """
    names = sorted(known)
    by_folded = {candidate.casefold(): candidate for candidate in names}
    close = difflib.get_close_matches(name.casefold(), by_folded, n=1, cutoff=0.6)
    hint = f" Did you mean '{by_folded[close[0]]}'?" if close else ""
    listed = ", ".join(names[:12]) + (f", ... ({len(names)} in all)" if len(names) > 12 else "")
    return f"Unknown {kind} '{name}'.{hint} Known: {listed}."
