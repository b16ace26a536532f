"""What may stand in a path, a unit's name or an owner: the one place that knows.

These words travel into shell scripts and come back in a manifest that a host's root could have edited, so
the grammars are narrower than what Linux allows: no spaces, quotes, backslashes or control characters, and
a path is absolute and already normalised (T22, T40).
"""

import re

# A component of a path: NAME_MAX is 255 bytes on every Linux filesystem.
_PATH = re.compile(r"(?:/[A-Za-z0-9._@+:,=~-]{1,255})+", re.ASCII)
# systemd.unit(5): the types that fleet starts and stops.
_UNIT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9:_.@-]{0,240}\.(?:service|socket|timer|path|target|mount)", re.ASCII)
# useradd(8): 32 characters at most.
_OWNER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,31}:[A-Za-z0-9_][A-Za-z0-9_.-]{0,31}", re.ASCII)
_PROGRAM = re.compile(r"[A-Za-z0-9._+-]{1,255}", re.ASCII)
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,31}", re.ASCII)
_DIGEST = re.compile(r"[0-9a-f]{64}", re.ASCII)
_TOKEN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,120}", re.ASCII)

STATE_FOLDER = "/var/lib/fleet"
STAGE_NAME = ".fleet-stage"


def is_path(text: str) -> bool:
    """Whether it is an absolute, normalised path of plain characters."""
    return bool(_PATH.fullmatch(text)) and len(text) <= 1024 and not {".", ".."} & set(text.split("/"))


def is_own_path(text: str) -> bool:
    """Whether the path lies where fleet keeps its own records on the host."""
    return text == STATE_FOLDER or text.startswith(STATE_FOLDER + "/") or STAGE_NAME in text.split("/")


def is_unit(text: str) -> bool:
    """Whether it is a unit's name with its type."""
    return bool(_UNIT.fullmatch(text))


def is_owner(text: str) -> bool:
    """Whether it is `user:group`."""
    return bool(_OWNER.fullmatch(text))


def is_user(text: str) -> bool:
    """Whether it can be the name of a user or a group."""
    return bool(_USER.fullmatch(text))


def is_program(text: str) -> bool:
    """Whether it is a program's absolute path, or a name to look up."""
    return is_path(text) or bool(_PROGRAM.fullmatch(text))


def is_digest(text: str) -> bool:
    """Whether it is a SHA-256 as `sha256sum` prints it."""
    return bool(_DIGEST.fullmatch(text))


def is_token(text: str) -> bool:
    """Whether it can name one run on one host: part of a unit's name, and a word of a lease."""
    return bool(_TOKEN.fullmatch(text))


def list_ancestors(path: str) -> tuple[str, ...]:
    """The folders above a path, the outermost first, without `/`."""
    parts = path.split("/")[1:-1]
    return tuple("/" + "/".join(parts[: count + 1]) for count in range(len(parts)))
