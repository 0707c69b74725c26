"""How a study is going: one moving line on a terminal, one line a trial elsewhere."""

from __future__ import annotations

import os
import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Self, TextIO

import numpy as np

from bench.runs.trial import TrialSpec

if TYPE_CHECKING:
    from bench.runs.perform import Outcome


class Progress:
    """Trials done, the running AUC and the time left; lines go to `stream` (stderr)."""

    def __init__(self, total: int, jobs: int, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._total, self._jobs = total, jobs
        self._done = self._failed = 0
        self._started = time.monotonic()
        self._totals: dict[str, list[float]] = {}
        self._moving = self._stream.isatty() and os.environ.get("TERM") != "dumb"

    def __enter__(self) -> Self:
        if self._moving and self._total:
            self._stream.write(f"  0/{self._total} trials; workers are starting")
            self._stream.flush()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._moving and self._total:
            self._stream.write("\n")
            self._stream.flush()

    def ended(self, spec: TrialSpec, outcome: Outcome) -> None:
        """Counts a trial and shows how the study stands."""
        self._done += 1
        name = f"{spec.row_folder} run {spec.run} fold {spec.fold}"
        if outcome.error is not None:
            self._failed += 1
            self._permanent(f"failed: {name}: {outcome.error}")
        if outcome.note is not None:
            self._permanent(f"{name}: {outcome.note}")
        if outcome.total is not None:
            self._totals.setdefault(spec.row_folder, []).append(outcome.total)
        means = ", ".join(
            f"{row} {np.mean(values):.3f}" for row, values in sorted(self._totals.items())
        )
        left = self._left()
        if self._moving:
            failed = f", {self._failed} failed" if self._failed else ""
            self._stream.write(
                f"\r\x1b[K{self._done:3d}/{self._total} trials{failed}; "
                f"total AUC so far: {means or '-'}; {left}"
            )
        elif outcome.error is None:
            total, rare = (_auc(value) for value in (outcome.total, outcome.rare))
            self._stream.write(
                f"[{self._done}/{self._total}] {name}: total {total} rare {rare} "
                f"({outcome.seconds:.0f} s); mean {means or '-'}; {left}\n"
            )
        self._stream.flush()

    def told(self, line: str) -> None:
        """A line that stays."""
        self._permanent(line)
        self._stream.flush()

    def _permanent(self, line: str) -> None:
        self._stream.write(f"\r\x1b[K{line}\n" if self._moving else f"{line}\n")

    def _left(self) -> str:
        """Time left from the pace so far, in words."""
        remaining = self._total - self._done
        if not remaining:
            return f"took {span(time.monotonic() - self._started)}"
        rounds_done = max(1.0, self._done / self._jobs)
        pace = (time.monotonic() - self._started) / rounds_done
        return f"about {span(pace * remaining / self._jobs)} left"


def _auc(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.3f}"


def span(seconds: float) -> str:
    """A duration as a person says it.

    >>> span(42), span(200), span(7300)
    ('42 s', '3 min', '2.0 h')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
