"""What all commands share: errors told plainly, names suggested, KEY=VALUE pairs."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

import click

from bench.errors import BenchError, UsageError, unknown

F = TypeVar("F", bound=Callable[..., Any])


def told_plainly(command: F) -> F:
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
