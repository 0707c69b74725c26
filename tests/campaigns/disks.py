"""Results folders that are full, read-only or gone, in the middle of a study."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np

from tests.campaigns.harness import Campaign, Study, Tally
from tests.campaigns.processes import output, wait_for


def full_disk(campaign: Campaign, times: int, rng: np.random.Generator) -> Tally:
    """A disk that is filled up to a random rest after a random number of trials."""
    tally = Tally("disk full")
    while tally.times < times:
        study = campaign.study()
        known: dict[str, int] = {}
        with _mounted(study.results, "-t", "tmpfs", "-o", "size=4m", "tmpfs") as there:
            if not there:
                return _not_tried(tally)
            ballast = study.results / "ballast"
            while tally.times < times and len(known) < len(campaign.reference.records):
                with campaign.watched(study, tally):
                    process = study.start("--keep", "model")
                    _wait_for_more(study, process, known, rng)
                    _fill(ballast, int(rng.integers(0, 100)) * 1024)
                    _expect(tally, output(process), "Free some space and run again")
                    tally.times += 1
                    known = campaign.judge(study, tally, known)
                    tally.finished += len(known)
                ballast.unlink()
            _complete_elsewhere(campaign, study, tally, known)
    return tally


def read_only(campaign: Campaign, times: int, rng: np.random.Generator) -> Tally:
    """A results folder that becomes read-only after a random number of trials."""
    tally = Tally("results folder read-only")
    while tally.times < times:
        study = campaign.study()
        known: dict[str, int] = {}
        study.results.mkdir()
        while tally.times < times and len(known) < len(campaign.reference.records):
            with campaign.watched(study, tally):
                process = study.start()
                _wait_for_more(study, process, known, rng)
                with _mounted(study.results, "--bind", str(study.results)) as there:
                    if not there:
                        output(process)
                        return _not_tried(tally)
                    _mount("-o", "remount,bind,ro", str(study.results))
                    _expect(tally, output(process), "Make it writable and run again")
                    # And of one that begins there:
                    _expect(tally, output(study.start()), "Make it writable and run again")
                tally.times += 1
                known = campaign.judge(study, tally, known)
                tally.finished += len(known)
        campaign.complete(study, tally, known)
    return tally


def vanished(campaign: Campaign, times: int, rng: np.random.Generator) -> Tally:
    """A results folder that is moved away in the middle, and put back when the run has ended.

    Every other time a file takes its name, so that the run cannot make it anew.
    """
    tally = Tally("results folder vanished")
    for time in range(times):
        study = campaign.study()
        away = study.results.with_name("away")
        with campaign.watched(study, tally):
            process = study.start()
            _wait_for_more(study, process, {}, rng)
            study.results.rename(away)
            if time % 2:
                with suppress(OSError):  # a worker was faster
                    study.results.touch(exist_ok=False)
            said, code = output(process)
            tally.tell(said)
            if code not in (0, 1):
                tally.wrong.append(f"exit code {code}: {said[-600:]}")
            if study.results.is_dir():
                shutil.rmtree(study.results)
            else:
                study.results.unlink()
            away.rename(study.results)
            tally.times += 1
            known = campaign.judge(study, tally, {})
            tally.finished += len(known)
            campaign.complete(study, tally, known)
    return tally


def _wait_for_more(
    study: Study,
    process: subprocess.Popen[str],
    known: dict[str, int],
    rng: np.random.Generator,
) -> None:
    """Waits until some more trials are finished than were before."""
    wanted = len(known) + int(rng.integers(1, 4))
    wait_for(lambda: process.poll() is not None or len(study.records()) >= wanted)


def _expect(tally: Tally, ended: tuple[str, int], words: str) -> None:
    """A run that was in time says nothing; any other one has to say what to do."""
    said, code = ended
    tally.tell(said)
    if code != 0 and (code != 1 or words not in said):
        tally.wrong.append(f"exit code {code}, without '{words}': {said[-600:]}")


def _complete_elsewhere(
    campaign: Campaign, study: Study, tally: Tally, known: dict[str, int]
) -> None:
    """As a person does whose disk is small: takes the results to a larger one and goes on."""
    larger = campaign.study()
    shutil.copytree(study.results, larger.results, copy_function=shutil.copy2)
    campaign.complete(larger, tally, known)


def _fill(ballast: Path, rest: int) -> None:
    """Fills a file system up to the last `rest` bytes."""
    with suppress(OSError), ballast.open("wb", buffering=0) as file:
        while file.write(bytes(4096)):
            pass
    os.truncate(ballast, max(0, ballast.stat().st_size - rest))


@contextmanager
def _mounted(folder: Path, *words: str) -> Iterator[bool]:
    """Something mounted on a folder in the block; whether that was possible."""
    folder.mkdir(exist_ok=True)
    mounted = _mount(*words, str(folder))
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", "-l", str(folder)], check=True)


def _mount(*words: str) -> bool:
    try:
        return subprocess.run(["mount", *words], capture_output=True).returncode == 0
    except FileNotFoundError:
        return False


def _not_tried(tally: Tally) -> Tally:
    tally.told = {"not tried: a file system can only be mounted by root": 1}
    return tally
