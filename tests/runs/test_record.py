from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.errors import ResultsError
from bench.runs.record import read_record, read_records, read_scores, replacing, write_record

DONE: dict[str, Any] = {"status": "done", "id": "abc", "spec": {}, "cost": {"seconds": 1.0}}
SCORES = {"pair": np.arange(6, dtype=np.float32).reshape(3, 2)}


def _write(folder: Path, **changes: Any) -> None:
    write_record(folder, DONE | changes, scores=SCORES, log=[{"epoch": 0, "loss": 1.0}])


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    _write(tmp_path / "t")
    record = read_record(tmp_path / "t")
    assert record is not None
    assert record["id"] == "abc"
    np.testing.assert_array_equal(read_scores(tmp_path / "t")["pair"], SCORES["pair"])
    assert json.loads((tmp_path / "t/log.jsonl").read_text()) == {"epoch": 0, "loss": 1.0}
    assert sorted(p.name for p in (tmp_path / "t").iterdir()) == [
        "log.jsonl",
        "record.json",
        "scores.npz",
    ]


def test_two_writings_of_one_trial_differ_in_circumstances_only(tmp_path: Path) -> None:
    _write(tmp_path / "a", cost={"seconds": 1.0})
    _write(tmp_path / "b", cost={"seconds": 9.0})
    first, second = (read_record(tmp_path / name) for name in "ab")
    assert first is not None
    assert second is not None
    assert first["digest"] == second["digest"]
    assert (tmp_path / "a/scores.npz").read_bytes() == (tmp_path / "b/scores.npz").read_bytes()


def test_scores_that_do_not_match_their_record_are_not_trusted(tmp_path: Path) -> None:
    _write(tmp_path)
    spoilt = bytearray((tmp_path / "scores.npz").read_bytes())
    spoilt[len(spoilt) // 2] ^= 1
    (tmp_path / "scores.npz").write_bytes(spoilt)
    assert read_record(tmp_path) is None


def test_an_edited_record_is_not_trusted(tmp_path: Path) -> None:
    _write(tmp_path)
    text = (tmp_path / "record.json").read_text().replace('"abc"', '"abd"')
    (tmp_path / "record.json").write_text(text)
    assert read_record(tmp_path) is None


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"schema": 99}'])
def test_a_torn_record_does_not_exist(tmp_path: Path, content: str) -> None:
    (tmp_path / "record.json").write_text(content)
    assert read_record(tmp_path) is None


def test_only_finished_trials_are_listed(tmp_path: Path) -> None:
    _write(tmp_path / "m-default/run-00_fold-0")
    failed = DONE | {"status": "failed"}
    write_record(tmp_path / "m-default/run-00_fold-1", failed, scores=None, log=[])
    assert len(list(read_records(tmp_path))) == 1


def test_a_number_that_json_does_not_have_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        _write(tmp_path, metrics={"auroc": float("nan")})
    assert read_record(tmp_path) is None


def test_a_folder_that_cannot_be_written_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ResultsError, match="--results DIR"):
        _write(tmp_path / "file" / "t")


@pytest.mark.parametrize("step", ["os.fsync", "os.replace"])
def test_a_file_that_cannot_take_its_place_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    (tmp_path / "file").write_text("before")
    monkeypatch.setattr(step, full)
    with pytest.raises(OSError, match="No space"), replacing(tmp_path / "file") as temporary:
        temporary.write_text("after")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["before"]
