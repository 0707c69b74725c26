"""What a trial takes of the machine besides time: memory of its process and of a GPU, and energy.

Energy is what counters of the hardware say, less what others used meanwhile as far as that can be
told: of the processor's (RAPL) the share of the processor's busy time that this process had, of a
GPU's (NVML) an equal share with the other processes on it. Where there is no counter that may be
read, the energy is None.
"""

from __future__ import annotations

import os
import resource
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

_RAPL = Path("/sys/class/powercap")
_STAT = Path("/proc/stat")
_RESET = Path("/proc/self/clear_refs")
_STATUS = Path("/proc/self/status")


class Meter:
    """Measures from where it is made to where it is read; one at a time in a process."""

    def __init__(self, device: str) -> None:
        """
        Args:
            device: that of the trial, `cpu` or a GPU as torch names it.
        """
        self._gpu = device if device.startswith("cuda") else None
        with suppress(OSError):
            _RESET.write_text("5")  # the process's largest memory so far, of an earlier trial
        if self._gpu is not None:
            import torch

            torch.cuda.reset_peak_memory_stats(self._gpu)
        self._processor = _processor()
        self._board = None if self._gpu is None else _board(self._gpu)

    def read(self) -> dict[str, Any]:
        """`peak_memory_mb`, on a GPU `peak_gpu_memory_mb`, and `energy_j` (joules, or None)."""
        told: dict[str, Any] = {"peak_memory_mb": _peak_kb() // 1024}
        if self._gpu is not None:
            import torch

            told["peak_gpu_memory_mb"] = torch.cuda.max_memory_reserved(self._gpu) // 2**20
        told["energy_j"] = self._energy()
        return told

    def _energy(self) -> float | None:
        joules = [_between(self._processor, _processor())]
        if self._gpu is not None:
            joules.append(_of_board(self._board, _board(self._gpu)))
        known = [value for value in joules if value is not None]
        return round(sum(known), 1) if known else None


def _peak_kb() -> int:
    """The largest memory of this process so far, or since it was reset.

    The system's count of resources is the last resort: in it a spawned worker starts from what the
    process had that spawned it (getrusage(2): ru_maxrss is kept across execve).
    """
    with suppress(OSError, StopIteration, ValueError):
        with _STATUS.open() as lines:
            line = next(line for line in lines if line.startswith("VmHWM:"))
        return int(line.split()[1])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


class _Processor(NamedTuple):
    """Counters of all packages and the time they were busy for."""

    microjoules: dict[str, tuple[int, int]]
    """By package its counter, and the value at which this starts from 0 again."""
    own_s: float
    """Processor seconds of this process."""
    all_s: float
    """Those of all processes."""


def _processor() -> _Processor | None:
    try:
        # Parts of a package (intel-rapl:0:0) are counted in it.
        packages = [path for path in sorted(_RAPL.glob("*-rapl:*")) if path.name.count(":") == 1]
        counters = {
            path.name: (_number(path / "energy_uj"), _number(path / "max_energy_range_uj"))
            for path in packages
        }
        # user, nice and system time in ticks (proc(5))
        ticks = sum(map(int, _STAT.read_text().split(maxsplit=4)[1:4]))
    except (OSError, ValueError):
        return None
    if not counters:
        return None
    own = os.times()
    return _Processor(counters, own.user + own.system, ticks / os.sysconf("SC_CLK_TCK"))


def _between(first: _Processor | None, last: _Processor | None) -> float | None:
    """Joules of this process between two readings."""
    if first is None or last is None or first.microjoules.keys() != last.microjoules.keys():
        return None
    used = 0
    for name, (count, limit) in last.microjoules.items():
        before = first.microjoules[name][0]
        used += count - before if count >= before else count + limit - before
    # Ticks are counted coarsely: a share is never more than the whole.
    share = min(1.0, (last.own_s - first.own_s) / max(last.all_s - first.all_s, 1e-9))
    return used / 1e6 * share


class _Board(NamedTuple):
    millijoules: int
    processes: int


def _board(device: str) -> _Board | None:
    """The counter of a GPU and how many processes compute on it; None where NVML does not tell."""
    try:
        import pynvml
    except ImportError:
        return None
    import torch

    try:
        pynvml.nvmlInit()
        uuid = f"GPU-{torch.cuda.get_device_properties(device).uuid}"
        handle = pynvml.nvmlDeviceGetHandleByUUID(uuid)
        return _Board(
            int(pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)),
            max(1, len(pynvml.nvmlDeviceGetComputeRunningProcesses(handle))),
        )
    except pynvml.NVMLError:
        return None


def _of_board(first: _Board | None, last: _Board | None) -> float | None:
    if first is None or last is None:
        return None
    return (last.millijoules - first.millijoules) / 1e3 / max(first.processes, last.processes)


def _number(path: Path) -> int:
    return int(path.read_text())
