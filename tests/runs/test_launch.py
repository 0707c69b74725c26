"""From a request to rows and trials; what trains is in tests/test_main_job.py."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from bench.data import load_dataset
from bench.errors import ResultsError, UsageError
from bench.runs.launch import (
    _held,
    _refuse_other_data,
    _specs,
    _study_name,
    launch,
)
from bench.runs.plan import Planned
from bench.runs.rows import Request, resolve_rows

DATA = "phantom:n=60,size=32"
REQUEST = Request(methods=("cxrcml",), data=DATA, runs=2, folds=2)


def _said(request: Request) -> tuple[list[str], list[str]]:
    lines: list[str] = []
    return [row.title for row in resolve_rows(request, lines.append)], lines


def test_the_rows_of_a_table_are_those_there_is_a_method_for_and_the_others_are_named() -> None:
    titles, said = _said(replace(REQUEST, methods=(), table=2))
    assert titles[-3:] == ["CheXzero (baseline)", "CheXzero + meta labels", "CXR-CML"]
    named = {"MedCLIP", "MedKLIP", "SLIP"} - set(titles)
    assert all(title in " ".join(said) for title in named)


def test_a_row_with_the_settings_of_the_study_gets_its_title() -> None:
    meta = replace(REQUEST, methods=("chexzero",), settings={"text": "meta"})
    assert _said(meta)[0] == ["CheXzero + meta labels"]
    other = replace(REQUEST, settings={"nu": "3"})
    assert _said(other)[0] == ["CXR-CML (nu=3.0)"]


def test_a_table_and_a_method_are_not_asked_for_together() -> None:
    with pytest.raises(UsageError, match="not both"):
        _said(replace(REQUEST, table=2))


def test_whole_runs_of_every_row_come_first() -> None:
    request = replace(REQUEST, methods=("cxrcml", "chexzero"))
    dataset = load_dataset(DATA)
    specs = list(_specs(request, resolve_rows(request, print), DATA, dataset, "s"))
    assert [(s.run, s.method, s.fold) for s in specs[:5]] == [
        (0, "cxrcml", 0),
        (0, "cxrcml", 1),
        (0, "chexzero", 0),
        (0, "chexzero", 1),
        (1, "cxrcml", 0),
    ]
    assert len({s.id for s in specs}) == len(specs) == 8


def test_a_row_is_not_run_twice_at_a_time() -> None:
    with pytest.raises(UsageError, match="'CXR-CML' is asked for twice"):
        _said(replace(REQUEST, methods=("cxrcml", "cxrcml")))


def test_other_data_of_the_same_name_do_not_cost_finished_trials() -> None:
    dataset = load_dataset(DATA)
    (spec, *_) = _specs(REQUEST, resolve_rows(REQUEST, print), DATA, dataset, "s")
    same = Planned(spec, "stale", "prompts changed", spec.identity())
    _refuse_other_data([same], Path("results/s"))
    other = replace(same, before=spec.identity() | {"fingerprint": "another"})
    with pytest.raises(ResultsError, match="holds 1 finished trials of other data"):
        _refuse_other_data([same, other], Path("results/s"))


def test_a_study_is_named_by_its_data_preset_and_partition() -> None:
    dataset = load_dataset(DATA)
    assert _study_name(replace(REQUEST, folds=5), dataset, "phantom") == "phantom-tiny"
    told = _study_name(replace(REQUEST, seed=3), dataset, DATA)
    assert told == "phantom-n60-size32-tiny-folds2-seed3"


def test_a_held_folder_says_by_whom_and_is_free_afterwards(tmp_path: Path) -> None:
    told = pytest.raises(ResultsError, match=r"held by another bench run \(process \d+ on")
    with _held(tmp_path / "s"), told:
        _held(tmp_path / "s").__enter__()
    with _held(tmp_path / "s"):
        pass


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"folds": 1}, "at least 2 folds"),
        ({"runs": 0}, "at least 1"),
        ({"jobs": 0}, "at least 1"),
        ({"methods": ()}, "Nothing to run"),
        ({"device": "tpu9"}, "not a device"),
        ({"device": "meta"}, "not a device"),
        ({"seed": -1}, "a seed is not negative"),
        ({"study": "a/b"}, "one folder, without"),
    ],
)
def test_a_request_that_cannot_be_meant_is_refused(
    changes: dict[str, object], said: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=said):
        launch(replace(REQUEST, results=tmp_path, **changes), print)  # type: ignore[arg-type]
