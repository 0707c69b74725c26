"""Scripts of tests/perf that cannot be run in full here are at least known to run."""

from __future__ import annotations

import pytest
import torch

from tests.perf import gpu


def test_the_gpu_script_runs_and_extrapolates_on_toy_sizes(
    capsys: pytest.CaptureFixture[str],
) -> None:
    gpu.main(["--dry"])
    said = capsys.readouterr().out
    assert "mean nothing" in said
    for title in ("upstream's kind, eager", "ours, float32, not recorded", "cxrcml, bfloat16, 2 a"):
        assert title in said
    assert "500 trainings x 10 epochs x (187,840 / 32 = 5,870 steps" in said


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_the_script_says_so_and_measures_nothing() -> None:
    with pytest.raises(SystemExit, match="no GPU here, so nothing is measured"):
        gpu.main([])


def test_gpu_days_are_the_product_that_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    gpu.extrapolated("x", step=0.003, fit=2.0, images=18_784)
    said = capsys.readouterr().out
    # 500 x 10 x (5,870 x 0.003 + 20) s = 188,050 s
    assert "2.18 GPU-days; the mixture's share 53.2%" in said
