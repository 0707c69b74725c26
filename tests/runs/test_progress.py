from __future__ import annotations

import io
from dataclasses import replace

from bench.runs.perform import Outcome
from bench.runs.progress import Progress
from tests.runs.test_trial import SPEC

DONE = Outcome(status="done", seconds=3.0, total=0.7, rare=None, error=None)
FAILED = Outcome(status="failed", seconds=1.0, total=None, rare=None, error="TrialError: nan")


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def _shown(stream: io.StringIO) -> str:
    with Progress(3, 1, stream) as progress:
        progress.ended(SPEC, DONE)
        progress.ended(replace(SPEC, fold=2), FAILED)
        progress.ended(replace(SPEC, fold=3), replace(DONE, total=0.8))
    return stream.getvalue()


def test_elsewhere_than_on_a_terminal_there_is_one_plain_line_a_trial() -> None:
    lines = _shown(io.StringIO()).splitlines()
    assert len(lines) == 3
    assert lines[0].startswith("[1/3] m-default run 3 fold 1: total 0.700 rare undefined (3 s)")
    assert lines[1] == "failed: m-default run 3 fold 2: TrialError: nan"
    assert "mean m-default 0.750" in lines[2]
    assert "\x1b" not in "".join(lines)


def test_on_a_terminal_one_line_moves_and_failures_stay() -> None:
    shown = _shown(_Terminal())
    assert "workers are starting" in shown
    assert "failed: m-default run 3 fold 2: TrialError: nan\n" in shown
    last = shown.rsplit("\r", 1)[1]
    assert "3/3 trials, 1 failed; total AUC so far: m-default 0.750" in last
    assert "took" in last
    assert shown.count("\n") == 2  # the failure, and the end


def test_nothing_to_do_shows_nothing() -> None:
    stream = _Terminal()
    with Progress(0, 1, stream):
        pass
    assert stream.getvalue() == ""
