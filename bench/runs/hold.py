"""A study's folder held by one `bench run` at a time: a courtesy, on which nothing depends.

Two runs on one study would do the same trials twice; their records would be the same. So where the
file system knows no locks (some shared ones do not) the run goes on without.
"""

from __future__ import annotations

import errno
import json
import os
import platform
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from bench.errors import ResultsError
from bench.runs.record import cannot_write

HOLDER = ".holder.json"
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


@contextmanager
def held(folder: Path, say: Callable[[str], None]) -> Iterator[None]:
    """The study's folder held by this process; the system lets go when the process ends.

    Raises:
        ResultsError: it cannot be written, or another run holds it (the message says which).
    """
    from filelock import FileLock, Timeout

    holder = folder / HOLDER
    lock = FileLock(folder / ".lock")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout:
        raise ResultsError(
            f"{folder} is held by another bench run ({holder_of(folder)}). Wait for it, or give "
            "--results another folder. Trials it finishes are skipped when you run again."
        ) from None
    except (OSError, NotImplementedError) as error:
        if not isinstance(error, NotImplementedError) and error.errno not in _NO_LOCKS:
            raise cannot_write(folder, error) from error
        say(f"{folder} is on a file system without locks: see to it that nobody else runs here.")
    try:
        who = {
            "process": os.getpid(),
            "host": platform.node(),
            "since": time.strftime("%Y-%m-%d %H:%M:%S"),
        }
        with suppress(OSError):  # nobody needs it
            holder.write_text(json.dumps(who))
        yield
    finally:
        with suppress(OSError):
            holder.unlink(missing_ok=True)
        lock.release()


def holder_of(folder: Path) -> str:
    """Who holds a study's folder, in words."""
    try:
        who = json.loads((folder / HOLDER).read_text())
        return f"process {who['process']} on {who['host']} since {who['since']}"
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return "which has not said who it is yet"
