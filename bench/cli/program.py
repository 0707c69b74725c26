"""The `bench` command as a whole: help by what commands are for, and every ending told plainly."""

from __future__ import annotations

import os
import select
import sys
import traceback
from typing import Any, NoReturn

import click

from bench.cli.common import Stopped, SuggestingGroup
from bench.errors import BenchError

SECTIONS = {
    "Run": ("run", "plan", "status"),
    "Look": ("table", "report", "figures", "power"),
    "Check and share": ("reproduce", "export", "import"),
    "Data": ("data",),
    "Methods and weights": ("methods", "check", "new-method", "weights"),
    "Images of your own": ("predict",),
    "Shell": ("completion",),
}
"""The commands under the headings of `bench --help`."""

# As a shell tells that a program was ended by SIGPIPE.
_READER_GONE = 141


class Program(SuggestingGroup):
    """Says how a command ended in a sentence and its exit code; with --debug also by a traceback.

    The exit codes are in docs/commands.md.
    """

    def main(self, *args: Any, **kwargs: Any) -> Any:
        for stream in (sys.stdout, sys.stderr):
            # A terminal that has no ν is still one that can show the table.
            if getattr(stream, "errors", None) == "strict" and hasattr(stream, "reconfigure"):
                stream.reconfigure(errors="replace")
        return super().main(*args, **kwargs)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except KeyboardInterrupt as stopped:
            _end_stopped(stopped)
        except Exception as error:
            _end_failed(error, ctx.params["debug"])

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for heading, names in SECTIONS.items():
            with formatter.section(heading):
                commands = [(name, self.get_command(ctx, name)) for name in names]
                formatter.write_dl(
                    [(name, c.get_short_help_str(limit=200)) for name, c in commands if c]
                )


def _end_stopped(stopped: KeyboardInterrupt) -> NoReturn:
    if isinstance(stopped, Stopped):
        click.echo("\nStopped. Finished trials are kept; run again to go on.", err=True)
        sys.exit(stopped.exit_code)
    click.echo("\nStopped.", err=True)
    sys.exit(130)


def _end_failed(error: Exception, debug: bool) -> NoReturn:
    if isinstance(error, BrokenPipeError) and _reader_is_gone():
        sys.exit(_READER_GONE)
    if debug:
        traceback.print_exc()
    else:
        click.echo(f"Error: {_sentence(error)}", err=True)
    sys.exit(error.exit_code if isinstance(error, BenchError) else 1)


def _sentence(error: Exception) -> str:
    if isinstance(error, BenchError):
        return str(error)
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}."
    last = traceback.extract_tb(error.__traceback__)[-1]
    return (
        f"{type(error).__name__}: {error} ({os.path.basename(last.filename)}, line {last.lineno}). "
        "This should not happen. To report it, add what the same command says as: bench --debug ..."
    )


def _reader_is_gone() -> bool:
    """Whether nobody reads what is printed any more; what is left to say then goes nowhere."""
    gone = [number for number in (1, 2) if _hung_up(number)]
    for number in gone:
        os.dup2(os.open(os.devnull, os.O_WRONLY), number)
    return bool(gone)


def _hung_up(number: int) -> bool:
    poll = select.poll()
    poll.register(number, select.POLLOUT)
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))
