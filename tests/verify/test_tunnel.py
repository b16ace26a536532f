"""What a host says when it could not connect for us, as outcomes; several echoes go through hosts too."""

import socket
import time
from dataclasses import replace

import pytest

from fleet.dicom.association import make_command_pdu
from fleet.dicom.dimse import EchoRSP
from fleet.errors import FleetError, HostError, NetworkError
from fleet.inventory.model import Host, SshSettings
from fleet.push.script import Script
from fleet.push.transport import REPLY_LIMIT_BYTES, ByteStream, CommandResult, Transport
from fleet.verify.settings import SweepSettings
from fleet.verify.values import EchoTarget, Outcome, Timeouts
from fleet.workflow.tunnel import Brakes, ask_through
from tests.verify.peers import ACCEPT, RELEASED, Counter, replies, serving

WHERE = "10.1.1.1 port 104 through north-1"
CANNOT = f"{WHERE}: the host could not connect"
TARGET = EchoTarget("A", "10.1.1.1", 104, "F", source="north-1", timeouts=Timeouts(1, 1, 1, 2))
ENDINGS: list[tuple[FleetError, Outcome]] = [
    (NetworkError(f"{CANNOT}: Connection refused", phase="tunnel"), Outcome.REFUSED),
    (NetworkError(f"{CANNOT}: No route to host", phase="tunnel"), Outcome.NO_ROUTE),
    (NetworkError(f"{CANNOT}: Network is unreachable", phase="tunnel"), Outcome.NO_ROUTE),
    (
        NetworkError(f"{CANNOT}: Connection timed out", phase="tunnel"),
        Outcome.CONNECT_TIMEOUT,
    ),
    (NetworkError(f"{WHERE}: no answer within 1 s", phase="tunnel"), Outcome.CONNECT_TIMEOUT),
    (NetworkError(f"{CANNOT}: Unknown host", phase="tunnel"), Outcome.NAME_NOT_FOUND),
    (NetworkError(f"{WHERE}: the connection broke: EOF", phase="tunnel"), Outcome.UNKNOWN),
    (NetworkError(f"{WHERE}: the host is short of resources", phase="tunnel"), Outcome.UNKNOWN),
    (HostError("north-1: 'a b' port 104 is no address", phase="plan"), Outcome.UNKNOWN),
]


class Stream:
    """A socket as push's stream."""

    def __init__(self, address: str, port: int) -> None:
        self._socket = socket.create_connection((address, port), timeout=5)

    def send(self, data: bytes, *, deadline_s: float) -> None:
        self._socket.settimeout(deadline_s)
        self._socket.sendall(data)

    def receive(self, limit_bytes: int, *, deadline_s: float) -> bytes:
        self._socket.settimeout(deadline_s)
        try:
            return self._socket.recv(limit_bytes)
        except TimeoutError as error:
            raise NetworkError(f"nothing came within {deadline_s:g} s", phase="tunnel") from error

    def close(self) -> None:
        self._socket.close()


class Through:
    """A host that connects for us, or says `refusal`."""

    is_open = True

    def __init__(self, refusal: FleetError | None = None) -> None:
        self._refusal = refusal

    def open_(self, host: Host, *, deadline_s: float) -> Transport:
        return self

    def run_script(
        self, script: Script, *, deadline_s: float, limit_bytes: int = REPLY_LIMIT_BYTES, become: bool | None = None
    ) -> CommandResult:
        raise AssertionError("nothing is to be run there")

    def open_channel(self, address: str, port: int, *, deadline_s: float) -> ByteStream:
        if self._refusal is not None:
            raise self._refusal
        return Stream(address, port)

    def close(self) -> None:
        pass


HOST = Host("north-1", "10.1.1.2", "north", SshSettings("fleet", 22, None, None, "none"), ())


@pytest.mark.parametrize(("refusal", "outcome"), ENDINGS)
def test_what_a_host_says_of_its_peer_is_an_outcome(refusal: FleetError, outcome: Outcome) -> None:
    (result,) = ask_through(HOST, [TARGET], Through(refusal), 5.0, Brakes(SweepSettings()))
    assert result.outcome is outcome
    assert str(refusal) in result.detail


def test_several_echoes_are_asked_through_hosts_too() -> None:
    answers = [make_command_pdu(1, EchoRSP(number, 0)).encode() for number in (1, 2, 3)]
    with serving(replies(ACCEPT, *answers, RELEASED)) as peer:
        target = EchoTarget("A", peer.address, peer.port, "F", source="north-1")
        (result,) = ask_through(HOST, [target], Through(), 5.0, Brakes(SweepSettings(repeat=3)))
    assert result.outcome is Outcome.ANSWERED
    assert len(result.echo_times_s) == 3


def test_through_hosts_a_device_gets_what_the_frailest_ae_on_it_bears() -> None:  # T54
    counter = Counter()
    with serving(counter) as peer:
        sturdy = EchoTarget("A", peer.address, peer.port, "F", source="north-1", max_associations_per_host=8)
        targets = [*[sturdy] * 6, replace(sturdy, ae_title="B", max_associations_per_host=1)]
        results = ask_through(HOST, targets, Through(), 5.0, Brakes(SweepSettings(), targets))
    assert {result.outcome for result in results} == {Outcome.ANSWERED}
    assert counter.most_at_once == 1


def test_through_hosts_there_are_no_more_at_once_than_the_flag_says() -> None:  # T54
    counter = Counter()
    with serving(counter) as peer:
        targets = [EchoTarget("A", peer.address, peer.port, "F", source="north-1", max_associations_per_host=8)] * 12
        results = ask_through(HOST, targets, Through(), 5.0, Brakes(SweepSettings(max_associations=1), targets))
    assert {result.outcome for result in results} == {Outcome.ANSWERED}
    assert counter.most_at_once == 1


def test_a_run_that_is_stopped_lets_go_of_who_is_asked_and_asks_nobody_else() -> None:
    brakes = Brakes(SweepSettings())

    def stop(sock: socket.socket) -> None:
        sock.recv(4096)
        brakes.stop()
        sock.recv(4096)

    started = time.monotonic()
    with serving(stop) as peer:
        targets = [EchoTarget(title, peer.address, peer.port, "F", source="north-1") for title in "ABC"]
        results = ask_through(HOST, targets, Through(), 5.0, brakes)
        assert peer.connections == 1
    assert {result.outcome for result in results} == {Outcome.UNKNOWN}
    assert time.monotonic() - started < 3
