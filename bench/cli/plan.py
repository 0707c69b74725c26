"""`bench plan`: what `bench run` with the same options would do, and what it would take."""

from __future__ import annotations

from typing import Any

import click

from bench.cli.common import JSON, say_json
from bench.cli.run import request_of, selection


@click.command()
@selection
@JSON
def plan(as_json: bool, **options: Any) -> None:
    """Show what bench run would do with these options, and how long it may take.

    Results are left as they are. Data that are not prepared yet are prepared.
    """
    request = request_of(**options)
    from bench.runs.forecast import plan_lines, plan_of

    def say(line: str) -> None:
        click.echo(line, err=True)

    if as_json:
        say_json(plan_of(request, say))
        return
    for line in plan_lines(request, say):
        click.echo(line)
