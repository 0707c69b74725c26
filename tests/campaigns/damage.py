"""Files of a study that are damaged: bits flipped, cut off, emptied, or dated in the future."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from bench.report.status import status_lines
from bench.runs.record import read_record
from tests.campaigns.harness import STUDY, Campaign, Study, Tally
from tests.campaigns.processes import output, wait_for

Damage = Callable[[Path, np.random.Generator], None]


def flip(path: Path, rng: np.random.Generator) -> None:
    """One bit, anywhere."""
    content = bytearray(path.read_bytes())
    content[int(rng.integers(len(content)))] ^= 1 << int(rng.integers(8))
    path.write_bytes(content)


def cut(path: Path, rng: np.random.Generator) -> None:
    """The end is missing, at least one byte of it."""
    os.truncate(path, int(rng.integers(1, path.stat().st_size)))


def empty(path: Path, rng: np.random.Generator) -> None:
    """Nothing is left."""
    os.truncate(path, 0)


DAMAGES: tuple[Damage, ...] = (flip, cut, empty)


def damaged_records(campaign: Campaign, times: int, rng: np.random.Generator) -> Tally:
    """`record.json` and `scores.npz` of finished trials; `times` rounds of six trials."""
    tally = Tally("record or scores damaged")
    for _ in range(times):
        study = campaign.study()
        output(study.start())
        folders = study.records()
        chosen = rng.choice(sorted(folders), size=6, replace=False)
        files = ["record.json"] * 3 + ["scores.npz"] * 3
        for name, file, damage in zip(chosen, files, DAMAGES * 2, strict=True):
            if not _hurt(folders[name] / file, damage, rng):
                continue
            tally.times += 1
            if _trusted(folders[name]):
                tally.torn.append(f"{file} after {damage.__name__} is read")
        known = study.finished()
        tally.finished += len(known)
        if sum("damaged" in line for line in status_lines(study.results, STUDY)) == 0:
            tally.wrong.append("bench status does not say that records are damaged")
        said = campaign.complete(study, tally, known)
        tally.tell(_redone(said, tally))
    return tally


def damaged_states(campaign: Campaign, times: int, rng: np.random.Generator) -> Tally:
    """The state of interrupted trainings; `times` rounds of three trials."""
    tally = Tally("state of a training damaged")
    for _ in range(times):
        study = campaign.study()
        with campaign.trouble("hold"):
            process = study.start(jobs=3)
            wait_for(lambda: len(_states(study)) == len(DAMAGES))  # noqa: B023
            os.killpg(process.pid, 9)
            output(process)
        states = _states(study)
        for path, damage in zip(states, DAMAGES, strict=True):
            _hurt(path, damage, rng)
            tally.times += 1
        known = study.finished()
        tally.finished += len(known)
        said = campaign.complete(study, tally, known)
        notes = [line for line in said.splitlines() if "resume file" in line]
        if len(notes) != len(states):
            tally.wrong.append(f"{len(notes)} of {len(states)} damaged states were said")
        tally.tell("\n".join(notes))
    return tally


def dated_in_the_future(campaign: Campaign, times: int, rng: np.random.Generator) -> Tally:
    """All files of an interrupted study dated ten years ahead, as by a clock that was wrong."""
    tally = Tally("files dated in the future")
    ahead = time.time() + 10 * 365 * 86400
    for _ in range(times):
        study = campaign.study()
        process = study.start()
        wanted = int(rng.integers(1, 8))
        wait_for(lambda: len(study.records()) >= wanted)  # noqa: B023
        os.killpg(process.pid, 9)
        output(process)
        for path in study.results.rglob("*"):
            os.utime(path, (ahead, ahead))
        known = study.finished()
        tally.times += 1
        tally.finished += len(known)
        campaign.complete(study, tally, known)
    return tally


def _states(study: Study) -> list[Path]:
    return sorted(study.folder.glob("trials/troubled-*/*.resume"))


def _hurt(path: Path, damage: Damage, rng: np.random.Generator) -> bool:
    before = path.read_bytes()
    damage(path, rng)
    return path.read_bytes() != before


def _trusted(folder: Path) -> bool:
    record = read_record(folder)
    return record is not None and record["status"] == "done"


def _redone(said: str, tally: Tally) -> str:
    """The line that says what is redone; it is missed where it is not there."""
    lines = [line for line in said.splitlines() if "redone" in line]
    if not lines:
        tally.wrong.append("nothing was said of the damaged records")
    return "\n".join(lines)
