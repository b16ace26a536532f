"""The receiving side, by bytes and with our own and others' senders."""

import errno
import os
import shutil
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fleet.dicom.dimse import VERIFICATION_UID
from fleet.dicom.items import PresentationContextRQ
from fleet.dicom.pdu import AssociateAC, AssociateRJ, AssociateRQ, DataTF, PresentationDataValue, decode_pdu
from fleet.relay.forward.outbound import AssociationFailed, Outbound, Parcel
from fleet.relay.header import read_texts
from fleet.relay.receive import loop
from fleet.relay.receive.admission import Door, is_storage
from fleet.relay.receive.incoming import encode_file_meta
from fleet.relay.receive.places import may_associate
from fleet.relay.store_command import encode_store_rq
from fleet.relay.values import Destination, Endpoint
from tests.relay.house import CT, EXPLICIT, House, element, make_data_set, make_file, receiving

DRIBBLERS = 120


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with receiving(tmp_path / "spool") as house:
        yield house


def sender(house: House, calling: str = "CT1", called: str = "RELAY", sop_class: str = CT) -> Outbound:
    place = Destination(called, calling, (Endpoint("127.0.0.1", house.port),), False, None, 2, 5, 1)
    return Outbound(place, ((sop_class, EXPLICIT), (VERIFICATION_UID, "1.2.840.10008.1.2")), 10)


def parcel(folder: Path, data_set: bytes, uid: str = "1.2.3.4") -> Parcel:
    meta = encode_file_meta(CT, uid.strip() or "1", EXPLICIT)
    path = folder / f"sent-{os.urandom(4).hex()}"
    path.write_bytes(meta + data_set)
    return Parcel(path, len(meta), len(meta + data_set), None, CT, uid, EXPLICIT)


def send(house: House, folder: Path, data_set: bytes, uid: str = "1.2.3.4") -> int:
    with sender(house) as association:
        status = association.store(parcel(folder, data_set, uid))
        association.release()
    return status


def test_an_acknowledged_instance_is_a_file_with_the_bytes_that_came(house: House, tmp_path: Path) -> None:
    data_set = make_data_set(pixels=700_000)
    assert send(house, tmp_path, data_set) == 0
    [(spool_id, offset)] = house.spool.read("SELECT spool_id, data_set_offset FROM instances")
    path = house.spool.path(spool_id)
    assert path.read_bytes()[offset:] == data_set
    assert path.read_bytes()[:132] == bytes(128) + b"DICM"  # T79: no preamble of a peer's
    assert path.stat().st_mode & 0o777 == 0o600
    assert house.spool.folder.stat().st_mode & 0o777 == 0o700


def test_many_instances_go_through_one_association(house: House, tmp_path: Path) -> None:
    with sender(house) as association:
        for number in range(30):
            uid = f"1.2.3.{number}"
            assert association.store(parcel(tmp_path, make_data_set(uid), uid)) == 0
        assert association.echo() == 0
        association.release()
    assert len(house.uids()) == 30


@pytest.mark.parametrize(
    ("changes", "uid", "status"),
    [
        ({"uid": "1.2.9"}, "1.2.3.4", 0xA900),
        ({"sop_class": b"1.2.840.10008.5.1.4.1.1.4"}, "1.2.3.4", 0xA900),
        ({"study": ""}, "1.2.3.4", 0xA900),
        ({"study": "../../etc"}, "1.2.3.4", 0xA900),
        ({}, "../../etc/passwd", 0x0117),
        ({}, "/etc/passwd", 0x0117),
        ({}, "1." * 40 + "1", 0x0117),
        ({}, "", 0x0117),
    ],
)
def test_uids_that_disagree_or_are_none_are_refused(
    house: House, tmp_path: Path, changes: dict[str, Any], uid: str, status: int
) -> None:
    """T67."""
    assert send(house, tmp_path, make_data_set(**changes), uid) == status
    assert house.uids() == []
    assert list(house.spool.files.iterdir()) == []


def test_what_is_no_data_set_is_refused(house: House, tmp_path: Path) -> None:
    assert send(house, tmp_path, b"GET / HTTP/1.1\r\n\r\n") in {0xA900, 0xC000}
    assert send(house, tmp_path, b"") in {0xA900, 0xC000}
    assert list(house.spool.files.iterdir()) == []


