"""`log.jsonl` in the trial's folder: one line an epoch, there to be followed while it trains."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any


class JsonLines:
    """The file as it grows. A trial that is redone writes it anew from its first epoch on.

    Two processes that do the same trial write the same bytes to the same places. The whole is
    written once more with the record.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / "log.jsonl"
        self._end = 0

    def epoch(self, entry: Mapping[str, Any]) -> None:
        """Adds a line. That it cannot be written is said when the record is."""
        with suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("r+b" if self._end else "wb") as file:
                file.seek(self._end)
                self._end += file.write((json.dumps(entry) + "\n").encode())
