"""What a peer can declare, split, open and leave: time and memory stay bounded. # T68 # T69"""

import ast
import os
import re
import resource
import socket
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fleet.dicom.items import (
    ImplementationVersionName,
    PresentationContextRQ,
    SOPClassExtendedNegotiation,
    UserInformation,
)
from fleet.dicom.pdu import AssociateAC, AssociateRJ, AssociateRQ, DataTF, PresentationDataValue, decode_pdu
from fleet.relay.store_command import encode_store_rq
from tests.relay.house import CT, EXPLICIT, make_data_set
from tests.relay.process import Relay, relaying, wait_for
from tests.relay.sink import Script, _answer, sinking
from tests.relay.test_forward import Bench
from tests.relay.test_receive import parcel

DRIBBLERS = 1000
FRAGMENTS = 1_000_000 if os.environ.get("FLEET_SOAK") else 100_000
GROWTH_MB = 24


@pytest.fixture
def relay(tmp_path: Path) -> Iterator[Relay]:
    with sinking(Script()) as script, relaying(tmp_path, script.port) as relay:
        yield relay


def peak_mb(relay: Relay) -> float:
    assert relay.process is not None
    status = Path(f"/proc/{relay.process.pid}/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found is not None
    return int(found[1]) / 1000


def associate(relay: Relay, *contexts: PresentationContextRQ, more: UserInformation | None = None) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", relay.port), timeout=20)
    asked = contexts or (PresentationContextRQ(1, CT, (EXPLICIT,)),)
    sock.sendall(AssociateRQ("RELAY", "CT1", asked, more or UserInformation()).encode())
    return sock


def read_pdu(sock: socket.socket) -> bytes:
    head = sock.recv(6, socket.MSG_WAITALL)
    return head + sock.recv(struct.unpack(">I", head[2:])[0], socket.MSG_WAITALL)


def test_a_thousand_dribblers_do_not_keep_a_known_modality_waiting_a_second(relay: Relay) -> None:
    # T69: from forty addresses, the modality's own among them, each sending a byte now and then
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 4096)), hard))
    socks: list[socket.socket] = []
    stop = threading.Event()

    def open_many() -> None:
        for number in range(DRIBBLERS):
            sock = socket.socket()
            socks.append(sock)
            sock.bind((f"127.0.0.{1 + number % 40}", 0))
            sock.connect(("127.0.0.1", relay.port))
            sock.send(b"\1")
        while not stop.is_set():
            for sock in socks:
                try:
                    sock.send(b"\0")
                except OSError:
                    continue
            stop.wait(0.2)

    crowd = threading.Thread(target=open_many)
    crowd.start()
    slowest = 0.0
    try:
        while crowd.is_alive() and relay.ask("status")["counts"].get("pushed-out", 0) <= DRIBBLERS // 2:
            started = time.monotonic()
            with relay.connect() as association:
                assert association.echo() == 0
            slowest = max(slowest, time.monotonic() - started)
        assert crowd.is_alive(), "the crowd did not get in"
        with relay.connect() as association:
            assert association.echo() == 0
    finally:
        stop.set()
        crowd.join(10)
        for sock in socks:
            sock.close()
    assert 0 < slowest < 1.0


@pytest.mark.parametrize("kind", [1, 2, 4, 5])
def test_a_declared_length_of_4_gb_takes_no_memory_and_ends_the_association(relay: Relay, kind: int) -> None:
    # T68
    before = peak_mb(relay)
    for _ in range(10):
        with associate(relay) as sock:
            assert isinstance(decode_pdu(read_pdu(sock)), AssociateAC)
            sock.sendall(struct.pack(">BBI", kind, 0, 0xFFFFFFFF))
            assert sock.recv(100)[:1] == b"\7"
    assert peak_mb(relay) - before < GROWTH_MB


def test_a_value_longer_than_its_pdu_is_refused(relay: Relay) -> None:
    # T68: PDV length overflow
    with associate(relay) as sock:
        read_pdu(sock)
        sock.sendall(struct.pack(">BBIIBB", 4, 0, 100, 0xFFFFFFFF, 1, 3) + bytes(94))
        assert sock.recv(100)[:1] == b"\7"


def test_a_million_fragments_are_one_instance_in_bounded_memory(relay: Relay, tmp_path: Path) -> None:
    # T68: a data set in pieces of a byte or two
    uid = "1.2.9.1"
    data_set = make_data_set(uid, pixels=2 * FRAGMENTS - 400)
    before = peak_mb(relay)
    with associate(relay) as sock:
        read_pdu(sock)
        command = PresentationDataValue(1, encode_store_rq(1, CT, uid), is_command=True, is_last=True)
        sock.sendall(DataTF((command,)).encode())
        pieces = [data_set[at : at + 2] for at in range(0, len(data_set), 2)]
        head = struct.pack(">BBIIBB", 4, 0, 8, 4, 1, 0)
        for at in range(0, len(pieces) - 1, 10_000):
            sock.sendall(b"".join(head + piece for piece in pieces[at : min(at + 10_000, len(pieces) - 1)]))
        sock.settimeout(60)
        sock.sendall(struct.pack(">BBIIBB", 4, 0, 8, 4, 1, 2) + pieces[-1])
        answer = decode_pdu(read_pdu(sock))
        assert isinstance(answer, DataTF)
    wait_for(lambda: relay.ask("status")["counts"].get("delivered") == 1, 20)
    assert peak_mb(relay) - before < GROWTH_MB