@pytest.mark.parametrize(
    ("calling", "called", "numbers"),
    [("CT1", "OTHER", "1/1/7"), ("STRANGER", "RELAY", "1/1/3"), ("ct1", "RELAY", "1/1/3"), ("FAR", "RELAY", "1/1/3")],
)
def test_who_is_not_listed_is_rejected_and_reaches_no_spool(
    tmp_path: Path, calling: str, called: str, numbers: str
) -> None:
    """T70: by title, called title and source address."""
    callers = [
        {"ae_title": "CT1", "addresses": ["127.0.0.1"], "services": ["storage"], "role": "entity"},
        {"ae_title": "FAR", "addresses": ["127.0.0.9"], "services": ["storage"], "role": "entity"},
    ]
    with receiving(tmp_path / "spool", callers=callers) as house:
        with pytest.raises(AssociationFailed, match=f"rejected {numbers}"):
            sender(house, calling, called)
        assert house.uids() == []


def test_a_prober_may_echo_and_not_store(tmp_path: Path) -> None:
    callers = [{"ae_title": "PROBE", "addresses": ["127.0.0.1"], "services": ["storage"], "role": "prober"}]
    with receiving(tmp_path / "spool", callers=callers) as house, sender(house, "PROBE") as association:
        assert association.echo() == 0
        assert set(association.contexts) == {(VERIFICATION_UID, "1.2.840.10008.1.2")}


def test_no_service_but_storage_and_verification_is_accepted(house: House) -> None:
    with sender(house, sop_class="1.2.840.10008.5.1.4.1.2.2.1") as association:
        assert len(association.contexts) == 1


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EROFS, errno.EDQUOT])
@pytest.mark.parametrize("call", ["open", "write", "fsync", "rename"])
def test_a_disk_that_fails_once_answers_a700_and_leaves_nothing(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, number: int
) -> None:
    """T61: and the next attempt is a fresh file."""
    failing = {"left": 1}
    sent = parcel(tmp_path, make_data_set())

    def fail(real: Any, matches: Any) -> Any:
        def instead(*arguments: Any, **named: Any) -> Any:
            if failing["left"] and matches(*arguments):
                failing["left"] -= 1
                raise OSError(number, os.strerror(number))
            return real(*arguments, **named)

        return instead

    with sender(house) as association:
        if call == "rename":
            monkeypatch.setattr(Path, "rename", fail(Path.rename, lambda path, *_: path.suffix == ".part"))
        elif call == "open":
            monkeypatch.setattr(os, "open", fail(os.open, lambda path, *_: str(path).endswith(".part")))
        else:
            monkeypatch.setattr(os, call, fail(getattr(os, call), lambda *_: True))
        assert association.store(sent) == 0xA700
        assert failing["left"] == 0
        assert list(house.spool.files.iterdir()) == []
        assert association.store(sent) == 0
    assert house.uids() == ["1.2.3.4"]


def test_below_the_reserve_nothing_is_taken(house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """T61: a low-water mark, not the last byte."""
    monkeypatch.setattr(house.spool, "free_bytes", lambda: 0)
    assert send(house, tmp_path, make_data_set()) == 0xA700
    assert house.uids() == []


def test_half_an_instance_is_never_visible(house: House) -> None:
    """T60: a sender that goes away in the middle."""
    sock = socket.create_connection(("127.0.0.1", house.port))
    sock.sendall(AssociateRQ("RELAY", "CT1", (PresentationContextRQ(1, CT, (EXPLICIT,)),)).encode())
    assert sock.recv(4096)[0] == 2
    from fleet.relay.store_command import encode_store_rq

    command = PresentationDataValue(1, encode_store_rq(1, CT, "1.2.3.4"), is_command=True, is_last=True)
    half = PresentationDataValue(1, make_data_set()[:900], is_command=False, is_last=False)
    sock.sendall(DataTF((command,)).encode() + DataTF((half,)).encode())
    wait_for(lambda: any(house.spool.files.iterdir()))
    assert house.uids() == []
    sock.close()
    wait_for(lambda: not any(house.spool.files.iterdir()))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\4\0\xff\xff\xff\xff", 6),
        (b"GET / HTTP", 1),
        (b"\1\0\xff\xff\xff\xff", 6),
        (b"\4\0\0\0\0\7\0\0\0\3\1\0\0", None),
    ],
)
def test_bytes_that_are_no_association_are_aborted_at_once(house: House, data: bytes, reason: int | None) -> None:
    """T68: a declared length of 4 GB costs nothing."""
    with socket.create_connection(("127.0.0.1", house.port), timeout=2) as sock:
        sock.sendall(data)
        answer = sock.recv(100)
        assert answer[0] == 7
        if reason is not None:
            assert answer[8:10] == bytes((2, reason))


