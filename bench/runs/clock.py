"""What a trial has taken so far, by phase."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class Clock:
    """Seconds of each phase: `with clock("train"): ...`."""

    def __init__(self) -> None:
        self._started = time.perf_counter()
        self._phases: dict[str, float] = {}
        self._running: tuple[str, float] | None = None

    @contextmanager
    def __call__(self, phase: str) -> Iterator[None]:
        """Phases follow each other; one whose block raises goes on to the end."""
        self._running = (phase, time.perf_counter())
        yield
        self._phases, self._running = self._so_far(), None

    def spent(self) -> dict[str, Any]:
        """`seconds` in all and of the `phases`, the one that is running among them."""
        return {"seconds": time.perf_counter() - self._started, "phases": self._so_far()}

    def _so_far(self) -> dict[str, float]:
        if self._running is None:
            return self._phases
        phase, since = self._running
        return {**self._phases, phase: time.perf_counter() - since}
