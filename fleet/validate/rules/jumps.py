"""The way to a host leads through hosts that are known, and not back to it."""

import difflib
from collections.abc import Iterator

from fleet.errors import Problem
from fleet.inventory.model import Host, Inventory
from fleet.validate.context import Context, error, is_known, warning

CODES = ("jump-unlisted", "jump-loop")
WAIVABLE = ("jump-unlisted",)


def check(context: Context) -> Iterator[Problem]:
    """Every hop of every `jump`."""
    inventory = context.inventory
    for host in inventory.hosts.values():
        for jump in host.ssh.jumps:
            if jump not in inventory.hosts and not is_known(inventory, jump) and not _is_address(jump):
                yield _unlisted(inventory, host, jump)
        if _returns(inventory, host):
            first = inventory.hosts[host.ssh.jumps[0]]
            text = (
                f"{host.name} is reached through {first.name} ({first.location}), and that way leads back to"
                f" {host.name}; fleet could not log in; let one of them be reached directly"
            )
            yield error("jump-loop", text, host.at("ssh", "jump"), first.location, about=(host.name, first.name))


def _unlisted(inventory: Inventory, host: Host, jump: str) -> Problem:
    close = difflib.get_close_matches(jump, list(inventory.hosts), n=1)
    hint = f"did you mean {close[0]}?" if close else "list it under `hosts` to pin its key"
    text = (
        f"{host.name} is reached through {jump!r}, which is no host of this inventory: fleet takes it for a name of"
        f" the ssh_config of whoever runs it, or of DNS, and its key has to be in a known_hosts file; {hint}"
    )
    return warning("jump-unlisted", text, host.at("ssh", "jump"), about=(host.name, jump))


def _is_address(jump: str) -> bool:
    """Whether it is written as `user@address:port`, not as a name that was listed."""
    return any(sign in jump for sign in "@:.")


def _returns(inventory: Inventory, host: Host) -> bool:
    """Whether the way through its jump hosts comes back to the host itself.

    The first hop's own jumps lead to it; the others are reached through the one before (ssh -J).
    """
    if host.name in host.ssh.jumps:
        return host.ssh.jumps[0] in inventory.hosts
    seen: set[str] = set()
    at: Host | None = host
    while at is not None and at.name not in seen:
        seen.add(at.name)
        at = inventory.hosts.get(at.ssh.jumps[0]) if at.ssh.jumps else None
    return at is host
