"""One script's exchange with a host over any channel that looks like SSH's."""

import contextlib
import threading
from collections.abc import Callable
from typing import Protocol

READ_BYTES = 32_768


class Channel(Protocol):
    """What is needed of an SSH channel: two streams out, one in."""

    def recv(self, nbytes: int, /) -> bytes:
        """Some of stdout; empty at its end."""

    def recv_stderr(self, nbytes: int, /) -> bytes:
        """Some of stderr; empty at its end."""

    def sendall(self, s: bytes, /) -> None:
        """All of it to stdin."""

    def shutdown_write(self) -> None:
        """The end of stdin."""

    def close(self) -> None:
        """The end of everything."""


class Exchange:
    """Script in, both streams out, at the same time: neither side ever waits for the other's window."""

    def __init__(self, channel: Channel, script: bytes, limit_bytes: int) -> None:
        self._channel = channel
        self._script = script
        self._limit_bytes = limit_bytes
        self.stdout = bytearray()
        self.stderr = bytearray()
        self.flooded = False

    def run(self) -> None:
        """Until both streams have ended; the watchdog ends them when the time is over."""
        threads = [
            threading.Thread(target=self._feed, daemon=True, name="fleet-stdin"),
            threading.Thread(target=self._drain_stderr, daemon=True, name="fleet-stderr"),
        ]
        for thread in threads:
            thread.start()
        with contextlib.suppress(OSError):
            self._take(self._channel.recv, self.stdout)
        threads[1].join()
        if self.flooded:
            self._channel.close()
        threads[0].join()

    def _feed(self) -> None:
        # A host may end without reading everything: then the rest has nowhere to go.
        with contextlib.suppress(Exception):
            self._channel.sendall(self._script)
            self._channel.shutdown_write()

    def _drain_stderr(self) -> None:
        with contextlib.suppress(OSError):
            self._take(self._channel.recv_stderr, self.stderr)

    def _take(self, receive: Callable[[int], bytes], into: bytearray) -> None:
        while not self.flooded:
            data = receive(READ_BYTES)
            if not data:
                return
            into += data
            if len(into) > self._limit_bytes:
                self.flooded = True
                self._channel.close()
