"""The main job on a small phantom, with real training: resumed, repeated, killed, spoilt."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.runs.record import read_record, read_records
from tests.conftest import CsvFolder

DATA = "phantom:n=120,size=32"
STUDY = "phantom-n120-size32-tiny-folds2"
SHORT = ["--data", DATA, "--folds", "2", "--runs", "2", "--set", "epochs=2"]


def bench(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "bench", *words],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
    )


def run(cwd: Path, *more: str, method: str = "cxrcml") -> subprocess.CompletedProcess[str]:
    return bench("run", "--method", method, *SHORT, *more, cwd=cwd)


def comparable(cwd: Path) -> dict[str, tuple[str, bytes, str]]:
    """Of every finished trial what must be the same to the bit: digest, scores, log."""
    trials = cwd / "results" / STUDY / "trials"
    return {
        str(path.parent.relative_to(trials)): (
            json.loads(path.read_text())["digest"],
            (path.parent / "scores.npz").read_bytes(),
            (path.parent / "log.jsonl").read_text(),
        )
        for path in sorted(trials.glob("*/*/record.json"))
    }


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished study of two rows, run with two processes."""
    folder = tmp_path_factory.mktemp("whole")
    for method in ("chexzero", "cxrcml"):
        done = run(folder, "--jobs", "2", method=method)
        assert done.returncode == 0, done.stderr
    return folder


def test_records_are_bit_identical_alone_or_inside_the_whole(whole: Path, tmp_path: Path) -> None:
    done = run(tmp_path, "--jobs", "1", "--runs", "1")
    assert done.returncode == 0, done.stderr
    alone, inside = comparable(tmp_path), comparable(whole)
    assert len(alone) == 2
    assert all(alone[name] == inside[name] for name in alone)


def test_a_second_run_skips_what_is_done_and_redoes_what_is_stale(whole: Path) -> None:
    before = comparable(whole)
    again = run(whole)
    assert "4 done, 0 to run" in again.stderr
    assert comparable(whole) == before
    record = whole / "results" / STUDY / "trials/cxrcml-epochs=2/run-01_fold-0/record.json"
    record.write_text(record.read_text()[:-40])
    mended = run(whole)
    assert "1 redone: its record is damaged" in mended.stderr
    assert comparable(whole) == before


def test_methods_of_a_study_see_the_same_partition(whole: Path) -> None:
    records = list(read_records(whole / "results" / STUDY / "trials"))
    rows: dict[tuple[int, int], set[str]] = {}
    for record in records:
        key = (record["spec"]["run"], record["spec"]["fold"])
        rows.setdefault(key, set()).add(record["split"]["digest"])
    assert all(len(digests) == 1 for digests in rows.values())
    assert len({next(iter(d)) for (_, fold), d in rows.items() if fold == 0}) == 2


def test_the_table_is_written_as_markdown_and_csv(whole: Path) -> None:
    done = bench("table", "--paper", cwd=whole)
    assert done.returncode == 0, done.stderr
    folder = whole / "results" / STUDY
    assert (folder / "table2-paper.md").read_text() == done.stdout.rstrip("\n") + "\n"
    assert "Total AUC" in done.stdout
    assert "synthetic data, not X-rays" in done.stdout
    assert "numbers printed in the paper" in done.stdout
    assert len((folder / "table2-paper.csv").read_text().splitlines()) == 3


def test_the_table_needs_no_torch(whole: Path) -> None:
    code = (
        "import sys; from bench.cli import main\n"
        "try: main(['table'])\n"
        "except SystemExit as end: assert not end.code\n"
        "assert not {'torch', 'pandas', 'open_clip'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=whole, check=True, capture_output=True)


def test_nothing_in_a_written_table_is_per_patient(whole: Path) -> None:
    bench("table", cwd=whole)
    for path in (whole / "results" / STUDY).glob("table*"):
        assert not re.search(r"p\d{5}|phantom-0-\d+", path.read_text())


@pytest.mark.parametrize("attempt", range(3))
def test_a_killed_run_continues_to_the_same_records(
    whole: Path, tmp_path: Path, attempt: int
) -> None:
    command = [sys.executable, "-m", "bench", "run", "--method", "cxrcml", *SHORT, "--jobs", "2"]
    process = subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    trials = tmp_path / "results" / STUDY / "trials"
    wanted = attempt  # kill before any, after the first, after the second trial
    deadline = time.monotonic() + 120
    while len(list(trials.glob("*/*/record.json"))) < wanted or not trials.parent.exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    time.sleep(random.Random(attempt).random())
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = run(tmp_path)
    assert done.returncode == 0, done.stderr
    expected = {k: v for k, v in comparable(whole).items() if k.startswith("cxrcml")}
    assert comparable(tmp_path) == expected
    assert not list(trials.rglob(".partial-*"))
    uninterrupted = tmp_path / "uninterrupted"
    row = Path("results") / STUDY / "trials" / "cxrcml-epochs=2"
    shutil.copytree(whole / row, uninterrupted / row)
    table = bench("table", cwd=tmp_path)
    assert table.returncode == 0, table.stderr
    assert table.stdout == bench("table", cwd=uninterrupted).stdout


def test_workers_do_not_outlive_a_killed_run(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "bench", "run", "--method", "cxrcml", *SHORT, "--jobs", "2"]
    process = subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob("results/*/trials/*/*/record.json")):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    while _working_in(tmp_path):
        assert time.monotonic() < deadline, "a worker is still there"
        time.sleep(0.1)


