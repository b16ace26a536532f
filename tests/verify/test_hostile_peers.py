"""Peers that misbehave in every way we know, each with its outcome, all within their deadlines."""

import contextlib
import os
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from fleet.dicom.association import make_command_pdu
from fleet.dicom.dimse import EchoRSP
from fleet.dicom.items import ImplementationVersionName, PresentationContextAC, UserInformation
from fleet.dicom.pdu import (
    Abort,
    AssociateAC,
    AssociateRJ,
    AssociateRQ,
    DataTF,
    PresentationDataValue,
    ReleaseRQ,
)
from fleet.verify.settings import SweepSettings
from fleet.verify.sweep import sweep
from fleet.verify.values import EchoResult, EchoTarget, Outcome, Timeouts
from tests.verify.peers import ACCEPT, ANSWER, RELEASED, Peer, Script, answer_well, read_pdu, replies, reset

SHORT = Timeouts(connect_s=0.5, acse_s=0.6, dimse_s=0.6, total_s=1.2)
NASTY = "\x1b[2J<b>=cmd()\r"
PIECES = 1000


def _silent(sock: socket.socket) -> None:
    sock.recv(4096)
    sock.recv(4096)


def _three_bytes(sock: socket.socket) -> None:
    sock.sendall(b"\x02\0\0")
    _silent(sock)


def _dribble(sock: socket.socket) -> None:
    for byte in ACCEPT:
        sock.sendall(bytes([byte]))
        if threading.Event().wait(0.1):
            return


def _dribble_after_accept(sock: socket.socket) -> None:
    read_pdu(sock)
    sock.sendall(ACCEPT)
    for byte in ANSWER:
        sock.sendall(bytes([byte]))
        if threading.Event().wait(0.1):
            return


def _close_at_once(sock: socket.socket) -> None:
    sock.recv(4096)


def _reset_at_once(sock: socket.socket) -> None:
    sock.recv(4096)
    reset(sock)


def _flood(piece: bytes, after_accept: bool) -> Script:
    def script(sock: socket.socket) -> None:
        if after_accept:
            read_pdu(sock)
            sock.sendall(ACCEPT)
        while True:
            sock.sendall(piece * 500)

    return script


def _answer_in_pieces(sock: socket.socket) -> None:
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for reply in (ACCEPT, ANSWER, RELEASED):
        read_pdu(sock)
        for byte in reply:
            sock.sendall(bytes([byte]))


def _answer_in_a_thousand_fragments(sock: socket.socket) -> None:
    read_pdu(sock)
    sock.sendall(ACCEPT)
    read_pdu(sock)
    command = EchoRSP(1, 0, "c" * (PIECES - 94)).encode()
    for at, byte in enumerate(command):
        last = at == len(command) - 1
        value = PresentationDataValue(1, bytes([byte]), is_command=True, is_last=last)
        sock.sendall(DataTF((value,)).encode())
    read_pdu(sock)
    sock.sendall(RELEASED)


def _never_release(sock: socket.socket) -> None:
    replies(ACCEPT, ANSWER)(sock)
    read_pdu(sock)
    sock.recv(4096)


def _release_collision(sock: socket.socket) -> None:
    replies(ACCEPT, ANSWER)(sock)
    read_pdu(sock)
    sock.sendall(ReleaseRQ().encode())
    read_pdu(sock)
    sock.sendall(RELEASED)


def _two_pdus_in_one_segment(sock: socket.socket) -> None:
    read_pdu(sock)
    sock.sendall(ACCEPT)
    read_pdu(sock)
    sock.sendall(ANSWER + RELEASED)
    sock.recv(100)


def _http(sock: socket.socket) -> None:
    sock.recv(4096)
    sock.sendall(b"HTTP/1.1 400 Bad Request\r\nServer: nginx\r\n\r\n")


