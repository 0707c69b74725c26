"""Results folders that cannot be written: a full disk, a read-only one, one without locks."""

from __future__ import annotations

import errno
import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from bench.data.dataset import load_dataset
from bench.errors import ResultsError
from bench.runs.executors.local import execute
from bench.runs.hold import held
from bench.runs.layout import specs_of
from bench.runs.perform import Outcome, perform
from bench.runs.record import read_record, write_record
from bench.runs.rows import Request, resolve_rows
from bench.runs.trial import TrialSpec
from tests.runs.test_invariance import DATA, Study
from tests.runs.test_trial import SPEC


class Disk:
    """A small file system that a test may fill, empty or make read-only."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def ballast(self) -> Path:
        return self.folder / "ballast"

    def fill(self) -> None:
        with suppress(OSError), self.ballast.open("wb", buffering=0) as file:
            while file.write(bytes(4096)):
                pass

    def make_read_only(self) -> None:
        subprocess.run(["mount", "-o", "remount,ro", str(self.folder)], check=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    try:
        mounted = os.geteuid() == 0 and not subprocess.run(command, capture_output=True).returncode
    except FileNotFoundError:
        mounted = False
    if not mounted:
        pytest.skip("a file system can only be mounted by root")
    yield Disk(folder)
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_stops_the_run_and_keeps_what_is_finished(disk: Disk, tmp_path: Path) -> None:
    study = Study()
    ended: list[TrialSpec] = []

    def fill_up(spec: TrialSpec, outcome: Outcome) -> None:
        ended.append(spec)
        disk.fill()

    with pytest.raises(ResultsError, match=r"No space left on device. Free some space and run"):
        execute(study.specs, study.work(disk.folder), fill_up)
    # The second trial may have been written before the disk was full.
    kept = [spec for spec in study.specs if _done(spec, disk.folder)]
    assert ended[0] in kept
    assert len(kept) < 4
    disk.ballast.unlink()
    execute([s for s in study.specs if s not in kept], study.work(disk.folder), _done_well)
    assert all(_done(spec, disk.folder) for spec in study.specs)
    assert not list(disk.folder.rglob(".partial-*"))


def _done_well(spec: TrialSpec, outcome: Outcome) -> None:
    assert outcome.error is None


def _done(spec: TrialSpec, results: Path) -> bool:
    record = read_record(spec.folder(results))
    return record is not None and record["status"] == "done"


def test_a_disk_that_is_full_before_the_model_is_kept_is_told_plainly(disk: Disk) -> None:
    dataset = load_dataset(DATA)
    settings = {"epochs": "1", "text": "meta"}
    request = Request(methods=("chexzero",), settings=settings, folds=2, keep=("model",))
    spec = next(specs_of(request, resolve_rows(request, print), DATA, dataset, "s"))
    with pytest.raises(ResultsError, match=r"No space left on device. Free some space and run"):
        perform(spec, dataset, "cpu", disk.folder)
    assert read_record(spec.folder(disk.folder)) is None
    # Half a file would keep the disk full.
    left = {path.name for path in spec.folder(disk.folder).iterdir()}
    assert left <= {"scores.npz", "log.jsonl", "model.json", "mean.png"}


def test_a_read_only_folder_is_refused_before_anything_is_computed(disk: Disk) -> None:
    disk.make_read_only()
    with (
        pytest.raises(ResultsError, match=r"Read-only file system. Make it writable and run"),
        held(disk.folder / "s", print),
    ):
        pass
    with pytest.raises(ResultsError, match="Read-only"):
        write_record(disk.folder / "t", {"status": "failed"}, scores=None, log=[])


def test_a_file_system_without_locks_is_said_and_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("filelock.FileLock.acquire", refuse)
    said: list[str] = []
    with held(tmp_path / "s", said.append):
        assert json.loads((tmp_path / "s/.holder.json").read_text())["process"] == os.getpid()
    assert "without locks" in said[0]


def test_a_writer_whose_temporary_file_another_one_removed_writes_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = {"status": "failed", "id": SPEC.id, "spec": SPEC.as_dict()}
    replace, swept = os.replace, []

    def sweep_first(source: Path, target: Path) -> None:
        if not swept:
            swept.append(source)
            source.unlink()
        replace(source, target)

    monkeypatch.setattr("os.replace", sweep_first)
    write_record(tmp_path / "t", record, scores=None, log=[])
    assert swept
    assert read_record(tmp_path / "t") is not None
