"""What every process that is started to work has in common: how it is started, and when it goes."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import parent_process


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Ctrl-C waits until the block ends, and never reaches a process that is started inside."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def leave_with_parent() -> None:
    """Called once in a worker: it ends when its parent is gone, so that nobody is left writing."""
    threading.Thread(target=_wait_and_leave, daemon=True).start()


def _wait_and_leave() -> None:
    parent = parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
