"""Sending: what a destination's answers lead to."""

import dataclasses
import errno
import io
import os
import ssl
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from fleet.dicom.pdu import AssociateRJ
from fleet.relay.forward.outbound import MAX_CONTEXTS, Outbound, Parcel, make_request
from fleet.relay.forward.outcome import MAX_ATTEMPTS, Circuit, Meaning, make_pause_s, read_status
from fleet.relay.forward.senders import Surroundings, Worker, make_plain_parcel, read_data_set_offset
from fleet.relay.operate import ledger
from fleet.relay.receive.incoming import encode_file_meta
from fleet.relay.spool.files import hash_file
from fleet.relay.spool.queue import Spool
from fleet.relay.spool.records import Stored, Task
from fleet.relay.telling import Teller
from fleet.relay.values import Decision, Destination, Endpoint, ReceivedInstance, StudyFacts, Tls
from tests.relay.house import CT, EXPLICIT, make_data_set
from tests.relay.sink import Script, sinking
from tests.verify.certificates import make_authority, make_certificate


class Bench:
    """A spool with some instances, and a worker on a scripted destination."""

    def __init__(
        self,
        folder: Path,
        script: Script,
        count: int = 3,
        response_s: float = 5.0,
        prepare: Callable[[Task], Parcel] = make_plain_parcel,
    ) -> None:
        self.spool = Spool(folder / "spool")
        self.told = io.StringIO()
        place = Destination("ARCHIVE", "RELAY", (Endpoint("127.0.0.1", script.port),), False, None, 1, 1, 1)
        around = Surroundings(
            self.spool,
            prepare,
            Teller(self.write, bytes(32), time.time),
            lambda: 0.5,
            lambda to, kinds: Outbound(to, kinds, response_s),
        )
        self.worker = Worker(place, around)
        self.spool.add([self.store(number) for number in range(count)], self.decide)

    def write(self, line: str) -> None:
        self.told.write(line + "\n")

    @staticmethod
    def decide(_instance: ReceivedInstance, _study: StudyFacts) -> tuple[Decision, ...]:
        return (Decision("all", "send", "ARCHIVE"),)

    def store(self, number: int, pixels: int = 200_000) -> Stored:
        uid = f"1.2.3.{number}"
        name = f"{number:024x}"
        meta = encode_file_meta(CT, uid, EXPLICIT)
        path = self.spool.path(name)
        path.write_bytes(meta + make_data_set(uid, pixels=pixels))
        instance = ReceivedInstance(name, path, "CT1", "RELAY", CT, uid, "1.2.3", "CT", EXPLICIT, 1.0)
        return Stored(instance, path.stat().st_size, len(meta), hash_file(path))

    def states(self) -> dict[str, str]:
        rows = self.spool.read("SELECT i.sop_instance_uid, t.state FROM tasks t JOIN instances i ON i.id = t.instance")
        return dict(rows)

    def reasons(self) -> list[str]:
        return [row["reason"] for row in ledger.list_tasks(self.spool, ["queued", "quarantined", "delivered"])]


def test_one_association_carries_all_in_order(tmp_path: Path) -> None:
    with sinking(Script()) as script:
        bench = Bench(tmp_path, script, 5)
        bench.worker.work()
        assert script.uids() == [f"1.2.3.{number}" for number in range(5)]
        assert script.associations == 1
        assert set(bench.states().values()) == {"delivered"}


@pytest.mark.parametrize("pixels", [1, 16_000, 16_384, 131_072, 262_144, 262_143 * 2])
def test_the_data_set_arrives_byte_for_byte_whatever_its_length(tmp_path: Path, pixels: int) -> None:
    import hashlib

    with sinking(Script()) as script:
        bench = Bench(tmp_path, script, 0)
        bench.spool.add([bench.store(1, pixels)], bench.decide)
        bench.worker.work()
        digest = hashlib.sha256(make_data_set("1.2.3.1", pixels=pixels)).hexdigest()
        assert script.received == [("1.2.3.1", digest)]


@pytest.mark.parametrize(
    ("status", "state", "circuit_failures"),
    [
        (0x0000, "delivered", 0),
        (0xB000, "delivered", 0),
        (0xB007, "delivered", 0),
        (0x0111, "delivered", 0),
        (0xA700, "queued", 1),
        (0xA701, "queued", 1),
        (0xA900, "quarantined", 0),
        (0xC000, "quarantined", 0),
        (0x0122, "quarantined", 0),
        (0x0110, "queued", 0),
        (0x0124, "queued", 0),
        (0x1234, "queued", 0),
    ],
)
def test_what_an_answer_means(tmp_path: Path, status: int, state: str, circuit_failures: int) -> None:
    """T63."""
    with sinking(Script(status=lambda _uid: status)) as script:
        bench = Bench(tmp_path, script, 1)
        bench.worker.work()
        assert bench.states() == {"1.2.3.0": state}
        assert bench.worker.circuit.failures == circuit_failures


