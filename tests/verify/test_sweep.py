"""The sweep over real sockets on loopback: brakes, names, limits of descriptors, interruption."""

import json
import re
import resource
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from fleet.dicom.association import make_command_pdu
from fleet.dicom.dimse import EchoRSP
from fleet.dicom.pdu import Abort, AssociateRJ
from fleet.verify.course import describe_times
from fleet.verify.resolve import SocketAddress, parse_literal
from fleet.verify.settings import Surroundings, SweepSettings
from fleet.verify.sweep import sweep
from fleet.verify.values import EchoResult, EchoTarget, Expectation, Outcome, Timeouts, is_alive
from tests.verify.peers import ACCEPT, ANSWER, RELEASED, Counter, Peer, answer_well, read_pdu, replies, serving

QUICK = Timeouts(connect_s=0.5, acse_s=0.8, dimse_s=0.8, total_s=2.0)


@pytest.fixture
def good_peer() -> Iterator[Peer]:
    with serving(answer_well) as peer:
        yield peer


def target_at(port: int, address: str = "127.0.0.1", **changes: object) -> EchoTarget:
    return EchoTarget("TITLE", address, port, "FLEET_SCU", timeouts=QUICK, **changes)  # type: ignore[arg-type]


def test_the_json_of_a_result_is_the_contracts(good_peer: Peer) -> None:
    target = EchoTarget("NORTH_PACS", "127.0.0.1", good_peer.port, "FLEET_SCU", site="north", host="h1")
    (result,) = sweep([target])
    told = json.loads(json.dumps(result.to_json()))
    assert " ".join(told) == (
        "ae_title site host virtual_service address port calling from outcome status detail warnings attempts "
        "peer certificate_days phases elapsed_s"
    )
    assert told["peer"] == {
        "implementation_class_uid": "1.2.3.4",
        "implementation_version": "SCRIPTED",
        "max_pdu_bytes": 16384,
    }
    assert list(told["phases"]) == ["resolve_s", "connect_s", "tls_s", "associate_s", "echo_s", "release_s"]
    assert (told["outcome"], told["status"], told["from"], told["attempts"]) == ("answered", 0, "controller", 1)
    assert told["phases"]["tls_s"] is None


def test_every_target_has_exactly_one_result_in_its_place(good_peer: Peer) -> None:
    heard: list[EchoResult] = []
    targets = [target_at(good_peer.port, max_associations_per_host=8) for _ in range(20)]
    targets += [target_at(1, f"127.1.{n}.1") for n in range(20)]  # refused
    results = sweep(targets, SweepSettings(seed=7), on_result=heard.append)
    assert [result.target for result in results] == targets
    assert sorted(map(id, heard)) == sorted(map(id, results))
    assert {result.outcome for result in results[:20]} == {Outcome.ANSWERED}
    assert {result.outcome for result in results[20:]} == {Outcome.REFUSED}


def test_no_target_at_all_is_no_result() -> None:
    assert sweep([]) == []


def test_one_address_gets_one_association_at_a_time() -> None:  # T54
    counter = Counter()
    with serving(counter) as peer:
        results = sweep([target_at(peer.port)] * 12, SweepSettings(max_associations=12))
        assert all(map(is_alive, results))
        assert (peer.connections, counter.most_at_once) == (12, 1)


@pytest.mark.parametrize(("tightest", "most"), [(None, 3), (2, 2), (50, 3)])
def test_an_address_gets_as_many_at_once_as_it_bears_and_flags_only_tighten(
    tightest: int | None, most: int
) -> None:  # T54
    counter = Counter()
    with serving(counter) as peer:
        targets = [target_at(peer.port, max_associations_per_host=3)] * 30
        results = sweep(targets, SweepSettings(max_associations_per_host=tightest))
        assert all(map(is_alive, results))
        assert counter.most_at_once <= most


def test_an_address_bears_what_the_frailest_that_lives_there_bears() -> None:  # T54
    counter = Counter()
    with serving(counter) as peer:
        sturdy, frail = (target_at(peer.port, max_associations_per_host=most) for most in (8, 1))
        results = sweep([*[sturdy] * 15, frail, *[sturdy] * 15], SweepSettings(seed=1))
        assert all(map(is_alive, results))
        assert (peer.connections, counter.most_at_once) == (31, 1)


def test_one_address_in_two_spellings_is_one_address() -> None:  # T54
    assert parse_literal("::1", 104) == parse_literal("0:0:0:0:0:0:0:1", 104) == parse_literal("0::0001", 104)


