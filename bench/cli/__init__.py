"""The `bench` command. Heavy imports are inside functions: every --help answers at once."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from bench.cli.bundle import export, import_
from bench.cli.common import BASELINE, JSON, RESULTS, STUDY, each_of, say_json, studies_of
from bench.cli.completion import METHODS, POLICIES, completion
from bench.cli.data import data
from bench.cli.figures import figures
from bench.cli.plan import plan
from bench.cli.predict import predict
from bench.cli.program import Program
from bench.cli.report import report
from bench.cli.reproduce import reproduce
from bench.cli.run import run
from bench.cli.status import status
from bench.errors import MethodError
from bench.report.options import GROUPINGS, METRICS, TABLES, Options


@click.group(cls=Program, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="cxr-bench", prog_name="bench")
@click.option(
    "--debug",
    is_flag=True,
    envvar="CXR_BENCH_DEBUG",
    help="Show the traceback of an error (or CXR_BENCH_DEBUG=1).",
)
def main(debug: bool) -> None:
    """Compare vision-language methods on rare findings in chest X-rays.

    bench run --method cxrcml --folds 5 && bench table
    """


@main.command()
@STUDY
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
    "--prompts",
    "policy",
    default="pair",
    show_default=True,
    shell_complete=POLICIES,
    help="pair, positive or own.",
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

        lines = list(audit_lines())
        if form == "json":
            say_json(lines)
        else:
            click.echo("\n".join(lines))
        return
    options = Options(**chosen)
    names = studies_of(study, results)

    from bench.report.render import FORMATS, check_table, write_table
    from bench.report.tables import make_table

    def shown(name: str) -> None:
        made = make_table(results, name, which, options)
        if check:
            for file in check_table(made, results / name):
                click.echo(f"{file}: as the records give it", err=True)
            return
        # Written first: whoever reads only the head of what is printed ends this program.
        files = write_table(made, results / name)
        click.echo(FORMATS[form](made), nl=False)
        click.echo(f"Written: {', '.join(str(file) for file in files)}\n", err=True)

    if check:
        for name in names:
            shown(name)
    else:
        each_of(names, shown)


@main.command()
@STUDY
@click.option(
    "--difference",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.02,
    show_default=True,
    help="Difference of AUC that should be seen.",
)
@BASELINE
@JSON
@RESULTS
def power(
    study: str | None, difference: float, baseline: str | None, as_json: bool, results: Path
) -> None:
    """Tell from a study's records how many runs and patients it takes to see a difference."""
    names = studies_of(study, results)

    from bench.report.power_table import power_table
    from bench.report.render import json_text, markdown

    def shown(name: str) -> None:
        made = power_table(results, name, difference, Options(baseline=baseline))
        click.echo(json_text(made) if as_json else markdown(made), nl=False)

    each_of(names, shown)


@main.command()
@JSON
def methods(as_json: bool) -> None:
    """List the methods that can be run."""
    from tabulate import tabulate

    from bench.protocol.method import find_method, method_names

    cards, broken = {}, {}
    for name in method_names():
        try:
            cards[name] = find_method(name).cls.card
        except MethodError as error:
            broken[name] = str(error)
    told = ("title", "citation", "licence", "seen")
    if as_json:
        listed = [{"name": name, **{k: getattr(c, k) for k in told}} for name, c in cards.items()]
        say_json({"methods": listed, "broken": broken})
        return
    rows = []
    for name, card in cards.items():
        seen = "unknown" if card.seen is None else ", ".join(card.seen) or "-"
        rows.append((name, card.title, card.citation, card.licence, seen))
    headers = ("name", "method", "citation", "licence", "weights have seen")
    click.echo(tabulate(rows, headers, tablefmt="github"))
    for name, why in broken.items():
        click.echo(f"\n{name} is broken: {why}")
    click.echo("\nA method of your own: bench run --method ./my_method.py")


@main.command()
@click.argument("method", metavar="NAME|FILE.py", shell_complete=METHODS)
@click.option(
    "--weights",
    multiple=True,
    metavar="FILE|hf-hub:NAME|local-dir:FOLDER",
    help="Weights to start from, for a method that needs them.",
)
@JSON
def check(method: str, weights: tuple[str, ...], as_json: bool) -> None:
    """Check in seconds, without data, that an adapter keeps the contract of a method."""
    from bench.protocol.conformance import check_method

    findings = check_method(method, weights)
    if as_json:
        say_json([asdict(finding) for finding in findings])
    for finding in () if as_json else findings:
        click.echo(f"{'ok  ' if finding.passed else 'FAIL'}  {finding.what}")
        if not finding.passed:
            click.echo(f"      {finding.mend}")
    if not all(finding.passed for finding in findings):
        sys.exit(1)


@main.command("new-method")
@click.argument("name")
def new_method(name: str) -> None:
    """Write NAME.py, an adapter that passes `bench check`, to replace by a method of yours."""
    from bench.protocol.scaffold import write_adapter

    file = write_adapter(name, Path())
    click.echo(f"{file}: written. Next: bench check ./{file}, bench run --method ./{file}")


@main.command()
@click.argument("file", metavar="FILE")
@click.option(
    "--method",
    "methods",
    multiple=True,
    metavar="NAME|FILE.py",
    shell_complete=METHODS,
    help="Ask only these.",
)
@click.option(
    "--convert",
    "out",
    type=click.Path(path_type=Path),
    metavar="OUT.safetensors",
    help="Also write the tensors in the format that holds nothing else.",
)
@JSON
def weights(file: str, methods: tuple[str, ...], out: Path | None, as_json: bool) -> None:
    """Tell which method a file of weights fits; nothing in the file is run."""
    from bench.protocol.doctor import convert, examine, lines_of, told_of

    found = examine(file, methods)
    if as_json:
        say_json(told_of(found))
    for line in () if as_json else lines_of(found):
        click.echo(line)
    if out is not None:
        convert(found.checkpoint, out)
        click.echo(f"Written: {out}", err=as_json)
    if not found.fits:
        sys.exit(1)


main.add_command(completion)
main.add_command(run)
main.add_command(plan)
main.add_command(status)
main.add_command(predict)
main.add_command(figures)
main.add_command(report)
main.add_command(export)
main.add_command(import_)
main.add_command(reproduce)
main.add_command(data)