def test_ctrl_c_stops_plainly_and_keeps_what_is_finished(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "bench", "run", "--method", "cxrcml", *SHORT, "--jobs", "1"]
    process = subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob("results/*/trials/*/*/record.json")):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Stopped. Finished trials are kept" in said
    assert "Traceback" not in said
    # A second trial may have ended before the signal arrived; what is finished is what is kept.
    finished = len(list(tmp_path.glob("results/*/trials/*/*/record.json")))
    assert 1 <= finished < 4
    again = run(tmp_path, "--jobs", "1").stderr
    assert f"{finished} done, {4 - finished} to run" in again


def _working_in(folder: Path) -> list[int]:
    """Processes whose working folder is `folder`."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                if os.path.realpath(entry / "cwd") == str(folder):
                    found.append(int(entry.name))
            except OSError:
                continue
    return found


def test_the_second_run_on_a_held_folder_is_told_who_holds_it(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "bench", "run", "--method", "cxrcml", *SHORT]
    first = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 120
        while not (tmp_path / "results" / STUDY / ".holder.json").exists():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        second = run(tmp_path)
    finally:
        first.wait(timeout=300)
    assert second.returncode == 1
    assert f"held by another bench run (process {first.pid} on" in second.stderr
    assert first.returncode == 0


def test_a_loss_that_is_not_finite_fails_its_trial_and_no_other(tmp_path: Path) -> None:
    (tmp_path / "sometimes.py").write_text(
        "from methods.chexzero import CheXzero\n\n"
        "class Sometimes(CheXzero):\n"
        "    def loss(self, batch):\n"
        "        loss = super().loss(batch)\n"
        "        self.seen = getattr(self, 'seen', 0) + 1\n"
        "        bad = self.seen == 2 and int(batch.rows.sum()) % 2 == 0\n"
        "        return loss * float('nan') if bad else loss\n"
    )
    done = run(tmp_path, "--runs", "4", "--set", "batch_size=16", method="./sometimes.py")
    records = [
        read_record(p.parent) for p in tmp_path.glob("results/*/trials/sometimes-*/*/record.json")
    ]
    failed = [r for r in records if r is not None and r["status"] == "failed"]
    assert len(records) == 8
    assert 0 < len(failed) < 8
    assert done.returncode == 1
    assert all("in epoch 0 at step 1" in record["error"] for record in failed)
    assert "failed: sometimes-batch_size=16,epochs=2" in done.stderr
    assert "failed" in bench("status", cwd=tmp_path).stdout
    assert "only" in bench("table", cwd=tmp_path).stdout


def test_real_files_with_missing_labels_run_to_a_table(csv_folder: CsvFolder) -> None:
    words = ["--data", csv_folder.spec, "--folds", "2", "--runs", "1", "--set", "epochs=2"]
    cwd = csv_folder.root.parent
    done = bench("run", "--method", "cxrcml", *words, "--set", "batch_size=4", cwd=cwd)
    assert done.returncode == 0, done.stderr
    table = bench("table", cwd=cwd)
    assert "scans (real images), 12 images of 12 patients" in table.stdout
    assert "undefined (0/0)" in table.stdout  # this folder has no rare class


def test_what_was_left_out_is_listed_in_the_record(csv_folder: CsvFolder) -> None:
    (csv_folder.root / "images/p2_0.png").write_bytes(b"nothing")
    cwd = csv_folder.root.parent
    words = ["--data", csv_folder.spec, "--folds", "2", "--runs", "1", "--set", "epochs=1"]
    refused = bench("run", "--method", "cxrcml", *words, "--set", "batch_size=4", cwd=cwd)
    assert refused.returncode == 1
    assert "images/p2_0.png: not a readable image" in refused.stderr
    skipped = bench(
        "run", "--method", "cxrcml", *words, "--set", "batch_size=4", "--skip-unreadable", cwd=cwd
    )
    assert skipped.returncode == 0, skipped.stderr
    record: dict[str, Any] = next(iter(read_records(cwd / "results/scans-tiny-folds2/trials")))
    assert record["data"]["left_out"]["unreadable"] == ["images/p2_0.png"]
    assert record["data"]["left_out"]["reasons"]["lateral view"] == 12


def test_a_record_says_what_a_reader_needs(whole: Path) -> None:
    record = next(iter(read_records(whole / "results" / STUDY / "trials")))
    assert record["weights"] == "random"
    assert record["cost"]["peak_memory_mb"] > 0
    assert set(record["cost"]["phases"]) == {"build", "train", "score", "measure"}
    assert record["provenance"]["packages"]["torch"]
    assert len(record["training"]["history"]) == 2
    for entry in record["metrics"]["pair"]["classes"]:
        defined = entry["n_pos"] > 0 and entry["n_neg"] > 0
        assert (entry["auroc"] is not None) == defined
    assert record["diagnostics"]["texts_truncated"] >= 0
    scores = np.load(whole / "results" / STUDY / "trials/cxrcml-epochs=2/run-00_fold-0/scores.npz")
    assert scores["pair"].dtype == np.float32
