"""`bench run`, and what `bench plan` has in common with it: the options that say which trials."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any, TypeVar

import click

from bench.cli.common import JSON, RESULTS, Stopped, pairs_of, say_json
from bench.cli.completion import DEVICES, EXECUTORS, METHODS, PRESETS, READERS, complete_study

F = TypeVar("F", bound=Callable[..., Any])

# Stopping is bounded, and a second Ctrl-C or the SIGTERM of a shutdown must not tear it.
_STOPPING_S = 15.0

_SELECTION = (
    click.option(
        "--method",
        "methods",
        multiple=True,
        metavar="NAME|FILE.py",
        shell_complete=METHODS,
        help="Repeat for several.",
    ),
    click.option("--table", type=int, help="Run all rows of the paper's Table 2 or 3."),
    click.option(
        "--data",
        shell_complete=READERS,
        help="phantom, csv:PATH, NAME:DIR (bench data list) or a prepared folder."
        "  [default: phantom]",
    ),
    click.option(
        "--test-data",
        multiple=True,
        metavar="DATA",
        shell_complete=READERS,
        help="Other data that every model scores too; see bench table --on. Repeat for several.",
    ),
    click.option(
        "--classes",
        multiple=True,
        metavar="NAME",
        help="A class of --test-data that --data does not label, asked by prompts. "
        "Repeat for several.",
    ),
    click.option(
        "--preset",
        shell_complete=PRESETS,
        help="tiny, paper or upstream.  [default: tiny; with --weights the methods' own]",
    ),
    click.option(
        "--weights",
        multiple=True,
        metavar="FILE|hf-hub:NAME|local-dir:FOLDER",
        help="Weights to start from; repeat for an ensemble of released ones.",
    ),
    click.option(
        "--track",
        type=click.Choice(["trained", "released"]),
        default="trained",
        show_default=True,
        help="released scores the weights as they are.",
    ),
    click.option("--folds", type=int, default=5, show_default=True),
    click.option("--runs", type=int, help="Cross-validations.  [default: 10; released: 1]"),
    click.option("--seed", type=int, default=0, show_default=True),
    click.option(
        "--set", "settings", multiple=True, metavar="KEY=VALUE", help="A method's setting."
    ),
    click.option(
        "--jobs",
        type=int,
        help="Trials at a time, each a process of one thread; with more than there are GPUs they "
        "share them.  [default: one a core, or one a GPU]",
    ),
    click.option(
        "--device",
        default="auto",
        show_default=True,
        shell_complete=DEVICES,
        help="auto, cpu or cuda.",
    ),
    RESULTS,
    click.option(
        "--study",
        metavar="NAME|FILE.toml",
        shell_complete=complete_study,
        help="Folder of the results, or a study file to run.  [default: DATA-PRESET]",
    ),
    click.option(
        "--keep",
        multiple=True,
        type=click.Choice(["model", "embeddings"]),
        help="Keep it beside the record, for bench predict and figures. Repeat for both.",
    ),
    click.option(
        "--only",
        multiple=True,
        type=click.Choice(["failed", "missing", "stale"]),
        help="Only trials that failed before, say. Repeat for several.",
    ),
    click.option("--limit", type=int, metavar="N", help="At most N trials this time."),
    click.option("--fresh", is_flag=True, help="Redo finished trials too."),
    click.option("--skip-unreadable", is_flag=True, help="Leave out images that cannot be read."),
)


def selection(command: F) -> F:
    """Puts the options that say which trials there are on a command."""
    for option in reversed(_SELECTION):
        command = option(command)
    return command


def request_of(settings: tuple[str, ...], **options: Any) -> Any:
    """The `Request` that the options make.

    Raises:
        UsageError: data or a setting is not written as it should be.
    """
    from bench.data.dataset import DataSpec
    from bench.runs.rows import Request

    for named in (options["data"], *options["test_data"]):
        if named is not None:
            DataSpec.parse(named)  # a wrong name should not wait for torch
    return Request(settings=pairs_of(settings), **options)


@click.command()
@selection
@click.option(
    "--keep-going",
    is_flag=True,
    help="Try all trials of a row, although its first three failed in the same way.",
)
@click.option(
    "--executor",
    default="local",
    show_default=True,
    shell_complete=EXECUTORS,
    help="Where the trials run: local (processes of this machine), ray or slurm (a cluster).",
)
@click.option(
    "--log",
    multiple=True,
    type=click.Choice(["tensorboard", "wandb", "mlflow"]),
    help="Also log the epochs there, below STUDY/logs; repeat for several. log.jsonl of every "
    "trial has them anyway.",
)
@JSON
def run(as_json: bool, **options: Any) -> None:
    """Train and score methods over runs and folds; what is done already is skipped."""
    request = request_of(**options)
    from bench.runs.launch import launch

    with _stopping_on_signals():
        summary = launch(request, lambda line: click.echo(line, err=True))
    if as_json:
        say_json(asdict(summary) | {"folder": str(summary.folder)})
    left = f", {summary.left} left" if summary.left else ""
    click.echo(
        f"{summary.folder}: {summary.finished} trials finished, {summary.skipped} done before, "
        f"{summary.failed} failed{left}.",
        err=True,
    )
    if summary.failed:
        sys.exit(1)


@contextmanager
def _stopping_on_signals() -> Iterator[None]:
    """SIGTERM stops as Ctrl-C does, and neither interrupts what the other has begun to stop."""
    stopping_since: float | None = None

    def stop(number: int, frame: object) -> None:
        nonlocal stopping_since
        now = time.monotonic()
        if stopping_since is None or now - stopping_since > _STOPPING_S:
            stopping_since = now
            raise Stopped(number)

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        # A process that is about to end must not be hit once Python has put its handlers away.
        for number, handler in before.items():
            signal.signal(number, handler if stopping_since is None else signal.SIG_IGN)
