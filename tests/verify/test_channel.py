"""The dialogue over a channel that somebody else opened."""

import socket
import time
from collections.abc import Callable

import pytest

from fleet.dicom.pdu import AssociateRJ
from fleet.verify.channel import Channel, ChannelNotOpenedError, echo_through, run_dialogue_over
from fleet.verify.values import EchoResult, EchoTarget, Expectation, Outcome, Timeouts
from tests.verify.peers import Script, answer_well, read_pdu, replies, reset, serving

QUICK = Timeouts(connect_s=0.5, acse_s=0.5, dimse_s=0.5, total_s=1.5)


def target_at(port: int, **changes: object) -> EchoTarget:
    return EchoTarget("TITLE", "127.0.0.1", port, "WS1", source="ws-1", timeouts=QUICK, **changes)  # type: ignore[arg-type]


def over(script: Script, deadline_s: float = 5.0) -> EchoResult:
    with serving(script) as peer:
        channel = socket.create_connection((peer.address, peer.port))
        return run_dialogue_over(channel, target_at(peer.port), time.monotonic() + deadline_s)


def _silent(sock: socket.socket) -> None:
    sock.recv(4096)
    sock.recv(4096)


def _reset(sock: socket.socket) -> None:
    sock.recv(4096)
    reset(sock)


@pytest.mark.parametrize(
    ("script", "outcome"),
    [
        (answer_well, Outcome.ANSWERED),
        (_silent, Outcome.ASSOCIATION_TIMEOUT),
        (lambda sock: sock.recv(4096), Outcome.CONNECTION_LOST),
        (_reset, Outcome.CONNECTION_LOST),
        (replies(b"HTTP/1.1 400 Bad Request\r\n\r\n"), Outcome.NOT_DICOM),
        (replies(AssociateRJ(1, 3, 1).encode()), Outcome.ASSOCIATION_REJECTED),
    ],
)
def test_a_dialogue_over_a_channel_ends_as_over_a_socket(script: Script, outcome: Outcome) -> None:
    result = over(script)
    assert result.outcome is outcome
    assert result.elapsed_s < 1.5
    assert result.to_json()["from"] == "ws-1"


def test_the_callers_deadline_counts_too() -> None:
    started = time.monotonic()
    assert over(_silent, deadline_s=0.2).outcome is Outcome.ASSOCIATION_TIMEOUT
    assert time.monotonic() - started < 0.5


def test_a_rejection_names_the_host_that_asked() -> None:
    assert "ws-1" in over(replies(AssociateRJ(1, 1, 7).encode())).detail


def test_expectations_and_busy_peers_get_channels_of_their_own() -> None:
    opened = []
    with serving(answer_well) as peer:

        def open_channel(left_s: float) -> Channel:
            opened.append(left_s)
            return socket.create_connection((peer.address, peer.port), left_s)

        expect = Expectation(rejects_unknown_callers=True)
        result = echo_through(open_channel, target_at(peer.port, expect=expect))
    assert result.outcome is Outcome.EXPECTATION_FAILED
    assert len(opened) == 2
    assert all(0 < left_s <= QUICK.connect_s for left_s in opened)


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (ChannelNotOpenedError(Outcome.REFUSED, "refused at the far side"), Outcome.REFUSED),
        (TimeoutError(), Outcome.CONNECT_TIMEOUT),
        (OSError(5, "gone"), Outcome.LOCAL_ERROR),
    ],
)
def test_a_channel_that_does_not_open_is_a_result(error: Exception, outcome: Outcome) -> None:
    def open_channel(_left_s: float) -> Channel:
        raise error

    assert echo_through(open_channel, target_at(104)).outcome is outcome


def test_a_dialogue_that_is_to_stop_is_aborted_and_unknown() -> None:
    heard: list[bytes] = []

    def listen(sock: socket.socket) -> None:
        read_pdu(sock)
        heard.append(read_pdu(sock))

    started = time.monotonic()
    with serving(listen) as peer:

        def open_channel(_left_s: float) -> socket.socket:
            return socket.create_connection((peer.address, peer.port))

        target = EchoTarget("A", peer.address, peer.port, "F", source="north-1")
        result = echo_through(open_channel, target, stop=lambda: time.monotonic() - started > 0.1)
        wait_until(lambda: bool(heard))
    assert result.outcome is Outcome.UNKNOWN
    assert heard[0][0] == 0x07  # A-ABORT
    assert time.monotonic() - started < 2


def wait_until(is_so: Callable[[], bool], within_s: float = 5) -> None:
    deadline = time.monotonic() + within_s
    while not is_so() and time.monotonic() < deadline:
        time.sleep(0.01)
