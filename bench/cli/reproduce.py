"""`bench reproduce`: a row or a trial once more, compared with what is recorded or printed."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bench.cli.common import JSON, say_json
from bench.errors import ResultsError, UsageError, unknown

if TYPE_CHECKING:
    from bench.runs.reproduce import Trial
    from bench.runs.rows import Request


@click.command()
@click.argument("folder", type=click.Path(path_type=Path), metavar="RESULTS/STUDY")
@click.option("--row", "name", required=True, metavar="METHOD[:ROW]", help="The row to run again.")
@click.option("--run", type=click.IntRange(0), default=0, show_default=True)
@click.option("--fold", type=click.IntRange(0), help="One fold.  [default: all of the run]")
@click.option("--all", "whole", is_flag=True, help="All runs.")
@click.option("--data", help="Where the data lie here.  [default: as the study was asked for]")
@click.option(
    "--weights", multiple=True, metavar="FILE", help="Weights that the row was made with."
)
@click.option("--method", metavar="FILE.py", help="The row's method, where it is a file.")
@click.option("--jobs", type=click.IntRange(1), default=1, show_default=True, help="Processes.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu or cuda.")
@JSON
def reproduce(
    folder: Path,
    name: str,
    run: int,
    fold: int | None,
    whole: bool,
    data: str | None,
    weights: tuple[str, ...],
    method: str | None,
    jobs: int,
    device: str,
    as_json: bool,
) -> None:
    """Run a row of a study again, elsewhere, and compare; exit code 0 if nothing differs.

    Compared are the trials of the folder, or where there are none the tables in it.
    """
    if not folder.is_dir():
        raise UsageError(
            f"No folder {folder}. Give the folder of a study, e.g. results/phantom-tiny."
        )

    from bench.runs.rows import Request

    named, _, label = name.partition(":")
    label = label or "default"

    def wanted(trials: list[Trial]) -> list[Trial]:
        chosen = [t for t in trials if whole or (t[0] == run and fold in (None, t[1]))]
        if not chosen:
            raise UsageError(f"{folder} has no such trial of {name}; its runs are "
                             f"{sorted({t[0] for t in trials})}.")  # fmt: skip
        return chosen

    with tempfile.TemporaryDirectory(prefix="bench-reproduce-") as temporary:
        how = Request(
            jobs=jobs, device=device, results=Path(temporary), study=folder.resolve().name
        )
        records = _records(folder, named, label)
        if records:
            found = _of_records(records, wanted(sorted(records)), how, data, weights, method)
        else:
            found = _of_tables(folder, method or named, label, wanted, how, data)
    if as_json:
        say_json(asdict(found))
    else:
        click.echo("\n".join(found.lines))
    sys.exit(0 if found.same else 1)


@dataclass(frozen=True)
class _Found:
    """What came of it, for a program and for a person."""

    same: bool
    lines: list[str]


def _records(folder: Path, method: str, label: str) -> dict[Trial, dict[str, Any]]:
    from bench.runs.record import read_record

    trials, found = folder / "trials", {}
    rows = [path.name for path in trials.glob("*")]
    if rows and f"{method}-{label}" not in rows and not (folder / "table-runs.json").exists():
        raise UsageError(
            unknown("row", f"{method}:{label}", [r.replace("-", ":", 1) for r in rows])
        )
    for path in sorted((trials / f"{method}-{label}").glob("run-*_fold-*")):
        record = read_record(path)
        if record is not None and record["status"] == "done":
            found[record["spec"]["run"], record["spec"]["fold"]] = record
    return found


def _of_records(
    records: dict[Trial, dict[str, Any]],
    chosen: list[Trial],
    how: Request,
    data: str | None,
    weights: tuple[str, ...],
    method: str | None,
) -> _Found:
    """Runs trials that are there again and compares record with record."""
    from bench.runs.reproduce import compare, made_otherwise, redo, refuse_other_data, request_of

    first = records[chosen[0]]
    how = replace(how, runs=max(run for run, _ in chosen) + 1)
    request = request_of(first, data, weights, method, how)
    made = redo(request, chosen, refuse_other_data(first), _say)
    found = [compare(records[trial], made[trial]) for trial in chosen]
    lines = [str(one) for one in found]
    lines += [f"Made otherwise: {line}" for line in made_otherwise(first, made[chosen[0]])]
    return _Found(all(one.same for one in found), lines)


def _of_tables(
    folder: Path,
    method: str,
    label: str,
    wanted: Callable[[list[Trial]], list[Trial]],
    how: Request,
    data: str | None,
) -> _Found:
    """Runs trials of which only the tables are there and compares what these print of them."""
    from bench.report.printed import differing, printed_row
    from bench.runs.layout import Layout
    from bench.runs.reproduce import redo

    row = printed_row(folder, method, label)
    if data is None and row.data is None:
        raise UsageError(f"The tables of {folder} do not tell where the data lie: give --data.")
    chosen = wanted([(run, fold) for run in row.runs for fold in range(row.folds)])

    def fits(layout: Layout) -> None:
        if layout.images != row.images:
            raise ResultsError(
                f"These are not the data of the tables: {layout.images} images, not {row.images}."
            )

    request = replace(
        how,
        methods=(method,),
        settings=row.settings,
        data=data or row.data,
        preset=row.preset,
        folds=row.folds,
        seed=row.seed,
        runs=max(run for run, _ in chosen) + 1,
    )
    made = redo(request, chosen, fits, _say)
    compared, found = differing(row, how.results, str(how.study))
    lines = [f"differs: {line}" for line in found]
    if not found:
        lines.append(f"{row.title}: equal to printed precision, in all {compared} values compared.")
    here = made[chosen[0]]["provenance"]
    versions = ", ".join(f"{key} {value}" for key, value in here["packages"].items() if value)
    lines.append(
        "The tables do not tell what they were made with. Here: Python "
        f"{here['python']}, {versions}; {here['processor']}, {here['device']}."
    )
    return _Found(bool(compared) and not found, lines)


def _say(line: str) -> None:
    click.echo(line, err=True)
