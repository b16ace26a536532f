"""The vault password: from a file, from a file that is run, or from a command; never from argv or a terminal.

As Ansible does it: a file with the executable bit is run and its output is the password, any other is read. A
command is split into words and run without a shell. What it prints on stderr goes to ours; what it prints on
stdout is never shown.
"""

import os
import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from fleet.errors import UnreadableFile, UsageError

DEADLINE_S: Final = 60.0
_MAX_BYTES: Final = 64 * 1024


def read_password_file(path: Path) -> bytes:
    """The password in a file, or what the file prints where it is executable. Raises `UnreadableFile`."""
    name = f"the vault password file {path}"
    if not path.is_file():
        raise UnreadableFile(f"{name} is not there or is no regular file; nothing was read further")
    if os.access(path, os.X_OK):
        return _run((str(path.absolute()),), f"{name} (it is executable, so it was run)")
    try:
        with path.open("rb") as file:
            return _checked(file.read(_MAX_BYTES + 1).strip(), name)
    except OSError as error:
        raise UnreadableFile(f"{name} cannot be read: {error.strerror}; nothing was read further") from error


def run_password_command(command: str) -> bytes:
    """What a command prints. Raises `UsageError` where it cannot be split, `UnreadableFile` where it fails."""
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise UsageError(f"--vault-password-command cannot be split into words: {error}") from error
    if not words:
        raise UsageError("--vault-password-command is empty; leave it out, or name a program")
    return _run(words, f"the vault password command {words[0]}")


def _run(words: Sequence[str], name: str) -> bytes:
    try:
        done = subprocess.run(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, timeout=DEADLINE_S, check=False)
    except subprocess.TimeoutExpired:
        raise UnreadableFile(f"{name} did not end within {DEADLINE_S:g} s; nothing was read further") from None
    except OSError as error:
        raise UnreadableFile(f"{name} cannot be run: {error.strerror}; nothing was read further") from error
    if done.returncode != 0:
        raise UnreadableFile(f"{name} ended with status {done.returncode}; nothing was read further")
    return _checked(done.stdout.strip(b"\r\n"), name)


def _checked(password: bytes, name: str) -> bytes:
    if not password:
        raise UnreadableFile(f"{name} gave an empty password; nothing was read further")
    if len(password) > _MAX_BYTES:
        raise UnreadableFile(f"{name} gave more than {_MAX_BYTES // 1024} KB, which is no password")
    return password
