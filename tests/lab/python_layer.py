"""Debian's Python for the few hosts that have one: a layer below their disks.

A host that fleet manages has sh and coreutils, and the lab must prove that this is enough; so the root folder that all
hosts share has no Python, and hosts of relays get one over it.
"""

import re
import subprocess
import tempfile
from pathlib import Path


def open_python_layer(cache: Path) -> Path:
    """A folder with nothing but Debian's Python in it, as a layer below a host's disk."""
    folder = cache / "python-layer"
    if not (folder / "usr/bin/python3").exists():
        debs = cache / "python-debs"
        debs.mkdir(parents=True, exist_ok=True)
        debs.chmod(0o777)  # apt downloads as a user of its own
        command = ["apt-cache", "depends", "python3-minimal"]
        said = subprocess.run(command, check=True, timeout=60, capture_output=True, text=True).stdout
        version = re.search(r"Depends: python(3[.0-9]+)-minimal", said)
        assert version is not None, said
        parts = (f"python{version[1]}-minimal", f"libpython{version[1]}-minimal", f"libpython{version[1]}-stdlib")
        command = ["apt-get", "download", "-q", "python3-minimal", *parts]
        subprocess.run(command, cwd=debs, check=True, timeout=300, capture_output=True)
        with tempfile.TemporaryDirectory(dir=cache) as name:
            for deb in sorted(debs.glob("*.deb")):
                subprocess.run(["dpkg-deb", "--extract", deb, f"{name}/layer"], check=True, timeout=120)
            Path(f"{name}/layer").rename(folder)  # a half-built one is never taken for a whole one
    return folder
