"""What keeps jobs from being lost while they are submitted, and from running what others left."""

from __future__ import annotations

import os
import signal
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from bench.errors import ResultsError


def refuse_others(folder: Path) -> None:
    """Jobs run what is pickled in the folder: nobody else may have put it there.

    Raises:
        ResultsError: the folder is another user's, or others can read or write in it.
    """
    with suppress(FileNotFoundError):
        found = folder.lstat()
        mine = stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid()
        if not mine or found.st_mode & 0o077:
            raise ResultsError(
                f"{folder} is not a folder of yours alone, and jobs run what lies in it. Look at "
                "whose it is, remove it, and run again."
            )


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Ctrl-C and SIGTERM wait until the block ends, and never reach a process started inside.

    The mask is this thread's and its children's; handlers hold what another thread is given.
    """
    numbers = (signal.SIGINT, signal.SIGTERM)
    came: list[int] = []
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    before = {n: signal.signal(n, lambda number, _: came.append(number)) for n in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        if came:
            signal.raise_signal(came[0])
