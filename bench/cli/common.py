"""What commands share: options, names suggested, JSON, KEY=VALUE pairs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from bench.cli.completion import complete_study
from bench.errors import BenchError, UsageError, unknown

RESULTS = click.option(
    "--results",
    type=click.Path(path_type=Path),
    default=Path("results"),
    show_default=True,
    help="Folder of studies and their trials.",
)

STUDY = click.argument("study", required=False, shell_complete=complete_study)

JSON = click.option(
    "--json", "as_json", is_flag=True, help="Print JSON; its keys are in docs/commands.md."
)

BASELINE = click.option(
    "--baseline",
    metavar="METHOD[:ROW]",
    help="Row that the others are tested against.  [default: the study's]",
)


def say_json(value: Any) -> None:
    """Prints a value as JSON; undefined is null, never NaN."""
    click.echo(json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False))


class Stopped(KeyboardInterrupt):
    """Raised when a signal asks the command to stop."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.exit_code = 128 + number
        """As a shell tells it: 130 after Ctrl-C, 143 after SIGTERM."""


class SuggestingGroup(click.Group):
    """A group that suggests a command for a misspelt one."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and not args[0].startswith("-") and self.get_command(ctx, args[0]) is None:
            raise click.UsageError(unknown("command", args[0], self.list_commands(ctx)), ctx)
        return super().resolve_command(ctx, args)


def pairs_of(settings: tuple[str, ...], option: str = "--set") -> dict[str, str]:
    """Settings as a mapping.

    Raises:
        UsageError: one is not KEY=VALUE; the message names the option it came by.
    """
    pairs = {}
    for setting in settings:
        key, sign, value = setting.partition("=")
        if not sign or not key:
            raise UsageError(f"{option} {setting}: write it as KEY=VALUE.")
        pairs[key] = value
    return pairs


def studies_of(study: str | None, results: Path) -> list[str]:
    """The study that was named, or all there are.

    Raises:
        UsageError: it is not there, or there is none.
    """
    from bench.report.results import studies

    known = studies(results)
    if not known:
        raise UsageError(f"No study in {results}. Run: bench run --method cxrcml --folds 5")
    if study is not None and study not in known:
        raise UsageError(unknown("study", study, known))
    return known if study is None else [study]


def each_of(names: list[str], show: Callable[[str], None]) -> None:
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
