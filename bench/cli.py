"""The `bench` command. Heavy imports are inside functions: every --help answers at once."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

import click

from bench.errors import BenchError, MethodError, UsageError, unknown
from bench.report.options import GROUPINGS, METRICS, TABLES, Options

F = TypeVar("F", bound=Callable[..., Any])

RESULTS = click.option(
    "--results",
    type=click.Path(path_type=Path),
    default=Path("results"),
    show_default=True,
    help="Folder of studies and their trials.",
)

BASELINE = click.option(
    "--baseline",
    metavar="METHOD[:ROW]",
    help="Row that the others are tested against.  [default: the study's]",
)


def _told_plainly(command: F) -> F:
    """A BenchError ends the command with its sentence and exit code, without a traceback."""

    @wraps(command)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        try:
            return command(*args, **kwargs)
        except BenchError as error:
            click.echo(f"Error: {error}", err=True)
            sys.exit(error.exit_code)
        except KeyboardInterrupt:
            click.echo("\nStopped. Finished trials are kept; run again to go on.", err=True)
            sys.exit(130)

    return wrapped  # type: ignore[return-value]


class _Group(click.Group):
    """A group that suggests a command for a misspelt one."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and not args[0].startswith("-") and self.get_command(ctx, args[0]) is None:
            raise click.UsageError(unknown("command", args[0], self.list_commands(ctx)), ctx)
        return super().resolve_command(ctx, args)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="cxr-bench", prog_name="bench")
def main() -> None:
    """Compare vision-language methods on rare findings in chest X-rays.

    bench run --method cxrcml --folds 5 && bench table
    """


@main.command()
@click.option(
    "--method", "methods", multiple=True, metavar="NAME|FILE.py", help="Repeat for several."
)
@click.option("--table", type=int, help="Run all rows of the paper's Table 2 or 3.")
@click.option(
    "--data",
    help="phantom, csv:PATH, NAME:DIR (bench data list) or a prepared folder.  [default: phantom]",
)
@click.option(
    "--test-data",
    multiple=True,
    metavar="DATA",
    help="Other data that every model scores too; see bench table --on. Repeat for several.",
)
@click.option(
    "--classes",
    multiple=True,
    metavar="NAME",
    help="A class of --test-data that --data does not label, asked by prompts. Repeat for several.",
)
@click.option(
    "--preset", help="tiny, paper or upstream.  [default: tiny; with --weights the methods' own]"
)
@click.option(
    "--weights",
    multiple=True,
    metavar="FILE|hf-hub:NAME|local-dir:FOLDER",
    help="Weights to start from; repeat for an ensemble of released ones.",
)
@click.option(
    "--track",
    type=click.Choice(["trained", "released"]),
    default="trained",
    show_default=True,
    help="released scores the weights as they are.",
)
@click.option("--folds", type=int, default=5, show_default=True)
@click.option("--runs", type=int, help="Cross-validations.  [default: 10; released: 1]")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="A method's setting.")
@click.option("--jobs", type=int, help="Processes, of one thread each.  [default: one a core]")
@click.option("--device", default="auto", show_default=True, help="auto, cpu or cuda.")
@RESULTS
@click.option(
    "--study",
    metavar="NAME|FILE.toml",
    help="Folder of the results, or a study file to run.  [default: DATA-PRESET]",
)
@click.option("--fresh", is_flag=True, help="Redo finished trials too.")
@click.option("--skip-unreadable", is_flag=True, help="Leave out images that cannot be read.")
@_told_plainly
def run(jobs: int | None, settings: tuple[str, ...], **options: Any) -> None:
    """Train and score methods over runs and folds; what is done already is skipped."""
    from bench.data.dataset import DataSpec
    from bench.runs.executors.local import default_jobs
    from bench.runs.launch import launch
    from bench.runs.rows import Request

    for named in (options["data"], *options["test_data"]):
        if named is not None:
            DataSpec.parse(named)  # a wrong name should not wait for torch
    request = Request(
        settings=_pairs(settings), jobs=jobs if jobs is not None else default_jobs(), **options
    )
    summary = launch(request, lambda line: click.echo(line, err=True))
    click.echo(
        f"{summary.folder}: {summary.finished} trials finished, {summary.skipped} done before, "
        f"{summary.failed} failed.",
        err=True,
    )
    if summary.failed:
        sys.exit(1)


