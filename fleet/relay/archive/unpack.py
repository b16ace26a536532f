"""How the archive `fleet-relay.pyz` puts the library that it brings where Python can import it.

Each start unpacks into a fresh private folder of its own, which goes when the relay ends: nothing of an older archive
can be mixed in, two that start at once do not meet, and nothing that others may write to is ever imported. What a
killed one left behind is swept by the next start. systemd makes the place for the unit (`CacheDirectory=`); operators
get one in the temporary folder.
"""

import fcntl
import os
import shutil
import stat
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from fleet.errors import FleetError

UNPACKED: Final = "unpacked/"
VERBS: Final = frozenset({"run", "check"})
_PREFIX: Final = "fleet-relay-"
_LOCK: Final = "in-use"


@contextmanager
def open_library(archive: str, words: Sequence[str], cache: str | None = None) -> Iterator[None]:
    """Have the library on the path where a verb needs it, until the block ends."""
    if not VERBS.intersection(words[:1]):
        yield
        return
    place = Path((cache or "").partition(":")[0] or tempfile.gettempdir())
    folder = _make_folder(place)
    try:
        _sweep(place)
        _unpack(Path(archive).parent, folder)
        sys.path.insert(0, str(folder))
        yield
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _make_folder(place: Path) -> Path:
    """A fresh folder, mode 0700, of a name that nobody can foresee, marked as in use while this process lives."""
    try:
        found = place.stat()
        if found.st_uid not in {0, os.getuid()} or (found.st_mode & 0o022 and not found.st_mode & stat.S_ISVTX):
            raise FleetError(
                f"others may rename what lies in {place}, so no code is unpacked there; "
                "name a folder of your own in TMPDIR"
            )
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=place))
        descriptor = os.open(folder / "new", os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX)  # held until the process ends, however it does
        (folder / "new").rename(folder / _LOCK)  # whoever sees the mark sees it locked
    except OSError as error:
        raise FleetError(_explain(place, error)) from error
    return folder


def _sweep(place: Path) -> None:
    """Remove what killed relays of ours left: their locks are free."""
    for folder in place.glob(f"{_PREFIX}*"):
        with suppress(OSError):
            descriptor = os.open(folder / _LOCK, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if folder.lstat().st_uid == os.getuid():
                    shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(descriptor)


def _unpack(archive: Path, folder: Path) -> None:
    """`archive` is the file that `__main__.py` lies in; each entry's checksum is compared while it is read."""
    try:
        with zipfile.ZipFile(archive) as file:
            for entry in file.infolist():
                if not entry.filename.startswith(UNPACKED):
                    continue
                target = folder / entry.filename.removeprefix(UNPACKED)
                target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
                with os.fdopen(descriptor, "wb") as out:
                    out.write(file.read(entry))
    except OSError as error:
        raise FleetError(_explain(folder.parent, error)) from error
    except zipfile.BadZipFile as error:
        raise FleetError(f"{archive} is damaged ({error}); `fleet apply` puts it back") from error


def _explain(place: Path, error: OSError) -> str:
    return (
        f"the library that it brings cannot be unpacked below {place}: {error.strerror}; "
        "make room there, or name another folder in TMPDIR"
    )
