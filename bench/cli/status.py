"""`bench status`: how far the studies are, what failed and what it all cost."""

from __future__ import annotations

from pathlib import Path

import click

from bench.cli.common import JSON, RESULTS, STUDY, say_json, studies_of


@click.command()
@STUDY
@JSON
@RESULTS
def status(study: str | None, as_json: bool, results: Path) -> None:
    """Show which trials of each study are finished, failed or missing, and what they cost."""
    from bench.report.results import studies
    from bench.report.status import status_lines, status_of

    if study is None and not studies(results):
        said = f"No study in {results}. Run: bench run --method cxrcml --folds 5"
        click.echo(said, err=as_json)
        return
    for name in studies_of(study, results):
        if as_json:
            say_json(status_of(results, name))
            continue
        for line in status_lines(results, name):
            click.echo(line)
