"""What the tests of the cluster engines share: a study of four trials, run by commands."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

HELD = Path(__file__).with_name("held.py")
TRIALS = 4


class Study:
    """A folder with a method that can be held (`held.py`), and results of a study of it."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.method = folder / "held.py"
        shutil.copy(HELD, self.method)
        self.hold = folder / "hold"
        self.results = folder / "results"
        self.folder = self.results / "s"

    def run(self, executor: str, *more: str) -> subprocess.Popen[str]:
        """`bench run` of two runs of two folds, two trials at a time."""
        command = "--data phantom:n=60,size=32 --folds 2 --runs 2 --study s --device cpu --jobs 2"
        words = ["run", "--method", str(self.method), *command.split(), "--executor", executor]
        words += ["--set", "epochs=2", "--set", "text=meta", "--results", str(self.results)]
        return subprocess.Popen(
            [sys.executable, "-m", "bench", *words, *more],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def table(self) -> bytes:
        command = [sys.executable, "-m", "bench", "table", "s", "--results", str(self.results)]
        return subprocess.run(command, check=True, capture_output=True).stdout

    def comparable(self) -> dict[str, tuple[dict[str, Any], bytes]]:
        """Of every finished trial what must be the same to the bit: what it says, and its scores.

        Without the specification, which says where the method's file lies, and its digest.
        """
        told = {}
        for path in sorted(self.folder.glob("trials/*/*/record.json")):
            record = json.loads(path.read_text())
            if record["status"] == "done":
                for key in ("cost", "provenance", "kept", "spec", "digest"):
                    record.pop(key, None)
                scores = (path.parent / "scores.npz").read_bytes()
                told[str(path.parent.relative_to(self.folder))] = (record, scores)
        return told

    def held_at(self) -> set[str]:
        """The nodes where a trial is or was held."""
        return {path.name.removeprefix("at-") for path in self.hold.parent.glob("at-*")}

    def release(self) -> None:
        self.hold.unlink()
        for path in self.hold.parent.glob("at-*"):
            path.unlink()


def finished(process: subprocess.Popen[str], code: int = 0) -> str:
    """What a command said; it must have ended with the code."""
    said, _ = process.communicate(timeout=280)
    assert process.returncode == code, said
    return said


def wait_for(condition: Callable[[], object], seconds: float = 90) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "what was waited for did not happen"
        time.sleep(0.2)
