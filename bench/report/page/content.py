"""All that is on the page of a study, from its records; no HTML yet."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bench.errors import ResultsError, UsageError
from bench.report.compare import find_baseline
from bench.report.options import Options
from bench.report.page.class_figures import frequency_figure
from bench.report.page.curve_figures import curve_figures
from bench.report.page.difference_figure import difference_figure
from bench.report.page.figure import Figure
from bench.report.page.origin import slug, table_command
from bench.report.page.ran import Ran, everything_ran
from bench.report.page.ranks_figure import ranks_figure
from bench.report.page.shown import Origins, Shown, heatmap, shown
from bench.report.page.training_figures import learning_figure, mixture_figure
from bench.report.ranks import mean_ranks, of_one_track
from bench.report.results import RowResults, load_results
from bench.report.scores import has_scores
from bench.report.table import Table
from bench.report.tables import make_table, ordered_rows
from bench.runs.study import declared_rows


@dataclass(frozen=True)
class Content:
    """What the template is given."""

    study: str
    data: dict[str, Any]
    """Name, synthetic or not, images, patients, sources."""
    spec: dict[str, Any]
    rows: tuple[tuple[str, str], ...]
    """Slug and title of each row that can be hidden."""
    origins: dict[str, str]
    """By slug the records and the command behind a row."""
    runs: int
    main: tuple[Shown, ...]
    """Tables 2 and 3 under the headline prompts."""
    others: tuple[Shown, ...]
    """Table 2 under other prompts, and on external data."""
    pairs: Shown | None
    classes: Shown
    heat: Shown
    by_run: Shown
    figures: dict[str, Figure]
    curves: tuple[Figure, ...]
    no_curves: str
    """Why rows have no curves; empty where all have."""
    ran: tuple[Ran, ...]


def gather(results: Path, study: str, options: Options) -> Content:
    """Everything from the records of a study; the paper's columns where it prints any of its rows.

    Raises:
        ResultsError: no finished trial.
        UsageError: an unknown baseline.
    """
    plain = replace(options, paper=False)
    declared = declared_rows(results, study)
    rows = ordered_rows(load_results(results, study, plain), declared, study, "classes")
    here = {row.declared for row in rows}
    options = replace(options, paper=any(row.paper for row in declared if row.key in here))
    baseline = find_baseline(rows, declared, options.baseline)
    origins = Origins(rows)
    tables = _Tables(results, study, origins)
    pairs = tables.made("pairs", plain)
    classes = make_table(results, study, "classes", plain)
    order = [str(told["class"]) for told in classes.records()]
    ran = _ordered(everything_ran(results, study, rows), rows)
    command = table_command(study, "classes", plain.policy)
    told = rows[0].told
    return Content(
        study=study,
        data=told["data"],
        spec=told["spec"],
        rows=tuple((slug(row), row.title) for row in rows),
        origins={slug(row): "\n".join([row.title, *origins.lines(row)]) for row in rows},
        runs=max(len(row.runs) for row in rows),
        main=tuple(found for which in "23" if (found := tables.shown(which, options))),
        others=_others(tables, rows, plain),
        pairs=None if pairs is None else shown(pairs, origins, tables.command("pairs", plain)),
        classes=shown(classes, origins, command),
        heat=heatmap(classes, origins, command),
        by_run=shown(
            make_table(results, study, "runs", plain), origins, tables.command("runs", plain)
        ),
        figures=_figures(rows, baseline, pairs, plain),
        curves=tuple(curve_figures(rows, order, plain)),
        no_curves=_without_curves(rows),
        ran=tuple(ran),
    )


@dataclass(frozen=True)
class _Tables:
    """Tables of the study that there are; one that there cannot be is left out."""

    results: Path
    study: str
    origins: Origins

    def made(self, which: str, options: Options) -> Table | None:
        with suppress(ResultsError, UsageError):
            return make_table(self.results, self.study, which, options)
        return None

    def command(self, which: str, options: Options) -> str:
        return table_command(self.study, which, options.policy, paper=options.paper)

    def shown(self, which: str, options: Options, caption: str = "") -> Shown | None:
        table = self.made(which, options)
        if table is None:
            return None
        command = self.command(which, options)
        command += f" --on {options.on}" if options.on else ""
        found = shown(table, self.origins, command)
        return replace(found, caption=caption) if caption else found


def _others(tables: _Tables, rows: Sequence[RowResults], options: Options) -> tuple[Shown, ...]:
    policies = sorted({policy for row in rows for policy in row.told["metrics"]})
    external = sorted({name for row in rows for name in row.told.get("external", {})})
    asked = [
        (replace(options, policy=policy), f"Table 2: {tables.study}, prompts “{policy}”")
        for policy in policies
        if policy != options.policy
    ]
    asked += [
        (replace(options, on=name), f"Table 2: {tables.study} on {name}") for name in external
    ]
    found = [tables.shown("2", changed, caption) for changed, caption in asked]
    return tuple(table for table in found if table is not None)


def _figures(
    rows: Sequence[RowResults],
    baseline: RowResults | None,
    pairs: Table | None,
    options: Options,
) -> dict[str, Figure]:
    ranks = mean_ranks(of_one_track(rows, baseline))
    found = [
        difference_figure(pairs, rows, baseline) if pairs and baseline else None,
        ranks_figure(ranks, rows, options) if ranks else None,
        frequency_figure(rows, options),
        learning_figure(rows),
        mixture_figure(rows),
    ]
    return {figure.key: figure for figure in found if figure is not None}


def _ordered(ran: Sequence[Ran], rows: Sequence[RowResults]) -> list[Ran]:
    """In the order of the tables; what never finished comes last."""
    places = {slug(row): place for place, row in enumerate(rows)}
    return sorted(ran, key=lambda one: places.get(one.slug, len(places)))


def _without_curves(rows: Sequence[RowResults]) -> str:
    told = []
    for why, titles in (
        ("the records are here without scores", [r.title for r in rows if not has_scores(r)]),
        ("no run is complete", [r.title for r in rows if has_scores(r) and not r.complete]),
    ):
        told += [f"No curves of {', '.join(titles)}: {why}."] if titles else []
    return " ".join(told)
