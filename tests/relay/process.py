"""The daemon as a process of its own, to be asked, reloaded and killed."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fleet.relay.forward.outbound import Outbound
from fleet.relay.operate.control import ask
from fleet.relay.values import Destination, Endpoint
from tests.relay.configs import make_destination, make_document
from tests.relay.house import CT, EXPLICIT

ROOT = Path(__file__).parents[2]


class Relay:
    """A relay's folder and, while it runs, its process."""

    def __init__(self, folder: Path, sink_port: int, **changes: Any) -> None:
        self.folder, self.config, self.spool = folder, folder / "relay.json", folder / "spool"
        self.log = folder / "log"
        self.port = 0
        self.document = make_document(self.spool, destinations={"ARCHIVE": make_destination(port=sink_port)}, **changes)
        self.process: subprocess.Popen[bytes] | None = None

    def write(self) -> None:
        self.config.write_text(json.dumps(self.document))

    def start(self, **environment: str) -> None:
        """Start it and wait until it listens; the port is a free one, the same on every start."""
        if not self.port:
            self.port = free_port()
            self.document["listen"]["port"] = self.port
        self.write()
        seen = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "fleet.relay", "run", str(self.config)],
                stderr=log,
                cwd=ROOT,
                env={**os.environ, **environment},
            )
        wait_for(lambda: b'"started"' in self.log.read_bytes()[seen:] or self.process_ended(), 15)

    def process_ended(self) -> bool:
        return self.process is None or self.process.poll() is not None

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait(10)

    def stop(self) -> int:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(20)

    def ask(self, verb: str, **more: Any) -> Any:
        return ask(self.spool, {"verb": verb, **more})

    def connect(self) -> Outbound:
        place = Destination("RELAY", "CT1", (Endpoint("127.0.0.1", self.port),), False, None, 2, 5, 1)
        return Outbound(place, ((CT, EXPLICIT), ("1.2.840.10008.1.1", "1.2.840.10008.1.2")), 10)

    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.read_text().splitlines()]


@contextmanager
def relaying(folder: Path, sink_port: int, **changes: Any) -> Iterator[Relay]:
    """A relay that runs until the block ends."""
    relay = Relay(folder, sink_port, **changes)
    relay.start()
    try:
        yield relay
    finally:
        if relay.process is not None and relay.process.poll() is None:
            relay.kill()


def free_port() -> int:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as sock:
        port: int = sock.getsockname()[1]
        return port


def wait_for(condition: Any, seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to be in time"
        time.sleep(0.02)