def test_one_refused_instance_does_not_hold_up_those_behind_it(tmp_path: Path) -> None:
    """T65."""
    with sinking(Script(status=lambda uid: 0xC001 if uid.endswith("1") else 0)) as script:
        bench = Bench(tmp_path, script, 4)
        bench.worker.work()
        assert script.uids() == ["1.2.3.0", "1.2.3.2", "1.2.3.3"]
        assert bench.states()["1.2.3.1"] == "quarantined"
        assert "refused with status C001" in bench.reasons()


def test_an_instance_that_never_gets_through_leaves_the_queue_after_some_attempts(tmp_path: Path) -> None:
    """T65: a destination that falls over at this very instance."""
    with sinking(Script(status=lambda uid: None if uid.endswith("0") else 0)) as script:
        bench = Bench(tmp_path, script, 2)
        for _ in range(2 * MAX_ATTEMPTS):
            bench.spool.change("UPDATE tasks SET next_at = 0 WHERE state = 'queued'")
            bench.worker.circuit = Circuit()
            bench.worker.work()
        assert bench.states() == {"1.2.3.0": "quarantined", "1.2.3.1": "delivered"}


@pytest.mark.parametrize("answer", ["reject", "hang", "drop", "contexts", "nobody"])
def test_a_destination_that_does_not_take_it_loses_nothing(tmp_path: Path, answer: str) -> None:
    """T63: rejects, hangs, drops after the data before the answer, refuses the context, is not there."""
    script = Script(
        status=lambda _uid: {"hang": -1, "drop": None}.get(answer, 0),
        reject=AssociateRJ(1, 1, 7) if answer == "reject" else None,
        refuse_contexts=answer == "contexts",
    )
    with sinking(script):
        bench = Bench(tmp_path, script, 2, response_s=0.3)
        if answer == "nobody":
            bench.worker.destination = Destination("ARCHIVE", "R", (Endpoint("127.0.0.1", 1),), False, None, 1, 1, 1)
        bench.worker.work()
        assert set(bench.states().values()) == {"queued"}
        assert script.received == []
        assert bench.worker.circuit.failures == (0 if answer == "contexts" else 1)


def test_a_dead_destination_is_probed_by_c_echo_before_images_go_there(tmp_path: Path) -> None:
    with sinking(Script()) as script:
        bench = Bench(tmp_path, script, 1)
        bench.worker.circuit = Circuit(failures=3, probe_at=0.0)
        bench.worker.work()
        assert script.echoes == 1
        assert script.uids() == ["1.2.3.0"]
        bench.worker.circuit = Circuit(failures=3, probe_at=time.monotonic() + 60)
        bench.spool.change("UPDATE tasks SET state = 'queued'")
        assert not bench.worker.work()
        assert script.echoes == 1


def test_a_file_that_changed_on_the_disk_is_quarantined_and_never_completed(tmp_path: Path) -> None:
    """T76: every byte of the data set's head, a few of its pixels, one less, one more."""
    with sinking(Script()) as script:
        bench = Bench(tmp_path, script, 0)
        bench.spool.add([bench.store(1, 64)], bench.decide)
        path = bench.spool.path(f"{1:024x}")
        whole = path.read_bytes()
        variants = [whole[:at] + bytes((whole[at] ^ 1,)) + whole[at + 1 :] for at in range(0, len(whole), 7)]
        for variant in [*variants, whole[:-1], whole + b"\0"]:
            path.write_bytes(variant)
            bench.spool.change("UPDATE tasks SET state = 'queued', next_at = 0")
            bench.worker.circuit = Circuit()
            bench.worker.work()
            assert bench.states() == {"1.2.3.1": "quarantined"}
        assert script.received == []


def test_a_missing_file_is_quarantined(tmp_path: Path) -> None:
    with sinking(Script()) as script:
        bench = Bench(tmp_path, script, 2)
        bench.spool.path(f"{0:024x}").unlink()
        bench.worker.work()
        bench.worker.work()
        assert bench.states() == {"1.2.3.0": "quarantined", "1.2.3.1": "delivered"}


