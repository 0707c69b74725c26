"""`bench figures`: the numbers of the tables, the same bytes twice, and numbers beside t-SNE."""

from __future__ import annotations

import csv
import errno
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from matplotlib.collections import PathCollection, QuadMesh
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from bench.cli import main
from bench.errors import ResultsError
from bench.report.figures.classes import class_numbers, heatmap_figure, tail_figure
from bench.report.figures.clusters import measured, neighbour_shares
from bench.report.figures.differences import pair_figure
from bench.report.figures.drawing import Drawing, write_drawing
from bench.report.figures.embeddings import (
    class_colours,
    embedding_figure,
    in_their_own_order,
)
from bench.report.figures.intervals import patient_intervals
from bench.report.figures.kept import (
    MOST,
    OF_EACH_RARE,
    Embedded,
    drawn_images,
    kept_embeddings,
    shown_class,
)
from bench.report.figures.mixture import mixture_figure
from bench.report.figures.overall import table_figure
from bench.report.figures.ranks import ranks_figure
from bench.report.figures.style import styled
from bench.report.options import Options
from bench.report.page.class_figures import frequency_figure
from bench.report.page.training_figures import mixture_figure as page_mixture
from bench.report.results import RowResults, load_results
from bench.report.scores import REPLICATES, SEED, drawn_trials, stack
from bench.runs.record import EMBEDDINGS, digest, read_scores, sha256_of
from bench.stats.bootstrap import paired_cluster_bootstrap
from tests.report.page_study import page_study
from tests.report.studies import CLASSES, made, scored_study, study

STEMS = ("classes", "embeddings", "learning", "long-tail", "mixture", "pairs", "table2")
OPTIONS = Options()


def bench(*words: str) -> Result:
    return CliRunner().invoke(main, words)


def change(folder: Path, **told: Any) -> None:
    """Lays more over a trial's record, as if it had been written with it."""
    path = folder / "record.json"
    record = json.loads(path.read_text()) | told
    record["digest"] = digest(record)
    path.write_text(json.dumps(record))


def keep(folder: Path) -> None:
    """Embeddings beside a trial: noise before training, the first label in them after it."""
    scored = read_scores(folder)
    rng = np.random.default_rng(5)
    before = rng.normal(size=(len(scored["rows"]), 4)).astype(np.float16)
    after = before + 4 * scored["labels"][:, :1].astype(np.float16)
    arrays = {"before": before, "after": after, "rows": scored["rows"]}
    np.savez(folder / EMBEDDINGS, **arrays)
    change(folder, kept={"embeddings": {EMBEDDINGS: sha256_of(folder / EMBEDDINGS)}})


