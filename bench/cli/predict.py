"""`bench predict`: what a kept model says of a person's own images."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bench.cli.common import JSON, RESULTS, say_json
from bench.errors import UsageError, unknown

if TYPE_CHECKING:
    from bench.runs.cohort import Finding

_SHOWN = 3  # findings of an image with a map, where none is named
_HEADERS = (
    "finding", "probability", "in cohort", "above all %", "without %", "with %", "positives", "AUC",
)  # fmt: skip
_ALIGN = ("left", *("right",) * (len(_HEADERS) - 1))


@click.command()
@click.argument("images", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--trial",
    required=True,
    metavar="FOLDER|STUDY/ROW/run-00_fold-0|ID",
    help="A trial that was run with --keep model.",
)
@click.option(
    "--weights",
    multiple=True,
    metavar="FILE|hf-hub:NAME|local-dir:FOLDER",
    help="What the trial was given as --weights, if anything.",
)
@click.option(
    "--method",
    metavar="FILE.py",
    help="The trial's method, where it is a file of your own.",
)
@click.option(
    "--saliency",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="FOLDER",
    help="Also write maps of where the scores come from, over the images.",
)
@click.option(
    "--class",
    "names",
    multiple=True,
    metavar="NAME",
    help="A finding to map; repeat for several.  [default: the three most probable]",
)
@JSON
@RESULTS
def predict(
    images: tuple[Path, ...],
    trial: str,
    weights: tuple[str, ...],
    method: str | None,
    saliency: Path | None,
    names: tuple[str, ...],
    as_json: bool,
    results: Path,
) -> None:
    """Tell what a kept model finds in images of your own (PNG, JPEG, DICOM); for research only.

    bench run --method cxrcml --runs 1 --keep model

    bench predict chest.png --trial phantom-tiny/cxrcml-default/run-00_fold-0
    """
    if names and saliency is None:
        raise UsageError("--class names findings to map; give --saliency FOLDER as well.")

    from bench.runs.predict import Predictor, find_trial, read_pictures

    predictor = Predictor.of_trial(find_trial(trial, results), weights, method)
    for name in names:
        if name not in predictor.classes:
            raise UsageError(unknown("class", name, predictor.classes))
    pictures, failed = read_pictures(images, predictor.stored_at)
    findings = predictor.findings(pictures)
    written: list[list[Path]] = [[] for _ in pictures]
    if saliency is not None:
        from bench.runs.saliency import write_overlays

        wanted = [
            [f for f in told if f.name in names] if names else told[:_SHOWN] for told in findings
        ]
        written = write_overlays(predictor, pictures, wanted, saliency)
    answers = [
        {
            "image": str(picture.path),
            "notes": list(picture.notes),
            "findings": [finding.as_dict() for finding in told],
            "saliency": [str(path) for path in paths],
        }
        for picture, told, paths in zip(pictures, findings, written, strict=True)
    ]
    if as_json:
        say_json({**predictor.told(), "images": answers, "failed": failed})
    else:
        _show(predictor.statements, answers, findings)
    for path, why in failed.items():
        click.echo(f"{path}: {why}", err=True)
    if failed:
        sys.exit(1)


def _show(
    statements: tuple[str, ...], answers: list[dict[str, Any]], findings: list[list[Finding]]
) -> None:
    """Prints a table for each image, and beneath them what the numbers mean."""
    from tabulate import tabulate

    for answer, told in zip(answers, findings, strict=True):
        notes = f" ({'; '.join(answer['notes'])})" if answer["notes"] else ""
        click.echo(f"{answer['image']}{notes}\n")
        rows = [_row(finding) for finding in told]
        click.echo(
            tabulate(rows, _HEADERS, tablefmt="github", disable_numparse=True, colalign=_ALIGN)
        )
        click.echo("".join(f"\nMap: {path}" for path in answer["saliency"]))
    click.echo(
        "in cohort: how common the finding is there; above: the share of the cohort's images, of "
        "those without and of those with the finding, that score lower; -: too few to tell, or "
        "the score tells nothing.\n"
    )
    for statement in statements:
        click.echo(statement)


def _row(finding: Finding) -> tuple[str, ...]:
    def told(value: float | None, form: str) -> str:
        return "-" if value is None else format(value, form)

    return (
        finding.name,
        told(finding.probability, ".3f"),
        told(finding.prevalence, ".3f"),
        told(finding.above, ".0f"),
        told(finding.above_without, ".0f"),
        told(finding.above_with, ".0f"),
        str(finding.positives),
        told(finding.auroc, ".2f"),
    )
