"""Processes of a `bench run` that are killed or asked to stop at random moments."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress

import numpy as np

from tests.campaigns.harness import Campaign, Study, Tally
from tests.campaigns.processes import output, wait_for, workers

Strike = Callable[[subprocess.Popen[str]], None]


def killed_runs(campaign: Campaign, times: int, rng: np.random.Generator) -> Tally:
    """SIGKILL of `bench run` alone, of which its workers have to learn by themselves."""
    tally = Tally("SIGKILL of bench run")
    return _struck(campaign, tally, times, rng, lambda process: process.kill(), {-9})


def killed_groups(campaign: Campaign, times: int, rng: np.random.Generator) -> Tally:
    """SIGKILL of all its processes at once, as when a machine goes down."""
    tally = Tally("SIGKILL of bench run and its workers")

    def strike(process: subprocess.Popen[str]) -> None:
        os.killpg(process.pid, signal.SIGKILL)

    return _struck(campaign, tally, times, rng, strike, {-9})


def interrupted_twice(campaign: Campaign, times: int, rng: np.random.Generator) -> Tally:
    """Ctrl-C, which reaches the whole group, and again within half a second."""
    tally = Tally("Ctrl-C twice")

    def strike(process: subprocess.Popen[str]) -> None:
        os.killpg(process.pid, signal.SIGINT)
        time.sleep(rng.uniform(0, 0.5))
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGINT)

    return _struck(campaign, tally, times, rng, strike, {130})


def terminated(campaign: Campaign, times: int, rng: np.random.Generator) -> Tally:
    """SIGTERM of `bench run`. Before it has begun to work, it has nothing to say to that."""
    tally = Tally("SIGTERM")
    strike: Strike = lambda process: process.terminate()  # noqa: E731
    return _struck(campaign, tally, times, rng, strike, {143, -15})


def _struck(
    campaign: Campaign,
    tally: Tally,
    times: int,
    rng: np.random.Generator,
    strike: Strike,
    codes: set[int],
) -> Tally:
    """Strikes again and again, each run beginning at once after the last, until all are done."""
    while tally.times < times:
        study = campaign.study()
        known: dict[str, int] = {}
        with campaign.watched(study, tally):
            while tally.times < times:
                process = study.start(jobs=int(rng.integers(1, 3)))
                _let_work(study, process, len(known), rng, campaign.reference.seconds)
                if process.poll() is not None:
                    output(process)
                    break
                strike(process)
                said, code = output(process)
                if code not in codes and code != 0:
                    tally.wrong.append(f"exit code {code}: {said[-600:]}")
                tally.tell(said)
                known = campaign.judge(study, tally, known)
                tally.finished += len(known)
                tally.times += 1
            campaign.complete(study, tally, known)
    return tally


def killed_workers(campaign: Campaign, times: int, rng: np.random.Generator) -> Tally:
    """SIGKILL of single workers, one after the other, of a run that goes on."""
    tally = Tally("SIGKILL of a worker")
    while tally.times < times:
        study = campaign.study()
        known: dict[str, int] = {}
        with campaign.watched(study, tally):
            process = study.start()
            while process.poll() is None:
                _let_work(study, process, len(known), rng, campaign.reference.seconds)
                there = workers(process.pid)
                if there and tally.times < times:
                    _kill(int(rng.choice(there)))
                    known = campaign.judge(study, tally, known)
                    tally.finished += len(known)
                    tally.times += 1
            said, code = output(process)
            if code not in (0, 1):
                tally.wrong.append(f"exit code {code}: {said[-600:]}")
            tally.tell(said)
            campaign.complete(study, tally, known)
    return tally


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def _let_work(
    study: Study, process: subprocess.Popen[str], before: int, rng: np.random.Generator, long: float
) -> None:
    """Waits until a random moment: of the whole time every other time, else of the trials'.

    Half of a small study's time its processes start, and a machine that others use besides makes
    that longer still; from when on trials end is therefore seen and not reckoned.
    """
    if rng.random() < 0.5:
        _wait(process, rng.uniform(0, long))
        return
    wanted = before + int(rng.integers(1, 5))
    wait_for(lambda: process.poll() is not None or len(study.records()) >= wanted)
    _wait(process, rng.uniform(0, 0.5))


def _wait(process: subprocess.Popen[str], seconds: float) -> None:
    with suppress(subprocess.TimeoutExpired):
        process.wait(seconds)
