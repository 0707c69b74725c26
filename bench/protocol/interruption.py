"""A training that is interrupted on purpose, to see that it can be gone on with."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import torch


class Interrupted(BaseException):
    """What a test interrupts a training with; no code of an adapter's takes it for an error."""


class InMemory:
    """Keeps the state after the first epoch, interrupts the training there, and gives it back.

    It is a `bench.protocol.trainer.Resume`.
    """

    def __init__(self) -> None:
        self._file: io.BytesIO | None = None
        self._state: dict[str, Any] | None = None

    def load(self) -> dict[str, Any] | None:
        """None until `reread`."""
        return self._state

    def offer(self, state: Callable[[], dict[str, Any]]) -> None:
        """Raises Interrupted the first time."""
        if self._file is None:
            self._file = io.BytesIO()
            torch.save(state(), self._file)
            raise Interrupted

    def reread(self) -> None:
        """Reads the state as it is read from a file."""
        assert self._file is not None
        self._file.seek(0)
        self._state = torch.load(self._file, weights_only=True)
