"""From a request to rows and trials; what trains is in tests/test_main_job.py."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from bench.data import load_dataset
from bench.errors import ResultsError, UsageError
from bench.runs.asked import read_asked
from bench.runs.executors import Ended, Work, lost
from bench.runs.hold import held
from bench.runs.launch import _refuse_other_data, launch
from bench.runs.layout import lay_out, specs_of, study_name
from bench.runs.perform import Outcome
from bench.runs.plan import Planned
from bench.runs.record import write_record
from bench.runs.rows import Request, resolve_rows
from bench.runs.trial import TrialSpec

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
    specs = list(specs_of(request, resolve_rows(request, print), DATA, dataset, "s"))
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
    (spec, *_) = specs_of(REQUEST, resolve_rows(REQUEST, print), DATA, dataset, "s")
    same = Planned(spec, "stale", "prompts changed", spec.identity())
    _refuse_other_data([same], Path("results/s"))
    other = replace(same, before=spec.identity() | {"fingerprint": "another"})
    with pytest.raises(ResultsError, match="holds 1 finished trials of other data"):
        _refuse_other_data([same, other], Path("results/s"))


def test_a_study_is_named_by_its_data_preset_and_partition() -> None:
    dataset = load_dataset(DATA)
    assert study_name(replace(REQUEST, folds=5), dataset, "phantom") == "phantom-tiny"
    told = study_name(replace(REQUEST, seed=3), dataset, DATA)
    assert told == "phantom-n60-size32-tiny-folds2-seed3"


def test_a_held_folder_says_by_whom_and_is_free_afterwards(tmp_path: Path) -> None:
    told = pytest.raises(ResultsError, match=r"held by another bench run \(process \d+ on")
    with held(tmp_path / "s", print), told:
        held(tmp_path / "s", print).__enter__()
    with held(tmp_path / "s", print):
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
        ({"executor": "ray", "device": "cpu", "jobs": None}, "ray needs --jobs"),
        ({"executor": "ray", "jobs": 2}, "ray needs --device cpu or cuda"),
        ({"executor": "slurm", "jobs": 2}, "slurm needs --device cpu or cuda"),
    ],
)
def test_a_request_that_cannot_be_meant_is_refused(
    changes: dict[str, object], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The engines' extras may not be installed, which would be said first.
    monkeypatch.setattr("bench.runs.launch.find_executor", lambda name: None)
    with pytest.raises(UsageError, match=said):
        launch(replace(REQUEST, results=tmp_path, **changes), print)  # type: ignore[arg-type]


class Engine:
    """Stands in for an executor: trials of chexzero fail, others are done."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.tried: list[str] = []
        self.errors = ["MethodError: wrong weights"]
        monkeypatch.setattr("bench.runs.launch.find_executor", lambda name: self.execute)

    def execute(self, specs: Sequence[TrialSpec], work: Work, ended: Ended) -> None:
        for spec in specs:
            self.tried.append(f"{spec.method} {spec.run}.{spec.fold}")
            if spec.method == "chexzero":
                ended(spec, lost(spec, work, self.errors[len(self.tried) % len(self.errors)]))
            else:
                record = {"status": "done", "id": spec.id, "spec": spec.as_dict()}
                write_record(spec.folder(work.results), record, scores={}, log=[])
                ended(spec, Outcome("done", 1.0, 0.5, 0.5, None))


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Engine:
    return Engine(monkeypatch)


BOTH = replace(REQUEST, methods=("chexzero", "cxrcml"), runs=3)


def test_a_row_that_fails_three_times_in_the_same_way_is_given_up_and_no_other_row(
    engine: Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    summary = launch(BOTH, print)
    assert (summary.finished, summary.failed, summary.left) == (6, 3, 3)
    assert len([trial for trial in engine.tried if "chexzero" in trial]) == 3
    said = capsys.readouterr().err
    assert "first 3 trials failed in the same way; 3 are not tried. To try all: --keep" in said


def test_keep_going_tries_every_trial(engine: Engine) -> None:
    summary = launch(replace(BOTH, keep_going=True), print)
    assert (summary.finished, summary.failed, summary.left) == (6, 6, 0)


def test_failures_that_differ_stop_nobody(engine: Engine) -> None:
    engine.errors = ["TrialError: at step 1", "TrialError: at step 2"]
    summary = launch(BOTH, print)
    assert (summary.finished, summary.failed, summary.left) == (6, 6, 0)


def test_only_failed_trials_or_a_few_are_run_when_asked_for(engine: Engine) -> None:
    first = launch(replace(BOTH, limit=3), print)
    assert engine.tried == ["chexzero 0.0", "chexzero 0.1", "cxrcml 0.0"]
    assert (first.finished, first.failed, first.left) == (1, 2, 9)
    asked = read_asked(first.folder)
    assert sum(len(row.places) for row in asked.values()) == 12
    engine.tried.clear()
    again = launch(replace(BOTH, only=("failed",)), print)
    assert engine.tried == ["chexzero 0.0", "chexzero 0.1"]
    assert (again.skipped, again.finished, again.failed, again.left) == (1, 0, 2, 9)


def test_the_state_of_an_interruption_goes_where_a_trial_is_finished_or_begun_anew(
    engine: Engine, tmp_path: Path
) -> None:
    request = replace(REQUEST, runs=1, limit=1, results=tmp_path)
    launch(request, print)
    done, missing = (
        next(tmp_path.glob("*/trials/*")) / f"run-00_fold-{fold}.resume" for fold in range(2)
    )
    for path in (done, missing):
        path.write_bytes(b"state")
    launch(replace(request, only=("failed",)), print)
    assert (done.exists(), missing.exists()) == (False, True)
    launch(replace(request, only=("failed",), fresh=True), print)
    assert not missing.exists()


def test_a_study_that_is_refused_keeps_its_study_file(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = (tmp_path / name / "mine.toml" for name in ("a", "b"))
    for file, title in ((first, "One"), (second, "Two")):
        file.parent.mkdir()
        file.write_text(f'[[row]]\nmethod = "cxrcml"\ntitle = "{title}"\n')
    request = replace(REQUEST, methods=(), study=str(first), results=tmp_path / "results")
    kept = launch(request, print).folder / "study.toml"

    def refuse(planned: object, folder: Path) -> None:
        raise ResultsError("other data")

    monkeypatch.setattr("bench.runs.launch._refuse_other_data", refuse)
    real = lambda layout: replace(layout, synthetic=False)  # noqa: E731
    monkeypatch.setattr("bench.runs.launch.lay_out", lambda *given: real(lay_out(*given)))
    with pytest.raises(ResultsError, match="other data"):
        launch(replace(request, study=str(second)), print)
    assert kept.read_text() == first.read_text()
    monkeypatch.undo()
    monkeypatch.setattr("os.replace", lambda *paths: (_ for _ in ()).throw(OSError(28, "full")))
    with pytest.raises(ResultsError, match="full"):
        launch(replace(request, study=str(second)), print)
    assert kept.read_text() == first.read_text()