def test_a_name_has_no_longer_than_those_who_wait_for_it_have_in_all() -> None:  # T51
    hurried = replace(target_at(104, "hangs.example"), timeouts=Timeouts(total_s=0.3))
    started = time.monotonic()
    (result,) = sweep([hurried], surroundings=Surroundings(lookup=_lookup))
    assert time.monotonic() - started < 1.3  # its total deadline and a second
    assert (result.outcome, "0.3 s" in result.detail) == (Outcome.NAME_NOT_FOUND, True)


def test_a_pause_lies_between_two_associations_to_one_address(good_peer: Peer) -> None:  # T54
    started = time.monotonic()
    sweep([target_at(good_peer.port)] * 3, SweepSettings(pause_s=0.15))
    assert time.monotonic() - started >= 0.3


def test_a_waiting_address_does_not_hold_up_the_others(good_peer: Peer) -> None:
    targets = [target_at(good_peer.port)] * 3 + [target_at(good_peer.port, f"127.0.{n}.9") for n in range(10)]
    order: list[str] = []
    sweep(targets, SweepSettings(pause_s=0.1), on_result=lambda result: order.append(result.target.address))
    assert order[-1] == "127.0.0.1"


def test_a_busy_peer_is_asked_again_and_it_is_said() -> None:
    calls = []

    def busy_once(sock: socket.socket) -> None:
        calls.append(1)
        if len(calls) == 1:
            replies(AssociateRJ(1, 3, 1).encode())(sock)
        else:
            answer_well(sock)

    with serving(busy_once) as peer:
        (result,) = sweep([target_at(peer.port)])
    assert (result.outcome, result.attempts) == (Outcome.ANSWERED, 2)
    assert "busy" in result.warnings[0]


def test_a_peer_that_stays_busy_ends_within_its_deadline() -> None:
    with serving(replies(AssociateRJ(2, 3, 2).encode())) as peer:
        (result,) = sweep([target_at(peer.port)])
    assert result.outcome is Outcome.ASSOCIATION_REJECTED
    assert result.attempts == 2
    assert "local limit exceeded" in result.detail
    assert "asked 2 times" in result.detail
    assert result.elapsed_s < QUICK.total_s + 1


def test_a_rejection_that_is_not_busy_is_not_asked_again() -> None:
    with serving(replies(AssociateRJ(1, 1, 7).encode())) as peer:
        (result,) = sweep([target_at(peer.port)])
        assert (result.attempts, peer.connections) == (1, 1)


def test_what_counts_as_alive_is_the_targets_own_choice() -> None:
    with serving(replies(AssociateRJ(1, 1, 7).encode())) as peer:
        (result,) = sweep([target_at(peer.port, accept=frozenset({Outcome.ASSOCIATION_REJECTED}))])
    assert result.outcome is Outcome.ASSOCIATION_REJECTED
    assert is_alive(result)


def _lookup(name: str, _port: int) -> list[tuple[int, SocketAddress]]:
    if name == "hangs.example":
        threading.Event().wait(3)
    if name == "gone.example":
        raise socket.gaierror(-2, "Name or service not known")
    if name == "six.example":
        return [(socket.AF_INET6, ("::1", 0, 0, 0))]
    return [(socket.AF_INET, ("127.0.0.1", 0)), (socket.AF_INET, ("127.0.0.2", 0))]


def test_names_are_resolved_within_the_deadline_and_told(good_peer: Peer) -> None:  # T51
    names = ["good.example", "gone.example", "hangs.example", "good.example"]
    targets = [target_at(good_peer.port, name) for name in names]
    started = time.monotonic()
    good, gone, hangs, again = sweep(targets, SweepSettings(resolve_s=0.4), surroundings=Surroundings(lookup=_lookup))
    assert time.monotonic() - started < 1.5
    assert good.outcome is again.outcome is Outcome.ANSWERED
    assert good.detail == "good.example is 127.0.0.1 (IPv4, the first of 2)"
    assert (gone.outcome, hangs.outcome) == (Outcome.NAME_NOT_FOUND, Outcome.NAME_NOT_FOUND)
    assert "0.4 s" in hangs.detail


def test_ipv6_is_spoken_by_literal_and_by_name() -> None:
    listener = socket.create_server(("::1", 0), family=socket.AF_INET6)
    port = listener.getsockname()[1]

    def serve() -> None:
        for _ in range(2):
            sock, _ = listener.accept()
            with sock:
                answer_well(sock)

    threading.Thread(target=serve, daemon=True).start()
    literal, named = sweep(
        [target_at(port, "::1"), target_at(port, "six.example")], surroundings=Surroundings(lookup=_lookup)
    )
    listener.close()
    assert literal.outcome is named.outcome is Outcome.ANSWERED
    assert named.detail == "six.example is ::1 (IPv6)"


