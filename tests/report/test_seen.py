"""Rows with weights in tables: what they have seen, tracks apart, rows without a policy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bench.errors import ResultsError, UsageError
from bench.report.seen import common_name
from tests.report.studies import FOLDS, made, notes, record, rows_of, spec

REAL = {"synthetic": False, "name": "mimic-cxr-lt", "sources": ["mimic"]}
AUCS = (0.6, 0.7, None)


def _row(
    results: Path,
    method: str,
    seen: list[str] | None = None,
    *,
    track: str = "released",
    weights: tuple[str, ...] = ("a" * 64,),
    data: dict[str, Any] = REAL,
    **more: Any,
) -> None:
    label = f"{'released' if track == 'released' else 'from'}-{weights[0][:8]}"
    files = [{"name": "best.pt", "sha256": digest, "on_card": None} for digest in weights]
    checkpoints = {"files": files, "seen": seen, "seen_by": "card" if seen is not None else None}
    for fold in range(FOLDS):
        trial = spec(
            method,
            0,
            fold,
            track=track,
            row=label,
            title=f"{method} ({track})",
            weights=weights,
            weights_references=("best.pt",),
        )
        record(results, trial, AUCS, data=data, more={"checkpoints": checkpoints} | more)


def _trained(results: Path, method: str = "chexzero", data: dict[str, Any] = REAL) -> None:
    for fold in range(FOLDS):
        record(results, spec(method, 0, fold), AUCS, data=data)


def test_a_row_whose_weights_have_seen_the_data_is_marked_with_a_footnote(tmp_path: Path) -> None:
    _row(tmp_path, "chexzero", ["MIMIC-CXR"])
    table = made(tmp_path)
    assert table.rows[0][2].text == "chexzero (released) ‡"
    assert table.records()[0]["title"] == "chexzero (released)"
    told = notes(tmp_path)
    assert "‡ its weights were pre-trained on these data" in told
    assert "chexzero (released) (MIMIC-CXR, by its card)" in told
    assert "weights best.pt (SHA-256 aaaaaaaaaaaa)" in told
    assert "‡" in made(tmp_path, "classes").columns[4].title


def test_a_source_of_the_data_counts_like_the_data(tmp_path: Path) -> None:
    mixed = REAL | {"name": "scans", "sources": ["openi", "NIH"]}
    _row(tmp_path, "m", ["ChestX-ray14"], data=mixed)
    assert made(tmp_path).rows[0][2].text.endswith("‡")


@pytest.mark.parametrize(
    ("seen", "data", "mark"),
    [
        ([], REAL, ""),
        (["CheXpert"], REAL, ""),
        (None, REAL, " §"),
        (["MIMIC-CXR"], REAL | {"synthetic": True}, ""),
    ],
)
def test_other_rows_are_not_marked_as_seen(
    tmp_path: Path, seen: list[str] | None, data: dict[str, Any], mark: str
) -> None:
    _row(tmp_path, "m", seen, data=data)
    assert made(tmp_path).rows[0][2].text == f"m (released){mark}"
    assert ("§ what its weights have seen is unknown" in notes(tmp_path)) == bool(mark)


def test_a_row_without_weights_has_neither_mark_nor_footnote(tmp_path: Path) -> None:
    _trained(tmp_path)
    assert made(tmp_path).rows[0][2].text == "chexzero"
    assert "weights" not in notes(tmp_path)


def test_names_of_one_data_set_are_the_same_and_others_are_their_own() -> None:
    assert common_name("CXR-LT 2024") == common_name("mimic_cxr_jpg") == "MIMIC-CXR"
    assert common_name("my-scans") == "my-scans"


def test_tracks_are_not_tested_against_each_other(tmp_path: Path) -> None:
    _trained(tmp_path)
    _trained(tmp_path, "cxrcml")
    _row(tmp_path, "medclip", [])
    rows = rows_of(tmp_path)
    assert list(rows) == ["chexzero", "cxrcml", "medclip"]  # released rows come last
    assert rows["cxrcml"]["total_difference"] is not None
    assert rows["medclip"]["total_difference"] is None
    told = notes(tmp_path)
    assert "Track: released and trained" in told
    assert "(track released): medclip (released). Rows are tested against rows of their" in told
    pairs = {(row["a"], row["b"]) for row in made(tmp_path, "pairs").records()}
    assert pairs == {("cxrcml", "chexzero")}


def test_two_rows_of_different_tracks_make_no_pair(tmp_path: Path) -> None:
    _trained(tmp_path)
    _row(tmp_path, "medclip", [])
    with pytest.raises(ResultsError, match="one row of each track"):
        made(tmp_path, "pairs")
    assert "the baseline is the only row" in notes(tmp_path)


def test_a_trained_row_from_weights_is_the_papers_row(tmp_path: Path) -> None:
    _row(tmp_path, "chexzero", None, track="trained")
    _row(tmp_path, "cxrcml", None, track="trained")
    rows = rows_of(tmp_path, paper=True)
    assert rows["cxrcml"]["paper_total_auc"] == 0.715
    assert rows["cxrcml"]["total_difference"] is not None
    assert list(rows_of(tmp_path, "3")) == ["chexzero", "cxrcml"]


def test_among_released_rows_the_baselines_method_is_the_baseline(tmp_path: Path) -> None:
    _row(tmp_path, "chexzero", [])
    _row(tmp_path, "slip", [])
    assert rows_of(tmp_path)["slip"]["total_difference"] == 0
    _row(tmp_path, "chexzero", [], weights=("b" * 64,))
    assert "No test and no mark" in notes(tmp_path)  # which of the two is nobody's to guess


def test_two_files_of_one_method_are_told_apart(tmp_path: Path) -> None:
    _row(tmp_path, "chexzero", [])
    _row(tmp_path, "chexzero", [], weights=("b" * 64,))
    titles = [row["title"] for row in made(tmp_path).records()]
    assert titles == [f"chexzero (released) [released-{8 * char}]" for char in "ab"]


def test_a_row_without_the_asked_prompts_is_named_and_left_out(tmp_path: Path) -> None:
    _trained(tmp_path)
    entries = [{"class": "Edema", "n_pos": 3, "n_neg": 9, "auroc": 0.9, "ap": 0.5}]
    entries += [e | {"class": n} for e in entries for n in ("Azygos Lobe", "Fibrosis")]
    metrics = {key: {"classes": entries} for key in ("pair", "positive", "own")}
    _row(tmp_path, "medclip", [], metrics=metrics)
    assert list(rows_of(tmp_path, policy="own")) == ["medclip"]
    told = notes(tmp_path, policy="own")
    assert "Without scores under prompts 'own', and so not in this table: chexzero." in told
    assert "Without scores" not in notes(tmp_path)
    with pytest.raises(UsageError, match=r"'mine'; there are \['own', 'pair', 'positive'\]"):
        made(tmp_path, policy="mine")
