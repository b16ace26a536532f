"""One connection a host for a whole run: a connector that keeps what it opened."""

import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

from fleet.inventory.model import Host
from fleet.push.script import Script
from fleet.push.transport import REPLY_LIMIT_BYTES, ByteStream, CommandResult, Connector, Transport


class LateConnector:
    """A connector that is made when it is first needed: to make it loads an SSH library, and contacts nobody."""

    def __init__(self, make: Callable[[], Connector]) -> None:
        self._make = make
        self._made: Connector | None = None
        self._lock = threading.Lock()

    def prepare(self) -> Connector:
        """The connector, made now at the latest."""
        with self._lock:
            if self._made is None:
                self._made = self._make()
            return self._made

    def open_(self, host: Host, *, deadline_s: float) -> Transport:
        """As the one that it stands for."""
        return self.prepare().open_(host, deadline_s=deadline_s)


class ConnectionPool:
    """Lends the same transport again while it lives; `close` ends them all. Safe for threads."""

    def __init__(self, connector: Connector) -> None:
        self._connector = connector
        self._kept: dict[str, Transport] = {}
        self._replaced: list[Transport] = []
        self._lock = threading.Lock()

    def open_(self, host: Host, *, deadline_s: float) -> Transport:
        """The host's connection; a new one where there is none, or where it broke."""
        with self._lock:
            kept = self._kept.get(host.name)
        if kept is not None and kept.is_open:
            return _Lent(kept)
        opened = self._connector.open_(host, deadline_s=deadline_s)
        with self._lock:
            older = self._kept.get(host.name)
            self._kept[host.name] = opened
        if older is not None:
            older.close()
        return _Lent(opened)

    def prepare(self) -> None:
        """What can be done before anybody may be contacted."""
        if isinstance(self._connector, LateConnector):
            self._connector.prepare()

    def open_new(self, host: Host, *, deadline_s: float) -> Transport:
        """A connection made now, lent from here on; whoever still uses the one before keeps it."""
        opened = self._connector.open_(host, deadline_s=deadline_s)
        with self._lock:
            older = self._kept.get(host.name)
            self._kept[host.name] = opened
            if older is not None:
                self._replaced.append(older)
        return _Lent(opened)

    def close(self) -> None:
        """End every connection."""
        with self._lock:
            kept = [*self._kept.values(), *self._replaced]
            self._kept.clear()
            self._replaced.clear()
        for transport in kept:
            transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def prepare(connector: Connector) -> None:
    """Make a connector ready; nobody is contacted."""
    if isinstance(connector, ConnectionPool):
        connector.prepare()


def open_new(connector: Connector, host: Host, *, deadline_s: float) -> Transport:
    """A connection that did not exist before, whether or not the connector keeps what it opened."""
    if isinstance(connector, ConnectionPool):
        return connector.open_new(host, deadline_s=deadline_s)
    return connector.open_(host, deadline_s=deadline_s)


class _Lent:
    """A transport whose borrower's `close` gives it back."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    @property
    def is_open(self) -> bool:
        return self._transport.is_open

    def run_script(
        self,
        script: Script,
        *,
        deadline_s: float,
        limit_bytes: int = REPLY_LIMIT_BYTES,
        become: bool | None = None,
    ) -> CommandResult:
        return self._transport.run_script(script, deadline_s=deadline_s, limit_bytes=limit_bytes, become=become)

    def open_channel(self, address: str, port: int, *, deadline_s: float) -> ByteStream:
        return self._transport.open_channel(address, port, deadline_s=deadline_s)

    def close(self) -> None:
        """Given back, not closed."""
