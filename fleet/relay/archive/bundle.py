"""Makes `fleet-relay.pyz`: the relay, what it needs of fleet, and pydicom, in one file for a host with Python ≥ 3.11.

The relay's own modules run from inside the archive. pydicom reads data files beside its modules and does not import
from there, so the archive brings it as a folder that the verbs which need it unpack first. The same sources make the
same bytes: a rendered artifact must not differ from day to day. The wheel ships the archive; a checkout, whose sources
move, makes it anew each time, which takes a fifth of a second.
"""

import base64
import hashlib
import io
import zipfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Final

from fleet.errors import FleetError
from fleet.relay.archive.unpack import UNPACKED

_EPOCH: Final = (1980, 1, 1, 0, 0, 0)
_PARTS: Final = ("relay", "dicom")
_ALONE: Final = ("__init__.py", "errors.py", "events.py")
# pydicom's own tests and sample images are three quarters of it, and no relay opens them.
# Its vocabulary of coded concepts is half of the rest, and no step of a route looks anything up there.
_LEFT_OUT: Final = ("data/test_files", "data/charset_files", "data/palettes", "sr", "fileset.py")
_OURS: Final = frozenset({".py", ".txt"})
# The library that is shipped, and no other: what hosts run must not depend on what lay about where it was built.
LIBRARY: Final = "pydicom"
LIBRARY_VERSION: Final = "3.0.2"
SHIPPED: Final = Path(__file__).parents[2] / "fleet-relay.pyz"
_SHEBANG: Final = b"#!/usr/bin/env python3\n"
_MAIN: Final = '''\
"""Starts the relay from inside its archive."""

import os
import sys

if sys.version_info < (3, 11):
    raise SystemExit("fleet-relay.pyz needs Python 3.11 or newer; this is %s" % sys.version.split()[0])


def start():
    from fleet.errors import FleetError
    from fleet.relay.archive.unpack import open_library

    try:
        with open_library(__file__, sys.argv[1:], os.environ.get("CACHE_DIRECTORY")):
            from fleet.relay.__main__ import main

            return main(program="fleet-relay.pyz")
    except FleetError as error:
        return "fleet-relay.pyz: %s" % error


if __name__ == "__main__":
    raise SystemExit(start())
'''


def read_bundle() -> bytes:
    """The archive of this installation: the one that its wheel brought, else one of the checkout as it is now."""
    try:
        return SHIPPED.read_bytes()
    except FileNotFoundError:
        return make_bundle()
    except OSError as error:
        raise FleetError(f"{SHIPPED} cannot be read: {error.strerror}; install dicom-fleet again") from error


def make_bundle() -> bytes:
    """The archive's bytes."""
    made = io.BytesIO(_SHEBANG)
    made.seek(0, io.SEEK_END)
    with zipfile.ZipFile(made, "a", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, content in sorted(_entries()):
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, content)
    return made.getvalue()


def _entries() -> Iterator[tuple[str, bytes]]:
    yield "__main__.py", _MAIN.encode()
    ours = Path(__file__).parents[2]
    for name in _ALONE:
        yield f"fleet/{name}", (ours / name).read_bytes()
    for part in _PARTS:
        for path in (ours / part).rglob("*"):
            if path.suffix in _OURS and path != Path(__file__):
                yield f"fleet/{path.relative_to(ours).as_posix()}", path.read_bytes()
    yield from _library_entries()


def _library_entries() -> Iterator[tuple[str, bytes]]:
    """The library's files, each as its own RECORD says that it was released."""
    try:
        library = metadata.distribution(LIBRARY)
    except metadata.PackageNotFoundError as error:
        raise FleetError(
            f"{LIBRARY} is not installed here, so fleet-relay.pyz cannot be made; install it beside fleet"
        ) from error
    if library.version != LIBRARY_VERSION:
        raise FleetError(
            f"fleet-relay.pyz ships {LIBRARY} {LIBRARY_VERSION}, and {library.version} is installed here; "
            f"pip install {LIBRARY}=={LIBRARY_VERSION}"
        )
    information = f"{LIBRARY}-{library.version}.dist-info"
    for file in library.files or ():
        inside = file.as_posix().removeprefix(f"{LIBRARY}/")
        is_code = inside != file.as_posix() and not any(f"{inside}/".startswith(f"{each}/") for each in _LEFT_OUT)
        # It asks for its own version by its metadata, and its licence travels with it.
        is_paper = file.parts[0] == information and (file.name == "METADATA" or file.name.upper().startswith("LICENSE"))
        if (is_code or is_paper) and file.suffix != ".pyc":
            yield f"{UNPACKED}{file.as_posix()}", _read_released(file)


def _read_released(file: metadata.PackagePath) -> bytes:
    """A file's bytes; what is not as it was released (RECORD, PEP 376) is not shipped."""
    content = Path(str(file.locate())).read_bytes()
    digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
    if file.hash is None or (file.hash.mode, file.hash.value) != ("sha256", digest):
        raise FleetError(f"{file} is not as {LIBRARY} {LIBRARY_VERSION} was released; install {LIBRARY} again")
    return content