@main.command()
@click.argument("study", required=False)
@click.option(
    "--table",
    "which",
    type=click.Choice(TABLES),
    default="2",
    show_default=True,
    help="2; 3 is the ablation; classes, pairs of rows, runs by folds.",
)
@click.option(
    "--on", metavar="NAME", help="Show the scores on the external data of that name (--test-data)."
)
@click.option("--paper", is_flag=True, help="The paper's numbers beside ours, with a verdict.")
@BASELINE
@click.option("--alpha", type=float, default=1e-5, show_default=True, help="Level of the mark *.")
@click.option(
    "--group-by",
    "grouping",
    type=click.Choice([*GROUPINGS]),
    default="base-rare",
    show_default=True,
)
@click.option("--metric", type=click.Choice([*METRICS]), default="auroc", show_default=True)
@click.option(
    "--prompts", "policy", default="pair", show_default=True, help="pair, positive or own."
)
@click.option(
    "--min-patients",
    type=int,
    default=10,
    show_default=True,
    help="Classes with fewer positive patients are undefined.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["md", "csv", "tex", "json"]),
    default="md",
    show_default=True,
    help="What is printed; all four are written.",
)
@click.option("--check", is_flag=True, help="Compare the written files; fail if they differ.")
@click.option("--audit", is_flag=True, help="Recompute what the paper's own numbers allow.")
@RESULTS
@_told_plainly
def table(
    study: str | None,
    which: str,
    form: str,
    check: bool,
    audit: bool,
    results: Path,
    **chosen: Any,
) -> None:
    """Show a table of a study and write it beside its trials (markdown, CSV, LaTeX, JSON)."""
    if audit:
        from bench.report.audit import audit_lines

        for line in audit_lines():
            click.echo(line)
        return
    options = Options(**chosen)
    names = _studies(study, results)

    from bench.report.render import FORMATS, check_table, write_table
    from bench.report.tables import make_table

    def shown(name: str) -> None:
        made = make_table(results, name, which, options)
        if check:
            for file in check_table(made, results / name):
                click.echo(f"{file}: as the records give it", err=True)
            return
        click.echo(FORMATS[form](made), nl=False)
        files = write_table(made, results / name)
        click.echo(f"Written: {', '.join(str(file) for file in files)}\n", err=True)

    if check:
        for name in names:
            shown(name)
    else:
        _each(names, shown)


@main.command()
@click.argument("study", required=False)
@click.option(
    "--difference",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.02,
    show_default=True,
    help="Difference of AUC that should be seen.",
)
@BASELINE
@RESULTS
@_told_plainly
def power(study: str | None, difference: float, baseline: str | None, results: Path) -> None:
    """Tell from a study's records how many runs and patients it takes to see a difference."""
    names = _studies(study, results)

    from bench.report.power_table import power_table
    from bench.report.render import markdown

    def shown(name: str) -> None:
        made = power_table(results, name, difference, Options(baseline=baseline))
        click.echo(markdown(made), nl=False)

    _each(names, shown)


def _each(names: list[str], show: Callable[[str], None]) -> None:
    """Shows every study there is something to show of; the others are named, none spoils another.

    Raises:
        BenchError: the last one, if there is nothing to show of any.
    """
    failures: list[BenchError] = []
    for name in names:
        try:
            show(name)
        except BenchError as error:
            failures.append(error)
            if len(failures) == len(names):
                raise
            click.echo(f"{name}: {error}\n", err=True)


def _studies(study: str | None, results: Path) -> list[str]:
    """The study that was named, or all there are."""
    from bench.report.results import studies

    known = studies(results)
    if not known:
        raise UsageError(f"No study in {results}. Run: bench run --method cxrcml --folds 5")
    if study is not None and study not in known:
        raise UsageError(unknown("study", study, known))
    return known if study is None else [study]


@main.command()
@RESULTS
@_told_plainly
def status(results: Path) -> None:
    """Show which trials of each study are finished, failed or missing."""
    from bench.report.status import status_lines

    for line in status_lines(results):
        click.echo(line)


@main.command()
@_told_plainly
def methods() -> None:
    """List the methods that can be run."""
    from tabulate import tabulate

    from bench.protocol.method import find_method, method_names

    rows, broken = [], []
    for name in method_names():
        try:
            card = find_method(name).cls.card
        except MethodError as error:
            broken.append(f"{name} is broken: {error}")
            continue
        seen = "unknown" if card.seen is None else ", ".join(card.seen) or "-"
        rows.append((name, card.title, card.citation, card.licence, seen))
    headers = ("name", "method", "citation", "licence", "weights have seen")
    click.echo(tabulate(rows, headers, tablefmt="github"))
    for line in broken:
        click.echo(f"\n{line}")
    click.echo("\nA method of your own: bench run --method ./my_method.py")