@pytest.mark.parametrize(
    "broken",
    [
        EchoTarget("T" * 17, "127.0.0.1", 104, "FLEET_SCU"),
        EchoTarget("TITLE", "127.0.0.1", 104, "BAD\\TITLE"),
        EchoTarget("TITLE", "127.0.0.1", 99_999, "FLEET_SCU"),
        EchoTarget("TITLE", "no\0name", 104, "FLEET_SCU"),
        EchoTarget("TITLE", "", 104, "FLEET_SCU"),
    ],
)
def test_a_target_that_cannot_be_asked_is_a_result_too(broken: EchoTarget, good_peer: Peer) -> None:
    result, other = sweep([broken, target_at(good_peer.port)])
    assert result.outcome in (Outcome.LOCAL_ERROR, Outcome.NAME_NOT_FOUND)
    assert result.detail
    assert other.outcome is Outcome.ANSWERED


def test_an_interruption_keeps_what_was_asked_and_aborts_what_is_open() -> None:
    seen: list[bytes] = []

    def hang(sock: socket.socket) -> None:
        read_pdu(sock)
        sock.sendall(ACCEPT)
        read_pdu(sock)
        seen.append(read_pdu(sock))

    with serving(answer_well) as good, serving(hang, "127.0.0.7") as slow:
        targets = [target_at(good.port), target_at(slow.port, slow.address)]

        def interrupt(_: EchoResult) -> None:
            if not interrupted:
                interrupted.append(1)
                wait_until(lambda: slow.connections == 1)
                raise KeyboardInterrupt

        interrupted: list[int] = []
        answered, unknown = sweep(targets, SweepSettings(max_associations=2), on_result=interrupt)
        assert answered.outcome is Outcome.ANSWERED
        assert unknown.outcome is Outcome.UNKNOWN
        assert "stopped" in unknown.detail


def wait_until(condition: object) -> None:
    deadline = time.monotonic() + 2
    while not condition() and time.monotonic() < deadline:  # type: ignore[operator]
        threading.Event().wait(0.01)


def test_stop_is_looked_at_and_the_open_association_is_aborted() -> None:
    seen: list[bytes] = []

    def hang(sock: socket.socket) -> None:
        read_pdu(sock)
        sock.sendall(ACCEPT)
        read_pdu(sock)
        seen.append(read_pdu(sock))

    with serving(hang) as peer:
        started = time.monotonic()
        surroundings = Surroundings(stop=lambda: time.monotonic() > started + 0.3)
        (result,) = sweep([target_at(peer.port)], surroundings=surroundings)
        wait_until(lambda: seen)
    assert result.outcome is Outcome.UNKNOWN
    assert seen == [Abort(0, 0).encode()]


def test_more_targets_than_descriptors_are_all_told_once() -> None:  # T52
    with serving(answer_well) as peer:
        program = f"""
            import json
            from collections import Counter
            from fleet.verify.settings import SweepSettings
            from fleet.verify.sweep import sweep
            from fleet.verify.values import EchoTarget
            targets = [EchoTarget("T", "127.0.0.1", {peer.port}, "F", max_associations_per_host=300)] * 300
            targets += [EchoTarget("T", f"127.{{n // 250}}.{{n % 250}}.3", 1, "F") for n in range(250, 2950)]
            results = sweep(targets, SweepSettings(max_associations=5000))
            print(json.dumps(Counter(result.outcome.value for result in results)))
        """
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(program)],
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (128, 128)),
        )
    assert json.loads(done.stdout) == {"answered": 300, "refused": 2700}


def test_a_wrong_device_on_the_right_address_is_flagged(good_peer: Peer) -> None:  # T55
    expect = Expectation(implementation_class_uid="1.2.3.4", implementation_version="OTHER")
    (result,) = sweep([target_at(good_peer.port, expect=expect)])
    assert result.outcome is Outcome.EXPECTATION_FAILED
    assert "'SCRIPTED' instead of 'OTHER'" in result.detail
    expect = Expectation(implementation_class_uid="1.2.3.4", implementation_version="SCRIPTED")
    (result,) = sweep([target_at(good_peer.port, expect=expect)])
    assert result.outcome is Outcome.ANSWERED


def test_several_echoes_are_timed_one_by_one() -> None:
    answers = [make_command_pdu(1, EchoRSP(number, 0)).encode() for number in (1, 2, 3)]
    with serving(replies(ACCEPT, *answers, RELEASED)) as peer:
        (result,) = sweep([target_at(peer.port)], SweepSettings(repeat=3))
        assert peer.connections == 1
    assert result.outcome is Outcome.ANSWERED
    assert len(result.echo_times_s) == 3
    assert result.phases.echo_s == sorted(result.echo_times_s)[1]


