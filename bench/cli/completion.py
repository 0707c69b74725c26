"""`bench completion`, and what the shell completes where a command takes a name."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.shell_completion import CompletionItem, get_completion_class

if TYPE_CHECKING:
    from click.shell_completion import ShellComplete

Completer = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]

_SHELLS = ("bash", "zsh", "fish")


@click.command()
@click.argument("shell", type=click.Choice(_SHELLS))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the script that makes a shell complete commands, options and names.

    bash: eval "$(bench completion bash)" in ~/.bashrc; zsh likewise; fish: bench completion fish |
    source
    """
    complete: type[ShellComplete] | None = get_completion_class(shell)
    assert complete is not None
    script = complete(ctx.find_root().command, {}, "bench", "_BENCH_COMPLETE")
    click.echo(script.source())


def names_of(known: Callable[[], Iterable[str]], *, files: bool = False) -> Completer:
    """Completes names; with `files` paths as well, by the shell's own means.

    Nothing that goes wrong may be printed between a person's keys: there is then no name.
    """

    def complete(
        ctx: click.Context, parameter: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        try:
            names = [name for name in known() if name.startswith(incomplete)]
        except Exception:
            names = []
        if not names and files:
            return [CompletionItem(incomplete, type="file")]
        return [CompletionItem(name) for name in names]

    return complete


def _methods() -> list[str]:
    from bench.protocol.method import method_names

    return method_names()


def _readers() -> list[str]:
    from bench.data.dataset import READERS

    return [reader.name for reader in READERS]


def complete_study(
    ctx: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Completes studies of the results folder that is named before, or the usual one."""
    results = Path(ctx.params.get("results") or "results")
    found = sorted(path.parent.name for path in results.glob("*/trials"))
    return [CompletionItem(name) for name in found if name.startswith(incomplete)]


METHODS = names_of(_methods, files=True)
READERS = names_of(_readers, files=True)
PRESETS = names_of(lambda: ("tiny", "paper", "upstream"))
POLICIES = names_of(lambda: ("pair", "positive", "own"))
DEVICES = names_of(lambda: ("auto", "cpu", "cuda"))
EXECUTORS = names_of(lambda: ("local", "ray", "slurm"))
