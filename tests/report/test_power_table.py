"""Planning from the records of a study."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bench.errors import ResultsError
from bench.report.options import Options
from bench.report.power_table import power_table
from bench.report.results import load_results
from bench.stats.power import patients_needed, power, runs_needed
from tests.report.studies import PATIENTS, record, scored_study, spec

QUALITY = {"chexzero": 0.3, "cxrcml": 1.0}
DESIGN = {"folds": 2, "ratio": 1.0, "alpha": 0.05}


def test_power_runs_and_patients_come_from_the_sd_of_the_differences(tmp_path: Path) -> None:
    scored_study(tmp_path, QUALITY, runs=3)
    base, ours = load_results(tmp_path, "s", Options())
    group = Options().groups[0]
    sd = float((ours.by_fold(group) - base.by_fold(group)).std(ddof=1))
    row = power_table(tmp_path, "s", 0.1, Options()).records()[0]
    assert (row["group"], row["alpha"], row["n"]) == ("Total", 0.05, 6)
    assert row["sd"] == pytest.approx(sd, rel=1e-5)
    assert row["power"] == pytest.approx(power(0.1, sd, runs=10, **DESIGN), rel=1e-5)
    assert row["runs"] == runs_needed(0.1, sd, **DESIGN)
    error = sd * np.sqrt(1 / 20 + 1)
    assert row["patients"] == patients_needed(0.1, error, PATIENTS, alpha=0.05)


def test_a_larger_difference_is_easier_to_see(tmp_path: Path) -> None:
    scored_study(tmp_path, QUALITY)
    small, large = (
        power_table(tmp_path, "s", difference, Options()).records()[0] for difference in (0.02, 0.2)
    )
    assert isinstance(small["power"], float)
    assert isinstance(large["power"], float)
    assert small["power"] < large["power"]


def test_each_group_stands_at_the_usual_level_and_at_the_tables(tmp_path: Path) -> None:
    scored_study(tmp_path, QUALITY)
    rows = power_table(tmp_path, "s", 0.02, Options()).records()
    assert [(row["group"], row["alpha"]) for row in rows] == [
        (group, alpha) for group in ("Total", "Base", "Rare") for alpha in (0.05, 1e-5)
    ]


def test_power_without_a_second_row_or_a_spread_is_refused(tmp_path: Path) -> None:
    record(tmp_path, spec("chexzero", 0, 0), (0.6, 0.5, None))
    with pytest.raises(ResultsError, match="Power takes two rows"):
        power_table(tmp_path, "s", 0.02, Options())
    record(tmp_path, spec("cxrcml", 0, 0), (0.7, 0.5, None))
    with pytest.raises(ResultsError, match="No spread to plan with in s: 1 defined difference"):
        power_table(tmp_path, "s", 0.02, Options())


def test_an_undefined_group_is_undefined(tmp_path: Path) -> None:
    for run in range(2):
        for method, gain in (("chexzero", 0.0), ("cxrcml", 0.1 * (run + 1))):
            record(tmp_path, spec(method, run, 0), (0.6 + gain, None, None))
    rows = power_table(tmp_path, "s", 0.02, Options()).records()
    assert [row["power"] is None for row in rows] == [False] * 4 + [True] * 2
