"""`bench report`: a study as one page to look at."""

from __future__ import annotations

from pathlib import Path

import click

from bench.cli.common import BASELINE, RESULTS, STUDY, each_of, studies_of
from bench.report.options import Options


@click.command()
@STUDY
@BASELINE
@RESULTS
def report(study: str | None, baseline: str | None, results: Path) -> None:
    """Write report.html of a study: its tables and figures, and where each number comes from.

    One file that opens from disk and asks for nothing from outside. It holds nothing per image or
    patient, and its numbers are those of bench table: names and small counts are on it. A page
    without them is one of a study that went through bench export and bench import.
    """
    from bench.report.page.write import write_page

    options = Options(baseline=baseline)

    def written(name: str) -> None:
        click.echo(write_page(results, name, options))

    each_of(studies_of(study, results), written)
