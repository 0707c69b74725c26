"""The state of an interrupted training in a file beside the folder of its trial's record.

    run-03_fold-1.resume    a line of JSON that says whose state it is, then what `torch.save` wrote

It is replaced by rename after an epoch, when the last time is long enough ago, and removed when the
trial is finished. A file that is damaged, or of another trial or version, is not used: the trial
starts over, and its record says why under `cost`. No lock is taken: whoever runs the trial comes to
the same state.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from contextlib import suppress
from io import BufferedReader
from pathlib import Path
from typing import Any, BinaryIO

import torch

from bench.protocol.method import Method
from bench.protocol.state import unkept
from bench.runs.record import replacing
from bench.runs.trial import TrialSpec

SCHEMA = 1
# Seconds of training that may be lost, and one epoch. Most trials of the `tiny` preset are shorter
# and write nothing.
LEAST = 60.0
# Times what writing took: so little of a trial's time is spent on it, 1 part in 50, whatever the
# model's size and the disk (a ViT-B/32 with its optimiser is 1.8 GB, 2.4 where the best epoch is
# kept beside it).
_RATIO = 50
_NO_DIGEST = "0" * 64


def resume_path(folder: Path) -> Path:
    """The file of the trial whose record is in `folder`."""
    return folder.with_name(f"{folder.name}.resume")


def read_head(folder: Path) -> dict[str, Any] | None:
    """What the file of an interrupted trial says of itself; None when there is none to read.

    Returns:
        `trial` (id), `epochs` (that are finished), `of`, `attempts`, `seconds` (of all attempts),
        `phases`, `torch`, `device`, `schema` and `sha256` (of the file with zeros in its place).
    """
    try:
        with resume_path(folder).open("rb") as file:
            return _head(file)
    except OSError:
        return None


def forget(folder: Path) -> None:
    """Removes the file of the trial whose record is in `folder`, and what a killed writer left."""
    path = resume_path(folder)
    with suppress(OSError):  # what has been finished stays so
        for left in (path, *path.parent.glob(f".partial-{path.name}-*")):
            left.unlink(missing_ok=True)


class ResumeFile:
    """Keeps a training's state for `bench.protocol.trainer.train`, and what it has cost so far."""

    def __init__(
        self, spec: TrialSpec, results: Path, device: str, spent: Callable[[], dict[str, Any]]
    ) -> None:
        """
        Args:
            spent: `seconds` and `phases` of this attempt so far.
        """
        self.started_over: str | None = None
        """That a file that was there could not be used, and why."""
        # What the attempts before this one had spent when their state was kept.
        self._before: dict[str, Any] = {"seconds": 0.0, "phases": {}, "attempts": 0}
        self._folder = spec.folder(results)
        self._path = resume_path(self._folder)
        self._device = torch.device(device)
        self._of = spec.config["epochs"]
        self._spent = spent
        self._mine = {
            "schema": SCHEMA,
            "trial": spec.id,
            "torch": torch.__version__,
            "device": self._device.type,
        }
        self._due = time.monotonic() + LEAST
        self._method: Method | None = None
        self._why_not_kept: str | None = None

    def built(self, method: Method) -> None:
        """To be called when the modules are there, with the method that will be trained."""
        self._method = method

    def load(self) -> dict[str, Any] | None:
        """The state that was kept last; None when there is none that can be gone on with."""
        try:
            with self._path.open("rb") as file:
                head = _head(file)
                self.started_over = self._objection(head, file)
                if head is None or self.started_over is not None:
                    return None
                state = torch.load(file, map_location=self._place, weights_only=True)
        except FileNotFoundError:
            return None
        except Exception as error:  # torch raises whatever its pickle and zip readers do
            self.started_over = f"its resume file cannot be read ({type(error).__name__}: {error})"
            return None
        self._before = head
        loaded: dict[str, Any] = state
        return loaded

    def offer(self, state: Callable[[], dict[str, Any]]) -> None:
        """Writes the state when the last time is long enough ago.

        A state that cannot be written costs time only if the trial is interrupted, so it stops
        nothing: a full disk is told when the record is written.
        """
        started = time.monotonic()
        if started < self._due:
            return
        if self._method is not None and (names := unkept(self._method)):
            self._why_not_kept = (
                f"no file can hold what the method has in {', '.join(names)}; a tokeniser or the "
                "like goes into Method.made_by_build, else it needs a state_dict() of its own"
            )
            self._due = started + LEAST
            return
        with suppress(OSError, RuntimeError):  # torch's writer raises the latter for the former
            self._write(state())
        now = time.monotonic()
        self._due = now + max(LEAST, _RATIO * (now - started))

    def cost(self) -> dict[str, Any]:
        """`seconds`, `phases` and number of all attempts; without what they did in vain.

        An attempt that was interrupted counts up to the state that it kept. `started_over` says why
        there was one that could not be gone on with, `not_kept` why no state was kept of this one.
        """
        before, now = self._before, self._spent()
        phases = dict(before["phases"])
        for phase, seconds in now["phases"].items():
            phases[phase] = round(phases.get(phase, 0.0) + seconds, 3)
        told = {
            "seconds": round(before["seconds"] + now["seconds"], 3),
            "phases": phases,
            "attempts": before["attempts"] + 1,
        }
        why = {
            "started_over": self.started_over or before.get("started_over"),
            "not_kept": self._why_not_kept,
        }
        return told | {key: reason for key, reason in why.items() if reason is not None}

    def discard(self) -> None:
        """Removes the file, and what a killed writer left of it."""
        forget(self._folder)

    def _write(self, state: dict[str, Any]) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        head = {
            **self._mine,
            "epochs": state["outcome"]["epochs"],
            "of": self._of,
            **self.cost(),
        }
        with replacing(self._path) as temporary, temporary.open("wb") as file:
            hashing: Any = _Hashing(file)  # torch.save calls no other method of a file
            hashing.write(_line(head, _NO_DIGEST))
            torch.save(state, hashing)
            file.seek(0)
            file.write(_line(head, hashing.sha256.hexdigest()))

    def _objection(self, head: dict[str, Any] | None, file: BufferedReader) -> str | None:
        """Why the state in a file cannot be gone on with; leaves the file at the state's start."""
        if head is None:
            return "its resume file is damaged"
        for key, mine in self._mine.items():
            if head.get(key) != mine:
                what = "of another trial" if key == "trial" else f"of {key} {head.get(key)}"
                return f"its resume file is {what}, and this is {mine}"
        start = file.tell()
        told = {key: value for key, value in head.items() if key != "sha256"}
        found = hashlib.sha256(_line(told, _NO_DIGEST))
        hashlib.file_digest(file, lambda: found)
        if found.hexdigest() != head.get("sha256"):
            return "its resume file is damaged: its content does not match its checksum"
        file.seek(start)
        return None

    def _place(self, storage: Any, location: str) -> Any:
        """On this process's GPU what was on one; a method's tensors on the CPU stay there."""
        return storage if location == "cpu" else storage.cuda(self._device.index)


class _Hashing:
    """A file to write to that knows the checksum of what was written."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.sha256 = hashlib.sha256()

    def write(self, data: bytes) -> int:
        self.sha256.update(data)
        return self._file.write(data)

    def flush(self) -> None:
        self._file.flush()


def _line(head: dict[str, Any], digest: str) -> bytes:
    """The first line of a file; as long for one digest as for another."""
    return json.dumps({**head, "sha256": digest}).encode() + b"\n"


def _head(file: BinaryIO) -> dict[str, Any] | None:
    """The first line of a file; None when it is not one of ours."""
    try:
        head = json.loads(file.readline(1 << 16))
    except (ValueError, RecursionError):
        return None
    return head if isinstance(head, dict) else None
