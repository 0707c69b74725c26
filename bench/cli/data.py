"""`bench data`: prepare, check and look at data sets."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from bench.cli.common import JSON, SuggestingGroup, pairs_of, say_json
from bench.cli.completion import READERS as COMPLETE_READERS


@click.group(cls=SuggestingGroup)
def data() -> None:
    """Prepare, check and look at data sets."""


@data.command("list")
@JSON
def data_list(as_json: bool) -> None:
    """List the kinds of data that --data takes."""
    from tabulate import tabulate

    from bench.data.dataset import READERS

    if as_json:
        told = ("name", "about", "takes_path", "options")
        say_json([{key: getattr(reader, key) for key in told} for reader in READERS])
        return
    rows = [
        (
            reader.name + (":PATH" if reader.takes_path else ""),
            reader.about,
            ", ".join(f"{option}=" for option in reader.options),
        )
        for reader in READERS
    ]
    click.echo(tabulate(rows, ("--data", "what it is", "options"), tablefmt="github"))


@data.command("prepare")
@click.argument("name", metavar="NAME", shell_complete=COMPLETE_READERS)
@click.option("--root", help="Folder as it was downloaded.")
@click.option("--labels", help="Folder or file of the labels, where they are kept apart.")
@click.option("--reports", help="Folder of the reports, where they are kept apart.")
@click.option(
    "--option", "settings", multiple=True, metavar="KEY=VALUE", help="See: bench data list."
)
@click.option(
    "--size", type=click.IntRange(16, 2048), default=224, show_default=True, help="Pixels a side."
)
@click.option(
    "--short-side",
    type=click.IntRange(16, 2048),
    help="Keep the central square of a picture, of so many pixels, instead of the whole.",
)
@click.option("--out", type=click.Path(path_type=Path), help="Folder to make.  [default: a cache]")
@click.option("--jobs", type=click.IntRange(1), help="Processes.  [default: one a core]")
@JSON
def data_prepare(
    jobs: int | None, settings: tuple[str, ...], as_json: bool, **options: Any
) -> None:
    """Make a store of a data set's files, once; killed, it goes on where it stopped.

    bench data prepare mimic-cxr-lt --root mimic-cxr-jpg --labels cxr-lt --reports reports
    """
    from bench.data.request import prepare_store
    from bench.data.summary import summary_lines, summary_of
    from bench.runs.executors.local import default_jobs

    store = prepare_store(
        **options,
        settings=pairs_of(settings, "--option"),
        jobs=jobs or default_jobs(),
        tell=lambda line: click.echo(line, err=True),
    )
    if as_json:
        say_json(summary_of(store))
        return
    for line in summary_lines(store):
        click.echo(line)
    click.echo(f"Use it: bench run --method cxrcml --data {store}")


@data.command("verify")
@click.argument("store", metavar="DIR", type=click.Path(path_type=Path))
@JSON
def data_verify(store: Path, as_json: bool) -> None:
    """Check a prepared store again: its files, its rows and images, and its source if here."""
    from bench.data.summary import summary_lines
    from bench.data.verify import failures, verify_store

    if as_json:
        checks = [check._asdict() for check in verify_store(store)]
        say_json(checks)
        sys.exit(1 if any(check["wrong"] for check in checks) else 0)
    failed = failures(verify_store(store), click.echo)
    if failed:
        click.echo(f"{store}: {failed} checks failed. Delete the folder and prepare it again.")
        sys.exit(1)
    for line in summary_lines(store):
        click.echo(line)


@data.command("export")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--layout", type=click.Choice(["mimic-cxr-lt"]), default="mimic-cxr-lt")
@click.option("--data", default="phantom:n=600,size=224", show_default=True)
def data_export(folder: Path, layout: str, data: str) -> None:
    """Write a synthetic data set as a published one's files and tables, for trying a reader."""
    from bench.data.export import export

    for line in export(data, folder, layout):
        click.echo(line)


@data.command("show")
@click.option("--data", default="phantom", show_default=True)
@click.option("--class", "class_name", help="Only images with this class.")
@click.option("--count", type=click.IntRange(1), default=24, show_default=True)
@click.option(
    "--size",
    type=click.IntRange(16),
    default=224,
    show_default=True,
    help="Pixels a side of a tile.",
)
@click.option(
    "--seed", type=click.IntRange(0), default=0, show_default=True, help="Which images are drawn."
)
@click.option("--out", type=click.Path(path_type=Path), help="PNG file.  [default: DATA-CLASS.png]")
def data_show(out: Path | None, **options: Any) -> None:
    """Write a contact sheet of images as a PNG."""
    from bench.data.show import show

    path, count = show(out=out, **options)
    click.echo(f"{path}: {count} images")
