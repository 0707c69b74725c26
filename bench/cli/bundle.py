"""`bench export` and `bench import`: results that leave the house, and results that come in."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from bench.cli.common import JSON, RESULTS, STUDY, say_json, studies_of
from bench.errors import UsageError


@click.command("export")
@STUDY
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="FILE.json",
    help="File to write.  [default: STUDY.bundle.json]",
)
@click.option(
    "--with-names",
    is_flag=True,
    help="Let names of your own leave too: study, data, sources, rows, methods, settings.",
)
@JSON
@RESULTS
def export(
    study: str | None, out: Path | None, with_names: bool, as_json: bool, results: Path
) -> None:
    """Write a study's results to one file with nothing in it of any image or patient."""
    names = studies_of(study, results)
    if len(names) > 1:
        raise UsageError(f"Name one study of {', '.join(names)}.")

    from bench.protocol.public_names import public_names
    from bench.report.bundle import make_bundle, write_bundle
    from bench.report.bundle_names import Names, public_words

    known = Names(public_words() | public_names(), with_names)
    bundle = make_bundle(results, names[0], known)
    written = write_bundle(bundle, out or Path(f"{bundle['study']}.bundle.json"))
    trials = sum(len(row["trials"]) for row in bundle["rows"])
    classes = bundle["data"]["classes"]
    few = [entry["class"] for entry in classes if entry["positive_patients"] is None]
    if as_json:
        told = {"file": str(written), "digest": bundle["digest"], "rows": len(bundle["rows"])}
        stays = [list(named) for named in known.stand_ins]
        leaves = [list(named) for named in known.told]
        say_json(
            {**told, "trials": trials, "stays": stays, "leaves": leaves, "withheld_classes": few}
        )
        return
    click.echo(f"{written}: {len(bundle['rows'])} rows, {trials} trials.")
    click.echo(f"SHA-256 {bundle['digest']}; tell it to the receiver by another way.")
    for (kind, name), stand_in in known.stand_ins.items():
        click.echo(f"Stays here: {kind} {name!r}, called {stand_in} (--with-names lets it leave).")
    for kind, name in known.told:
        click.echo(f"Leaves: {kind} {name!r}.")
    if few:
        click.echo(f"Stays here, for few patients: all numbers of {', '.join(few)}.")


@click.command("import")
@click.argument(
    "files", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE..."
)
@click.option(
    "--as",
    "name",
    metavar="NAME",
    help="Study to put the trials into; one that is there is added to.  [default: the bundle's]",
)
@JSON
@RESULTS
def import_(files: tuple[Path, ...], name: str | None, as_json: bool, results: Path) -> None:
    """Check bundles and put their trials beside your own, for bench table."""
    from bench.report.bundle_import import import_bundles

    done = import_bundles(files, results, name, lambda line: click.echo(line, err=True))
    if as_json:
        told = [asdict(bundle) for bundle in done]
        say_json([{**one, "folder": str(one["folder"])} for one in told])
        return
    for bundle in done:
        click.echo(
            f"{bundle.folder}: {bundle.written} trials imported, {bundle.there} there already; "
            f"SHA-256 {bundle.digest}"
        )
    click.echo(
        "Compare the SHA-256 with what the sender told you by another way; by itself it shows that "
        "the file is whole, not whose it is."
    )
