"""One input after another: spoil files, run the real command, look at what it did.

    python -m tests.campaigns._attack TARGET FOLDER SEED FIRST SECONDS

is one worker of `tests.campaigns.torture`: it limits its own memory and tells after every input how
far it is, so that one that crashes or hangs the interpreter can be named too.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import resource
import shutil
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any
from unittest import mock

from tests.campaigns import _mutate
from tests.campaigns._targets import TARGETS, command, seal

HANGS = 20.0
"""Seconds of CPU after which a command counts as hanging; the longest that are sound take two.
One that waits without working is found by who watches the worker."""
_ROOM = 3 << 30  # bytes of address space above what the imported libraries take
_SPOILT_IN = (1, 1, 1, 2, 3)  # changes an input


class _Hanging(BaseException):
    """Raised by the alarm; no reader's `except Exception` takes it for a spoilt file."""


@dataclass
class Told:
    """What a worker has seen."""

    target: str
    inputs: int = 0
    refused: int = 0
    """Inputs that a command ended with 1 or 2 on."""
    cpu: float = 0.0
    slowest: float = 0.0
    grown: int = 0
    """Bytes of memory at its peak above what there was before the first input."""
    crashes: dict[str, str] = field(default_factory=dict)
    """Of each kind the folder with the first input that showed it."""
    again: dict[str, int] = field(default_factory=dict)
    """How many inputs showed it."""


class Attack:
    """A target's files in a folder, beside one that nothing may touch."""

    def __init__(self, target: str, folder: Path, seed: int) -> None:
        self.told = Told(target)
        self._target, self._seed = TARGETS[target], seed
        self._canary = folder / "canary"
        self._clean, self._case = folder / "clean", folder / "depth" / "case"
        self._saved = folder / "crashes"
        self._folder = folder
        outside = folder / "depth" / "outside"
        outside.mkdir(parents=True)
        (outside / "secret.txt").write_text("nobody's business\n")
        self._clean.mkdir()
        with redirect_stdout(sys.stderr):
            self._target.make(self._clean)
        self._before = self._watched()

    def warm_up(self) -> None:
        """Runs every command on what nobody spoilt: the imports are not an input's memory or time.

        Raises:
            AssertionError: a command is refused or fails on it.
        """
        for words in self._target.commands:
            shutil.rmtree(self._case, ignore_errors=True)
            shutil.copytree(self._clean, self._case)
            failure = self._run([word.replace("{case}", str(self._case)) for word in words])
            assert failure is None, failure

    def one(self, index: int) -> str | None:
        """Spoils, runs, looks. Gives the kind of failure, None where all is well."""
        changed = self.spoil(index)
        rng = random.Random(f"{self._seed}/{self.told.target}/{index}/command")
        words = command(self._target, self._case, rng)
        started = time.monotonic()
        failure = self._run(words) or self._touched()
        self.told.slowest = max(self.told.slowest, time.monotonic() - started)
        self.told.inputs += 1
        if failure is not None:
            kind, detail = failure
            self.told.again[kind] = self.told.again.get(kind, 0) + 1
            if kind not in self.told.crashes:
                self.told.crashes[kind] = self._save(index, words, changed, detail)
            return kind
        return None

    def spoil(self, index: int) -> list[Path]:
        """A new case of that number. Gives the files that differ from the clean ones."""
        rng = random.Random(f"{self._seed}/{self.told.target}/{index}")
        shutil.rmtree(self._case, ignore_errors=True)
        shutil.copytree(self._clean, self._case)
        files = sorted({p for pattern in self._target.victims for p in self._case.glob(pattern)})
        files = [path for path in files if path.is_file()]
        changed = []
        for _ in range(rng.choice(_SPOILT_IN)):
            path = rng.choice(files)
            changed.append(path)
            if rng.random() < 0.04:
                _replace(path, rng, self._case.parent / "outside")
            elif path.is_file():
                content = _mutate.spoilt(path.name, path.read_bytes(), rng, self._canary)
                if not path.is_symlink():
                    path.write_bytes(content)
        seal(self._target, self._case, rng)
        return changed

    def _run(self, words: list[str]) -> tuple[str, str] | None:
        from click.testing import CliRunner

        from bench.cli import main

        with warnings.catch_warnings(), _alarm(HANGS):
            warnings.simplefilter("ignore")
            try:
                done = CliRunner().invoke(main, words)
            except _Hanging:
                return "hangs", traceback.format_exc()
        error = done.exception
        if isinstance(error, SystemExit) or error is None:
            self.told.refused += done.exit_code != 0
            if done.exit_code not in (0, 1, 2):
                return f"exit code {done.exit_code}", done.output
            if "Traceback (most" in done.output or (done.exit_code and not done.output.strip()):
                return "no sentence", done.output
            return None
        where = [f for f in traceback.extract_tb(error.__traceback__) if "/bench/" in f.filename]
        place = f"{Path(where[-1].filename).name}:{where[-1].name}" if where else "?"
        return f"{type(error).__name__} in {place}", "".join(traceback.format_exception(error))

    def _touched(self) -> tuple[str, str] | None:
        if self._canary.exists():
            self._canary.unlink()
            return "code ran", "the canary is there"
        after = self._watched()
        if after != self._before:
            differs = sorted(set(after.items()) ^ set(self._before.items()))
            self._before = after
            return "touched what is outside", str(differs)
        return None

    def _watched(self) -> dict[str, str]:
        """Everything in the folder but the case and what was saved."""
        spared = (self._case, self._saved)
        found = {"/tmp/torture-absolute": str(Path("/tmp/torture-absolute").exists())}
        for path in self._folder.rglob("*"):
            if path.name == "progress.json" or any(path.is_relative_to(s) for s in spared):
                continue
            content = path.read_bytes() if path.is_file() else b""
            found[str(path)] = hashlib.sha256(content).hexdigest()
        return found

    def _save(self, index: int, words: list[str], changed: list[Path], detail: str) -> str:
        """Keeps the input: the files that were spoilt, the command, what it said."""
        target = self._saved / f"{self.told.target}-{index}"
        target.mkdir(parents=True, exist_ok=True)
        for path in changed:
            if path.is_file():
                kept = target / path.relative_to(self._case)
                kept.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, kept)
        (target / "what.txt").write_text(f"bench {' '.join(words)}\n\n{detail}", errors="replace")
        return str(target)


