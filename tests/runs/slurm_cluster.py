"""A Slurm of its own for a test: munged, a controller and two node daemons on the loopback device.

Everything it writes is in a folder of its own under /tmp (the path of munged's socket must be
short), and it ends only the processes it has started.
"""

from __future__ import annotations

import getpass
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scancel", "scontrol")
NODES = ("node1", "node2")

# A requeued job waits until its old credentials have expired; seconds, not the usual two minutes.
_CONF = """\
ClusterName=bench
SlurmctldHost=localhost(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
SlurmctldPort={controller}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=batch_sched_delay=0,sched_interval=2
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
SwitchType=switch/none
KillWait=2
InactiveLimit=0
ReturnToService=2
SlurmdTimeout=15
SlurmdParameters=config_overrides
NodeName=node1 NodeHostname=localhost NodeAddr=127.0.0.1 Port={node1} CPUs=1
NodeName=node2 NodeHostname=localhost NodeAddr=127.0.0.1 Port={node2} CPUs=1
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def missing() -> list[str]:
    """The programs that are not installed (Debian: slurm-wlm and munge)."""
    return [name for name in PROGRAMS if _path(name) is None]


class Cluster:
    """The daemons by their names."""

    def __init__(self, daemons: dict[str, subprocess.Popen[bytes]]) -> None:
        self._daemons = daemons

    def kill_node(self, node: str, job: str) -> None:
        """As a power failure: nobody of the node tells the controller that its job is gone."""
        self._daemons[node].kill()
        steps = _processes("cmdline", f"slurmstepd: [{job}.")
        of_job = _processes("environ", f"SLURM_JOB_ID={job}")
        ours = _processes("environ", f"SLURM_CONF={os.environ['SLURM_CONF']}")
        for pid in (*steps, *(of_job & ours)):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def _processes(file: str, text: str) -> set[int]:
    """The processes that have the text in that file of /proc."""
    found = set()
    for path in Path("/proc").glob(f"[0-9]*/{file}"):
        with suppress(OSError):
            if any(part.startswith(text.encode()) for part in path.read_bytes().split(b"\0")):
                found.add(int(path.parent.name))
    return found


@contextmanager
def slurm_cluster() -> Iterator[Cluster]:
    """Two idle nodes of one core; SLURM_CONF is set inside.

    Raises:
        RuntimeError: the nodes did not come up (its text holds the end of the logs).
    """
    folder = Path(tempfile.mkdtemp(prefix="slurm-", dir="/tmp"))
    before = os.environ.get("SLURM_CONF")
    os.environ["SLURM_CONF"] = str(folder / "slurm.conf")
    started: dict[str, subprocess.Popen[bytes]] = {}
    try:
        _configure(folder)
        for name, command in _daemons(folder).items():
            log = (folder / f"{name}.out").open("wb")
            started[name] = subprocess.Popen(command, stdout=log, stderr=log)
            log.close()
            if name == "munged":
                _until(lambda: (folder / "munge.socket").exists(), folder)
        _until(lambda: told("sinfo", "-h", "-o", "%T %D") == "idle 2", folder)
        yield Cluster(started)
    finally:
        subprocess.run(["scancel", "--me"], check=False, capture_output=True)
        _wait(lambda: told("squeue", "--me", "-h") == "", 10)
        for process in reversed(started.values()):
            process.terminate()
        for process in started.values():
            process.wait(20)
        if before is None:
            del os.environ["SLURM_CONF"]
        else:
            os.environ["SLURM_CONF"] = before
        shutil.rmtree(folder, ignore_errors=True)


def told(*command: str) -> str:
    """What a command of Slurm prints; what it complains of where it fails."""
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    return (done.stdout if done.returncode == 0 else done.stderr).strip()


def _configure(folder: Path) -> None:
    for name in ("state", *(f"spool-{node}" for node in NODES)):
        (folder / name).mkdir()
    key = folder / "munge.key"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o400)
    ports = dict(zip(("controller", *NODES), _free_ports(3), strict=True))
    (folder / "slurm.conf").write_text(_CONF.format(folder=folder, user=getpass.getuser(), **ports))


def _daemons(folder: Path) -> dict[str, list[str]]:
    munged = [_path("munged") or "munged", "--foreground", "--force"]
    munged += [
        f"--{what}={folder}/munge{end}"
        for what, end in (
            ("key-file", ".key"), ("socket", ".socket"), ("pid-file", "d.pid"),
            ("log-file", "d.log"), ("seed-file", "d.seed"),
        )
    ]  # fmt: skip
    slurmd = _path("slurmd") or "slurmd"
    return {
        "munged": munged,
        "slurmctld": [_path("slurmctld") or "slurmctld", "-D", "-c"],
        **{node: [slurmd, "-D", "-N", node] for node in NODES},
    }


def _path(name: str) -> str | None:
    """Daemons lie in sbin, which is not on everybody's path."""
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


def _until(condition: object, folder: Path) -> None:
    if not _wait(condition, 30):
        logs = "\n".join(
            f"{path.name}: {path.read_text(errors='replace')[-600:]}"
            for path in sorted(folder.glob("*.log"))
        )
        raise RuntimeError(f"Slurm did not come up:\n{logs}")


def _wait(condition: object, seconds: float) -> bool:
    assert callable(condition)
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if condition():
            return True
        time.sleep(0.2)
    return False
