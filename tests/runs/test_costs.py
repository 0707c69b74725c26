"""What a trial costs, by counters that these tests make up."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from bench.runs import costs
from bench.runs.costs import Meter


class Counters:
    """A package's energy counter and the processor's busy time, as the kernel tells them."""

    def __init__(self, folder: Path) -> None:
        self._stat, self._package = folder / "stat", folder / "intel-rapl:0"
        for name in ("intel-rapl:0", "intel-rapl:0:0"):
            (folder / name).mkdir()
            (folder / name / "max_energy_range_uj").write_text("100000000")
            (folder / name / "energy_uj").write_text("0")
        self.tell(0, 0)

    def tell(self, joules: int, busy_s: float) -> None:
        (self._package / "energy_uj").write_text(str(joules * 10**6))
        self._stat.write_text(f"cpu  {busy_s * 100:.0f} 0 0 7 0\n")


@pytest.fixture
def counters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Counters:
    monkeypatch.setattr(costs, "_RAPL", tmp_path)
    monkeypatch.setattr(costs, "_STAT", tmp_path / "stat")
    monkeypatch.setattr("os.sysconf", lambda name: 100)
    return Counters(tmp_path)


def _own_time(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    monkeypatch.setattr("os.times", lambda: SimpleNamespace(user=seconds, system=0.0))


@pytest.mark.parametrize(
    ("start", "end", "own", "joules"),
    [
        ((10, 0.0), (50, 4.0), 4.0, 40.0),  # alone on the machine
        ((10, 0.0), (50, 8.0), 2.0, 10.0),  # a quarter of what was busy
        ((90, 0.0), (20, 4.0), 4.0, 30.0),  # the counter of 100 J has started anew
        ((10, 0.0), (50, 3.9), 4.0, 40.0),  # never more than there was
    ],
)
def test_a_processors_energy_is_shared_by_busy_time(
    counters: Counters,
    monkeypatch: pytest.MonkeyPatch,
    start: tuple[int, float],
    end: tuple[int, float],
    own: float,
    joules: float,
) -> None:
    counters.tell(*start)
    _own_time(monkeypatch, 0.0)
    meter = Meter("cpu")
    counters.tell(*end)
    _own_time(monkeypatch, own)
    assert meter.read()["energy_j"] == pytest.approx(joules)


def test_without_a_counter_the_energy_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(costs, "_RAPL", tmp_path)
    assert Meter("cpu").read()["energy_j"] is None


def test_a_gpus_energy_is_shared_by_the_processes_on_it(monkeypatch: pytest.MonkeyPatch) -> None:
    counter = iter([5_000, 65_000])
    nvml = SimpleNamespace(
        NVMLError=RuntimeError,
        nvmlInit=lambda: None,
        nvmlDeviceGetHandleByUUID=lambda uuid: uuid,
        nvmlDeviceGetTotalEnergyConsumption=lambda handle: next(counter),
        nvmlDeviceGetComputeRunningProcesses=lambda handle: [1, 2, 3],
    )
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    monkeypatch.setattr(
        "torch.cuda.get_device_properties", lambda device: SimpleNamespace(uuid="ab-cd")
    )
    monkeypatch.setattr("torch.cuda.reset_peak_memory_stats", lambda device: None)
    monkeypatch.setattr("torch.cuda.max_memory_reserved", lambda device: 3 * 2**30)
    monkeypatch.setattr(costs, "_processor", lambda: None)
    told = Meter("cuda").read()
    assert told["energy_j"] == pytest.approx(20.0)
    assert told["peak_gpu_memory_mb"] == 3072


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="Linux keeps the peak")
def test_the_peak_of_an_earlier_trial_is_forgotten() -> None:
    # In a process of its own: in one that has seen more, the large array may change no peak.
    told = """
import numpy as np
from bench.runs.costs import Meter
large = np.ones(40_000_000)
first = Meter("cpu").read()["peak_memory_mb"]
del large
print(first - Meter("cpu").read()["peak_memory_mb"])
"""
    done = subprocess.run(
        [sys.executable, "-c", told], capture_output=True, text=True, check=True,
        cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert int(done.stdout) > 200


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux tells it")
def test_a_workers_peak_is_not_that_of_the_process_that_started_it() -> None:
    large = np.ones(50_000_000)
    told = "from bench.runs.costs import Meter; print(Meter('cpu').read()['peak_memory_mb'])"
    done = subprocess.run(
        [sys.executable, "-c", told], capture_output=True, text=True, check=True,
        cwd=Path(__file__).parents[2],
    )  # fmt: skip
    del large
    assert int(done.stdout) < 200


def test_where_the_system_has_no_proc_the_peak_is_still_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(costs, "_STATUS", tmp_path / "none")
    assert Meter("cpu").read()["peak_memory_mb"] > 10