def _replace(path: Path, rng: random.Random, outside: Path) -> None:
    """The file gives way to a link out, a loop, a folder, or nothing."""
    path.unlink(missing_ok=True)
    way = rng.randrange(5)
    if way == 0:
        path.symlink_to(outside / "secret.txt")
    elif way == 1:
        path.symlink_to(path)
    elif way == 2:
        path.mkdir()
    elif way == 3:
        path.symlink_to(outside)


@contextmanager
def _alarm(seconds: float) -> Iterator[None]:
    def ring(number: int, frame: FrameType | None) -> None:
        raise _Hanging

    before = signal.signal(signal.SIGPROF, ring)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


@contextmanager
def trials_in_this_process() -> Iterator[None]:
    """`bench run` trains here: its workers would be out of reach, and are started for seconds."""
    from bench.runs.executors import do_trial, local

    def execute(specs: Any, work: Any, ended: Any) -> None:
        for spec in specs:
            ended(spec, do_trial(spec, work))

    with mock.patch.object(local, "execute", execute):
        yield


def _limit_memory() -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + _ROOM
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def work(target: str, folder: Path, seed: int, first: int, seconds: float) -> None:
    """Inputs from number `first` on, for so many seconds of this process's CPU time."""
    import torch

    torch.set_num_threads(1)
    os.nice(10)
    attack = Attack(target, folder, seed)
    with trials_in_this_process():
        attack.warm_up()
        _limit_memory()
        before, started, index = _peak(), time.process_time(), first
        while attack.told.cpu < seconds:
            _tell(folder, index, attack.told)
            attack.one(index)
            attack.told.cpu = time.process_time() - started
            attack.told.grown = _peak() - before
            index += 1
    _tell(folder, index, attack.told)


def _tell(folder: Path, index: int, told: Told) -> None:
    """By rename: a worker may be killed at any moment."""
    (folder / "progress.json.new").write_text(json.dumps({"index": index, **asdict(told)}))
    (folder / "progress.json.new").replace(folder / "progress.json")


if __name__ == "__main__":
    work(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]), float(sys.argv[5]))
