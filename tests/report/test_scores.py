"""Bootstrap and cross-fitted metrics from the scores of a study."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from bench.errors import ResultsError
from bench.report.options import Options
from bench.report.results import load_results
from bench.report.scores import REPLICATES, SEED, drawn_trials, patient_bootstraps, stack
from bench.runs.record import read_record, read_scores, sha256_of, write_record
from bench.stats.bootstrap import paired_cluster_bootstrap
from bench.stats.calibration import brier, cross_fitted_f1, cross_fitted_probabilities
from tests.report.studies import FOLDS, made, notes, rows_of, scored_study, spec

QUALITY = {"chexzero": 0.3, "cxrcml": 1.0}


def test_a_bootstrap_is_of_the_models_of_the_first_run_within_its_folds(tmp_path: Path) -> None:
    scored_study(tmp_path, QUALITY)
    base, ours = load_results(tmp_path, "s", Options())
    (found,) = patient_bootstraps([(ours, base)], Options().groups, Options())
    parts = [
        [read_scores(spec(method, 0, fold).folder(tmp_path)) for fold in range(FOLDS)]
        for method in ("cxrcml", "chexzero")
    ]
    joined = {k: np.concatenate([part[k] for part in parts[0]]) for k in ("labels", "patients")}
    expected = paired_cluster_bootstrap(
        np.concatenate([part["pair"] for part in parts[0]]),
        np.concatenate([part["pair"] for part in parts[1]]),
        joined["labels"],
        joined["patients"],
        folds=np.repeat(np.arange(FOLDS), [len(part["rows"]) for part in parts[0]]),
        groups={"total": [0, 1]},
        n_replicates=REPLICATES,
        seed=SEED,
    )
    assert found["total"] == expected.groups["total"]
    assert found["rare"].defined == 1


def test_an_unfinished_run_is_not_the_one_that_is_drawn(tmp_path: Path) -> None:
    scored_study(tmp_path, QUALITY)
    shutil.rmtree(spec("cxrcml", 0, 1).folder(tmp_path))
    base, ours = load_results(tmp_path, "s", Options())
    assert drawn_trials(ours, base) == ((1, 0), (1, 1))


def test_the_difference_drawn_is_the_difference_of_the_run(tmp_path: Path) -> None:
    scored_study(tmp_path, QUALITY)
    lines = [r for r in made(tmp_path, "runs").records() if (r["run"], r["group"]) == (0, "Total")]
    ours, theirs = ({r["title"]: r["of_run"] for r in lines}[m] for m in ("cxrcml", "chexzero"))
    assert isinstance(ours, float)
    assert isinstance(theirs, float)
    drawn = rows_of(tmp_path)["cxrcml"]["total_patients_difference"]
    assert drawn == pytest.approx(ours - theirs, abs=1e-5)


def test_sources_are_kept_apart_in_the_draws(tmp_path: Path) -> None:
    scored_study(tmp_path, QUALITY, sources=2)
    base, ours = load_results(tmp_path, "s", Options())
    (found,) = patient_bootstraps([(ours, base)], Options().groups, Options())
    scored_study(tmp_path / "one", QUALITY)
    base, ours = load_results(tmp_path / "one", "s", Options())
    (pooled,) = patient_bootstraps([(ours, base)], Options().groups, Options())
    assert found["total"].value != pooled["total"].value
    assert "within each fold and each source only" in notes(tmp_path)


def test_rows_with_other_trials_are_compared_on_what_they_share(tmp_path: Path) -> None:
    scored_study(tmp_path, QUALITY, runs=1)
    scored_study(tmp_path / "more", QUALITY | {"mine": 2.0})
    base, ours = load_results(tmp_path, "s", Options())
    more = load_results(tmp_path / "more", "s", Options())
    (alone,) = patient_bootstraps([(ours, base)], Options().groups, Options())
    mixed = patient_bootstraps([(more[1], base), (more[2], more[0])], Options().groups, Options())
    assert mixed[0]["total"] == alone["total"]
    assert mixed[1]["total"] != mixed[0]["total"]


def test_rows_scored_on_other_images_are_refused(tmp_path: Path) -> None:
    scored_study(tmp_path, QUALITY)
    folder = spec("cxrcml", 0, 0).folder(tmp_path)
    record, arrays = read_record(folder), read_scores(folder)
    assert record is not None
    write_record(folder, record, scores=arrays | {"rows": arrays["rows"][::-1]}, log=[])
    with pytest.raises(
        ResultsError, match="cxrcml:default and chexzero:default were scored on diff"
    ):
        made(tmp_path)


def test_cross_fitted_metrics_are_of_the_folds_of_a_run(tmp_path: Path) -> None:
    scored_study(tmp_path, QUALITY, runs=1)
    (row,) = [r for r in load_results(tmp_path, "s", Options()) if r.method == "cxrcml"]
    images = stack(row, ((0, 0), (0, 1)), "pair")
    one = (images.scores[:, 0], images.labels[:, 0])
    f1 = cross_fitted_f1(*one, images.fold).value
    probabilities = cross_fitted_probabilities(*one, images.fold)
    assert probabilities is not None
    found = rows_of(tmp_path, metric="f1")["cxrcml"]
    assert found["base_f1"] == pytest.approx(f1, rel=1e-5)
    found = rows_of(tmp_path, metric="brier")["cxrcml"]
    assert found["base_brier"] == pytest.approx(brier(probabilities, one[1]), rel=1e-5)
    assert "found for each fold on the other folds" in notes(tmp_path, metric="brier")
    assert found["base_p"] is None


def test_calibration_of_an_undefined_class_is_undefined(tmp_path: Path) -> None:
    scored_study(tmp_path, QUALITY, runs=1)
    for metric in ("f1", "ece", "brier"):
        row = rows_of(tmp_path, metric=metric, min_patients=0)["cxrcml"]
        assert row["rare_defined"] == 1  # Fibrosis has no positive


def test_without_scores_a_cross_fitted_metric_says_what_it_needs(tmp_path: Path) -> None:
    scored_study(tmp_path, QUALITY, runs=1)
    for path in tmp_path.rglob("scores.npz"):
        path.unlink()
    with pytest.raises(ResultsError, match=r"--metric ece needs the scores per image"):
        made(tmp_path, metric="ece")
    assert rows_of(tmp_path)["cxrcml"]["total_p"] is not None


def test_scores_that_were_changed_do_not_count(tmp_path: Path) -> None:
    scored_study(tmp_path, QUALITY, runs=1)
    path = spec("cxrcml", 0, 0).folder(tmp_path) / "scores.npz"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    assert rows_of(tmp_path)["cxrcml"]["trials"] == 1


@pytest.mark.parametrize(
    "change",
    [
        {"pair": None},
        {"pair": np.full((3, 3), 0.5)},
        {"pair": np.array("text")},
        {"patients": np.zeros((2, 2), np.int32)},
        {"labels": np.array([None])},
    ],
)
def test_arrays_that_are_no_scores_of_the_trial_are_refused_in_a_sentence(
    tmp_path: Path, change: dict[str, np.ndarray | None]
) -> None:
    """Their checksum fits: anybody can write one."""
    scored_study(tmp_path, QUALITY)
    folder = spec("cxrcml", 0, 0).folder(tmp_path)
    arrays = {k: v for k, v in (read_scores(folder) | change).items() if v is not None}
    np.savez(folder / "scores.npz", **arrays)  # type: ignore[arg-type]
    record = _resealed(folder)
    write_record(folder, record, scores=None, log=[])
    (row,) = [r for r in load_results(tmp_path, "s", Options()) if r.method == "cxrcml"]
    with pytest.raises(ResultsError, match=r"scores\.npz does not hold the scores of its trial"):
        stack(row, ((0, 0),), "pair")


def _resealed(folder: Path) -> dict[str, object]:
    """The record with the checksum of the scores as they are now."""
    told: dict[str, object] = json.loads((folder / "record.json").read_text())
    return told | {"scores_sha256": sha256_of(folder / "scores.npz")}
