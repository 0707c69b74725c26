"""`bench figures`: a study's records as figures for print."""

from __future__ import annotations

from pathlib import Path

import click

from bench.cli.common import RESULTS, STUDY, each_of, studies_of
from bench.errors import UsageError, unknown


@click.command()
@STUDY
@click.option(
    "--format",
    "formats",
    default="pdf,svg,png",
    show_default=True,
    metavar="pdf,svg,png",
    help="What to write, separated by commas.",
)
@RESULTS
def figures(study: str | None, formats: str, results: Path) -> None:
    """Write the figures of a study, each with caption (.txt) and numbers (.csv), beside its trials.

    Table 2, classes, the long tail, pairs, mean ranks, learning curves, mixture diagnostics; and
    test images before and after training, where bench run --keep embeddings kept them. That one
    shows one mark an image: think of it before a figure of real images leaves the house.
    """
    names = studies_of(study, results)

    from bench.report.figures.drawing import FORMATS
    from bench.report.figures.make import make_figures

    chosen = tuple(dict.fromkeys(part.strip() for part in formats.split(",")))
    for form in chosen:
        if form not in FORMATS:
            raise UsageError(unknown("format", form, FORMATS))

    def drawn(name: str) -> None:
        for path in make_figures(results, name, chosen, lambda line: click.echo(line, err=True)):
            click.echo(path)

    each_of(names, drawn)
