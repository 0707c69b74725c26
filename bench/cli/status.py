"""`bench status`: how far the studies are, what failed and what it all cost."""

from __future__ import annotations

from pathlib import Path

import click

from bench.cli.common import RESULTS, studies_of, told_plainly


@click.command()
@click.argument("study", required=False)
@RESULTS
@told_plainly
def status(study: str | None, results: Path) -> None:
    """Show which trials of each study are finished, failed or missing, and what they cost."""
    from bench.report.results import studies
    from bench.report.status import status_lines

    if study is None and not studies(results):
        click.echo(f"No study in {results}. Run: bench run --method cxrcml --folds 5")
        return
    for name in studies_of(study, results):
        for line in status_lines(results, name):
            click.echo(line)
