"""The same numbers whatever the number of workers, the order, who else runs, and interruptions.

Of one small real method; tests/test_main_job.py has CXR-CML from the command line, and
tests/runs/test_ray.py and test_slurm.py the other engines.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from bench.data.dataset import prepare_dataset
from bench.runs.executors import Work
from bench.runs.executors.local import execute
from bench.runs.layout import specs_of
from bench.runs.perform import Outcome
from bench.runs.rows import Request, resolve_rows
from bench.runs.trial import TrialSpec

DATA = "phantom:n=60,size=32"
LETTERS = str(Path(__file__).with_name("letters.py"))


class Study:
    """Four small trials, in any results folder."""

    def __init__(self) -> None:
        request = Request(methods=(LETTERS,), data=DATA, runs=2, folds=2, settings={"epochs": "2"})
        store, dataset = prepare_dataset(DATA, 32)
        self.store = store.resolve()
        self.specs = list(specs_of(request, resolve_rows(request, print), DATA, dataset, "s"))

    def work(self, results: Path, jobs: int = 1) -> Work:
        return Work(stores=(self.store,), device="cpu", results=results, jobs=jobs)


def _ignored(spec: TrialSpec, outcome: Outcome) -> None:
    assert outcome.error is None


def _told(results: Path) -> dict[str, tuple[str, bytes, str]]:
    """Of every trial what must be the same to the bit: digest, scores, log."""
    return {
        str(path.parent.relative_to(results)): (
            json.loads(path.read_text())["digest"],
            (path.parent / "scores.npz").read_bytes(),
            (path.parent / "log.jsonl").read_text(),
        )
        for path in sorted(results.rglob("record.json"))
    }


@pytest.fixture(scope="module")
def study() -> Study:
    return Study()


@pytest.fixture(scope="module")
def whole(study: Study, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str, ...]]:
    """The records of two workers that took the trials in their order."""
    results = tmp_path_factory.mktemp("whole")
    execute(study.specs, study.work(results, jobs=2), _ignored)
    told = _told(results)
    assert len(told) == len({entry[1] for entry in told.values()}) == 4
    return told  # type: ignore[return-value]


def test_two_runs_at_once_without_a_lock_and_in_other_orders_write_the_same_records(
    study: Study, whole: dict[str, tuple[str, ...]], tmp_path: Path
) -> None:
    orders = [study.specs[::-1], [*study.specs[2:], *study.specs[:2]]]
    with ThreadPoolExecutor(2) as pool:
        for running in [
            pool.submit(execute, order, study.work(tmp_path), _ignored) for order in orders
        ]:
            running.result()
    assert _told(tmp_path) == whole
    assert not list(tmp_path.rglob(".partial-*"))


def test_an_interrupted_study_goes_on_to_the_same_records(
    study: Study, whole: dict[str, tuple[str, ...]], tmp_path: Path
) -> None:
    ended: list[str] = []

    def interrupted(spec: TrialSpec, outcome: Outcome) -> None:
        ended.append(spec.id)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        execute(study.specs, study.work(tmp_path), interrupted)
    assert len(ended) == 1
    rest = [spec for spec in study.specs if spec.id not in ended]
    execute(rest, study.work(tmp_path), _ignored)
    assert _told(tmp_path) == whole


class DeadlyOnce(str):
    """A title that kills the first process which reads it, unless that is this one."""

    marker: str

    def __reduce__(self) -> tuple[Callable[[str], object], tuple[str]]:
        system = "__import__('os')"
        first = f"{system}.getpid() != {os.getpid()} and {system}.path.exists({self.marker!r})"
        kill = f"({system}.unlink({self.marker!r}), {system}.kill({system}.getpid(), 9))"
        return eval, (f"{kill} if {first} else {str(self)!r}",)


def test_a_trial_whose_worker_was_killed_is_tried_again_to_the_same_record(
    study: Study, whole: dict[str, tuple[str, ...]], tmp_path: Path
) -> None:
    title = DeadlyOnce(study.specs[0].title)
    title.marker = str(tmp_path / "marker")
    Path(title.marker).touch()
    results = tmp_path / "results"
    specs = [replace(study.specs[0], title=title), *study.specs[1:]]
    execute(specs, study.work(results), _ignored)
    assert not Path(title.marker).exists()
    assert _told(results) == whole
