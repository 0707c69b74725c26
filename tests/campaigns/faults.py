"""The campaign of faults: what was tried on a small study, and what was lost.

    python -m tests.campaigns.faults             all of it, about half an hour on two free cores
    python -m tests.campaigns.faults full_disk   one fault

After each fault the study is run to its end. Then no trial that was finished before may be gone or
done again, the records and every table must be the undisturbed study's to the byte, and no file may
be left over. Beside all that one reader looks at every record and at the status all the time: a
record it can read must say what the undisturbed one says. Exit code 1 when anything is not so.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from tabulate import tabulate

from tests.campaigns import damage, disks, kills, others
from tests.campaigns.harness import Campaign, Tally

Fault = Callable[[Campaign, int, np.random.Generator], Tally]

FAULTS: tuple[tuple[Fault, int], ...] = (
    (kills.killed_runs, 50),
    (kills.killed_groups, 25),
    (kills.killed_workers, 25),
    (kills.interrupted_twice, 8),
    (kills.terminated, 8),
    (disks.full_disk, 8),
    (disks.read_only, 4),
    (disks.vanished, 4),
    (damage.damaged_records, 2),
    (damage.damaged_states, 2),
    (damage.dated_in_the_future, 2),
    (others.out_of_memory, 1),
    (others.killed_for_memory, 1),
    (others.not_a_number, 1),
    (others.clock_jumps, 2),
    (others.at_once, 1),
    (others.at_once_without_locks, 2),
)
"""Each fault with how many times, or rounds, of it."""


def main(names: list[str]) -> int:
    """Tries the faults of these names, all without any; 1 when something went wrong."""
    known = {fault.__name__ for fault, _ in FAULTS}
    if unknown := set(names) - known:
        raise SystemExit(f"Unknown: {sorted(unknown)}. Known: {sorted(known)}.")
    chosen = [(n, *entry) for n, entry in enumerate(FAULTS) if not names or _named(entry, names)]
    with tempfile.TemporaryDirectory() as place:
        # The data are prepared in the campaign's own folder, beside nobody else's.
        os.environ["CXR_BENCH_CACHE"] = str(Path(place) / "cache")
        campaign = Campaign(Path(place))
        print(
            f"{len(campaign.reference.records)} trials, {len(campaign.reference.tables)} files of "
            f"tables, {campaign.reference.seconds:.0f} s undisturbed"
        )
        tallies = []
        for seed, fault, times in chosen:
            started = time.monotonic()
            tallies.append(fault(campaign, times, np.random.default_rng(seed)))
            _print(tallies[-1], time.monotonic() - started)
    print(table(tallies))
    return 0 if all(tally.passed for tally in tallies) else 1


def table(tallies: list[Tally]) -> str:
    """What was tried and lost, as markdown."""
    headers = ("fault", "times", "finished before", "lost", "redone", "torn reads", "tables")
    rows = [
        (
            tally.fault,
            tally.times,
            tally.finished,
            tally.lost,
            "-" if tally.redone is None else tally.redone,
            len(tally.torn),
            "identical" if not tally.wrong else "; ".join(tally.wrong)[:60],
        )
        for tally in tallies
    ]
    return tabulate(rows, headers, tablefmt="github")


def _named(entry: tuple[Fault, int], names: list[str]) -> bool:
    return entry[0].__name__ in names


def _print(tally: Tally, seconds: float) -> None:
    verdict = "ok" if tally.passed else "WRONG"
    print(f"\n{verdict}  {tally.fault}: {tally.times} times in {seconds:.0f} s", flush=True)
    for line in [*tally.torn[:5], *tally.wrong[:5]]:
        print(f"      {line}")
    for line, count in sorted(tally.told.items(), key=lambda told: -told[1])[:6]:
        print(f"   {count} x {line}", flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
