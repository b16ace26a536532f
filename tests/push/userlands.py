"""A userland of busybox alone: in a mount namespace of its own every folder of programs holds its applets only."""

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

_FOLDERS = "/usr/local/sbin /usr/local/bin /usr/sbin /usr/bin"
# /usr/bin last: mount(8) itself lies there.
_ENTER = f'for folder in {_FOLDERS}; do mount -o bind "$0" "$folder" || exit 70; done; exec "$@"'


def make_applets(folder: Path) -> Path:
    """A folder with busybox and a name for each of its applets."""
    folder.mkdir()
    binary = shutil.which("busybox")
    assert binary is not None
    shutil.copy(binary, folder / "busybox")
    told = subprocess.run([binary, "--list"], check=True, capture_output=True, text=True, timeout=10).stdout
    for name in told.split():
        if name != "busybox":
            (folder / name).symlink_to("busybox")
    return folder


def enter_applets(folder: Path) -> Sequence[str]:
    """The command before another that gives it this userland; needs root."""
    return ("unshare", "--mount", "--propagation", "private", "sh", "-c", _ENTER, str(folder))


def enter_programs(folder: Path, *more: str) -> Sequence[str]:
    """A namespace where programs of the test's own come before the machine's; `more` are further mounts."""
    script = " && ".join(['mount -o bind "$0" /usr/local/sbin', *more, 'exec "$@"'])
    return ("unshare", "--mount", "--propagation", "private", "sh", "-c", script, str(folder))


def make_program(folder: Path, name: str, text: str) -> None:
    """A shell script that takes the place of a program."""
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{text}\n")
    (folder / name).chmod(0o755)
