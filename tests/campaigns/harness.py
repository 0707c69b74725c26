"""What the campaign of faults needs: a study that can be disturbed, and what it must come to."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.errors import BenchError
from bench.report.options import TABLES, Options
from bench.report.render import write_table
from bench.report.status import status_lines
from bench.report.tables import make_table
from bench.runs.record import read_record, read_scores
from tests.campaigns.processes import alive, output

HERE = Path(__file__).parent
STUDY = "s"
RUNS, FOLDS = 3, 2
_LINES_OF_PROGRESS = re.compile(r"^(\[\d+/\d+\]|Opening|phantom: |\d+ trials: |.*: \d+ trials fin)")


@dataclass
class Reference:
    """What the undisturbed study came to."""

    seconds: float
    records: Mapping[str, tuple[str, str]]
    """By trial its record's digest and the checksum of its scores."""
    tables: Mapping[str, bytes]


@dataclass
class Tally:
    """What was tried of one fault, and what it did."""

    fault: str
    times: int = 0
    finished: int = 0
    """Finished trials that were there when the fault struck, summed over the times."""
    lost: int = 0
    redone: int | None = 0
    """None where doing trials twice is what is expected."""
    torn: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    """What differs from the undisturbed study, and leftovers."""
    told: dict[str, int] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        return not (self.lost or self.redone or self.torn or self.wrong)

    def tell(self, said: str) -> None:
        """Notes what a person was told that is not a line of progress."""
        if "Traceback" in said:
            self.wrong.append(f"a traceback was shown: {said[-600:]}")
        for line in said.splitlines():
            if line.strip() and not _LINES_OF_PROGRESS.match(line):
                plain = re.sub(r"/\S*/", "", line.strip())
                plain = re.sub(r"\b\d{4}-\d\d-\d\d \S+", "TIME", plain)
                plain = re.sub(r"process \d+ on \S+", "process N on HOST", plain)
                plain = re.sub(r"run[- ]\d+[_ ]fold[- ]\d", "run R fold F", plain)
                self.told[plain] = self.told.get(plain, 0) + 1


