"""Addresses and free ports of a hospital within 127.0.0.0/8, which never leaves the machine (RFC 1122 3.2.1.3)."""

import socket
from collections.abc import Iterable, Mapping

from fleet.demo.units import CannotStartError

CONTROLLER = "127.0.0.1"


def choose_ports(addresses: Mapping[str, str]) -> dict[str, int]:
    """A free port for each name at its address, all different; the kernel chooses.

    They are bound together, so that no two names get one port of one address.
    """
    held: dict[str, socket.socket] = {}
    try:
        for name, address in addresses.items():
            held[name] = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            _bind(held[name], address)
        return {name: held[name].getsockname()[1] for name in held}
    finally:
        _close(held.values())


def is_loopback(address: str) -> bool:
    """Whether an IPv4 address, written as numbers, stays on this machine."""
    return address.startswith("127.") and len(address.split(".")) == 4


def _bind(stream: socket.socket, address: str) -> None:
    try:
        stream.bind((address, 0))
    except OSError as error:
        hint = "the demo needs a machine whose loopback is all of 127.0.0.0/8, as Linux has it"
        raise CannotStartError(f"nobody can listen at {address} ({error.strerror}): {hint}") from error


def _close(sockets: Iterable[socket.socket]) -> None:
    for each in sockets:
        each.close()
