"""Pixels of a store, made in parallel and kept part by part: a killed preparation goes on.

The rows are cut into parts. A worker makes the pixels of a part and writes them under a temporary
name, syncs and renames them, and last writes what it noticed (`work/00012.json`), so a part is
finished or it is not there. When all are finished they are appended to `pixels.npy` one by one,
each deleted once it is on the disk: a store never takes more room than itself and one part.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from bench.data.decode import Box
from bench.data.prints import Print, picture_print
from bench.data.progress import Progress, Tell
from bench.data.workers import leave_with_parent, uninterrupted
from bench.errors import DataError

Make = Callable[[Any, int, list[str]], tuple[np.ndarray, Box]]
"""(item, size, notes) -> square and box; a `DataError` is the reason why there is none."""

PART = 128  # images; 6 MB at 224 pixels
WORK = "work"
_PARTS_A_JOB = 2  # with fewer, starting a process takes longer than what it does
_FLATTEST = 2  # grey levels between the darkest and the brightest pixel of a constant image


@dataclass(frozen=True)
class Pixels:
    """What became of the items whose pixels were asked for."""

    kept: np.ndarray
    """(n,) bool, True where the item has a row in `pixels.npy`; the rows keep the items' order."""
    boxes: np.ndarray
    """(kept, 4) int16."""
    reasons: dict[int, str]
    """Item number -> why it has no pixels."""
    notes: dict[str, list[int]]
    """What was done to an image beyond decoding -> item numbers."""
    prints: list[Print]
    """One a kept row; empty for pictures that were drawn."""


