"""Processes of a `bench run`: what they said, which are there, and waiting for something."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path


def output(process: subprocess.Popen[str], seconds: float = 180) -> tuple[str, int]:
    """What a command said, and its exit code."""
    said, _ = process.communicate(timeout=seconds)
    return said, process.returncode


def alive(sessions: list[int]) -> list[int]:
    """Processes of these sessions that are still there after their workers had time to leave."""
    until = time.monotonic() + 5
    while found := [pid for session in sessions for pid in of_session(session)]:
        if time.monotonic() > until:
            break
        time.sleep(0.1)
    return found


def of_session(session: int) -> list[int]:
    """Living processes of a session."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            state = (entry / "stat").read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        if int(state[3]) == session and state[0] != "Z":
            found.append(int(entry.name))
    return found


def workers(session: int) -> list[int]:
    """The worker processes of a `bench run`."""
    found = []
    for pid in of_session(session):
        try:
            if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.append(pid)
        except OSError:
            continue
    return found


def wait_for(condition: Callable[[], object], seconds: float = 90) -> bool:
    """Whether it came true in time."""
    until = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until:
            return False
        time.sleep(0.02)
    return True