def _ssh(sock: socket.socket) -> None:
    sock.sendall(b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n")
    sock.recv(4096)


DATA_SET = DataTF((PresentationDataValue(1, b"\x08\0\x05\0\0\0\0\0", is_command=False, is_last=True),)).encode()
WITH_DATA_SET = make_command_pdu(1, EchoRSP(1, 0, has_data_set=True)).encode() + DATA_SET
OTHER_CONTEXT = AssociateAC((PresentationContextAC(3, 0, "1.2.840.10008.1.2"),)).encode()
NO_CONTEXT = AssociateAC((PresentationContextAC(1, 3),)).encode()
NASTY_ACCEPT = AssociateAC(
    (PresentationContextAC(1, 0, "1.2.840.10008.1.2"),), UserInformation((ImplementationVersionName(NASTY),))
).encode()
SECOND_RQ = AssociateRQ("A", "B", ()).encode()

# name: what the peer does, the outcome, a word that the detail must hold
BEHAVIOURS: dict[str, tuple[Script, Outcome, str]] = {
    "well": (answer_well, Outcome.ANSWERED, ""),
    "silent after accept": (_silent, Outcome.ASSOCIATION_TIMEOUT, "not answered within"),
    "a byte now and then": (_dribble, Outcome.ASSOCIATION_TIMEOUT, "bytes came"),
    "a byte now and then as echo": (_dribble_after_accept, Outcome.ECHO_TIMEOUT, "C-ECHO was not answered"),
    "three bytes then silence": (
        _three_bytes,
        Outcome.ASSOCIATION_TIMEOUT,
        "3 bytes came",
    ),
    "closes": (_close_at_once, Outcome.CONNECTION_LOST, "allowed addresses"),
    "resets": (_reset_at_once, Outcome.CONNECTION_LOST, "ECONNRESET"),
    "closes after the accept": (replies(ACCEPT), Outcome.CONNECTION_LOST, "during C-ECHO"),
    "4 GB accept": (replies(b"\x02\0\xff\xff\xff\xff"), Outcome.NOT_DICOM, "4294967295"),
    "4 GB data": (replies(ACCEPT, b"\x04\0\xff\xff\xff\xff"), Outcome.ASSOCIATION_ABORTED, "4294967295"),
    "wrong type": (replies(RELEASED), Outcome.NOT_DICOM, "not allowed in Sta5"),
    "an echo instead of an accept": (replies(ANSWER), Outcome.NOT_DICOM, "not allowed"),
    "zero length accept": (replies(b"\x02\0\0\0\0\0"), Outcome.NOT_DICOM, "fixed part"),
    "garbage": (replies(b"\xde\xad\xbe\xef" * 50), Outcome.NOT_DICOM, "de ad be ef"),
    "garbage after the accept": (replies(ACCEPT, b"\xde\xad" * 50), Outcome.ASSOCIATION_ABORTED, "DEH"),
    "a web server": (_http, Outcome.NOT_DICOM, "web server"),
    "an SSH server": (_ssh, Outcome.NOT_DICOM, "SSH server"),
    "a TLS alert": (replies(b"\x15\x03\x03\0\x02\x02\x28"), Outcome.TLS_FAILED, "want TLS"),
    "flood of unknown PDUs": (_flood(b"\x09\0\0\0\0\0", False), Outcome.NOT_DICOM, "09H"),
    "flood of data": (_flood(DATA_SET, True), Outcome.ASSOCIATION_ABORTED, "262144"),
    "flood of unfinished commands": (
        _flood(DataTF((PresentationDataValue(1, bytes(500), is_command=True, is_last=False),)).encode(), True),
        Outcome.ECHO_FAILED,
        "exceeds 65536",
    ),
    "rejects the called title": (replies(AssociateRJ(1, 1, 7).encode()), Outcome.ASSOCIATION_REJECTED, "1/1/7"),
    "rejects the calling title": (replies(AssociateRJ(1, 1, 3).encode()), Outcome.ASSOCIATION_REJECTED, "FLEET_SCU"),
    "rejects with reserved numbers": (
        replies(AssociateRJ(7, 9, 200).encode()),
        Outcome.ASSOCIATION_REJECTED,
        "7/9/200",
    ),
    "aborts the request": (replies(Abort(2, 1).encode()), Outcome.ASSOCIATION_ABORTED, "unrecognized PDU"),
    "aborts the echo": (replies(ACCEPT, Abort(0, 0).encode()), Outcome.ASSOCIATION_ABORTED, "the C-ECHO"),
    "aborts with reserved numbers": (replies(Abort(9, 99).encode()), Outcome.ASSOCIATION_ABORTED, "99"),
    "a second request": (replies(ACCEPT, SECOND_RQ), Outcome.ASSOCIATION_ABORTED, "AssociateRQ"),
    "a second accept": (replies(ACCEPT, ACCEPT), Outcome.ASSOCIATION_ABORTED, "AssociateAC"),
    "releases instead": (replies(ACCEPT, ReleaseRQ().encode()), Outcome.ECHO_FAILED, "released"),
    "no Verification": (replies(NO_CONTEXT, RELEASED), Outcome.CONTEXT_NOT_ACCEPTED, "abstract syntax"),
    "another context id": (replies(OTHER_CONTEXT, RELEASED), Outcome.CONTEXT_NOT_ACCEPTED, "names 3"),
    "status 0122": (
        replies(ACCEPT, make_command_pdu(1, EchoRSP(1, 0x0122, "no")).encode(), RELEASED),
        Outcome.ECHO_FAILED,
        "0x0122",
    ),
    "another message id": (
        replies(ACCEPT, make_command_pdu(1, EchoRSP(9, 0)).encode(), RELEASED),
        Outcome.ECHO_FAILED,
        "message 9",
    ),
    "an answer on another context": (
        replies(ACCEPT, make_command_pdu(5, EchoRSP(1, 0)).encode(), RELEASED),
        Outcome.ECHO_FAILED,
        "context 5",
    ),
    "an answer nobody can read": (
        replies(ACCEPT, DataTF((PresentationDataValue(1, b"??", is_command=True, is_last=True),)).encode()),
        Outcome.ECHO_FAILED,
        "cannot be read",
    ),
    "a data set that should not be there": (replies(ACCEPT, WITH_DATA_SET, RELEASED), Outcome.ANSWERED, ""),
    "a thousand pieces": (_answer_in_pieces, Outcome.ANSWERED, ""),
    "a thousand fragments": (_answer_in_a_thousand_fragments, Outcome.ANSWERED, ""),
    "two PDUs in one segment": (_two_pdus_in_one_segment, Outcome.ANSWERED, ""),
    "never answers the release": (_never_release, Outcome.ANSWERED, ""),
    "closes instead of releasing": (replies(ACCEPT, ANSWER), Outcome.ANSWERED, ""),
    "aborts the release": (replies(ACCEPT, ANSWER, Abort(2, 0).encode()), Outcome.ANSWERED, ""),
    "releases at the same time": (_release_collision, Outcome.ANSWERED, ""),
    "a name full of escapes": (replies(NASTY_ACCEPT, ANSWER, RELEASED), Outcome.ANSWERED, ""),
}
WARNED = {
    "a data set that should not be there",
    "never answers the release",
    "closes instead of releasing",
    "aborts the release",
}


@pytest.fixture(scope="module")
def results() -> Iterator[dict[str, EchoResult]]:
    """All behaviours in one sweep, so that the deadlines run side by side."""
    with contextlib.ExitStack() as stack:
        targets = []
        for number, (name, (script, _, _)) in enumerate(BEHAVIOURS.items()):
            peer = Peer(script, f"127.9.{number}.1")
            stack.callback(peer.close)
            targets.append(EchoTarget(f"PEER{number}", peer.address, peer.port, "FLEET_SCU", host=name, timeouts=SHORT))
        started = time.monotonic()
        found = sweep(targets, SweepSettings(seed=1))
        took_s = time.monotonic() - started
        assert took_s < SHORT.total_s + 1.0
        yield {str(result.target.host): result for result in found}


@pytest.mark.parametrize("name", BEHAVIOURS)
def test_each_behaviour_gets_its_outcome_in_time(results: dict[str, EchoResult], name: str) -> None:  # T50
    _, outcome, word = BEHAVIOURS[name]
    result = results[name]
    assert (result.outcome, result.detail) == (outcome, result.detail)
    assert word in result.detail
    assert result.elapsed_s <= SHORT.total_s + 1.0
    assert bool(result.warnings) == (name in WARNED)
    assert (result.detail == "") == (outcome is Outcome.ANSWERED)


def test_a_declared_length_of_4_gb_is_refused_from_the_first_six_bytes(results: dict[str, EchoResult]) -> None:  # T50
    """Those six are all that the peer sends; nobody waits for the rest, and nothing is allocated for it."""
    for name in ("4 GB accept", "4 GB data"):
        assert results[name].elapsed_s < SHORT.acse_s / 2


def test_what_a_peer_calls_itself_is_kept_raw_and_is_one_json_string(results: dict[str, EchoResult]) -> None:  # T53
    peer = results["a name full of escapes"].peer
    assert peer is not None
    assert peer.implementation_version == NASTY


def test_the_rejection_names_both_titles_and_our_address(results: dict[str, EchoResult]) -> None:
    result = results["rejects the called title"]
    for word in (result.target.ae_title, "FLEET_SCU", "127.0.0.1", "permanent", "called AE title not recognized"):
        assert word in result.detail


def test_the_status_of_a_failed_echo_is_in_the_result(results: dict[str, EchoResult]) -> None:
    assert results["status 0122"].status == 0x0122
    assert results["well"].status == 0


@pytest.mark.parametrize("with_reset", [False, True])
def test_an_end_at_every_byte_of_the_dialogue_is_told(with_reset: bool) -> None:  # T50
    stream = [ACCEPT, ANSWER, RELEASED]
    total = sum(map(len, stream))

    def cut_at(offset: int) -> Script:
        def script(sock: socket.socket) -> None:
            left = offset
            for reply in stream:
                read_pdu(sock)
                sock.sendall(reply[:left])
                left -= len(reply)
                if left < 0:
                    break
            if with_reset:
                reset(sock)

        return script

    offsets = range(0, total + 1, 1 if os.environ.get("FLEET_SOAK") == "1" else 3)
    with contextlib.ExitStack() as stack:
        targets = []
        for offset in offsets:
            peer = Peer(cut_at(offset), f"127.10.{offset % 250}.1")
            stack.callback(peer.close)
            targets.append(EchoTarget("CUT", peer.address, peer.port, "FLEET_SCU", timeouts=SHORT))
        found = sweep(targets)
    before_release = len(ACCEPT) + len(ANSWER)
    for offset, result in zip(offsets, found, strict=True):
        if offset < before_release:
            assert result.outcome is Outcome.CONNECTION_LOST, (offset, result)
        else:
            assert result.outcome is Outcome.ANSWERED, (offset, result)
            assert bool(result.warnings) == (offset < total)
