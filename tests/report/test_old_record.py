"""A record of schema 1 from the first days is read for ever.

The fixture is one fold of a real `bench run --data phantom:n=60,size=32 --folds 3` (synthetic
images, 2026-11). When the schema changes, this test stays as it is and the reader learns both.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from bench.report.options import TABLES, Options
from bench.report.render import FORMATS
from bench.report.tables import make_table
from tests.conftest import REPOSITORY

OLD = REPOSITORY / "tests" / "fixtures" / "record-v1"
STUDY = "phantom-v1"
ROWS = ("chexzero-default", "chexzero-text=meta")


def test_the_fixture_is_of_schema_1() -> None:
    records = [json.loads(path.read_text()) for path in sorted(OLD.rglob("record.json"))]
    assert [record["schema"] for record in records] == [1, 1]


def test_a_table_is_made_of_it() -> None:
    table = make_table(OLD, STUDY, "2", Options(min_patients=1))
    for row, folder in zip(table.records(), ROWS, strict=True):
        path = OLD / STUDY / "trials" / folder / "run-00_fold-2" / "record.json"
        entries = json.loads(path.read_text())["metrics"]["pair"]["classes"]
        known = [entry["auroc"] for entry in entries if entry["auroc"] is not None]
        assert row["trials"] == 1
        assert row["total_defined"] == len(known)
        assert row["total_auc"] == pytest.approx(sum(known) / len(known), rel=1e-5)


def test_its_scores_are_still_drawn_from() -> None:
    row = make_table(OLD, STUDY, "2", Options(min_patients=1)).records()[1]
    low, high = row["total_patients_low"], row["total_patients_high"]
    assert isinstance(low, float)
    assert isinstance(high, float)
    assert low < high


@pytest.mark.parametrize("which", TABLES)
def test_every_table_and_format_is_made_of_it_without_its_scores(
    tmp_path: Path, which: str
) -> None:
    shutil.copytree(OLD, tmp_path / "old", ignore=shutil.ignore_patterns("scores.npz"))
    table = make_table(tmp_path / "old", STUDY, which, Options(min_patients=1))
    for render in FORMATS.values():
        assert "chexzero" in render(table).casefold()