class Study:
    """Results of a small study of two methods, and commands on it."""

    def __init__(self, folder: Path, methods: tuple[str, ...]) -> None:
        self.results = folder
        self.methods = methods
        self.sessions: list[int] = []

    @property
    def folder(self) -> Path:
        return self.results / STUDY

    def start(
        self,
        *more: str,
        jobs: int = 2,
        methods: tuple[str, ...] | None = None,
        env: Mapping[str, str] | None = None,
        before: Callable[[], None] | None = None,
    ) -> subprocess.Popen[str]:
        """`bench run` in a session of its own; what it says goes into `process.stdout`."""
        words = f"--data phantom:n=120,size=32 --folds {FOLDS} --runs {RUNS} --device cpu"
        words += f" --study {STUDY} --jobs {jobs} --set epochs=3"
        named = [w for m in methods or self.methods for w in ("--method", m)]
        process = subprocess.Popen(
            [
                *(sys.executable, str(HERE / "impatient.py"), "run", *named, *words.split()),
                *("--results", str(self.results), *more),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", **(env or {})},
            preexec_fn=before,
        )
        self.sessions.append(process.pid)
        return process

    def records(self) -> dict[str, Path]:
        """By trial the folder of its record."""
        return {
            str(path.parent.relative_to(self.folder)): path.parent
            for path in sorted(self.folder.glob("trials/*/*/record.json"))
        }

    def finished(self) -> dict[str, int]:
        """By finished trial the time its record was written, in ns."""
        told = {}
        for name, folder in self.records().items():
            record = read_record(folder)
            if record is not None and record["status"] == "done":
                told[name] = (folder / "record.json").stat().st_mtime_ns
        return told

    def comparable(self) -> dict[str, tuple[str, str]]:
        """By finished trial the digest of its record and the checksum of its scores."""
        told = {}
        for name, folder in self.records().items():
            record = read_record(folder)
            if record is not None and record["status"] == "done":
                told[name] = (record["digest"], _sha256(folder / "scores.npz"))
        return told

    def tables(self) -> dict[str, bytes]:
        """Every table the study has, in every form, as `bench table` writes them."""
        for which in TABLES:
            try:
                write_table(make_table(self.results, STUDY, which, Options()), self.folder)
            except BenchError:
                continue  # the study has no row of that table
        return {path.name: path.read_bytes() for path in sorted(self.folder.glob("table*.*"))}

    def leftovers(self) -> list[str]:
        """Files that nobody needs after the last trial."""
        found = [p for pattern in (".partial-*", "*.resume") for p in self.folder.rglob(pattern)]
        return [f"left over: {path.relative_to(self.folder)}" for path in found]


class Campaign:
    """The reference, a place for studies, and how one is judged."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.methods = (str(place / "troubled.py"), str(place / "apart" / "steady.py"))
        (place / "apart").mkdir()  # where no trouble lies beside it
        source = (HERE / "troubled.py").read_text()
        for path, title in zip(self.methods, ("Troubled", "Steady"), strict=True):
            Path(path).write_text(source.replace('title="Troubled"', f'title="{title}"'))
        self._count = 0
        whole = self.study()
        output(whole.start())  # prepares the data, and warms the disk's cache
        shutil.rmtree(whole.results)
        started = time.monotonic()
        said, code = output(whole.start())
        if code != 0:
            raise SystemExit(f"The undisturbed study failed:\n{said}")
        self.reference = Reference(time.monotonic() - started, whole.comparable(), whole.tables())

    def study(self) -> Study:
        self._count += 1
        return Study(self.place / f"study-{self._count:03d}", self.methods)

    @contextmanager
    def trouble(self, word: str) -> Iterator[None]:
        """The troubled method's trouble; the block may end it earlier."""
        path = self.place / "trouble"
        path.write_text(word)
        try:
            yield
        finally:
            path.unlink(missing_ok=True)

    @contextmanager
    def watched(self, study: Study, tally: Tally) -> Iterator[None]:
        """Reads all records and the status of a study all the time, beside whoever writes."""
        over = threading.Event()

        def watch() -> None:
            while not over.is_set():
                tally.torn += self.look(study)
                over.wait(0.02)

        thread = threading.Thread(target=watch)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def look(self, study: Study) -> list[str]:
        """What can be read of a study that was never written so."""
        torn = []
        for name, folder in study.records().items():
            record: Any = None
            try:
                record = read_record(folder)
                if record is not None and record["status"] == "done":
                    read_scores(folder)
            except FileNotFoundError:  # the folder was taken away on purpose
                continue
            except Exception as error:  # whatever a reader may be shown
                torn.append(f"{name}: {type(error).__name__}: {error}")
            done = record is not None and record["status"] == "done"
            if done and record["digest"] != self.reference.records[name][0]:
                torn.append(f"{name}: another digest")
        try:
            if (study.folder / "trials").is_dir():
                list(status_lines(study.results, STUDY))
        except FileNotFoundError:
            pass
        except Exception as error:
            torn.append(f"status: {type(error).__name__}: {error}")
        return torn

    def judge(self, study: Study, tally: Tally, known: Mapping[str, int]) -> dict[str, int]:
        """Compares with what was finished before; returns what is finished now."""
        now = study.finished()
        tally.lost += sum(name not in now for name in known)
        if tally.redone is not None:
            tally.redone += sum(now.get(name, time_) != time_ for name, time_ in known.items())
        return now

    def complete(self, study: Study, tally: Tally, known: Mapping[str, int]) -> str:
        """Runs a study to its end and compares it with the undisturbed one; what was said."""
        said, code = output(study.start())
        if code != 0:
            tally.wrong.append(f"the last run ended with {code}: {said[-600:]}")
        self.judge(study, tally, known)
        if study.comparable() != self.reference.records:
            tally.wrong.append("the records differ")
        if study.tables() != self.reference.tables:
            tally.wrong.append("the tables differ")
        tally.wrong += study.leftovers()
        tally.wrong += [f"process {pid} is still there" for pid in alive(study.sessions)]
        shutil.rmtree(study.results)
        return said


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
