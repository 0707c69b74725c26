"""Somebody else's files thrown at every reader: no traceback, no code run, nothing touched.

    python -m tests.campaigns.torture [TARGET...] [--minutes 10] [--seed 0] [--keep FOLDER]

Each target is attacked for so many minutes of CPU by a worker of limited memory. An input is a
number: target, seed and number make it again. What is not attacked: Python files (a method given by
path is code), and devices or pipes in place of tables (only images can be such, and are refused).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.campaigns._targets import TARGETS

_LOST = 90.0
"""Seconds without an input after which a worker is killed: what the alarm cannot interrupt."""


def attack(target: str, seconds: float, seed: int, folder: Path) -> list[dict[str, Any]]:
    """What the workers of a target saw, more than one where one died."""
    seen: list[dict[str, Any]] = []
    first, left = 0, seconds
    while left > 0 and len(seen) < 20:
        mine = folder / target / str(len(seen))
        mine.mkdir(parents=True)
        told, ended = _worker(target, mine, seed, first, left)
        if ended != 0:
            kind = f"the interpreter ended ({ended})"
            told["crashes"][kind] = f"input {told['index']}; see {mine / 'stderr'}"
            told["again"][kind] = 1
        seen.append(told)
        first, left = told["index"] + 1, left - max(told["cpu"], 1.0)
        if ended == 0 or not told["inputs"]:
            break
    return seen


def _worker(
    target: str, folder: Path, seed: int, first: int, seconds: float
) -> tuple[dict[str, Any], int]:
    words = [sys.executable, "-m", "tests.campaigns._attack", target, folder, seed, first, seconds]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CXR_BENCH_CACHE": str(folder / "cache")}
    environment["CUDA_VISIBLE_DEVICES"] = ""
    progress = folder / "progress.json"
    with (folder / "stderr").open("w") as stderr, (folder / "stdout").open("w") as stdout:
        worker = subprocess.Popen(
            [str(word) for word in words], env=environment, stderr=stderr, stdout=stdout
        )
        started = time.time()
        while worker.poll() is None:
            time.sleep(0.5)
            alive = progress.stat().st_mtime if progress.exists() else started
            if time.time() - alive > _LOST:
                worker.kill()
    nothing = {"target": target, "index": first, "inputs": 0, "refused": 0, "cpu": 0.0}
    nothing |= {"slowest": 0.0, "grown": 0, "crashes": {}, "again": {}}
    told = json.loads(progress.read_text()) if progress.exists() else nothing
    return told, int(worker.wait())


def main() -> int:
    """Attacks the targets one after the other; 1 if anything gave way."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(TARGETS))
    parser.add_argument("--minutes", type=float, default=10.0, help="of CPU a target")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="folder for the inputs that gave way")
    asked = parser.parse_args()
    folder = asked.keep or Path(tempfile.mkdtemp(prefix="torture-"))
    print(f"{'target':13}{'inputs':>8}{'refused':>9}{'CPU s':>8}{'slowest s':>11}{'grown MB':>10}")
    gave_way = 0
    for target in asked.targets or TARGETS:
        seen = attack(target, 60 * asked.minutes, asked.seed, folder)
        total = {key: sum(told[key] for told in seen) for key in ("inputs", "refused", "cpu")}
        worst = {key: max(told[key] for told in seen) for key in ("slowest", "grown")}
        print(
            f"{target:13}{total['inputs']:8}{total['refused']:9}{total['cpu']:8.0f}"
            f"{worst['slowest']:11.1f}{worst['grown'] / 2**20:10.0f}",
            flush=True,
        )
        for told in seen:
            for kind, place in told["crashes"].items():
                gave_way += 1
                print(f"    {told['again'][kind]} x {kind}: {place}", flush=True)
    print("Nothing gave way." if not gave_way else f"{gave_way} kinds of failure.")
    return int(gave_way > 0)


if __name__ == "__main__":
    sys.exit(main())
