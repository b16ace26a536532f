"""No descriptor is left for one more connection: nobody spins, nobody who is connected notices. # T69"""

import io
import json
import os
import resource
import selectors
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from fleet.relay.receive.listening import PAUSE_S, Listening
from fleet.relay.telling import Teller
from tests.relay.process import Relay, relaying, wait_for
from tests.relay.sink import Script, sinking


@contextmanager
def no_descriptor_left() -> Iterator[None]:
    """This process may open nothing more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    probe = os.dup(0)  # the lowest free number (dup(2))
    os.close(probe)
    resource.setrlimit(resource.RLIMIT_NOFILE, (probe, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


class Hall:
    """A listening socket with a clock that a test turns."""

    def __init__(self) -> None:
        self.now, self.told = 0.0, io.StringIO()
        self.selector = selectors.DefaultSelector()
        tell = Teller(lambda line: (self.told.write(line + "\n"), None)[1], bytes(32), lambda: 0.0)
        self.listening = Listening(self.selector, tell, lambda: self.now)
        self.port = self.listening.listen("127.0.0.1", 0, is_secure=False)

    def events(self) -> list[str]:
        return [json.loads(line)["event"] for line in self.told.getvalue().splitlines()]

    def accept(self, can_give_back: bool = False) -> int:
        """How many are taken of those that the selector tells of."""
        taken = 0
        for key, _ in self.selector.select(0):
            for sock, _, _ in self.listening.accept(key.fd, lambda: can_give_back):
                sock.close()
                taken += 1
        return taken


@pytest.fixture
def hall() -> Iterator[Hall]:
    hall = Hall()
    yield hall
    hall.listening.close()
    hall.selector.close()


def test_who_cannot_be_accepted_waits_and_nobody_spins(hall: Hall) -> None:
    # T69
    with socket.create_connection(("127.0.0.1", hall.port)):
        with no_descriptor_left():
            assert hall.accept() == 0
            assert hall.selector.select(0) == [], "it is not told of again and again"
            for _ in range(5):
                hall.now += PAUSE_S
                hall.listening.resume()
                assert hall.accept() == 0
        hall.listening.resume()
        assert hall.selector.select(0) == [], "not before its time"
        hall.now += PAUSE_S
        hall.listening.resume()
        assert hall.accept() == 1
    assert hall.events() == ["accept-paused", "accept-resumed"]


def test_it_can_be_closed_in_a_pause(hall: Hall) -> None:
    with socket.create_connection(("127.0.0.1", hall.port)), no_descriptor_left():
        hall.accept()
        hall.listening.close()
    hall.now += PAUSE_S
    hall.listening.resume()
    assert not hall.selector.get_map()


def test_an_error_of_one_connection_is_no_pause(hall: Hall, monkeypatch: pytest.MonkeyPatch) -> None:
    accept, failing = socket.socket.accept, [ConnectionAbortedError(103, "aborted")]

    def fail_once(self: socket.socket) -> object:
        if failing:
            raise failing.pop()
        return accept(self)

    monkeypatch.setattr(socket.socket, "accept", fail_once)
    with socket.create_connection(("127.0.0.1", hall.port)):
        assert hall.accept() == 1
    assert hall.events() == []


def leave_descriptors(relay: Relay, number: int) -> None:
    assert relay.process is not None
    used = max(int(each.name) for each in Path(f"/proc/{relay.process.pid}/fd").iterdir())
    resource.prlimit(relay.process.pid, resource.RLIMIT_NOFILE, (used + 1 + number, used + 1 + number))


def test_strangers_who_hold_every_descriptor_give_them_to_a_modality(tmp_path: Path) -> None:
    # T69: the few that are left go to strangers, four of each address, who say nothing
    with ExitStack() as stack:
        script = stack.enter_context(sinking(Script()))
        relay = stack.enter_context(relaying(tmp_path, script.port))
        leave_descriptors(relay, 6)
        early = stack.enter_context(relay.connect())
        for number in range(12):
            address = (f"127.0.0.{20 + number}", 0)
            stack.enter_context(socket.create_connection(("127.0.0.1", relay.port), source_address=address))
        late = stack.enter_context(relay.connect())
        assert (early.echo(), late.echo()) == (0, 0)
        wait_for(lambda: "accept-paused" in {row["event"] for row in relay.events()})
        assert sum(row["event"] == "accept-paused" for row in relay.events()) <= 2