@main.command()
@click.argument("method", metavar="NAME|FILE.py")
@click.option(
    "--weights",
    multiple=True,
    metavar="FILE|hf-hub:NAME|local-dir:FOLDER",
    help="Weights to start from, for a method that needs them.",
)
@_told_plainly
def check(method: str, weights: tuple[str, ...]) -> None:
    """Check in seconds, without data, that an adapter keeps the contract of a method."""
    from bench.protocol.conformance import check_method

    findings = check_method(method, weights)
    for finding in findings:
        click.echo(f"{'ok  ' if finding.passed else 'FAIL'}  {finding.what}")
        if not finding.passed:
            click.echo(f"      {finding.mend}")
    if not all(finding.passed for finding in findings):
        sys.exit(1)


@main.command("new-method")
@click.argument("name")
@_told_plainly
def new_method(name: str) -> None:
    """Write NAME.py, an adapter that passes `bench check`, to replace by a method of yours."""
    from bench.protocol.scaffold import write_adapter

    file = write_adapter(name, Path())
    click.echo(f"{file}: written. Next: bench check ./{file}, bench run --method ./{file}")


@main.command()
@click.argument("file", metavar="FILE")
@click.option("--method", "methods", multiple=True, metavar="NAME|FILE.py", help="Ask only these.")
@click.option(
    "--convert",
    "out",
    type=click.Path(path_type=Path),
    metavar="OUT.safetensors",
    help="Also write the tensors in the format that holds nothing else.",
)
@_told_plainly
def weights(file: str, methods: tuple[str, ...], out: Path | None) -> None:
    """Tell which method a file of weights fits; nothing in the file is run."""
    from bench.protocol.doctor import convert, examine, lines_of

    found = examine(file, methods)
    for line in lines_of(found):
        click.echo(line)
    if out is not None:
        convert(found.checkpoint, out)
        click.echo(f"Written: {out}")
    if not found.fits:
        sys.exit(1)


@main.group(cls=_Group)
def data() -> None:
    """Prepare, check and look at data sets."""


@data.command("list")
@_told_plainly
def data_list() -> None:
    """List the kinds of data that --data takes."""
    from tabulate import tabulate

    from bench.data.dataset import READERS

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
@click.argument("name", metavar="NAME")
@click.option("--root", help="Folder as it was downloaded.")
@click.option("--labels", help="Folder or file of the labels, where they are kept apart.")
@click.option("--reports", help="Folder of the reports, where they are kept apart.")
@click.option(
    "--option", "settings", multiple=True, metavar="KEY=VALUE", help="See: bench data list."
)
@click.option(
    "--size", type=click.IntRange(16, 2048), default=224, show_default=True, help="Pixels a side."
)
@click.option("--out", type=click.Path(path_type=Path), help="Folder to make.  [default: a cache]")
@click.option("--jobs", type=click.IntRange(1), help="Processes.  [default: one a core]")
@_told_plainly
def data_prepare(jobs: int | None, settings: tuple[str, ...], **options: Any) -> None:
    """Make a store of a data set's files, once; killed, it goes on where it stopped.

    bench data prepare mimic-cxr-lt --root mimic-cxr-jpg --labels cxr-lt --reports reports
    """
    from bench.data.request import prepare_store
    from bench.data.summary import summary_lines
    from bench.runs.executors.local import default_jobs

    store = prepare_store(
        **options,
        settings=_pairs(settings, "--option"),
        jobs=jobs or default_jobs(),
        tell=lambda line: click.echo(line, err=True),
    )
    for line in summary_lines(store):
        click.echo(line)
    click.echo(f"Use it: bench run --method cxrcml --data {store}")


@data.command("verify")
@click.argument("store", metavar="DIR", type=click.Path(path_type=Path))
@_told_plainly
def data_verify(store: Path) -> None:
    """Check a prepared store again: its files, its rows and images, and its source if here."""
    from bench.data.summary import summary_lines
    from bench.data.verify import failures, verify_store

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
@_told_plainly
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
@_told_plainly
def data_show(out: Path | None, **options: Any) -> None:
    """Write a contact sheet of images as a PNG."""
    from bench.data.show import show

    path, count = show(out=out, **options)
    click.echo(f"{path}: {count} images")


def _pairs(settings: tuple[str, ...], option: str = "--set") -> dict[str, str]:
    pairs = {}
    for setting in settings:
        key, sign, value = setting.partition("=")
        if not sign or not key:
            raise UsageError(f"{option} {setting}: write it as KEY=VALUE.")
        pairs[key] = value
    return pairs
