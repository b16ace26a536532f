"""The file of a saved plan: where it may be put, how it gets there whole, and how it is read."""

import os
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

from fleet.errors import BrokenPlan, UnreadableFile, UsageError
from fleet.plan.conceal import Concealer
from fleet.plan.saved import FAMILY, SavedPlan, parse_saved_plan

_MAX_BYTES = 256 * 1024 * 1024


def read_plan_file(path: Path) -> SavedPlan:
    """A saved plan. Raises `UnreadableFile`, and `BrokenPlan` naming the file (T44)."""
    try:
        return parse_saved_plan(_read(path).decode("utf-8"))
    except BrokenPlan as error:
        raise BrokenPlan(f"{path}: {error}; nothing was done. Make a new plan with `fleet plan --out`") from error
    except UnicodeDecodeError:
        raise BrokenPlan(f"{path}: it is no saved plan; nothing was done") from None


def check_seal(saved: SavedPlan, concealer: Concealer, path: Path) -> None:
    """Raise `BrokenPlan` where somebody without the history's key wrote it, or another plan's words into it."""
    if not saved.is_sealed_by(concealer):
        raise BrokenPlan(
            f"{path}: it is not as fleet wrote it: its seal does not fit, so somebody edited it and made its checksum"
            " anew; nothing was done. Ask who had it in their hands, and make a new plan with `fleet plan --out`"
        )


def _read(path: Path) -> bytes:
    try:
        # O_NONBLOCK: a pipe to which nobody writes must not hold us.
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise UnreadableFile(f"{path}: the plan cannot be read: it is no regular file; nothing was done")
            if status.st_size > _MAX_BYTES:
                raise BrokenPlan(f"{status.st_size} bytes are more than any saved plan has")
            return file.read(_MAX_BYTES)
    except OSError as error:
        raise UnreadableFile(f"{path}: the plan cannot be read: {error.strerror}; nothing was done") from error


def check_plan_place(path: Path) -> None:
    """Before anybody is contacted: a plan may be put at `path`. Raises UsageError, `UnreadableFile`."""
    if not path.parent.is_dir():
        raise UnreadableFile(f"{path}: there is no folder {path.parent}, so the plan could not be kept; make it first")
    if not path.exists() and not path.is_symlink():
        return
    if path.is_symlink() or not path.is_file():
        raise UsageError(f"--out {path}: it is no regular file; a plan is not written over it; nothing was done")
    with path.open("rb") as file:
        if FAMILY.encode() not in file.read(200):
            raise UsageError(f"--out {path}: it is there, and is no saved plan; it is left alone; nothing was done")


def write_plan_file(path: Path, text: str) -> None:
    """All of it or nothing, 0600: a plan names hosts, paths and what their files say. Raises `UnreadableFile`."""
    name = ""
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # mkstemp makes it 0600
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except OSError as error:
        with suppress(OSError):
            Path(name).unlink(missing_ok=True)
        raise UnreadableFile(f"{path}: the plan could not be kept: {error.strerror}") from error
