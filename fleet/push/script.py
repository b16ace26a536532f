"""A script for a host: the text that its /bin/sh runs, and the request that it was made from.

The text is a fixed program (`programs/*.sh`) and one function `__run` of literal calls, called by the last
line: a script that was cut off on its way defines functions at most. Every literal is quoted; contents
travel as base64 in here-documents. A fake host looks at `request` instead of running the text.
"""

import base64
import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Protocol, TypeVar

from fleet.errors import HostError

HELLO = "fleet-host 1"
END = "end"
PLAIN = frozenset(b"\t\n" + bytes(range(0x20, 0x7F)))  # what may stand in a script as it is
WORD_BYTES = 65_536
_MARK = "FLEET_EOF"  # an underscore is no letter of base64, nor of a manifest's first words


class _OnPath(Protocol):
    @property
    def path(self) -> str: ...


FileStep = TypeVar("FileStep", bound=_OnPath)


@dataclass(frozen=True, slots=True)
class Script:
    """`verb` is what the script does (observe, stage, switch, ping), for messages and for fakes."""

    verb: str
    text: str
    request: object = None


@cache
def read_program(name: str) -> str:
    """A program as it is packaged, without its comments (they need not travel)."""
    text = files("fleet.push").joinpath("programs", f"{name}.sh").read_text("ascii")
    return "\n".join(line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#"))


def format_script(program: str, calls: list[str], *more: str) -> str:
    """Prelude, program (and more of them), and the calls as one function that the last line runs away from stdin."""
    body = "\n".join(calls)
    programs = "\n".join(map(read_program, ("prelude", *more, program)))
    return f"{programs}\n__run() {{\n{body}\n}}\n__run </dev/null\nexit 0\n"


def format_call(function: str, *words: object) -> str:
    """One call with every word quoted."""
    return " ".join([function, *(shlex.quote(str(word)) for word in words)])


def format_call_with(data: bytes, function: str, *words: object) -> str:
    """One call with data in base64 on its stdin."""
    encoded = base64.encodebytes(data).decode("ascii")
    return f"{format_call(function, *words)} <<'{_MARK}'\n{encoded}{_MARK}"


def format_call_with_text(text: str, function: str, *words: object) -> str:
    """One call with plain lines on its stdin; for texts of our own grammars only."""
    return f"{format_call(function, *words)} <<'{_MARK}'\n{text}{_MARK}"


def format_call_with_plain(text: str, function: str, *words: object) -> str:
    """One call with plain text as its last word, which no process has to decode; too much of it in base64 on stdin."""
    if len(text) <= WORD_BYTES and all(byte in PLAIN for byte in text.encode()):
        return format_call(function, *words, text)
    return format_call_with(text.encode(), function, *words)


def split_path(path: str) -> tuple[str, str]:
    """The folder (empty for `/`) and the name in it."""
    folder, _, name = path.rpartition("/")
    return folder, name


def group_by_folder(steps: Iterable[tuple[int, FileStep]]) -> list[tuple[str, list[tuple[int, FileStep]]]]:
    """Numbered steps on files, by the folder that the files are in; folders and files in their order."""
    found: dict[str, list[tuple[int, FileStep]]] = {}
    for index, step in steps:
        found.setdefault(split_path(step.path)[0], []).append((index, step))
    return list(found.items())


_MOST_DIGITS = 1000


def parse_reply(stdout: bytes, phase: str, *, stderr: bytes = b"", status: int | None = 0) -> list[list[str]]:
    """The words of every line between hello and end; anything else is the host's fault.

    A login shell may chat before hello; after it only printable ASCII counts.
    """
    try:
        lines = stdout.decode("ascii", "surrogateescape").split("\n")
        start = lines.index(HELLO)
    except ValueError:
        raise HostError(_explain_silence(stderr, status), phase=phase) from None
    body = lines[start + 1 :]
    if len(body) < 2 or body[-2:] != [END, ""]:
        raise HostError(f"the host stopped in the middle of its answer (status {status})", phase=phase)
    if not all(line.isascii() and line.isprintable() for line in body):
        raise HostError("the host's answer is garbled", phase=phase)
    words = [line.split(" ") for line in body[:-2]]
    # int() raises for thousands of digits: no parser behind this one has to think of that.
    if any(len(word) > _MOST_DIGITS and word.isdigit() for line in words for word in line):
        raise HostError("the host's answer is garbled: no number is so long", phase=phase)
    if words and words[0][0] == "lacks":
        missing = ", ".join(words[0][1:])
        raise HostError(f"the host has no {missing}: install coreutils, or a fuller busybox", phase=phase)
    return words


def _explain_silence(stderr: bytes, status: int | None) -> str:
    said = stderr.decode("utf-8", "replace").strip()
    lower = said.lower()
    if "a password is required" in lower or "askpass" in lower:
        return "sudo asks for a password: fleet never types one; install the rule of `fleet doctor --sudoers`"
    if "must have a tty" in lower:
        return "sudo wants a terminal (requiretty): install the rule of `fleet doctor --sudoers`, which lifts that"
    if "not in the sudoers" in lower or "is not allowed to execute" in lower:
        return "sudo does not let this user in: install the rule of `fleet doctor --sudoers`"
    if "sudo" in lower and ("not found" in lower or "no such file" in lower):
        return "the host has no sudo: install it, or log in as root with become: none"
    if lower.startswith(("sudo:", "sudo-rs:")):  # in whatever language the host speaks
        return f"sudo does not let us in: {escape_bytes(stderr[:300])}; install the rule of `fleet doctor --sudoers`"
    return f"the host did not run the script (status {status}): {escape_bytes(stderr[:300])}"


def decode_blob(word: str, phase: str) -> bytes:
    """The bytes of one word of an answer."""
    if word == "-":
        return b""
    try:
        return base64.b64decode(word, validate=True)
    except ValueError:
        raise HostError("the host's answer is garbled: no base64", phase=phase) from None


def decode_text(word: str, phase: str, limit: int = 2000) -> str:
    """What a program on the host said, in one harmless line."""
    return escape_bytes(decode_blob(word, phase)[:limit])


def escape_bytes(data: bytes) -> str:
    """Bytes of a host in one line that does nothing to a terminal or a log."""
    text = " | ".join(line for line in data.decode("utf-8", "backslashreplace").split("\n") if line.strip())
    return "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in text)
