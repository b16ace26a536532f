"""What may stand in a host's address, user and jump: checked here, just before anything is contacted (T22)."""

import re

from fleet.errors import HostError
from fleet.inventory.model import Host, SshSettings

_ADDRESS = re.compile(r"[A-Za-z0-9:][A-Za-z0-9.:_-]{0,252}(?:%[A-Za-z0-9_.-]{1,15})?", re.ASCII)
_USER = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,31}\$?", re.ASCII)
_JUMP = re.compile(r"(?:(?P<user>[^@]+)@)?(?P<address>[^@:\[\]]+|\[[^\]]+\])(?::(?P<port>[0-9]{1,5}))?", re.ASCII)


def is_address(text: str) -> bool:
    """Whether it can be an address or a name: never an option, never shell."""
    return bool(_ADDRESS.fullmatch(text))


def check_ssh_words(host: Host) -> None:
    """HostError (phase `plan`) for an address, user or port that nothing may be done with."""
    if not is_address(host.address):
        raise HostError(f"{host.name}: {host.address!r} is no address or name", phase="plan")
    if not _USER.fullmatch(host.ssh.user):
        raise HostError(f"{host.name}: {host.ssh.user!r} is no user name", phase="plan")
    if not 1 <= host.ssh.port <= 65535:
        raise HostError(f"{host.name}: {host.ssh.port} is no port", phase="plan")
    if host.ssh.become not in {"none", "sudo"}:
        raise HostError(f"{host.name}: become is none or sudo, not {host.ssh.become!r}", phase="plan")


def parse_jump(text: str, behind: Host) -> Host:
    """The host that `user@address:port` means; user and key default to those of the host behind it."""
    match = _JUMP.fullmatch(text)
    if match is None:
        raise HostError(f"{behind.name}: jump {text!r} is neither a host nor user@address:port", phase="plan")
    settings = SshSettings(
        user=match["user"] or behind.ssh.user,
        port=int(match["port"] or 22),
        identity_file=behind.ssh.identity_file,
    )
    jump = Host(name=text, address=match["address"].strip("[]"), site=behind.site, ssh=settings)
    check_ssh_words(jump)
    return jump
