"""Which runs are still at work on this machine: each holds a file of its own locked, which ends with its process.

So a run that was killed is told from one that goes on, whatever either of them could still write down. flock(2)
locks are given back by the kernel, also after a kill -9.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from fleet.errors import HistoryError


def _folder(history: Path) -> Path:
    return history.with_name(f"{history.name}.runs")


@contextmanager
def hold_run(history: Path, run_id: str) -> Iterator[None]:
    """Until the block ends, this run is at work. Raises `HistoryError`: a run that cannot say so would be taken for
    one that is over, and its locks with it."""
    path = _folder(history) / run_id
    try:
        path.parent.mkdir(mode=0o700, exist_ok=True)
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise HistoryError(f"{path}: the run cannot be marked as being at work: {error.strerror}") from error
    try:
        yield
    finally:
        with suppress(OSError):
            path.unlink(missing_ok=True)
        os.close(file)


def is_at_work(history: Path, run_id: str) -> bool:
    """Whether the run's own process is still there."""
    try:
        file = os.open(_folder(history) / run_id, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(file)
    return False
