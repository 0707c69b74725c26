"""The page of a study without a browser: its numbers, what it must not hold, and what it says."""

from __future__ import annotations

import errno
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from matplotlib.figure import Figure as MatplotlibFigure
from matplotlib.text import Text

from bench.cli import main
from bench.errors import ResultsError, UsageError
from bench.report.options import Options
from bench.report.page.curves import row_curves
from bench.report.page.origin import run_command
from bench.report.page.ranks_figure import ranks_figure
from bench.report.page.write import write_page
from bench.report.rank_diagram import draw_ranks
from bench.report.ranks import Ranks, mean_ranks, of_one_track
from bench.report.results import load_results
from bench.report.seen import mark_of
from bench.report.tables import make_table
from bench.runs.asked import write_asked
from bench.runs.record import read_record, read_scores, write_record
from tests.report.page_study import CLASSES, SECRET, THIN, large_study, made_page, page_study
from tests.report.studies import CLASSES as THREE
from tests.report.studies import record, scored_study, spec
from tests.runs.test_trial import SPEC


class Tables(HTMLParser):
    """The texts of every table with an id, line by line."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tables: dict[str, list[list[str]]] = {}
        self._table = self._inside = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "table":
            self._table = dict(attrs).get("id") or ""
            self.tables.setdefault(self._table, [])
        elif tag == "tr":
            self.tables[self._table].append([])
        elif tag in ("td", "th"):
            self._inside = tag
            self.tables[self._table][-1].append("")

    def handle_endtag(self, tag: str) -> None:
        self._inside = "" if tag in ("td", "th") else self._inside

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.tables[self._table][-1][-1] += data


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("results")
    page_study(folder)
    return folder


@pytest.fixture(scope="module")
def page(results: Path) -> str:
    return write_page(results, "s", Options()).read_text()


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The page of real data in a folder of somebody's, whose scores are not here."""
    folder = tmp_path_factory.mktemp("given")
    return made_page(folder, synthetic=False, scores=False, data="csv:/home/ann/secret/scans")


@pytest.mark.parametrize("which", ["2", "3", "classes", "pairs", "runs"])
def test_the_page_says_what_the_tables_say(results: Path, page: str, which: str) -> None:
    table = make_table(results, "s", which, Options(paper=which.isdigit()))
    shown = [place for place, column in enumerate(table.columns) if column.title]
    expected = [[table.columns[place].title for place in shown]]
    expected += [[row[place].text for place in shown] for row in table.rows]
    assert Tables(page).tables[table.stem.removesuffix("-paper") + "-paper" * which.isdigit()] == (
        expected
    )


def test_the_heatmap_has_every_class_rarest_first_and_undefined_ones_hatched(page: str) -> None:
    lines = Tables(page).tables["heatmap"][1:]
    assert sorted(line[0] for line in lines) == sorted(CLASSES)
    assert [line[0] for line in lines[:2]] == ["Clavicle Fracture", "Azygos Lobe"]
    thin = next(line for line in lines if line[0] == THIN)
    assert thin[4:] == ["undefined"] * 3
    assert page.count('class=" heat undefined"') == 3


def test_nothing_is_fetched_from_anywhere(page: str) -> None:
    assert "default-src 'none'" in page
    for address in re.findall(r"""(?:src|href|action)="([^"]*)"|url\(([^)]*)\)|@import""", page):
        target = "".join(address)
        assert target.startswith(("#", "trials/")) or target == "data:,", target


def test_the_page_is_the_same_for_other_scores_in_the_same_order(
    results: Path, page: str, tmp_path: Path
) -> None:
    """So no score, and no number of an image or patient, is on it in any form."""
    shutil.copytree(results, tmp_path, dirs_exist_ok=True)
    for path in tmp_path.glob("s/trials/*/*/scores.npz"):
        record: dict[str, Any] = read_record(path.parent) or {}
        arrays = read_scores(path.parent)
        for policy in ("pair", "positive"):
            arrays[policy] = arrays[policy] * 4 + 1
        arrays |= {"rows": arrays["rows"] + 7001, "patients": arrays["patients"] + 9001}
        write_record(path.parent, record, scores=arrays, log=[])
    assert write_page(tmp_path, "s", Options()).read_text() == page


