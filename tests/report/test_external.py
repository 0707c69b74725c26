"""Tables on external data: whose numbers they are, which test is valid there, which is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.errors import UsageError
from bench.report.options import Options
from bench.report.render import check_table, write_table
from bench.report.results import load_results
from bench.runs.record import read_record, read_scores, write_record
from bench.runs.trial import ExternalSet
from bench.stats.bootstrap import paired_cluster_bootstrap
from bench.stats.metrics import auroc
from tests.report.studies import FOLDS, made, notes, rows_of, scored_study, spec

METHODS = {"chexzero": 0.6, "cxrcml": 1.4}
SHARED, UNSEEN = ("Edema", "Azygos Lobe"), ("Goiter",)
NIH = ExternalSet("nih", "nih:DIR", "g", SHARED, UNSEEN, "p")
PATIENTS, IMAGES = 60, 120
RUNS = 2


def _external_study(results: Path, **told: Any) -> None:
    """`scored_study` whose models also scored 120 images of 60 patients elsewhere."""
    scored_study(results, METHODS, runs=RUNS)
    rng = np.random.default_rng(4)
    patients = np.repeat(np.arange(PATIENTS), 2).astype(np.int32)
    labels = (rng.random((PATIENTS, 3)) < 0.4)[patients].astype(np.uint8)
    for method, quality in METHODS.items():
        for run in range(RUNS):
            for fold in range(FOLDS):
                old = spec(method, run, fold).folder(results)
                new = spec(method, run, fold, external=(NIH,))
                record = read_record(old)
                assert record is not None
                scores = (quality * labels + rng.normal(size=labels.shape)).astype(np.float32)
                arrays = {
                    "pair": scores,
                    "labels": labels,
                    "mask": np.ones(labels.shape, bool),
                    "rows": np.arange(IMAGES, dtype=np.int32),
                    "patients": patients,
                    "sources": np.zeros(IMAGES, np.int16),
                }
                entries = [_entry(name, arrays, c) for c, name in enumerate(NIH.classes)]
                external = {
                    "data": {
                        "name": "nih",
                        "synthetic": False,
                        "images": IMAGES + 5,
                        "patients": PATIENTS + 2,
                        "positive_patients": dict.fromkeys(NIH.classes, 20),
                        "sources": ["NIH"],
                    },
                    "scored": IMAGES,
                    "scored_patients": PATIENTS,
                    "patient_ids_in_both": 0,
                    "unseen_in_texts": {"Goiter": 0},
                    "metrics": {"pair": {"classes": entries[:2]}},
                    "unseen_metrics": {"pair": {"classes": entries[2:]}},
                }
                content = record | {"id": new.id, "spec": new.as_dict()}
                content["external"] = {"nih": external | told}
                write_record(
                    old, content, scores=read_scores(old), log=[], external={"nih": arrays}
                )


def _entry(name: str, arrays: dict[str, np.ndarray], c: int) -> dict[str, Any]:
    scores, labels = arrays["pair"][:, c], arrays["labels"][:, c]
    positive = int(labels.sum())
    told = {"class": name, "n_pos": positive, "n_neg": len(labels) - positive}
    return told | {"auroc": auroc(scores, labels), "ap": 0.5}


def _aucs(results: Path, method: str, column: int) -> np.ndarray:
    """(runs, folds) of a class, from the arrays."""
    return np.array(
        [
            [
                auroc(a["pair"][:, column], a["labels"][:, column])
                for a in (
                    read_scores(spec(method, run, fold).folder(results), "external-nih.npz")
                    for fold in range(FOLDS)
                )
            ]
            for run in range(RUNS)
        ],
        dtype=float,
    )


def test_a_run_is_the_mean_over_its_models_and_unseen_classes_are_in_no_other_mean(
    tmp_path: Path,
) -> None:
    _external_study(tmp_path)
    row = rows_of(tmp_path, on="nih")["cxrcml"]
    edema, azygos, goiter = (_aucs(tmp_path, "cxrcml", c).mean(axis=1) for c in range(3))
    assert row["total_auc"] == pytest.approx((edema + azygos).mean() / 2, abs=1e-5)
    assert row["total_sd"] == pytest.approx(((edema + azygos) / 2).std(ddof=1), abs=1e-5)
    assert (row["base_auc"], row["rare_auc"], row["unseen_auc"]) == pytest.approx(
        [edema.mean(), azygos.mean(), goiter.mean()], abs=1e-5
    )
    assert (row["total_classes"], row["unseen_classes"]) == (2, 1)


def test_patients_are_drawn_once_for_all_models_of_one_run(tmp_path: Path) -> None:
    _external_study(tmp_path)
    row = rows_of(tmp_path, on="nih")["cxrcml"]
    parts = {
        method: [
            read_scores(spec(method, 0, fold).folder(tmp_path), "external-nih.npz")
            for fold in range(FOLDS)
        ]
        for method in METHODS
    }
    one = parts["cxrcml"][0]
    expected = paired_cluster_bootstrap(
        *(np.concatenate([a["pair"] for a in parts[m]]) for m in ("cxrcml", "chexzero")),
        np.concatenate([one["labels"]] * FOLDS),
        np.concatenate([one["patients"]] * FOLDS),
        folds=np.repeat(np.arange(FOLDS), IMAGES),
        groups={"total": [0, 1]},
        seed=0,
    ).groups["total"]
    assert expected.percentile is not None
    assert row["total_patients_difference"] == pytest.approx(expected.value, abs=1e-5)
    assert row["total_patients_low"] == pytest.approx(expected.percentile[0], abs=1e-5)
    said = notes(tmp_path, on="nih")
    assert "bootstrap of the 60 patients" in said
    assert "one draw for all models of run 0" in said


@pytest.mark.parametrize("which", ["2", "classes", "pairs"])
def test_the_corrected_test_is_refused_with_its_reason_and_nothing_is_marked(
    tmp_path: Path, which: str
) -> None:
    _external_study(tmp_path)
    table = made(tmp_path, which, on="nih", alpha=0.9999)
    said = "\n".join(table.notes)
    assert "Not tested: the corrected t-test weighs the test part" in said
    assert "nih is one test set for all models" in said
    assert not [name for name in ("Nadeau", "Corani", "Benjamini") if name in said]
    assert not [cell.text for row in table.rows for cell in row if "*" in cell.text]
    p_values = {
        value
        for record in table.records()
        for key, value in record.items()
        if key.endswith(("_p", "_p_adjusted")) and "patients" not in key
    }
    assert p_values <= {None}


def test_the_notes_say_what_was_trained_on_and_what_nobody_can_tell(tmp_path: Path) -> None:
    _external_study(tmp_path)
    said = notes(tmp_path, on="nih")
    assert "Data: nih (real images), 125 images of 62 patients" in said
    assert "Trained on: phantom, 80 images of 40 patients" in said
    assert "Each of the 2 models of a run scores all 120 images" in said
    assert "under two ids cannot be told" in said
    assert "patient ids are in both" not in said
    assert "asked by prompts alone: Goiter." in said
    _external_study(tmp_path, patient_ids_in_both=7, unseen_in_texts={"Goiter": 3})
    said = notes(tmp_path, on="nih")
    assert "7 patient ids are in both" in said
    assert "hold the name (in the first trial of chexzero Goiter in 3)" in said


def test_the_classes_of_external_data_are_counted_once_and_unseen_ones_named_so(
    tmp_path: Path,
) -> None:
    _external_study(tmp_path)
    labels = read_scores(spec("cxrcml", 0, 0).folder(tmp_path), "external-nih.npz")["labels"]
    rows = {row["class"]: row for row in made(tmp_path, "classes", on="nih").records()}
    assert list(rows) == ["Azygos Lobe", "Edema", "Goiter"]
    assert rows["Edema"]["n_pos"] == labels[:, 0].sum()
    assert rows["Goiter"]["group"] == "unseen"
    assert made(tmp_path, "runs", on="nih").rows


def test_tables_of_the_test_folds_are_the_same_and_point_to_the_other(tmp_path: Path) -> None:
    scored_study(tmp_path / "before", METHODS, runs=RUNS)
    _external_study(tmp_path / "after")
    before, after = (made(tmp_path / name) for name in ("before", "after"))
    assert before.rows == after.rows
    (more,) = set(after.notes) - set(before.notes)
    assert "bench table --on nih" in more
    other = made(tmp_path / "after", on="nih")
    assert (after.stem, other.stem) == ("table2", "table2-on-nih")
    assert other.title == "Table 2: s on nih"
    write_table(other, tmp_path)
    assert check_table(made(tmp_path / "after", on="nih"), tmp_path)


def test_what_is_not_there_or_means_nothing_on_external_data_is_refused(tmp_path: Path) -> None:
    scored_study(tmp_path / "none", METHODS)
    with pytest.raises(UsageError, match="no scores on external data"):
        made(tmp_path / "none", on="nih")
    _external_study(tmp_path)
    with pytest.raises(UsageError, match="Did you mean 'nih'"):
        made(tmp_path, on="nhi")
    with pytest.raises(UsageError, match="each model scores all of them"):
        Options(on="nih", metric="f1")
    with pytest.raises(UsageError, match="prints no numbers on external data"):
        Options(on="nih", paper=True)


def test_a_study_given_away_without_scores_still_has_its_table(tmp_path: Path) -> None:
    _external_study(tmp_path)
    for file in tmp_path.rglob("*.npz"):
        file.unlink()
    row = rows_of(tmp_path, on="nih")["cxrcml"]
    assert row["total_auc"] is not None
    assert row["total_patients_low"] is None
    assert "without their scores per image" in notes(tmp_path, on="nih")


def test_rows_that_were_asked_otherwise_are_not_in_one_table(tmp_path: Path) -> None:
    _external_study(tmp_path)
    folder = spec("cxrcml", 0, 0).folder(tmp_path)
    content = json.loads((folder / "record.json").read_text())
    content["spec"]["external"][0]["unseen"] = ["Bulla"]
    arrays = (read_scores(folder), {"nih": read_scores(folder, "external-nih.npz")})
    write_record(folder, content, scores=arrays[0], log=[], external=arrays[1])
    (row,) = (r for r in load_results(tmp_path, "s", Options(on="nih")) if r.method == "cxrcml")
    assert (0, 0) not in row.folders
    assert row.classes == NIH.classes
