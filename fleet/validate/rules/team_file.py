"""A team's file can lie where it should, and a shell can read its commands: found here, not by every host."""

from collections.abc import Iterator

from fleet.errors import Problem
from fleet.inventory.model import TeamFile
from fleet.validate.context import Context, error, show_text
from fleet.validate.shell import explain_command

CODES = ("file-path-too-long", "file-command-unreadable")
WAIVABLE = ()

_PART_BYTES = 255  # NAME_MAX of every Linux filesystem


def check(context: Context) -> Iterator[Problem]:
    """Every file of `files`."""
    for file in context.inventory.files:
        yield from _path(file)
        for key, command in (("check", file.check), ("handler", file.handler)):
            reason = None if command is None else _explain(command.replace("{}", "x"))
            if command is not None and reason is not None:
                text = (
                    f"the {key} of {file.path}, {show_text(command)}, cannot be run: {reason}; every host would refuse"
                    " it; write one line that `sh -n` accepts, or put it into a script of its own"
                )
                yield error("file-command-unreadable", text, file.at(key), about=(file.path,))


def _path(file: TeamFile) -> Iterator[Problem]:
    longest = max(file.path.split("/"), key=lambda part: len(part.encode()))
    if len(longest.encode()) <= _PART_BYTES:
        return  # how long the whole may be is the schema's business
    reason = f"one part of it has {len(longest.encode())} bytes, and no filesystem takes more than {_PART_BYTES}"
    text = f"the path {file.path[:40]}… is too long: {reason}; no host could keep the file; choose a shorter one"
    yield error("file-path-too-long", text, file.at("path"), about=(file.path,))


def _explain(command: str) -> str | None:
    if any(not sign.isprintable() for sign in command):
        return "it is not one line of printable characters"
    return explain_command(command)