def test_a_failure_is_named_without_what_its_message_may_tell(page: str) -> None:
    assert "Run 1, fold 1 failed: OSError; see" in page
    assert SECRET not in page


def test_a_thin_class_has_no_curve_and_others_one_place_for_two_patients(
    results: Path, page: str
) -> None:
    names = re.findall(r'<details class="curve" data-class="([^"]*)"', page)
    assert sorted(names) == sorted(set(CLASSES) - {THIN})
    (row, *_) = load_results(results, "s", Options())
    _, curves = row_curves(row, Options())
    patients = row.told["data"]["positive_patients"]
    for name, one in zip(row.classes, curves, strict=True):
        if one is not None:
            assert len(one.places) == patients[name] // 2 + 1
            assert np.array_equal(one.sensitivity, one.sensitivity.round(2))


def test_the_area_under_a_curve_is_the_auc_of_its_run(tmp_path: Path) -> None:
    scored_study(tmp_path, {"cxrcml": 1.0}, runs=1, sources=2)
    (row,) = load_results(tmp_path, "s", Options())
    many = dict.fromkeys(THREE, 80)
    fine = replace(row, told=row.told | {"data": row.told["data"] | {"positive_patients": many}})
    _, curves = row_curves(fine, Options())
    for c in (0, 1):
        one = curves[c]
        assert one is not None
        area = float(np.trapezoid(one.sensitivity, one.places))
        assert area == pytest.approx(row.by_class()[0, c], abs=0.03)
    assert curves[2] is None


def test_a_row_that_wins_every_class_ranks_first_and_stands_alone(results: Path) -> None:
    ranks = mean_ranks(load_results(results, "s", Options()))
    assert ranks is not None
    assert [row.method for row in ranks.rows] == ["cxrcml", "chexzero", "medclip"]
    assert ranks.mean == (1.0, 2.0, 3.0)
    assert ranks.alike == ()


def test_rows_that_are_the_same_stand_under_one_bar(results: Path) -> None:
    row = load_results(results, "s", Options())[0]
    ranks = mean_ranks([row, replace(row, label="b"), replace(row, label="c")])
    assert ranks is not None
    assert ranks.alike == ((0, 2),)


def test_rows_of_another_track_are_not_ranked_with_the_baseline(results: Path) -> None:
    rows = load_results(results, "s", Options())
    told = dict(rows[2].told) | {"spec": rows[2].told["spec"] | {"track": "released"}}
    told |= {"checkpoints": {"seen": None, "files": []}}
    told["data"] = told["data"] | {"synthetic": False}
    rows[2] = replace(rows[2], told=told)
    ranks = mean_ranks(of_one_track(rows, rows[0]))
    assert ranks is not None
    assert {row.method for row in ranks.rows} == {"chexzero", "cxrcml"}
    assert ranks_figure(ranks, rows, Options()).caption.startswith(
        f"Rows of track trained only, not {rows[2].title}."
    )
    # Without a baseline it is the track with most rows.
    assert of_one_track(rows, None) == rows[:2]
    marked = mark_of(rows[2])
    assert marked
    assert marked in _ranked(mean_ranks([rows[2], replace(rows[2], label="b")]))


def _ranked(ranks: Ranks | None) -> str:
    assert ranks is not None
    axis = MatplotlibFigure().subplots()
    names = [words for _, words in draw_ranks(axis, ranks, ["k"] * len(ranks.rows), "k")]
    return "".join(words.get_text() for words in names if isinstance(words, Text))


def test_a_run_that_is_not_complete_has_no_curve(tmp_path: Path) -> None:
    page_study(tmp_path)
    for fold in tmp_path.glob("s/trials/cxrcml-default/run-*_fold-1"):
        shutil.rmtree(fold)
    text = write_page(tmp_path, "s", Options()).read_text()
    assert "No curves of cxrcml: no run is complete." in text
    for drawn in re.findall(r'<figure id="curve\d+".*?</figure>', text, re.DOTALL):
        assert "chexzero" in drawn
        assert "cxrcml" not in drawn


