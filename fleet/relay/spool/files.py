"""The spool's folder: private, one process's at a time, with files that are wholly there or not at all.

A file is never changed. Names are random ids of our own; nothing of a peer's goes into a path (T67).
"""

import errno
import fcntl
import hashlib
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from fleet.relay.spool.schema import SpoolError

PART_SUFFIX: Final = ".part"
FILE_SUFFIX: Final = ".dcm"


def check_private(folder: Path) -> None:
    """The folder is ours, a real one, and nobody else enters it."""
    found = folder.lstat()
    if folder.is_symlink() or found.st_uid != os.geteuid():
        raise SpoolError(f"the spool {folder} is a link or belongs to user {found.st_uid}; it has to be ours")
    if found.st_mode & 0o077:
        raise SpoolError(
            f"the spool {folder} has mode {found.st_mode & 0o777:o}; others could read patients' images: 0700"
        )


def sync_folder(folder: Path) -> None:
    """Make names in a folder survive a power cut (fsync(2), "Calling fsync() does not necessarily ensure…")."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def hash_file(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Folder:
    """Where a spool lies; made where there is none, and locked until `close_folder` (T77)."""

    def __init__(self, folder: Path) -> None:
        """Raises `SpoolError`."""
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            check_private(folder)
            self.folder = folder
            self.files = folder / "instances"
            self.work = folder / "work"
            for each in (self.files, self.work):
                each.mkdir(mode=0o700, exist_ok=True)
            self._lock_file = self._lock()
        except OSError as error:
            raise SpoolError(f"the spool {folder} cannot be opened: {error}") from error

    def close_folder(self) -> None:
        """Another process may open it then."""
        os.close(self._lock_file)

    def _lock(self) -> int:
        descriptor = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(descriptor)
            raise SpoolError(f"another relay works on the spool {self.folder}; stop it first") from error
        return descriptor

    def part_path(self, spool_id: str) -> Path:
        """Where an instance is written while it arrives."""
        return self.files / (spool_id + PART_SUFFIX)

    def path(self, spool_id: str) -> Path:
        """Where an instance lies."""
        return self.files / (spool_id + FILE_SUFFIX)

    def free_bytes(self) -> int:
        """What may still be written, above the reserve of 5 % or 1 GB, whichever is less (T61)."""
        usage = shutil.disk_usage(self.folder)
        return usage.free - min(usage.total // 20, 1_000_000_000)

    def write_private(self, path: Path, content: bytes) -> None:
        """A small file of the spool, wholly there or not at all."""
        part = path.with_suffix(PART_SUFFIX)
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            if os.write(descriptor, content) != len(content):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        part.rename(path)
        sync_folder(path.parent)

    def holds_files(self) -> bool:
        """Whether an instance lies in it, recorded or not."""
        return any(self.files.glob(f"*{FILE_SUFFIX}"))

    def move_aside(self, names: Sequence[str]) -> None:
        """Never acknowledged, so nobody waits for them; but images are not thrown away unseen."""
        if not names:
            return
        aside = self.folder / "orphans"
        aside.mkdir(mode=0o700, exist_ok=True)
        for name in names:
            (self.files / name).rename(aside / name)
        sync_folder(aside)
        sync_folder(self.files)

    def has_bytes(self, spool_id: str, size_bytes: int) -> bool:
        """Whether an instance lies there with its length."""
        try:
            return self.path(spool_id).stat().st_size == size_bytes
        except FileNotFoundError:
            return False
