"""Memory that runs out, losses that are not numbers, clocks that jump, several runs at once."""

from __future__ import annotations

import resource
import subprocess
import threading
from pathlib import Path

import numpy as np

from bench.runs.record import read_record
from tests.campaigns.harness import Campaign, Study, Tally
from tests.campaigns.processes import output, wait_for

_ADDRESSES = 12 * 2**30
_FAKETIME = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1")


def out_of_memory(campaign: Campaign, times: int, rng: np.random.Generator) -> Tally:
    """A method that asks for more than the system gives (a limit of addresses), in its trials."""
    tally = Tally("memory refused to a worker")

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (_ADDRESSES, _ADDRESSES))

    return _troubled(campaign, tally, times, "hungry", "memory", before=limited)


def killed_for_memory(campaign: Campaign, times: int, rng: np.random.Generator) -> Tally:
    """A method whose process is killed in every trial, as Linux does when memory is short."""
    tally = Tally("worker killed in every trial of a method")
    return _troubled(campaign, tally, times, "killed", "out of memory")


def not_a_number(campaign: Campaign, times: int, rng: np.random.Generator) -> Tally:
    """A loss that is not finite from the third epoch on, in all trials of a method."""
    return _troubled(
        campaign, Tally("loss is NaN in the third epoch"), times, "nan", "The loss is nan"
    )


def _troubled(
    campaign: Campaign, tally: Tally, times: int, word: str, reason: str, before: object = None
) -> Tally:
    """A study whose one method is in trouble and whose other one is not; then without trouble."""
    for _ in range(times):
        study = campaign.study()
        with campaign.watched(study, tally), campaign.trouble(word):
            said, code = output(study.start(before=before))  # type: ignore[arg-type]
        if code != 1:
            tally.wrong.append(f"exit code {code}: {said[-600:]}")
        tally.tell(said)
        known = study.finished()
        tally.finished += len(known)
        if not known or any("troubled" in name for name in known):
            tally.wrong.append(f"the other method was not finished alone: {sorted(known)}")
        failed = [read_record(folder) for folder in study.records().values()]
        errors = [record["error"] for record in failed if record and record["status"] != "done"]
        tally.times += len(errors)
        if not errors or not all(reason in error for error in errors):
            tally.wrong.append(f"recorded as {errors}")
        campaign.complete(study, tally, known)
    return tally


def clock_jumps(campaign: Campaign, times: int, rng: np.random.Generator) -> Tally:
    """The system's clock jumps by years, forwards and back, once or twice a second."""
    tally = Tally("clock jumps by years")
    if not _FAKETIME.exists():
        tally.told = {"not tried: no libfaketime here": 1}
        return tally
    for _ in range(times):
        study = campaign.study()
        clock = campaign.place / "clock"
        clock.write_text("+0")
        env = {
            "LD_PRELOAD": str(_FAKETIME),
            "FAKETIME_TIMESTAMP_FILE": str(clock),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "DONT_FAKE_MONOTONIC": "1",
        }
        over = threading.Event()
        with campaign.watched(study, tally):
            process = study.start(env=env)
            while process.poll() is None:
                clock.write_text(f"{int(rng.integers(-9, 10)):+d}y")
                tally.times += 1
                over.wait(rng.uniform(0.3, 1.2))
            said, code = output(process)
            tally.tell(said)
            if code != 0:
                tally.wrong.append(f"exit code {code}: {said[-600:]}")
            known = campaign.judge(study, tally, {})
            tally.finished += len(known)
            campaign.complete(study, tally, known)
    return tally


def at_once(campaign: Campaign, times: int, rng: np.random.Generator) -> Tally:
    """Two and four `bench run` on one study; half of them are of one of its methods alone."""
    tally = Tally("two and four bench run at once")
    for count in (2, 4) * times:
        study = campaign.study()
        with campaign.watched(study, tally):
            held = [study.start(jobs=1)]
            wait_for(lambda: (study.folder / ".holder.json").exists())  # noqa: B023
            held += [_start(campaign, study, index) for index in range(1, count)]
            ended = [output(process) for process in held]
            if [code for _, code in ended] != [0] + [1] * (count - 1):
                tally.wrong.append(f"exit codes {[code for _, code in ended]}")
            for said, _ in ended:
                tally.tell(said)
            known = campaign.judge(study, tally, {})
            tally.times += 1
            tally.finished += len(known)
            campaign.complete(study, tally, known)
    return tally


def at_once_without_locks(campaign: Campaign, times: int, rng: np.random.Generator) -> Tally:
    """The same where the lock file is removed again and again, so that none holds the study."""
    tally = Tally("the same, the lock removed", redone=None)
    for count in (2, 4) * times:
        study = campaign.study()
        with campaign.watched(study, tally):
            running = [_start(campaign, study, index) for index in range(count)]
            while any(process.poll() is None for process in running):
                (study.folder / ".lock").unlink(missing_ok=True)
                known = campaign.judge(study, tally, {})
                threading.Event().wait(0.02)
            ended = [output(process) for process in running]
            for said, code in ended:
                tally.tell(said)
                if code != 0 and "is held by another bench run" not in said:
                    tally.wrong.append(f"exit code {code}: {said[-600:]}")
            tally.times += 1
            tally.finished += len(known)
            campaign.complete(study, tally, known)
    return tally


def _start(campaign: Campaign, study: Study, index: int) -> subprocess.Popen[str]:
    """Every other run is of one method alone."""
    alone = (campaign.methods[index // 2 % 2],) if index % 2 else None
    return study.start(jobs=1, methods=alone)