def prepared(folder: Path) -> Path:
    """Results of a study of two rows with scores and histories; a trial kept its embeddings."""
    results = folder / "results"
    scored_study(results, {"chexzero": 0.3, "cxrcml": 1.0})
    history = [{"epoch": i, "lr": 1e-3, "loss": 3.0 - i, "validation": 3.1 - i} for i in range(3)]
    for trial in (results / "s" / "trials").glob("*/*"):
        fits = [{"epoch": 0, "occupancy": [20, 12], "nmi": 0.5}]
        told = {"history": history, "kept_epoch": 2}
        change(trial, training=told, diagnostics={"clusterings": fits})
    keep(results / "s" / "trials" / "cxrcml-default" / "run-00_fold-0")
    return results


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Results that a test may spoil."""
    return prepared(tmp_path)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    """Results with all figures, to read, and what the command said."""
    results = prepared(tmp_path_factory.mktemp("written"))
    return results, bench("figures", "s", "--results", str(results))


def rows_of(results: Path) -> list[RowResults]:
    return load_results(results, "s", OPTIONS)


def numbers_of(results: Path, stem: str) -> list[dict[str, str]]:
    with (results / "s" / "figures" / f"{stem}.csv").open() as file:
        return list(csv.DictReader(file))


def caption_of(results: Path, stem: str) -> str:
    return " ".join((results / "s" / "figures" / f"{stem}.txt").read_text().split())


def texts(figure: Figure) -> str:
    return "\n".join(text.get_text() for text in figure.findobj(Text))


def by_class(results: Path) -> tuple[list[RowResults], Drawing, Drawing]:
    """The rows with their heatmap and their long-tail curve."""
    rows = rows_of(results)
    intervals = [patient_intervals(row, OPTIONS) for row in rows]
    numbers = class_numbers("s", rows, intervals, OPTIONS)
    with styled():
        heatmap = heatmap_figure("s", rows, numbers, OPTIONS)
        return rows, heatmap, tail_figure("s", rows, OPTIONS)


def marks(figure: Figure, marker: str) -> list[list[tuple[float, float]]]:
    """(x, y) of the marks of that shape, by panel."""
    return [
        [
            (float(x), float(y))
            for line in axis.lines
            if line.get_marker() == marker
            for x, y in line.get_xydata()
        ]
        for axis in figure.axes
    ]


def test_every_figure_is_written_with_caption_and_numbers(written: tuple[Path, Result]) -> None:
    results, done = written
    assert done.exit_code == 0, done.output
    # Two classes are defined, too few to rank rows by.
    assert [line.split(":")[0] for line in done.stderr.splitlines()] == ["s, a figure less"]
    ends = ("csv", "pdf", "png", "svg", "txt")
    expected = sorted(f"{stem}.{end}" for stem in STEMS for end in ends)
    assert sorted(path.name for path in (results / "s" / "figures").iterdir()) == expected
    assert sorted(Path(line).name for line in done.stdout.splitlines()) == expected
    for stem in STEMS:
        assert "synthetic data, not X-rays" in caption_of(results, stem)


def test_another_process_with_other_settings_writes_the_same_bytes_without_torch_or_pyplot(
    written: tuple[Path, Result], results: Path
) -> None:
    Path("matplotlibrc").write_text("axes.titlepad: 20\nxtick.direction: in\n")
    code = (
        "import sys\n"
        "from bench.cli import main\n"
        "main(['figures', 's'], standalone_mode=False)\n"
        "assert 'torch' not in sys.modules\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
    )
    later = os.environ | {"SOURCE_DATE_EPOCH": "86400", "PYTHONHASHSEED": "7"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=later)
    assert done.returncode == 0, done.stderr
    for path in (written[0] / "s" / "figures").iterdir():
        assert (results / "s" / "figures" / path.name).read_bytes() == path.read_bytes(), path.name


def test_a_pdf_embeds_its_fonts_and_is_as_wide_as_the_page(written: tuple[Path, Result]) -> None:
    folder = written[0] / "s" / "figures"
    pdf = (folder / "table2.pdf").read_bytes()
    assert b"/FontFile2" in pdf
    assert b"/Type3" not in pdf
    assert b"/MediaBox [ 0 0 496.8 " in pdf  # 6.9 inches of 72 points
    with Image.open(folder / "classes.png") as image:
        assert image.width == round(3.35 * 300)


def test_dots_stand_where_table_2_says(results: Path) -> None:
    rows = rows_of(results)
    with styled():
        drawn = table_figure("s", rows, [patient_intervals(row, OPTIONS) for row in rows], OPTIONS)
    table = made(results, "2").records()
    for panel, key in zip(marks(drawn.figure, "o"), ("total", "base", "rare"), strict=True):
        assert panel == [(line[f"{key}_auc"], float(y)) for y, line in enumerate(table)]
    assert [(n["auc"], n["sd"]) for n in drawn.numbers[:3]] == [
        (table[0][f"{key}_auc"], table[0][f"{key}_sd"]) for key in ("total", "base", "rare")
    ]


def test_the_forest_plot_says_what_the_table_of_pairs_says(results: Path) -> None:
    rows = rows_of(results)
    with styled():
        drawn = pair_figure("s", rows, rows[0], OPTIONS)
    lines = made(results, "pairs").records()
    assert [panel[0][0] for panel in marks(drawn.figure, "s")] == [
        line["patients_difference"] for line in lines
    ]
    for n, line in zip(drawn.numbers, lines, strict=True):
        assert n == {key: line[key] for key in n}


def test_the_heatmap_shows_the_table_of_classes_and_hatches_what_is_undefined(
    results: Path,
) -> None:
    rows, drawn, _ = by_class(results)
    lines = made(results, "classes").records()
    axis = drawn.figure.axes[0]
    (mesh,) = (child for child in axis.get_children() if isinstance(child, QuadMesh))
    shown = mesh.get_array()
    for line, values in zip(lines, shown, strict=True):
        for row, value in zip(rows, values, strict=True):
            auc = line[f"{row.name}_auc"]
            assert (value is np.ma.masked) if auc is None else value == auc
    assert [label.get_text() for label in axis.get_yticklabels()] == [
        line["class"] for line in lines
    ]
    assert shown.mask.sum() == len(rows)  # Fibrosis has no patient
    assert axis.patch.get_hatch()


def test_an_auc_below_chance_is_marked(tmp_path: Path) -> None:
    scored_study(tmp_path, {"chexzero": -1.0, "cxrcml": 1.0})
    _, drawn, _ = by_class(tmp_path)
    assert texts(drawn.figure).count("†") == 2  # both defined classes of one row
    assert "† below chance" in " ".join(drawn.caption)


def test_the_long_tail_curve_is_that_of_the_page(results: Path) -> None:
    rows, _, drawn = by_class(results)
    lines = {line["class"]: line for line in made(results, "classes").records()}
    for row, rare, common in zip(
        rows, marks(drawn.figure, "^"), marks(drawn.figure, "o"), strict=True
    ):
        azygos, edema = lines["Azygos Lobe"], lines["Edema"]
        assert rare == [(azygos["patients"], pytest.approx(azygos[f"{row.name}_auc"]))]
        assert common == [(edema["patients"], pytest.approx(edema[f"{row.name}_auc"]))]
    page = frequency_figure(rows, OPTIONS)
    told = [
        (n["title"], n["class"], str(n["patients"]), f"[{n['low']:.3f}, {n['high']:.3f}]")
        for n in drawn.numbers
        if n["auc"] is not None
    ]
    assert told == [
        (line.cells[0], line.cells[1], line.cells[3], line.cells[5])
        for line in page.lines
        if line.cells[4] != "undefined"
    ]


def test_a_class_whose_count_a_bundle_withheld_has_no_mark(results: Path) -> None:
    for folder in (results / "s" / "trials").glob("*/*"):
        record = json.loads((folder / "record.json").read_text())
        counts = record["data"]["positive_patients"] | {"Azygos Lobe": None}
        metrics = record["metrics"]
        for told in metrics.values():
            for entry in told["classes"]:
                entry |= {"n_pos": None} if entry["class"] == "Azygos Lobe" else {}
        data = record["data"] | {"positive_patients": counts}
        change(folder, data=data, metrics=metrics)
    options = Options(min_patients=0)
    with styled():
        drawn = tail_figure("s", load_results(results, "s", options), options)
    assert marks(drawn.figure, "^") == [[], []]
    assert "withheld have no mark" in " ".join(drawn.caption)
    frequency_figure(load_results(results, "s", options), options)


def test_a_dollar_in_a_title_is_a_dollar(results: Path) -> None:
    rows = [replace(row, title="a $x$ b") for row in rows_of(results)]
    with styled():
        drawn = tail_figure("s", rows, OPTIONS)
        titles = [axis.title for axis in drawn.figure.axes]
    assert not any(title.get_parse_math() for title in titles)


def test_ranks_and_mixtures_are_the_numbers_of_the_page(tmp_path: Path) -> None:
    page_study(tmp_path)
    rows = load_results(tmp_path, "s", OPTIONS)
    with styled():
        ranks = ranks_figure("s", rows, None, OPTIONS)
        mixture = mixture_figure("s", rows, OPTIONS)
        for drawn in (ranks, mixture):
            write_drawing(drawn, tmp_path, ("svg",))
    assert [n["mean_rank_a"] for n in ranks.numbers] == [1.0, 1.0, 2.0]
    assert "cxrcml  " in texts(ranks.figure) or "  cxrcml" in texts(ranks.figure)
    page = page_mixture(rows)
    assert page is not None
    assert [(n["title"], n["what"], f"{n['value']:.3f}") for n in mixture.numbers] == [
        line.cells for line in page.lines
    ]
    with styled(), pytest.raises(ResultsError, match="tells of a clustering"):
        mixture_figure("s", rows[:1], OPTIONS)
    with styled(), pytest.raises(ResultsError, match="two rows of one track"):
        ranks_figure("s", rows[:1], None, OPTIONS)


def test_marks_of_images_are_not_in_the_order_of_the_data() -> None:
    points = np.random.default_rng(0).normal(size=(50, 2))
    shown = np.arange(50) % 7
    other = np.random.default_rng(1).permutation(50)
    one, two = in_their_own_order(points, shown), in_their_own_order(points[other], shown[other])
    assert all(np.array_equal(a, b) for a, b in zip(one, two, strict=True))
    assert sorted(map(tuple, one[0])) == sorted(map(tuple, points))


def test_marks_of_real_images_are_pixels(results: Path) -> None:
    def rasterised() -> set[bool]:
        with styled():
            drawn = embedding_figure("s", rows_of(results), OPTIONS)
        assert "One mark an image" in " ".join(drawn.caption)
        return {bool(c.get_rasterized()) for c in drawn.figure.findobj(PathCollection)}

    assert rasterised() == {False}
    for folder in (results / "s" / "trials").glob("*/*"):
        data = json.loads((folder / "record.json").read_text())["data"]
        change(folder, data=data | {"synthetic": False})
    assert rasterised() == {True}


def test_a_figure_that_cannot_be_renamed_leaves_nothing_beside_it(
    results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, drawn, _ = by_class(results)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with styled(), pytest.raises(ResultsError, match="No space left"):
        write_drawing(drawn, tmp_path / "figures", ("svg",))
    assert list((tmp_path / "figures").iterdir()) == []


def test_an_interval_is_that_of_the_draws_of_the_tables(results: Path) -> None:
    a, b = rows_of(results)
    found = patient_intervals(a, OPTIONS)
    assert found is not None
    assert set(found.classes) == {"Edema", "Azygos Lobe"}
    images, others = (stack(row, drawn_trials(a, b), OPTIONS.policy) for row in (a, b))
    drawn = paired_cluster_bootstrap(
        images.scores,
        others.scores,
        images.labels,
        images.patients,
        folds=images.fold,
        strata=images.sources,
        mask=images.mask,
        groups={"total": [0, 1], "base": [0], "rare": [1]},
        n_replicates=REPLICATES,
        seed=SEED,
    )
    assert found.groups == {key: estimate.percentile for key, estimate in drawn.a.items()}
    assert found.classes["Edema"] == found.groups["base"]


def test_without_scores_figures_come_without_intervals_and_say_so(tmp_path: Path) -> None:
    study(tmp_path / "results")
    done = bench("figures", "--format", "svg")
    assert done.exit_code == 0, done.output
    results = tmp_path / "results"
    assert "without scores per image" in caption_of(results, "table2")
    assert "No intervals over patients" in caption_of(results, "pairs")
    assert {n["patients_low"] for n in numbers_of(results, "classes")} == {""}
    assert "new training sets" in caption_of(results, "long-tail")


def test_a_figure_that_the_records_are_not_enough_for_names_the_command(tmp_path: Path) -> None:
    scored_study(tmp_path / "results", {"chexzero": 0.3})
    done = bench("figures", "s", "--format", "svg")
    assert done.exit_code == 0, done.output
    assert "--keep embeddings" in done.stderr
    assert "s has one row; a pair takes two" in done.stderr
    assert "no row of s has a training history" in done.stderr
    written = {path.stem for path in (tmp_path / "results" / "s" / "figures").iterdir()}
    assert written == {"table2", "classes", "long-tail"}


def test_synthetic_data_are_named_in_the_picture_and_real_data_are_not(results: Path) -> None:
    _, drawn, _ = by_class(results)
    assert "Synthetic data (phantom), not X-rays" in texts(drawn.figure)
    for folder in (results / "s" / "trials").glob("*/*"):
        data = json.loads((folder / "record.json").read_text())["data"]
        change(folder, data=data | {"synthetic": False})
    _, drawn, _ = by_class(results)
    assert "Synthetic" not in texts(drawn.figure)


def test_learning_curves_hold_every_epoch_of_every_trial(written: tuple[Path, Result]) -> None:
    numbers = numbers_of(written[0], "learning")
    assert len(numbers) == 2 * 2 * 2 * 3  # rows, runs, folds, epochs
    assert [n["kept"] for n in numbers[:3]] == ["False", "False", "True"]
    assert [float(n["validation"]) for n in numbers[:3]] == [3.1, 2.1, 1.1]


def test_training_shows_in_the_numbers_beside_the_embeddings(
    written: tuple[Path, Result],
) -> None:
    results = written[0]
    found = {(n["when"], n["measure"], n["over"]): n for n in numbers_of(results, "embeddings")}
    before, after = (found[when, "neighbours", "Edema"] for when in ("before", "after"))
    assert before["chance"] == after["chance"]
    assert float(after["value"]) > 0.9 > float(before["value"])
    assert found["after", "neighbours", "Fibrosis"]["value"] == ""
    assert "run 0, fold 0, 40 images" in caption_of(results, "embeddings")


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda arrays: arrays | {"rows": arrays["rows"] + 1}, "of other images than the scores"),
        (lambda arrays: arrays | {"after": arrays["after"] * np.nan}, "not finite or all the same"),
        (lambda arrays: arrays | {"before": arrays["before"] * 0}, "not finite or all the same"),
    ],
)
def test_embeddings_that_cannot_be_drawn_are_refused(results: Path, damage: Any, said: str) -> None:
    folder = results / "s" / "trials" / "cxrcml-default" / "run-00_fold-0"
    with np.load(folder / EMBEDDINGS) as arrays:
        np.savez(folder / EMBEDDINGS, **damage(dict(arrays)))
    cxrcml = rows_of(results)[1]
    with pytest.raises(ResultsError, match=r"embeddings\.npz is not what the trial kept"):
        kept_embeddings(cxrcml)
    change(folder, kept={"embeddings": {EMBEDDINGS: sha256_of(folder / EMBEDDINGS)}})
    with pytest.raises(ResultsError, match=said):
        kept_embeddings(cxrcml)


def embedded(labels: np.ndarray, vectors: np.ndarray, patients: np.ndarray) -> Embedded:
    unit = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return Embedded(0, 0, {"after": unit}, labels, np.ones(labels.shape, bool), patients)


def test_neighbours_of_the_same_patient_do_not_count() -> None:
    """Twins of one patient lie together and share their label; other patients are noise."""
    rng = np.random.default_rng(0)
    n = 600
    patients = np.arange(n) // 12
    labels = (rng.random((n // 12, 1)) < 0.3)[patients].astype(np.uint8)
    of_patient = rng.normal(size=(n // 12, 16))[patients]
    images = embedded(labels, of_patient + 0.01 * rng.normal(size=(n, 16)), patients)
    share, chance = neighbour_shares(images, "after", np.arange(n))
    positive = labels[:, 0].sum()
    assert chance[0] == pytest.approx((positive - 12) / (n - 12))
    assert share[0] < 0.6  # with the patient's own images it would be 1
    scattered = embedded(labels, rng.normal(size=(n, 16)), patients)
    share, _ = neighbour_shares(scattered, "after", np.arange(n))
    assert share[0] == pytest.approx(chance[0], abs=0.05)


def test_images_of_unknown_label_are_no_neighbours() -> None:
    rng = np.random.default_rng(0)
    images = embedded(np.ones((40, 1), np.uint8), rng.normal(size=(40, 4)), np.arange(40))
    images.mask[20:] = False
    images.labels[20:] = 0
    share, chance = neighbour_shares(images, "after", np.arange(40))
    assert (share[0], chance[0]) == (1.0, 1.0)


def test_classes_that_lie_apart_have_purity_1_and_chance_less() -> None:
    rng = np.random.default_rng(0)
    which = np.repeat(np.arange(3), 40)
    labels = np.eye(3, dtype=np.uint8)[which]
    images = embedded(labels, 9 * np.eye(3)[which] + rng.normal(size=(120, 3)), np.arange(120))
    groups = {"total": np.ones(3, bool), "rare": np.array([False, True, True])}
    found = {
        (m.measure, m.over): m
        for m in measured(images, "after", np.arange(120), which, CLASSES, groups)
    }
    assert found["neighbours", "Edema"].value == pytest.approx(1.0, abs=0.01)
    assert found["neighbours", "Edema"].chance == pytest.approx(39 / 119)
    assert found["purity", "total"].value == 1.0
    assert 0.34 < found["purity", "total"].chance < 0.9
    assert found["nmi", "total"].value > found["nmi", "total"].chance + 0.2
    assert found["purity", "rare"].images == 80


def test_an_image_has_the_colour_of_its_rarest_known_class() -> None:
    labels = np.array([[1, 1, 0], [1, 0, 0], [0, 0, 0], [1, 1, 0]], np.uint8)
    images = embedded(labels, np.ones((4, 2)), np.arange(4))
    images.mask[3, 1] = False
    # Azygos Lobe is rarer than Edema.
    assert shown_class(images, CLASSES).tolist() == [1, 0, -1, 0]


def test_rare_images_are_drawn_first_and_the_draw_repeats() -> None:
    shown = np.zeros(3 * MOST, dtype=np.int64)
    shown[::200] = 1  # fewer than are kept of a rare class
    shown[1::20] = 2
    drawn = drawn_images(shown, (1, 2))
    assert len(drawn) == MOST == len(np.unique(drawn))
    assert (shown[drawn] == 1).sum() == (shown == 1).sum() < OF_EACH_RARE
    assert OF_EACH_RARE <= (shown[drawn] == 2).sum() < 3 * OF_EACH_RARE
    assert np.array_equal(drawn, drawn_images(shown, (1, 2)))
    assert np.array_equal(drawn_images(shown[:50], (1, 2)), np.arange(50))


def test_rare_classes_are_warm_base_classes_cool_and_no_two_alike() -> None:
    from bench.classes import CLASSES as ALL
    from bench.classes import RARE

    colours = dict(zip(ALL, class_colours(ALL), strict=True))
    assert len(set(colours.values())) == len(ALL)
    for name, colour in colours.items():
        red, blue = int(colour[1:3], 16), int(colour[5:7], 16)
        assert (red > blue) == (name in RARE)


def test_a_trial_without_embeddings_is_passed_over(results: Path) -> None:
    chexzero, cxrcml = rows_of(results)
    assert kept_embeddings(chexzero) == []
    assert [(e.run, e.fold, e.vectors["after"].dtype) for e in kept_embeddings(cxrcml)] == [
        (0, 0, np.float32)
    ]


def test_an_unknown_format_is_wrong_usage() -> None:
    Path("results/s/trials").mkdir(parents=True)
    done = bench("figures", "--format", "pdf,gif")
    assert done.exit_code == 2
    assert "Unknown format 'gif'" in done.output


def test_without_matplotlib_the_extra_is_named(
    results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    done = bench("figures", "s")
    assert done.exit_code == 2
    assert "pip install 'cxr-bench[figures]'" in done.output
    assert not (results / "s" / "figures").exists()
