"""`bench weights`: which method a file fits, and its conversion."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result
from safetensors import safe_open

from bench.cli import main
from bench.protocol.weights import load_checkpoint
from tests.test_readme import adapter

FIT = """
    @classmethod
    def fit(cls, state):
        from bench.protocol.weights import fit_of

        expected = {"head.weight": torch.empty({rows}, 4), "head.bias": torch.empty({rows})}
        return fit_of(expected, state, sizes="{rows} rows", harmless=("*.position_ids",))
"""
STATE = {"module.head.weight": torch.ones(3, 4).half(), "module.head.bias": torch.ones(3).half()}


def _method(path: Path, rows: int, sha256: str = "") -> str:
    code = adapter().replace(
        "    def embed(", FIT.replace("{rows}", str(rows)).lstrip("\n") + "\n    def embed(", 1
    )
    if sha256:
        weights = f"weights=(Weights('best.pt', '{sha256}', 'their site'),), licence"
        code = code.replace("licence", weights, 1)
        code = code.replace("import Card,", "import Card, Weights,", 1)
        assert "Weights" in code
    path.write_text(code)
    return f"./{path.name}"


def weights(*words: str) -> Result:
    return CliRunner().invoke(main, ["weights", *words])


def test_a_file_that_fits_is_said_with_all_that_is_known(tmp_path: Path) -> None:
    torch.save({"state_dict": STATE | {"module.x.position_ids": torch.arange(3)}}, "w.pt")
    digest = hashlib.sha256(Path("w.pt").read_bytes()).hexdigest()
    done = weights(
        "w.pt", "--method", _method(tmp_path / "mine.py", 3, digest), "--method", "chexzero"
    )
    assert done.exit_code == 0, done.output
    assert "3, 18 numbers" in done.output
    assert "float16 (2), int64 (1)" in done.output
    assert f"{digest} (best.pt on the card of ./mine.py)" in done.output
    assert "harmless:   1 (x.position_ids)" in done.output
    assert "it fits ./mine.py" in done.output
    assert "--track released --weights w.pt" in done.output


def test_the_nearest_method_is_named_when_none_fits(tmp_path: Path) -> None:
    torch.save(STATE, "w.pt")
    near, far = _method(tmp_path / "near.py", 4), _method(tmp_path / "far.py", 5)
    torch.save({"head.weight": torch.ones(3, 4)}, "less.pt")
    done = weights("w.pt", "--method", far, "--method", near)
    assert done.exit_code == 1
    assert "misshapen:  2 (head.weight: 3x4, 5x4; head.bias: 3, 5)" in done.output
    assert "no card knows it" in done.output
    done = weights("less.pt", "--method", _method(tmp_path / "three.py", 3), "--method", near)
    assert "fits no method; nearest is ./three.py, with 1 key against" in done.output


def test_all_methods_are_asked_and_a_foreign_file_fits_none() -> None:
    torch.save({"nothing.like.it": torch.ones(2)}, "w.pt")
    done = weights("w.pt")
    assert done.exit_code == 1, done.output
    assert "fits no method" in done.output


def test_conversion_keeps_names_values_and_origin(tmp_path: Path) -> None:
    shared = torch.ones(2, 2)
    torch.save({"model": {"module.a": shared, "module.b": shared, "module.c": shared.T}}, "w.pt")
    done = weights("w.pt", "--method", "chexzero", "--convert", "w.safetensors")
    assert "Written: w.safetensors" in done.output
    first, second = load_checkpoint("w.pt"), load_checkpoint("w.safetensors")
    assert sorted(second.state) == ["a", "b", "c"]
    assert all(torch.equal(first.state[key], value) for key, value in second.state.items())
    with safe_open("w.safetensors", "pt") as file:
        assert file.metadata()["source_sha256"] == first.digest
        assert file.metadata()["source"] == "w.pt"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["w.pt", "--convert", "w.bin"], "call it .safetensors"),
        (["w.pt", "--convert", "there.safetensors"], "there is such a file already"),
        (["local-dir:."], "checked strictly when it is opened"),
        (["none.pt"], "there is no such file"),
        (["w.pt", "--method", "chexzer"], "Did you mean 'chexzero'"),
    ],
)
def test_wrong_use_is_said_and_exits_with_2(words: list[str], said: str) -> None:
    torch.save(STATE, "w.pt")
    Path("there.safetensors").touch()
    Path("config.json").write_text("{}")
    done = weights(*words)
    assert done.exit_code == 2, done.output
    assert said in done.output