def test_a_slow_phase_is_named() -> None:
    def slowly(sock: socket.socket) -> None:
        read_pdu(sock)
        threading.Event().wait(0.6)
        sock.sendall(ACCEPT)
        replies(ANSWER, RELEASED)(sock)

    with serving(slowly) as peer:
        (result,) = sweep([target_at(peer.port)])
    assert result.outcome is Outcome.ANSWERED
    assert result.warnings
    assert "the association took 0.6 s of the 0.8 s allowed" in result.warnings[0]


def test_ctrl_c_returns_what_there_is() -> None:
    program = """
        import sys
        from fleet.verify.sweep import sweep
        from fleet.verify.values import EchoTarget
        good, silent = map(int, sys.argv[1:])
        targets = [EchoTarget("GOOD", "127.0.0.1", good, "F"), EchoTarget("SILENT", "127.0.0.8", silent, "F")]
        results = sweep(targets, on_result=lambda result: print(result.outcome.value, flush=True))
        print(len(results))
    """
    with serving(answer_well) as good, serving(hold, "127.0.0.8") as silent:
        process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(program), str(good.port), str(silent.port)],
            cwd=Path(__file__).parents[2],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        first = process.stdout.readline()
        wait_until(lambda: silent.connections == 1)
        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate(timeout=5)
    assert (first, rest, process.returncode) == ("answered\n", "unknown\n2\n", 0)


def hold(sock: socket.socket) -> None:
    while sock.recv(4096):
        pass


def test_a_name_with_several_addresses_is_asked_at_the_first_that_opens(good_peer: Peer) -> None:  # T51
    def lookup(_name: str, _port: int) -> list[tuple[int, SocketAddress]]:
        return [(socket.AF_INET, (address, 0)) for address in ("127.99.0.1", good_peer.address, "127.99.0.2")]

    target = EchoTarget("A", "pacs.example", good_peer.port, "F")
    (result,) = sweep([target], surroundings=Surroundings(lookup=lookup))
    assert result.outcome is Outcome.ANSWERED
    assert result.attempts == 1
    number = f"{good_peer.address} (IPv4, number 2 of 3)"
    assert result.detail == f"pacs.example is {number}; 127.99.0.1 ended as refused"


def test_a_name_none_of_whose_addresses_opens_names_them_all() -> None:
    def lookup(_name: str, _port: int) -> list[tuple[int, SocketAddress]]:
        return [(socket.AF_INET, (address, 0)) for address in ("127.99.0.1", "127.99.0.2")]

    (result,) = sweep([EchoTarget("A", "pacs.example", 1, "F")], surroundings=Surroundings(lookup=lookup))
    assert result.outcome is Outcome.REFUSED
    assert "127.99.0.2 (IPv4, number 2 of 2)" in result.detail
    assert "127.99.0.1 ended as refused" in result.detail


def test_repeated_echoes_are_told_as_minimum_median_and_p95() -> None:
    answers = [make_command_pdu(1, EchoRSP(number, 0)).encode() for number in range(1, 6)]
    with serving(replies(ACCEPT, *answers, RELEASED)) as peer:
        (result,) = sweep([target_at(peer.port)], SweepSettings(repeat=5))
    assert re.fullmatch(r"5 echoes: min [\d.]+ ms, median [\d.]+ ms, p95 [\d.]+ ms", result.detail)


def test_a_peer_that_writes_its_answer_in_two_pieces_is_not_made_to_wait_for_our_acknowledgement() -> None:
    def in_two_pieces(
        sock: socket.socket,
    ) -> None:  # as dcmtk does, with Nagle's algorithm (RFC 896) as it is by default
        read_pdu(sock)
        sock.sendall(ACCEPT)
        for message_id in range(1, 10):
            read_pdu(sock)
            answer = make_command_pdu(1, EchoRSP(message_id, 0)).encode()
            sock.sendall(answer[:6])
            sock.sendall(answer[6:])
        read_pdu(sock)
        sock.sendall(RELEASED)

    with serving(in_two_pieces) as peer:
        (result,) = sweep([target_at(peer.port)], SweepSettings(repeat=9))
    assert result.outcome is Outcome.ANSWERED
    assert sorted(result.echo_times_s)[4] < 0.04  # what a delayed acknowledgement costs at least (TCP_DELACK_MIN)


def test_p95_is_the_nearest_rank() -> None:
    assert describe_times([n / 1000 for n in range(1, 101)]) == "100 echoes: min 1.0 ms, median 50.5 ms, p95 95.0 ms"


@pytest.mark.parametrize("port", [None, 1])
def test_who_was_asked_against_policy_is_recorded_with_the_result(good_peer: Peer, port: int | None) -> None:
    target = EchoTarget("A", good_peer.address, port or good_peer.port, "F", overridden="the vendor forbids it")
    (result,) = sweep([target])
    assert result.warnings == ("asked although policy spares it: the vendor forbids it",)