def test_dribblers_do_not_keep_a_known_modality_waiting(tmp_path: Path) -> None:
    """T69: connections from strangers and from the modality's own address, each sending a byte now and then."""
    with receiving(tmp_path / "spool") as house:
        socks = []
        for number in range(DRIBBLERS):
            sock = socket.socket()
            sock.bind((f"127.0.0.{1 + number % 40}", 0))
            sock.connect(("127.0.0.1", house.port))
            sock.send(b"\1")
            socks.append(sock)
        started = time.monotonic()
        with sender(house) as association:
            assert association.echo() == 0
            assert send(house, tmp_path, make_data_set()) == 0
        assert time.monotonic() - started < 1.0
        assert len(house.receiver._connections) <= 41
        for sock in socks:
            sock.close()


def test_the_last_places_are_kept_for_known_addresses_without_one() -> None:
    """T69."""
    known = [f"10.0.0.{number}" for number in range(10)]
    used = Counter({"10.0.0.1": 5})
    assert not may_associate(used, "10.0.0.1", known, 10)
    assert may_associate(used, "10.0.0.2", known, 10)
    assert may_associate(Counter({"10.0.0.1": 63}), "10.0.0.1", known[1:2], 64)
    assert not may_associate(Counter({"10.0.0.1": 64}), "10.0.0.2", known, 64)


def test_nothing_of_a_patient_is_told(house: House, tmp_path: Path) -> None:
    """T73: names, ids and UIDs planted in data sets that are taken and refused."""
    send(house, tmp_path, make_data_set(uid="1.2.77.1", study="1.2.88"), "1.2.77.1")
    send(house, tmp_path, make_data_set(uid="1.2.77.2", study="1.2.88"), "1.2.77.9")
    wait_for(lambda: len(house.events()) >= 3)
    told = house.told.getvalue()
    assert "refused" in told
    for planted in ("PLANTED", "1.2.77", "1.2.88"):
        assert planted not in told
    assert not any("1.2" in path.name or "PLANTED" in path.name for path in house.spool.folder.rglob("*"))


def test_a_big_endian_instance_is_kept_as_it_came(house: House, tmp_path: Path) -> None:
    assert element(0x00080018, b"UI", b"1.2")[:4] == b"\x08\x00\x18\x00"
    big = "1.2.840.10008.1.2.2"
    data_set = b"".join(
        (tag >> 16).to_bytes(2, "big")
        + (tag & 0xFFFF).to_bytes(2, "big")
        + b"UI"
        + len(value).to_bytes(2, "big")
        + value
        for tag, value in ((0x00080016, CT.encode() + b"\0"), (0x00080018, b"1.2.3.44"), (0x0020000D, b"1.2.3\0"))
    )
    place = Destination("RELAY", "CT1", (Endpoint("127.0.0.1", house.port),), False, None, 2, 5, 1)
    path = tmp_path / "big"
    path.write_bytes(encode_file_meta(CT, "1.2.3.44", big) + data_set)
    offset = path.stat().st_size - len(data_set)
    with Outbound(place, ((CT, big),)) as association:
        assert association.store(Parcel(path, offset, path.stat().st_size, None, CT, "1.2.3.44", big)) == 0
    assert house.uids() == ["1.2.3.44"]