def test_128_contexts_with_all_the_items_that_fit_are_answered_one_by_one(relay: Relay) -> None:
    # T68
    def propose(syntaxes: int) -> tuple[PresentationContextRQ, ...]:
        many = tuple(f"1.2.840.10008.1.2.4.{50 + each}" for each in range(syntaxes))
        return tuple(PresentationContextRQ(2 * number + 1, CT, many) for number in range(128))

    before = peak_mb(relay)
    items = (ImplementationVersionName("X" * 16),) * 500 + (SOPClassExtendedNegotiation(CT, b"\1"),) * 80
    with associate(relay, *propose(10), more=UserInformation(items)) as sock:
        answer = decode_pdu(read_pdu(sock))
        assert isinstance(answer, AssociateAC)
        assert [each.result for each in answer.presentation_contexts] == [0] * 128
    with socket.create_connection(("127.0.0.1", relay.port), timeout=20) as sock:
        too_long = AssociateRQ("RELAY", "CT1", propose(30)).encode()
        assert len(too_long) > 65_536
        sock.sendall(too_long[:1000])
        assert sock.recv(100)[:1] == b"\7"
    assert peak_mb(relay) - before < GROWTH_MB


def test_a_destination_that_goes_away_in_the_middle_of_an_instance_gets_it_again(tmp_path: Path) -> None:
    # T63: killed mid-C-STORE
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def die_young() -> None:
            sock, _ = listener.accept()
            with sock:
                request = decode_pdu(read_pdu(sock))
                assert isinstance(request, AssociateRQ)
                sock.sendall(_answer(request, Script()))
                read_pdu(sock)
                sock.recv(10_000)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

        dying = threading.Thread(target=die_young)
        dying.start()
        bench = Bench(tmp_path, Script(port=listener.getsockname()[1]), 2)
        bench.worker.work()
        dying.join(5)
    assert set(bench.states().values()) == {"queued"}
    assert bench.worker.circuit.failures == 1
    with sinking(Script(), bench.worker.destination.addresses[0].port) as script:
        bench.spool.change("UPDATE tasks SET next_at = 0")
        bench.worker.circuit.record_success()
        bench.worker.work()
        assert sorted(script.uids()) == ["1.2.3.0", "1.2.3.1"]


def count(relay: Relay) -> int:
    states = relay.ask("status")["states"]
    return int(states["queued"] + states["quarantined"])


@pytest.mark.parametrize("fault", ["reject", "silent", "a700", "c000"])
def test_a_bad_destination_holds_up_no_sender_and_no_other_destination(tmp_path: Path, fault: str) -> None:
    # T63, T64
    statuses = {"silent": -1, "a700": 0xA700, "c000": 0xC000}
    bad = Script(status=lambda _uid: statuses.get(fault, 0), reject=AssociateRJ(1, 1, 7) if fault == "reject" else None)
    with sinking(bad), sinking(Script()) as good:
        relay = Relay(tmp_path, good.port)
        other = {**relay.document["destinations"]["ARCHIVE"], "ae_title": "BAD"}
        other["addresses"] = [{"address": "127.0.0.1", "port": bad.port}]
        relay.document["destinations"]["BAD"] = other
        relay.document["routes"][0]["optional"] = [{"ae_title": "BAD", "during": None, "backup_after_s": None}]
        relay.start()
        try:
            started = time.monotonic()
            with relay.connect() as association:
                for number in range(20):
                    uid = f"1.2.3.{number}"
                    assert association.store(parcel(tmp_path, make_data_set(uid), uid)) == 0
            wait_for(lambda: len(good.received) == 20)
            assert time.monotonic() - started < 10
            wait_for(lambda: count(relay) == 20)  # nothing for it is lost, nothing of the other one is left
        finally:
            relay.kill()


def test_the_relay_starts_no_program_whatever_a_peer_says() -> None:
    # T80: nothing is executed on reception, so nothing of a peer's can get into a command line
    forbidden = {"subprocess", "pty", "multiprocessing"}
    calls = {"system", "popen", "eval", "exec", "execv", "execve", "posix_spawn", "fork", "spawnv"}
    for path in (Path(__file__).parents[2] / "fleet" / "relay").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = {each.name for each in node.names} | {getattr(node, "module", None) or ""}
                assert not names & forbidden, path
            elif isinstance(node, ast.Call):
                name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
                assert name not in calls, f"{path}:{node.lineno} calls {name}"
