"""What upstream's code computed is what the adapters compute; and the checker would notice."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import REPOSITORY, SHARED
from tests.parity import companion, compare_file, slip
from tests.parity.__main__ import main

SMALL = REPOSITORY / "tests" / "fixtures" / "cxrcml.npz"


FILES = [
    path
    for path in sorted((SHARED / "parity").glob("*/*.npz"))
    if find_spec(f"tests.parity.{path.parent.name}") is not None
]


def _named(path: Path) -> str:
    return f"{path.parent.name}/{path.stem}"


@pytest.mark.parametrize("path", FILES, ids=_named)
def test_every_array_is_reproduced(path: Path) -> None:
    found = compare_file(path.parent.name, path)
    assert [str(comparison) for comparison in found if not comparison.passed] == []


def _spoilt(folder: Path, **changes: np.ndarray | None) -> Path:
    """A copy of the small file with arrays replaced, added or (None) left out."""
    with np.load(SMALL) as file:
        arrays = {key: file[key] for key in file.files}
    for key, value in changes.items():
        name = key.replace("__", "/")
        if value is None:
            del arrays[name]
        else:
            arrays[name] = value
    path = folder / "spoilt.npz"
    np.savez(path, **arrays)  # type: ignore[arg-type]
    return path


def test_a_file_that_is_reproduced_passes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cxrcml", str(SMALL)]) == 0
    told = capsys.readouterr().out
    assert "nu4/resp" in told
    assert "FAIL" not in told


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("nu4__mu1", np.zeros((3, 5)), "above tolerance"),
        ("nu4__pi1", np.full(3, np.nan), "above tolerance"),
        ("nu4__u", np.zeros((2, 2)), "is expected"),
        ("surprise", np.zeros(3), "nothing reproduces it"),
        ("tri__E", None, "nothing reproduces it"),
        ("X", None, "KeyError"),
    ],
)
def test_a_file_that_is_not_reproduced_fails(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    name: str,
    value: np.ndarray | None,
    told: str,
) -> None:
    assert main(["cxrcml", str(_spoilt(tmp_path, **{name: value}))]) == 1
    output = "".join(capsys.readouterr())
    assert told in output
    assert "FAIL" in output


@pytest.mark.parametrize(("epochs", "steps", "lr"), [(7, 13, 5e-4), (1, 10, 3e-3), (50, 4, 2e-3)])
def test_slips_schedule_is_read_at_any_length_and_rate(epochs: int, steps: int, lr: float) -> None:
    # The formula of SLIP's utils.cosine_scheduler with its own start and end.
    rest = np.arange(epochs * steps - steps)
    cosine = 1e-5 + (lr - 1e-5) * (1 + np.cos(np.pi * rest / max(1, len(rest)))) / 2
    theirs = np.concatenate([np.linspace(1e-6, lr, steps), cosine])
    found = slip.reproduce({"sched": theirs}, {})["sched"]
    np.testing.assert_allclose(found, theirs, rtol=0, atol=1e-15)


def test_a_file_is_read_with_the_one_that_has_its_suffix(tmp_path: Path) -> None:
    for name in ("fixture.npz", "fixture-7.npz", "model2.npz", "model2-7.npz"):
        (tmp_path / name).touch()
    assert companion(tmp_path / "fixture-7.npz", "model2") == tmp_path / "model2-7.npz"
    assert companion(tmp_path / "fixture.npz", "model2") == tmp_path / "model2.npz"
    assert companion(tmp_path / "seed3.npz", "model2") == tmp_path / "model2.npz"
    assert companion(tmp_path / "model2.npz", "model2") is None


def test_wrong_usage_is_told_apart(tmp_path: Path) -> None:
    assert main([]) == 2
    assert main(["nobody", str(SMALL)]) == 2
    assert main(["cxrcml", str(tmp_path / "absent.npz")]) == 2
