"""What may stand in a host's address, user and jump: checked here, just before anything is contacted (T22)."""

import re
from dataclasses import dataclass

from fleet.errors import HostError
from fleet.inventory.model import Host

_ADDRESS = re.compile(r"[A-Za-z0-9:][A-Za-z0-9.:_-]{0,252}(?:%[A-Za-z0-9_.-]{1,15})?", re.ASCII)
_USER = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,31}\$?", re.ASCII)
_JUMP = re.compile(r"(?:(?P<user>[^@]+)@)?(?P<address>[^@:\[\]]+|\[[^\]]+\])(?::(?P<port>[0-9]{1,5}))?", re.ASCII)


def is_address(text: str) -> bool:
    """Whether it can be an address or a name: never an option, never shell."""
    return bool(_ADDRESS.fullmatch(text))


def check_words(name: str, address: str, user: str, port: int) -> None:
    """HostError (phase `plan`) for an address, user or port that nothing may be done with."""
    if not is_address(address):
        raise HostError(f"{name}: {address!r} is no address or name", phase="plan")
    if not _USER.fullmatch(user):
        raise HostError(f"{name}: {user!r} is no user name", phase="plan")
    if not 1 <= port <= 65535:
        raise HostError(f"{name}: {port} is no port", phase="plan")


def check_ssh_words(host: Host) -> None:
    """The same for a host of the inventory."""
    check_words(host.name, host.address, host.ssh.user, host.ssh.port)
    if host.ssh.become not in {"none", "sudo"}:
        raise HostError(f"{host.name}: become is none or sudo, not {host.ssh.become!r}", phase="plan")


@dataclass(frozen=True, slots=True)
class Jump:
    """One word of a jump: a name or address, and what stands around it."""

    name: str
    user: str | None = None
    port: int | None = None


def parse_jump(text: str, behind: str) -> Jump:
    """`[user@]name[:port]`, or ssh_config(5)'s `ssh://[user@]name[:port]`; `behind` is for the message."""
    match = _JUMP.fullmatch(text.removeprefix("ssh://"))
    if match is None or not is_address(match["address"].strip("[]")):
        raise HostError(f"{behind}: jump {text!r} is neither a host nor user@address:port", phase="plan")
    return Jump(match["address"].strip("[]"), match["user"], int(match["port"]) if match["port"] else None)
