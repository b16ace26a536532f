"""Makes `fleet-relay.pyz`: the relay, what it needs of fleet, and pydicom, in one file for a host with Python ≥ 3.11.

The relay's own modules run from inside the archive. pydicom reads data files beside its modules and does not import
from there, so the archive brings it as a folder that the verbs which need it unpack first. The same sources make the
same bytes: a rendered artifact must not differ from day to day.
"""

import io
import zipfile
from collections.abc import Iterator
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from fleet.errors import FleetError

_EPOCH: Final = (1980, 1, 1, 0, 0, 0)
_PARTS: Final = ("relay", "dicom")
_ALONE: Final = ("__init__.py", "errors.py", "events.py")
# pydicom's own tests and sample images are three quarters of it, and no relay opens them.
_LEFT_OUT: Final = ("data/test_files", "data/charset_files", "data/palettes", "__pycache__")
_SHEBANG: Final = b"#!/usr/bin/env python3\n"
_MAIN: Final = '''\
"""Starts the relay from inside its archive."""

import sys

if sys.version_info < (3, 11):
    raise SystemExit(f"fleet-relay.pyz needs Python 3.11 or newer; this is {sys.version.split()[0]}")

from fleet.relay.unpack import open_library

with open_library(__file__, sys.argv[1:]):
    from fleet.relay.__main__ import main

    status = main()
raise SystemExit(status)
'''


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
    ours = Path(__file__).parents[1]
    for name in _ALONE:
        yield f"fleet/{name}", (ours / name).read_bytes()
    for part in _PARTS:
        for path in _files(ours / part, ()):
            yield f"fleet/{path.relative_to(ours).as_posix()}", path.read_bytes()
    library = _find_library()
    for path in _files(library, _LEFT_OUT):
        yield f"unpacked/pydicom/{path.relative_to(library).as_posix()}", path.read_bytes()
    # It asks for its own version by its metadata, and its licence travels with it.
    version = metadata.version("pydicom")
    yield (
        f"unpacked/pydicom-{version}.dist-info/METADATA",
        f"Metadata-Version: 2.1\nName: pydicom\nVersion: {version}\n".encode(),
    )
    for file in metadata.files("pydicom") or ():
        if file.name.upper().startswith("LICENSE"):
            yield f"unpacked/pydicom-{version}.dist-info/{file.name}", file.read_binary()


def _files(folder: Path, left_out: tuple[str, ...]) -> Iterator[Path]:
    for path in folder.rglob("*"):
        inside = path.relative_to(folder).as_posix()
        if (
            path.is_file()
            and path.suffix != ".pyc"
            and not any(f"{inside}/".startswith(f"{each}/") for each in left_out)
        ):
            yield path


def _find_library() -> Path:
    spec = find_spec("pydicom")
    if spec is None or spec.origin is None:
        raise FleetError("pydicom is not installed here, so fleet-relay.pyz cannot be made; install it beside fleet")
    return Path(spec.origin).parent