def test_folds_with_few_patients_with_a_finding_are_not_in_its_curve(tmp_path: Path) -> None:
    """Of a class with one or two positive patients in a fold the precision would tell ranks."""
    page_study(tmp_path)
    row = load_results(tmp_path, "s", Options())[0]
    c = CLASSES.index("Mass")
    assert row_curves(row, Options())[1][c] is not None
    folder = row.folders[0, 0]
    record: dict[str, Any] = read_record(folder) or {}
    arrays = read_scores(folder)
    positive = np.flatnonzero(arrays["labels"][:, c])
    arrays["labels"][positive[4:], c] = 0
    write_record(folder, record, scores=arrays, log=[])
    assert row_curves(row, Options())[1][c] is None


def test_what_the_tables_leave_out_is_in_no_figure_and_said_to_be(
    results: Path, page: str, tmp_path: Path
) -> None:
    shutil.copytree(results, tmp_path, dirs_exist_ok=True)
    trials = tmp_path / "s" / "trials"
    shutil.copytree(trials / "cxrcml-default", trials / "cxrcml-default.bak")
    assert write_page(tmp_path, "s", Options()).read_text() == page
    stale = trials / "cxrcml-default" / "run-00_fold-0"
    record: dict[str, Any] = read_record(stale) or {}
    record["spec"]["config"]["nu"] = 987.0
    record["training"]["history"][0]["validation"] = 1e6
    record["diagnostics"]["clusterings"][-1]["class_purity"] = [0.5]
    write_record(stale, record, scores=read_scores(stale), log=[])
    text = write_page(tmp_path, "s", Options()).read_text()
    ids = re.findall(r' id="([^"]+)"', text)
    assert len(ids) == len(set(ids))
    assert "nu=987.0" not in text
    assert "1000000" not in text
    overview = {line[0]: line[1:] for line in Tables(text).tables["overview"]}
    assert overview["Method"][:2] == ["Done", "Left out"]
    assert overview["cxrcml"][:2] == ["3", "1"]


def test_what_was_asked_for_and_never_begun_is_missing_on_the_page(tmp_path: Path) -> None:
    page_study(tmp_path)
    row = load_results(tmp_path, "s", Options())[0]
    base = replace(SPEC, study="s", method=row.method, row=row.label)
    write_asked([replace(base, run=run, folds=2) for run in range(10)], tmp_path / "s")
    text = write_page(tmp_path, "s", Options()).read_text()
    overview = {line[0]: line[1:] for line in Tables(text).tables["overview"]}
    assert overview[row.title][0] == "4"
    assert overview[row.title][4] == "16"


@pytest.mark.parametrize(
    "fits",
    [
        "none",
        [],
        [3],
        [{"occupancy": [1, 2]}],
        [{"epoch": "first"}],
        [{"epoch": 0, "occupancy": "many", "churn": [1], "nmi": "x", "class_purity": [0.1]}],
    ],
)
def test_diagnostics_of_another_form_are_not_drawn(tmp_path: Path, fits: Any) -> None:
    page_study(tmp_path)
    for path in tmp_path.glob("s/trials/cxrcml-default/*"):
        record: dict[str, Any] = read_record(path) or {}
        record["diagnostics"] = {"clusterings": fits}
        write_record(path, record, scores=read_scores(path), log=[])
    text = write_page(tmp_path, "s", Options()).read_text()
    assert 'id="learning"' in text
    assert 'id="mixture"' not in text


def test_a_dollar_in_the_title_of_a_row_is_a_dollar(tmp_path: Path) -> None:
    text = made_page(tmp_path, title="a $x$ b")
    (drawn,) = re.findall(r'<figure id="learning".*?</figure>', text, re.DOTALL)
    assert "$x$" in re.sub(r"<(title|desc).*?</\1>|<details.*", "", drawn, flags=re.DOTALL)


def test_a_full_disk_leaves_nothing_beside_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page_study(tmp_path)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ResultsError, match="No space left"):
        write_page(tmp_path, "s", Options())
    assert [path.name for path in (tmp_path / "s").iterdir()] == ["trials"]


def test_every_command_on_the_page_is_one(page: str) -> None:
    commands = set(re.findall(r"<code>(bench [^<]*)</code>", page))
    assert {command.split()[1] for command in commands} == {"run", "table", "report"}
    for command in commands:
        _, name, *words = shlex.split(command)
        main.commands[name].make_context(name, words)


