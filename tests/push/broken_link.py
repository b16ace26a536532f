"""A TCP proxy on loopback that breaks: after so many bytes from the client it resets, or falls silent."""

import contextlib
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass
class BrokenLink:
    """`limit` bytes pass from client to server; `counted` is how many did."""

    target: tuple[str, int]
    limit: int | None = None
    silent: bool = False
    counted: int = 0
    port: int = 0
    _open: list[socket.socket] = field(default_factory=list)

    def serve(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = listener.accept()
                server = socket.create_connection(self.target, timeout=5)
                self._open += [client, server]
                for source, sink, counts in ((client, server, True), (server, client, False)):
                    threading.Thread(target=self._copy, args=(source, sink, counts), daemon=True).start()

    def _copy(self, source: socket.socket, sink: socket.socket, counts: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(4096):
                if counts and self.limit is not None and self.counted + len(data) >= self.limit:
                    sink.sendall(data[: self.limit - self.counted])
                    self.counted = self.limit
                    if not self.silent:
                        self.reset()
                    return
                if self.silent and self.limit is not None and self.counted >= self.limit:
                    return
                self.counted += len(data) if counts else 0
                sink.sendall(data)
        if not (self.silent and self.limit is not None and self.counted >= self.limit):
            with contextlib.suppress(OSError):
                sink.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """RST to both sides."""
        for each in self._open:
            with contextlib.suppress(OSError):
                each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                each.shutdown(socket.SHUT_RD)
            each.close()


@contextmanager
def broken_link(port: int, limit: int | None = None, *, silent: bool = False) -> Iterator[BrokenLink]:
    """A way to a loopback port that breaks after `limit` bytes."""
    link = BrokenLink(("127.0.0.1", port), limit, silent)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        link.port = listener.getsockname()[1]
        threading.Thread(target=link.serve, args=(listener,), daemon=True).start()
        try:
            yield link
        finally:
            listener.close()
            link.reset()
