"""The one thing that a folder cannot do for a host: programs that are called by absolute path.

A product's check of its own file calls the product (`/usr/bin/dcmqrscp`). On a demo host that must be the
stub in the host's folder, not whatever this machine has installed, so such words are led inside.
"""

import base64
import re
from pathlib import Path

# A check travels as base64 in a here-document (fleet.push.script).
_CHECK = re.compile(rb"(?m)^(run_check [^\n]* <<'(FLEET_EOF)'\n)([A-Za-z0-9+/=\n]*)(?=\2$)")
# A word that is a program's path: not the tail of `${FLEET_ROOT}/usr/bin/…`, which is inside already.
_PROGRAM = re.compile(r"(?<![^\s;|&(\"'])/usr/s?bin/[A-Za-z0-9._-]+")


def keep_programs_inside(script: bytes, root: Path) -> bytes:
    """The script with the programs of its checks looked up below `root`."""

    def lead(found: re.Match[bytes]) -> bytes:
        check = base64.b64decode(found[3]).decode("utf-8", "surrogateescape")
        inside = _PROGRAM.sub(
            lambda word: f'"$FLEET_ROOT"{word[0]}' if (root / word[0][1:]).exists() else word[0], check
        )
        return found[1] + base64.encodebytes(inside.encode("utf-8", "surrogateescape"))

    return _CHECK.sub(lead, script)
