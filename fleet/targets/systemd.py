"""systemd units: names, quoting (systemd.syntax(7), systemd.service(5) "COMMAND LINES").

`%` is a specifier everywhere, `$` a variable in command lines, quotes and backslashes are C-like. A newline
would add a directive, and `systemd-analyze verify` is no check against that (T15).
"""

import re

from fleet.targets.refusal import unfit
from fleet.targets.text import encode_path_part, explain_control

TARGET = "systemd"
MAX_LINE_BYTES = 4096
_PLAIN = re.compile(r"[A-Za-z0-9_./:@+,=-]+", re.ASCII)


def quote_argument(value: object) -> str:
    """One word of an Exec line: comes back as typed, whatever is in it."""
    text = _one_line(value)
    if _PLAIN.fullmatch(text):
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{escaped}"'


def quote_text(value: object) -> str:
    """Free text after the `=` of a directive that is no command: specifiers are doubled, nothing else is special.

    A trailing backslash would join the next line to this one.
    """
    text = _one_line(value)
    if text.endswith("\\"):
        raise unfit(TARGET, f"the value {text!r}", "a backslash at the end of a line joins the next line to it")
    return text.replace("%", "%%")


def make_unit_name(engine: str, ae_title: str, port: int | None = None) -> str:
    """The unit of an entity's process; `port` tells two on one host apart (`p` is no hexadecimal digit)."""
    return f"fleet-{engine}-{make_stem(ae_title, port)}.service"


def make_stem(ae_title: str, port: int | None = None) -> str:
    """The part of unit and file names that stands for an entity's process."""
    stem = encode_path_part(ae_title)
    return stem if port is None else f"{stem}:p{port}"


def _one_line(value: object) -> str:
    text = str(value)
    reason = explain_control(text)
    if reason:
        raise unfit(TARGET, f"the value {text!r}", reason)
    return text
