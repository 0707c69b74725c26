"""`bench plan`: what `bench run` with the same options would do, and what it would take."""

from __future__ import annotations

from typing import Any

import click

from bench.cli.common import told_plainly
from bench.cli.run import request_of, selection


@click.command()
@selection
@told_plainly
def plan(**options: Any) -> None:
    """Show what bench run would do with these options, and how long it may take.

    Results are left as they are. Data that are not prepared yet are prepared.
    """
    request = request_of(**options)
    from bench.runs.forecast import plan_lines

    for line in plan_lines(request, lambda said: click.echo(said, err=True)):
        click.echo(line)
