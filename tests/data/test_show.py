"""`bench data show` refuses what it cannot draw or write, in a sentence."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from bench.cli import main


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--seed", "-1", "x>=0"),
        ("--size", "15", "x>=16"),
        ("--count", "0", "x>=1"),
        ("--out", "nowhere/s.png", "there is no folder nowhere"),
        ("--out", ".", "Cannot write ."),
        ("--data", "phantom:n=60,seed=-1", "seed at least 0"),
    ],
)
def test_what_cannot_be_shown_is_said_plainly(
    tmp_path: Path, option: str, value: str, said: str
) -> None:
    words = {"--data": "phantom:n=60,size=32", "--count": "2", option: value}
    done = CliRunner().invoke(
        main, ["data", "show", *(word for pair in words.items() for word in pair)]
    )
    assert done.exit_code == 2, done.output
    assert said in done.output
    assert not list(tmp_path.glob("*.png"))
