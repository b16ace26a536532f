"""POSIX sh: quoting, and the check of a script by the shell itself."""

import shlex

from fleet.targets.file_check import FileCheck
from fleet.targets.refusal import unfit
from fleet.targets.text import explain_control

TARGET = "sh"
CHECK = FileCheck("sh -n", 'exec /bin/sh -n "$1"')


def quote(value: object) -> str:
    """One word of a shell command, whatever is in it (POSIX XCU 2.2.2: single quotes keep all but themselves)."""
    text = str(value)
    reason = explain_control(text)
    if reason:
        raise unfit(TARGET, f"the value {text!r}", reason)
    return shlex.quote(text)