@pytest.mark.interop
@pytest.mark.parametrize("program", ["storescu", "dcmsend"])
def test_dcmtk_sends(house: House, tmp_path: Path, program: str) -> None:
    assert shutil.which(program), "dcmtk is not installed"
    (tmp_path / "in").mkdir()
    for number in range(5):
        make_file(tmp_path / "in", f"1.2.3.{number}", pixels=100_000)
    done = subprocess.run(
        [program, "-aet", "CT1", "-aec", "RELAY", "+sd", "127.0.0.1", str(house.port), str(tmp_path / "in")],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(house.uids()) == 5


def wait_for(condition: Any, seconds: float = 5.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to be in time"
        time.sleep(0.01)


@pytest.mark.parametrize("tail", ["X", "\xe9", "7 ", "", "7" * 60, "7.", "7/../8", "7\n"])
def test_an_abstract_syntax_that_is_no_uid_is_not_taken_whatever_it_begins_with(house: House, tail: str) -> None:
    """T67: a SOP class becomes part of a file; one of other letters ended the loop, and so the relay."""
    uid = "1.2.840.10008.5.1.4.1.1." + tail
    assert not is_storage(uid)
    request = AssociateRQ("RELAY", "CT1", (PresentationContextRQ(1, uid.replace("\xe9", "X"), (EXPLICIT,)),)).encode()
    with socket.create_connection(("127.0.0.1", house.port), timeout=10) as sock:
        sock.sendall(request.replace(b".1.1.X", b".1.1.\xe9") if tail == "\xe9" else request)
        answer = decode_pdu(sock.recv(65_536))
    if tail == "7 ":
        return  # padding is not part of it (PS3.8 annex F)
    assert isinstance(answer, AssociateAC)
    assert [each.result for each in answer.presentation_contexts] == [3]


def test_one_odd_peer_does_not_end_the_loop_for_all_others(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judge = Door.judge

    def stumble(self: Door, request: AssociateRQ, address: str) -> Any:
        if request.called == "BOOM":
            raise RuntimeError("a case that nobody thought of")
        return judge(self, request, address)

    monkeypatch.setattr(Door, "judge", stumble)
    with pytest.raises(AssociationFailed):
        sender(house, called="BOOM")
    assert send(house, tmp_path, make_data_set()) == 0
    [told] = [each for each in house.events() if each["event"] == "connection-failed"]
    assert told["error"] == "RuntimeError"


def test_one_instance_that_cannot_be_read_does_not_refuse_those_beside_it(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """T65, T68."""

    def stumble(*arguments: Any) -> Any:
        texts, elements = read_texts(*arguments)
        if "1.2.3.666" in texts.values():
            raise ValueError("a case that nobody thought of")
        return texts, elements

    monkeypatch.setattr("fleet.relay.receive.committer.read_texts", stumble)
    assert send(house, tmp_path, make_data_set("1.2.3.666"), "1.2.3.666") == 0xC000
    assert send(house, tmp_path, make_data_set("1.2.3.7"), "1.2.3.7") == 0
    assert len(list(house.spool.files.iterdir())) == 1


@pytest.mark.parametrize("is_told", [True, False])
def test_a_large_instance_that_outgrows_the_reserve_is_refused_before_the_disk_is_full(
    house: House, monkeypatch: pytest.MonkeyPatch, is_told: bool
) -> None:
    """T61, T68: it was begun while there was room."""
    monkeypatch.setattr(loop, "_SMALL_BYTES", 100_000)
    monkeypatch.setattr(loop, "_FREE_LOOK_S", 0.0)
    data = make_data_set(pixels=400_000)
    pieces = [data[at : at + 60_000] for at in range(0, len(data), 60_000)]

    def put(piece: bytes, is_command: bool, is_last: bool) -> bytes:
        return DataTF((PresentationDataValue(1, piece, is_command=is_command, is_last=is_last),)).encode()

    with socket.create_connection(("127.0.0.1", house.port), timeout=10) as sock:
        sock.sendall(AssociateRQ("RELAY", "CT1", (PresentationContextRQ(1, CT, (EXPLICIT,)),)).encode())
        assert not isinstance(decode_pdu(sock.recv(65_536)), AssociateRJ)
        sock.sendall(put(encode_store_rq(1, CT, "1.2.3.4"), is_command=True, is_last=True))
        for piece in pieces[:-1]:
            sock.sendall(put(piece, is_command=False, is_last=False))
        wait_for(lambda: sum(each.stat().st_size for each in house.spool.files.iterdir()) > 300_000)

        def no_room() -> int:
            if is_told:
                return -1
            raise OSError(errno.EIO, "no answer")

        monkeypatch.setattr(house.spool, "free_bytes", no_room)
        wait_for(lambda: not list(house.spool.files.iterdir()))
        sock.sendall(put(pieces[-1], is_command=False, is_last=True))
        answer = sock.recv(65_536)
    assert (0xA700).to_bytes(2, "little") in answer
    assert house.uids() == []