def make_pixels(
    folder: Path,
    items: Sequence[Any],
    make: Make,
    size: int,
    *,
    plan: str,
    jobs: int = 1,
    tell: Tell | None = None,
    prints: bool = True,
) -> Pixels:
    """Writes `folder/pixels.npy` with the square of every item that has one.

    Args:
        plan: identifies the items; parts that were made for another plan are thrown away.
        jobs: processes; with one the work is done here. A script that asks for more needs the
            `if __name__ == "__main__"` of Python's multiprocessing.
        prints: compare pictures later (`Pixels.prints`), and refuse constant ones.

    Raises:
        DataError: the folder cannot be written or workers die. What is finished is kept.
    """
    work = folder / WORK
    try:
        _begin(work, plan)
        _refuse_full_disk(folder, len(items) * size * size)
        parts = [range(i, min(i + PART, len(items))) for i in range(0, len(items), PART)]
        todo = [k for k in range(len(parts)) if not _notes_file(work, k).exists()]
        tasks = ((work, k, [items[i] for i in parts[k]], make, size, prints) for k in todo)
        with Progress(parts, todo, tell) as progress:
            _run(tasks, min(jobs, len(todo) // _PARTS_A_JOB), progress.finished)
        reports = [json.loads(_notes_file(work, k).read_text()) for k in range(len(parts))]
        _append(folder / "pixels.npy", work, [len(report["boxes"]) for report in reports], size)
    except OSError as error:
        raise DataError(
            f"Cannot write prepared data to {folder}: {error.strerror or error}. Make room or "
            "mend it and run the command again; finished parts are kept."
        ) from error
    return _gathered(reports, parts, len(items))


def clear_work(folder: Path) -> None:
    """Removes what only an unfinished preparation needs."""
    shutil.rmtree(folder / WORK, ignore_errors=True)


def _begin(work: Path, plan: str) -> None:
    file = work / "plan"
    if file.is_file() and file.read_text() == plan:
        return
    shutil.rmtree(work, ignore_errors=True)
    (work.parent / "pixels.npy").unlink(missing_ok=True)
    work.mkdir(parents=True)
    file.write_text(plan)


def _refuse_full_disk(folder: Path, needed: int) -> None:
    """Better now than after an hour."""
    there = sum(path.stat().st_size for path in (folder / WORK).iterdir())
    there += (folder / "pixels.npy").stat().st_size if (folder / "pixels.npy").exists() else 0
    free = shutil.disk_usage(folder).free
    if needed - there > free:
        raise DataError(
            f"{folder} has {free / 1e9:.1f} GB free, and the images take {needed / 1e9:.1f} GB. "
            "Make room, take a smaller --size, or name another folder."
        )


def _notes_file(work: Path, part: int) -> Path:
    return work / f"{part:05d}.json"


def _pixels_file(work: Path, part: int) -> Path:
    return work / f"{part:05d}.bin"


Task = tuple[Path, int, list[Any], Make, int, bool]


def _make_part(task: Task) -> int:
    """Makes one part and returns its number."""
    work, part, items, make, size, prints = task
    squares, boxes, reasons, notes, marks = [], [], {}, {}, []
    for i, item in enumerate(items):
        said: list[str] = []
        try:
            square, box = make(item, size, said)
            if prints:
                refuse_constant(square, box)
        except DataError as error:
            reasons[i] = str(error)
            continue
        squares.append(square)
        boxes.append(list(box))
        if said:
            notes[i] = said
        if prints:
            marks.append(picture_print(square, box))
    if squares:
        _write_synced(_pixels_file(work, part), b"".join(s.tobytes() for s in squares))
    report = {"boxes": boxes, "reasons": reasons, "notes": notes, "prints": marks}
    _write_synced(_notes_file(work, part), json.dumps(report).encode())
    return part


def refuse_constant(square: np.ndarray, box: Box) -> None:
    """Raises DataError for a picture that shows nothing."""
    top, left, height, width = box
    picture = square[top : top + height, left : left + width]
    low, high = int(picture.min()), int(picture.max())
    if high - low <= _FLATTEST:
        raise DataError(f"constant: every pixel is {low if low == high else f'{low} to {high}'}")


def _write_synced(path: Path, content: bytes) -> None:
    unfinished = path.with_suffix(".new")
    with unfinished.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(unfinished, path)


def _run(tasks: Iterator[Task], jobs: int, finished: Callable[[int], None]) -> None:
    """All tasks, here or in `jobs` processes; at most two tasks a process wait in memory."""
    if jobs <= 1:
        for task in tasks:
            finished(_make_part(task))
        return
    pool = ProcessPoolExecutor(jobs, mp_context=get_context("spawn"), initializer=leave_with_parent)
    running: set[Future[int]] = set()
    try:
        while True:
            while len(running) < 2 * jobs and (more := next(tasks, None)) is not None:
                with uninterrupted():  # what submits also starts the processes
                    running.add(pool.submit(_make_part, more))
            if not running:
                break
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                finished(future.result())
    except BrokenProcessPool as error:
        raise DataError(
            "A process that reads images died; the system may be out of memory. Run the command "
            "again, with fewer --jobs if it happens again; finished images are kept."
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _append(target: Path, work: Path, counts: Sequence[int], size: int) -> None:
    """Moves the finished parts into one array file, going on where a killed one stopped."""
    ends = np.cumsum([0, *counts]) * size * size
    first = next((k for k, n in enumerate(counts) if n and _pixels_file(work, k).exists()), None)
    mode = "r+b" if target.exists() else "w+b"
    with target.open(mode) as file:
        header = {"descr": "|u1", "fortran_order": False, "shape": (sum(counts), size, size)}
        np.lib.format.write_array_header_1_0(file, header)
        start = file.tell()
        if first is None:
            return
        file.seek(start + int(ends[first]))
        file.truncate()
        for k in range(first, len(counts)):
            if counts[k]:
                part = _pixels_file(work, k)
                file.write(part.read_bytes())
                file.flush()
                os.fsync(file.fileno())
                part.unlink()


def _gathered(reports: Sequence[dict[str, Any]], parts: Sequence[range], total: int) -> Pixels:
    kept = np.ones(total, bool)
    reasons: dict[int, str] = {}
    notes: dict[str, list[int]] = {}
    for report, part in zip(reports, parts, strict=True):
        for i, why in report["reasons"].items():
            reasons[part[int(i)]] = why
            kept[part[int(i)]] = False
        for i, said in report["notes"].items():
            for note in said:
                notes.setdefault(note, []).append(part[int(i)])
    boxes = [box for report in reports for box in report["boxes"]]
    prints = [Print(*mark) for report in reports for mark in report["prints"]]
    return Pixels(kept, np.array(boxes, np.int16).reshape(-1, 4), reasons, notes, prints)


@contextmanager
def held(folder: Path, tell: Tell | None) -> Iterator[None]:
    """`folder` made, and held against a second preparation, which waits for the first.

    Raises:
        DataError: the folder cannot be written.
    """
    from filelock import FileLock, Timeout

    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = FileLock(folder / ".lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            if tell:
                tell(f"Another process is preparing {folder}; waiting for it.")
            lock.acquire()
    except OSError as error:
        raise DataError(
            f"Cannot write prepared data to {folder}: {error.strerror or error}. "
            "Set CXR_BENCH_CACHE to a folder with room."
        ) from error
    # The lock file stays: one that is removed while others wait for it, each would hold alone.
    try:
        yield
    finally:
        lock.release()
