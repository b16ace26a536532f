"""sd_notify(3): datagrams to the socket that systemd names; without one, nothing is sent."""

import socket
import time


class Notifier:
    """Tells systemd how we are; `address` is $NOTIFY_SOCKET or None."""

    def __init__(self, address: str | None) -> None:
        self._address = address.replace("@", "\0", 1) if address and address.startswith("@") else address

    def __call__(self, *lines: str) -> None:
        """Send assignments; a systemd that does not listen changes nothing for us."""
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
                sock.settimeout(1.0)
                sock.sendto("\n".join(lines).encode(), self._address)
        except OSError:
            return

    def reloading(self) -> None:
        """A reload begins; `READY=1` ends it."""
        self("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")