def test_a_paused_destination_gets_nothing(tmp_path: Path) -> None:
    with sinking(Script()) as script:
        bench = Bench(tmp_path, script, 1)
        ledger.pause(bench.spool, "ARCHIVE", 1.0)
        assert not bench.worker.work()
        ledger.resume(bench.spool, "ARCHIVE")
        bench.worker.work()
        assert script.uids() == ["1.2.3.0"]


def test_two_destinations_do_not_know_of_each_other(tmp_path: Path) -> None:
    """T64: the primary down, the copy up."""
    with sinking(Script()) as script:
        bench = Bench(tmp_path, script, 0)

        def both(_instance: ReceivedInstance, _study: StudyFacts) -> tuple[Decision, ...]:
            return (Decision("all", "send", "DOWN"), Decision("all", "send", "ARCHIVE", "optional"))

        bench.spool.add([bench.store(1)], both)
        bench.worker.work()
        rows = bench.spool.read("SELECT destination, state FROM tasks ORDER BY id")
        assert rows == [("DOWN", "queued"), ("ARCHIVE", "delivered")]


@pytest.mark.parametrize(
    ("names", "trusted", "state"),
    [(["archive"], True, "delivered"), (["archive"], False, "queued"), (["other"], True, "queued")],
)
def test_a_destination_with_tls_gets_images_only_when_it_is_verified(
    tmp_path: Path, names: list[str], trusted: bool, state: str
) -> None:
    authority = make_authority("CA")
    certificate, key = make_certificate(authority, names, 30)
    (tmp_path / "cert.pem").write_text(certificate + key)
    (tmp_path / "ca.pem").write_text((authority if trusted else make_authority("OTHER")).pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert.pem")
    with sinking(Script(tls=context)) as script:
        bench = Bench(tmp_path, script, 2)
        place, tls = bench.worker.destination, Tls(str(tmp_path / "ca.pem"), "archive")
        bench.worker.destination = dataclasses.replace(place, tls=tls)
        bench.worker.work()
        assert set(bench.states().values()) == {state}
        assert bool(script.received) == (state == "delivered")


def test_a_request_for_all_contexts_stays_below_16_kilobytes() -> None:
    place = Destination("A" * 16, "B" * 16, (Endpoint("127.0.0.1", 104),), False, None, 1, 1, 1)
    kinds = [
        (f"1.2.840.10008.5.1.4.1.1.{'9' * 36}{number:03}", "1.2.840.10008.1.2.4." + "9" * 40)
        for number in range(MAX_CONTEXTS)
    ]
    assert max(len(uid) for kind in kinds for uid in kind) <= 64
    assert len(make_request(place, kinds).encode()) < 16_384


def test_pauses_grow_and_differ() -> None:
    assert make_pause_s(0, lambda: 0.5) < make_pause_s(3, lambda: 0.5) < make_pause_s(60, lambda: 0.5) < 86_400
    assert make_pause_s(3, lambda: 0.0) != make_pause_s(3, lambda: 1.0)


def test_every_status_has_a_meaning() -> None:
    assert {read_status(status) for status in range(0x10000)} == set(Meaning)


def test_the_data_set_of_a_part_10_file_is_found(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(encode_file_meta(CT, "1.2.3", EXPLICIT) + b"data")
    assert path.read_bytes()[read_data_set_offset(path) :] == b"data"
    path.write_bytes(os.urandom(200))
    with pytest.raises(ValueError, match="no file meta"):
        read_data_set_offset(path)


def test_a_full_disk_while_preparing_is_tried_again_and_quarantines_nothing(tmp_path: Path) -> None:
    """T74 asks for quarantine where a step fails; a disk that is full says nothing about the instance (T61)."""

    def full(_task: Task) -> Parcel:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with sinking(Script()) as script:
        bench = Bench(tmp_path, script, 1, prepare=full)
        bench.worker.work()
        assert script.associations == 0
        assert set(bench.states().values()) == {"queued"}
        assert bench.reasons() == ["this machine could not prepare it (ENOSPC)"]


def test_what_was_prepared_does_not_go_out_after_a_pause_or_a_new_configuration(tmp_path: Path) -> None:
    """T74: a step that a reload brings holds for the next instance, not for the one after two hundred."""

    def status(_uid: str) -> int:
        bench.worker.hold()
        return 0

    with sinking(Script(status=status)) as script:
        bench = Bench(tmp_path, script, 3)
        assert bench.worker.work(), "and it is told that there may be more"
        assert script.uids() == ["1.2.3.0"]
        assert sorted(bench.states().values()) == ["delivered", "queued", "queued"]


def test_only_so_much_is_prepared_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """T74: copies that a route's steps made fill no disk, however many instances wait."""
    monkeypatch.setattr("fleet.relay.forward.senders.PREPARED_BYTES", 300_000)
    most = 0

    def copy(task: Task) -> Parcel:
        nonlocal most
        made = bench.spool.work / f"{task.task_id}.dcm"
        made.write_bytes(task.instance.path.read_bytes())
        most = max(most, len(list(bench.spool.work.iterdir())))
        return dataclasses.replace(make_plain_parcel(task), path=made)

    with sinking(Script()) as script:
        bench = Bench(tmp_path, script, 5, prepare=copy)
        while bench.worker.work():
            pass
        assert most == 2
        assert script.uids() == [f"1.2.3.{number}" for number in range(5)]
        assert not list(bench.spool.work.iterdir())


class Stalled:
    """An archive whose sender holds a batch of five studies, and a backup that takes over while one is on its way."""

    def __init__(self, folder: Path, script: Script, other: Script, answer: int) -> None:
        self.bench = Bench(folder, script, 0, response_s=0.5)
        self.studies = [f"1.2.{number}" for number in range(5)]
        for number, study in enumerate(self.studies):
            stored = self.bench.store(number, 2000)
            instance = dataclasses.replace(stored.instance, study_instance_uid=study)
            self.bench.spool.add([dataclasses.replace(stored, instance=instance)], self.bench.decide)
        place = Destination("BACKUP", "RELAY", (Endpoint("127.0.0.1", other.port),), False, None, 1, 1, 1)
        self.backup = Worker(place, self.bench.worker._around)
        self.answer, self.moved = answer, [0]

    def status(self, uid: str) -> int:
        """The third stalls, and all but those before it move meanwhile."""
        if uid != self.third:
            return 0
        for study in self.late:
            self.moved.append(ledger.move_study(self.bench.spool, study, "all", "BACKUP", 20.0))
        return self.answer

    def order(self) -> None:
        """Studies go by their lanes; whichever is third in the batch, that one it is."""
        uids = [task.instance.sop_instance_uid for task in self.bench.spool.claim("ARCHIVE", 10, 5)]
        self.third = uids[2]
        self.late = ["1.2." + uid.rsplit(".", 1)[1] for uid in uids[2:]]


@pytest.mark.parametrize("answer", [-1, 0])
def test_a_move_in_mid_batch_sends_each_instance_to_one_of_the_two_but_for_the_one_on_its_way(
    tmp_path: Path, answer: int
) -> None:
    """T64: what a sender has claimed and not begun goes with the move; what is on its way goes to the backup as well.

    Its answer may be lost; and when it comes, the backup has to hold the whole study all the same.
    """
    script, other = Script(), Script()
    with sinking(script), sinking(other):
        stalled = Stalled(tmp_path, script, other, answer)
        stalled.order()
        script.status = stalled.status
        for worker in (stalled.bench.worker, stalled.backup) * 3:
            worker.circuit = Circuit()
            worker.work()
        assert sum(stalled.moved) == 3
        assert set(script.uids()) & set(other.uids()) == ({stalled.third} if answer == 0 else set())
        assert sorted({*script.uids(), *other.uids()}) == [f"1.2.3.{number}" for number in range(5)]
        assert len(script.uids()) == len(set(script.uids()))
        assert len(other.uids()) == 3
        states = [row[0] for row in stalled.bench.spool.read("SELECT DISTINCT state FROM tasks ORDER BY state")]
        assert states == (["delivered"] if answer == 0 else ["delivered", "skipped"])


def test_a_sender_that_was_passed_over_asks_again_at_once(tmp_path: Path) -> None:
    with sinking(Script()) as script:
        bench = Bench(tmp_path, script, 2)
        first, _ = bench.spool.claim("ARCHIVE", 10, 5)
        assert bench.spool.hands.begin(first)
        with bench.spool.hands.closed("ARCHIVE") as in_hand:
            assert in_hand == {first.task_id}
        assert not bench.spool.hands.begin(first), "it was read before something was taken away"
        bench.spool.hands.end(first)
        first, _ = bench.spool.claim("ARCHIVE", 10, 5)
        assert bench.spool.hands.begin(first)
        bench.spool.hands.end(first)
        assert bench.worker.work()
        assert len(script.uids()) == 2
