"""Lines with the rate and the time left, for work that takes longer than a few seconds."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

Tell = Callable[[str], None]
_EVERY = 10.0  # seconds between lines


class Progress:
    """Tells how far a work in parts is; parts that were finished before do not count as speed."""

    def __init__(self, parts: Sequence[range], todo: Sequence[int], tell: Tell | None) -> None:
        self._parts, self._tell = parts, tell
        self._total = sum(len(part) for part in parts)
        self._before = self._total - sum(len(parts[k]) for k in todo)
        self._done = 0
        self._begun = self._said = time.monotonic()

    def __enter__(self) -> Progress:
        if self._tell and self._before:
            self._tell(f"{self._before} of {self._total} images were finished before.")
        return self

    def __exit__(self, *_: object) -> None:
        seconds = time.monotonic() - self._begun
        if self._tell and self._done and seconds > 1:
            rate = self._done / seconds
            self._tell(f"{self._done} images in {seconds:.0f} s, {rate:.0f} a s; now the tables.")

    def finished(self, part: int) -> None:
        self._done += len(self._parts[part])
        now = time.monotonic()
        if self._tell is None or now - self._said < _EVERY:
            return
        self._said = now
        rate = self._done / (now - self._begun)
        done = self._before + self._done
        self._tell(
            f"{done} of {self._total} images, {rate:.0f} a s, "
            f"{_span((self._total - done) / rate)} left"
        )


def _span(seconds: float) -> str:
    """
    >>> _span(40), _span(400), _span(5000)
    ('40 s', '7 min', '1 h 23 min')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