def test_every_number_of_a_table_tells_its_records_and_its_commands(page: str) -> None:
    # Not of the paper's columns, whose numbers come from no record.
    about = re.findall(r'<a class="n" href="#row-[^"]*" title="([^"]*)">[\d+-]', page)
    assert len(about) > 100
    for text in about:
        assert "Records: trials/" in text
        assert "Trials again: bench run --method" in text
        assert "Table again: bench table s" in text


def test_a_folder_of_this_machine_is_not_on_the_page(given: str) -> None:
    assert "/home/ann" not in given
    assert "--data csv:…/scans" in given.replace("&#39;", "")


def test_settings_weights_and_track_are_in_the_command() -> None:
    told = {
        "study": "s",
        "method": "m",
        "method_reference": "./m.py",
        "row": "released-01234567,nu=2.0,soft=True",
        "track": "released",
        "data": "phantom",
        "config": {"preset": "paper", "nu": 2.0, "soft": True, "lr": 0.1},
        "weights": ["0123"],
        "weights_names": ["best.pt"],
        "folds": 5,
        "seed": 3,
    }
    assert run_command(told, 1) == (
        "bench run --method ./m.py --data phantom --preset paper --weights best.pt "
        "--track released --set nu=2.0 --set soft=True --folds 5 --runs 1 --seed 3 --study s"
    )


def test_only_synthetic_data_are_called_so(given: str, page: str) -> None:
    assert '<p class="banner"><strong>Synthetic data.' in page
    assert page.count(">synthetic data</span>") > 10
    assert "ynthetic data" not in given
    assert "scans (real images)" in given


def test_a_study_without_scores_has_a_page_without_curves(given: str) -> None:
    assert "No curves of" in given
    assert '<details class="curve"' not in given
    assert 'id="frequency"' in given
    assert "4 done" in given


def test_rows_that_the_paper_does_not_print_have_no_column_of_it(tmp_path: Path) -> None:
    for method, auc in (("mine", 0.7), ("other", 0.6)):
        for run, fold in ((0, 0), (0, 1), (1, 0), (1, 1)):
            record(tmp_path, spec(method, run, fold), (auc, auc + 0.01 * run, None))
    text = write_page(tmp_path, "s", Options()).read_text()
    assert "Paper:" not in text
    assert "--baseline METHOD:ROW" in text
    text = write_page(tmp_path, "s", Options(baseline="other")).read_text()
    assert "--baseline METHOD:ROW" not in text
    assert "Differences from other" in text


def test_one_row_without_baseline_or_training_has_a_page(tmp_path: Path) -> None:
    scored_study(tmp_path, {"cxrcml": 1.0}, runs=1)
    text = write_page(tmp_path, "s", Options()).read_text()
    assert "there is nothing to compare" in text
    assert "Nothing was trained" in text


def test_every_id_is_there_once_and_every_link_on_the_page_has_its_target(page: str) -> None:
    ids = re.findall(r' id="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'(?:href="|url\()#([^")]+)', page)) <= set(ids)


def test_the_command_says_where_the_file_is_and_writes_the_same_bytes_again(
    results: Path, page: str
) -> None:
    done = CliRunner().invoke(main, ["report", "s", "--results", str(results)])
    assert done.exit_code == 0, done.output
    assert done.stdout.strip() == str(results / "s" / "report.html")
    assert (results / "s" / "report.html").read_text() == page


def test_without_its_packages_the_page_names_the_command(
    results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(UsageError, match=r"pip install 'cxr-bench\[report\]'"):
        write_page(results, "s", Options())


def test_the_page_is_made_without_torch() -> None:
    code = "import sys, bench.report.page.content; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.slow
def test_three_hundred_trials_make_a_page_in_twenty_seconds_below_six_megabytes(
    tmp_path: Path,
) -> None:
    large_study(tmp_path, rows=6, runs=10, folds=5)
    started = time.process_time()
    path = write_page(tmp_path, "s", Options())
    assert time.process_time() - started < 20
    assert path.stat().st_size < 6e6
