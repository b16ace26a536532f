"""The narrow seam to a host: run a script, open a channel, close. Deadlines are arguments."""

from dataclasses import dataclass
from typing import Protocol

from fleet.inventory.model import Host
from fleet.push.script import Script

REPLY_LIMIT_BYTES = 1_000_000
# What `observe` may send on top: observe.sh sends at most 8 MiB of contents, a third more as base64, and a
# manifest of at most 4 MiB.
OBSERVE_LIMIT_BYTES = REPLY_LIMIT_BYTES + 18_000_000


@dataclass(frozen=True, slots=True)
class CommandResult:
    """How a script ended; `status` is None when a signal ended it."""

    status: int | None
    stdout: bytes
    stderr: bytes


class ByteStream(Protocol):
    """A connection that the host opened for us (SSH direct-tcpip, RFC 4254 section 7.2)."""

    def send(self, data: bytes, *, deadline_s: float) -> None:
        """Send all of it, or raise NetworkError."""

    def receive(self, limit_bytes: int, *, deadline_s: float) -> bytes:
        """What has come, at least one byte; empty at the end; NetworkError when nothing came in time."""

    def close(self) -> None:
        """Let it go; never raises."""


class Transport(Protocol):
    """A host that we are logged in to."""

    @property
    def is_open(self) -> bool:
        """Whether it can still be used: a missed deadline closes it."""

    def run_script(
        self,
        script: Script,
        *,
        deadline_s: float,
        limit_bytes: int = REPLY_LIMIT_BYTES,
        become: bool | None = None,
    ) -> CommandResult:
        """Run it with /bin/sh, as root where the host's settings (or `become`) say so.

        Raises DeadlineExceeded, HostError (a flood of output), or NetworkError (the connection broke).
        """

    def open_channel(self, address: str, port: int, *, deadline_s: float) -> ByteStream:
        """Let the host connect to an address; NetworkError with phase `tunnel` when it cannot."""

    def close(self) -> None:
        """Let it go; never raises."""


class Connector(Protocol):
    """Whoever can log in to hosts."""

    def open_(self, host: Host, *, deadline_s: float) -> Transport:
        """Log in, all of it within the deadline; NetworkError names the phase that failed."""


@dataclass(frozen=True, slots=True)
class Deadlines:
    """How long each phase may take in all, in seconds."""

    connect_s: float = 10.0
    observe_s: float = 30.0
    stage_s: float = 120.0
    switch_s: float = 180.0
