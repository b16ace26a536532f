"""How the archive `fleet-relay.pyz` puts the library that it brings where Python can import it.

The folder is the archive's own: one that systemd made for the unit (`CacheDirectory=`), else a fresh private one that
goes when the relay ends. Nothing of a folder that others may write to is ever imported.
"""

import os
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

PREFIX: Final = "unpacked/"
VERBS: Final = frozenset({"run", "check"})


@contextmanager
def open_library(archive: str, words: Sequence[str], cache: str | None = None) -> Iterator[None]:
    """Have the library on the path where a verb needs it, until the block ends."""
    if not VERBS.intersection(words[:1]):
        yield
        return
    folder = Path(tempfile.mkdtemp(prefix="fleet-relay-", dir=cache))  # mode 0700, a name nobody can foresee
    try:
        _unpack(Path(archive).parent, folder)
        sys.path.insert(0, str(folder))
        yield
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _unpack(archive: Path, folder: Path) -> None:
    """`archive` is the file that `__main__.py` lies in."""
    with zipfile.ZipFile(archive) as file:
        for entry in file.infolist():
            if not entry.filename.startswith(PREFIX):
                continue
            target = folder / entry.filename.removeprefix(PREFIX)
            target.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as out:
                out.write(file.read(entry))
