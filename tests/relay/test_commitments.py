"""Storage commitment: what was stored is not delivered until its destination answers for it. # T62"""

import socket
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from fleet.dicom.commitment import (
    COMMITMENT_UID,
    IMPLICIT_LITTLE,
    N_ACTION_RQ,
    Report,
    decode_report,
    encode_event_report_rq,
    encode_report,
)
from fleet.dicom.items import PresentationContextRQ, RoleSelection, UserInformation
from fleet.dicom.pdu import AssociateAC, AssociateRQ, DataTF, PduReader, PresentationDataValue, decode_pdu
from fleet.relay.forward.commitments import RESULT_S, record_asked, record_report
from fleet.relay.forward.outbound import Outbound
from fleet.relay.forward.outcome import MAX_ATTEMPTS
from fleet.relay.forward.senders import Worker
from fleet.relay.operate import ledger
from fleet.relay.store_command import decode_command
from fleet.relay.values import Destination, Endpoint
from tests.relay.configs import make_destination
from tests.relay.house import CT, make_data_set
from tests.relay.process import Relay, relaying, wait_for
from tests.relay.sink import Script, sinking
from tests.relay.test_forward import Bench
from tests.relay.test_receive import parcel

Answer = Callable[[Report], Report | None]


def bench_with(folder: Path, script: Script, count: int = 3) -> Bench:
    bench = Bench(folder, script, count)
    place = bench.worker.destination
    committing = Destination(place.ae_title, place.calling, place.addresses, False, None, 1, 1, 1, commitment=True)
    bench.worker = Worker(committing, bench.worker._around)
    return bench


def promise(asked: Report) -> Report:
    return asked


def refuse(*uids: str, reason: int = 0x0112) -> Answer:
    def answer(asked: Report) -> Report:
        good = tuple(each for each in asked.committed if each[1] not in uids)
        bad = tuple((*each, reason) for each in asked.committed if each[1] in uids)
        return Report(asked.transaction_uid, good, bad)

    return answer


def ask_soon(bench: Bench) -> None:
    """As if the pause were over."""
    bench.spool.change("UPDATE tasks SET next_at = 0")
    bench.worker.work()


def test_what_was_stored_is_delivered_only_when_it_is_committed(tmp_path: Path) -> None:
    with sinking(Script(commit=promise)) as script:
        bench = bench_with(tmp_path, script)
        bench.worker.work()
        assert set(bench.states().values()) == {"uncommitted"}
        assert ledger.find_done(bench.spool, 1e12) == []
        bench.worker.work()
        assert set(bench.states().values()) == {"delivered"}
        assert len(ledger.find_done(bench.spool, 1e12)) == 3
        assert script.asked == [{"1.2.3.0", "1.2.3.1", "1.2.3.2"}]


def test_a_destination_that_answered_success_and_lost_it_gets_it_again(tmp_path: Path) -> None:
    # T62
    with sinking(Script(commit=refuse("1.2.3.1"))) as script:
        bench = bench_with(tmp_path, script)
        bench.worker.work()
        bench.worker.work()
        assert bench.states() == {"1.2.3.0": "delivered", "1.2.3.1": "queued", "1.2.3.2": "delivered"}
        assert "not committed (reason 0112)" in bench.reasons()
        script.commit = promise
        ask_soon(bench)
        bench.worker.work()
        assert script.uids() == ["1.2.3.0", "1.2.3.1", "1.2.3.2", "1.2.3.1"]
        assert set(bench.states().values()) == {"delivered"}


@pytest.mark.parametrize("reason", [0x0119, 0x0122])
def test_what_sending_again_would_not_change_goes_into_quarantine(tmp_path: Path, reason: int) -> None:
    with sinking(Script(commit=refuse("1.2.3.0", reason=reason))) as script:
        bench = bench_with(tmp_path, script, 1)
        bench.worker.work()
        bench.worker.work()
        assert bench.states() == {"1.2.3.0": "quarantined"}


def test_a_destination_that_loses_it_every_time_ends_in_quarantine(tmp_path: Path) -> None:
    # T62, T65
    with sinking(Script(commit=refuse("1.2.3.0"))) as script:
        bench = bench_with(tmp_path, script, 1)
        for _ in range(2 * MAX_ATTEMPTS):
            ask_soon(bench)
        assert bench.states() == {"1.2.3.0": "quarantined"}
        assert len(script.received) == MAX_ATTEMPTS


def test_without_a_report_it_is_asked_again_and_never_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # T62
    monkeypatch.setattr("fleet.relay.forward.senders.REPORT_S", 0.2)
    with sinking(Script(commit=lambda _asked: None)) as script:
        bench = bench_with(tmp_path, script, 1)
        bench.worker.work()
        bench.worker.work()
        assert bench.states() == {"1.2.3.0": "uncommitted"}
        bench.worker.work()
        assert len(script.asked) == 1, "not before its time"
        ask_soon(bench)
        assert len(script.asked) == 2
        [(next_at,)] = bench.spool.read("SELECT next_at FROM tasks")
        assert next_at == pytest.approx(time.time() + RESULT_S, abs=30)


def test_a_destination_that_does_not_know_the_service_keeps_everything_uncommitted(tmp_path: Path) -> None:
    with sinking(Script(commit=None)) as script:
        bench = bench_with(tmp_path, script, 1)
        bench.worker.work()
        bench.worker.work()
        assert bench.states() == {"1.2.3.0": "uncommitted"}
        assert "commitment-failed" in bench.told.getvalue()
        assert bench.worker.circuit.failures == 0, "what is stored goes on being stored"


def test_a_report_of_another_destination_or_transaction_changes_nothing(tmp_path: Path) -> None:
    """T62: a title is a claim."""
    with sinking(Script(commit=None)) as script:
        bench = bench_with(tmp_path, script, 1)
        bench.worker.work()
        record_asked(bench.spool, (1,), "1.9", 1e12)
        report = Report("1.9", ((CT, "1.2.3.0"),), ())
        assert not record_report(bench.spool, "OTHER", report, 1.0).is_known
        assert not record_report(bench.spool, "ARCHIVE", Report("1.8", report.committed, ()), 1.0).is_known
        assert bench.states() == {"1.2.3.0": "uncommitted"}
        assert record_report(bench.spool, "ARCHIVE", report, 1.0).committed == 1
        assert bench.states() == {"1.2.3.0": "delivered"}


def test_what_a_report_does_not_name_is_asked_about_again(tmp_path: Path) -> None:
    with sinking(Script(commit=lambda asked: Report(asked.transaction_uid, asked.committed[:1], ()))) as script:
        bench = bench_with(tmp_path, script, 2)
        bench.worker.work()
        bench.worker.work()
        assert sorted(bench.states().values()) == ["delivered", "uncommitted"]


def make_committing(sink_port: int) -> dict[str, object]:
    return {"ARCHIVE": {**make_destination(port=sink_port), "commitment": True}}


def report_to(relay: Relay, report: Report, role: Sequence[RoleSelection], calling: str = "ARCHIVE") -> int:
    """As the destination: open an association as the SCP, report, return the status."""
    contexts = (PresentationContextRQ(1, COMMITMENT_UID, (IMPLICIT_LITTLE,)),)
    with socket.create_connection(("127.0.0.1", relay.port), timeout=10) as sock:
        sock.sendall(AssociateRQ("RELAY", calling, contexts, UserInformation(tuple(role))).encode())
        reader = PduReader(1 << 20)

        def read() -> object:
            while (whole := reader.next_pdu()) is None:
                data = sock.recv(65_536)
                assert data, "it closed the connection"
                reader.feed(data)
            return decode_pdu(whole)

        answer = read()
        if not isinstance(answer, AssociateAC):
            return -1
        if answer.presentation_contexts[0].result:
            return -2
        assert [item for item in answer.user_information.items if isinstance(item, RoleSelection)] == list(role)
        command, data = encode_event_report_rq(5, bool(report.failed)), encode_report(report)
        for piece, is_command in ((command, True), (data, False)):
            sock.sendall(DataTF((PresentationDataValue(1, piece, is_command=is_command, is_last=True),)).encode())
        pdu = read()
        assert isinstance(pdu, DataTF)
        return decode_command(pdu.values[0].data).status


@pytest.mark.parametrize("with_role", [True, False])
def test_a_report_in_an_association_of_the_destinations_own_is_taken(tmp_path: Path, with_role: bool) -> None:
    # T62
    role = [RoleSelection(COMMITMENT_UID, 0, 1)] if with_role else []
    asked: list[Report] = []
    with sinking(Script(commit=asked.append)) as script, relaying(tmp_path, script.port) as relay:
        relay.kill()
        relay.document["destinations"] = make_committing(script.port)
        relay.start()
        with relay.connect() as association:
            for uid in ("1.2.3.1", "1.2.3.2"):
                assert association.store(parcel(tmp_path, make_data_set(uid), uid)) == 0
        wait_for(lambda: sum(len(each.committed) for each in asked) >= 2, 20)
        assert relay.ask("status")["states"]["uncommitted"] == 2
        assert report_to(relay, Report("1.1.1", (), ()), role) == 0x0115
        assert report_to(relay, asked[0], role, calling="STRANGER") == -1
        assert report_to(relay, asked[0], role, calling="CT1") == -2  # a caller, but nobody we asked
        for each in asked:
            assert report_to(relay, each, role) == 0
        wait_for(lambda: relay.ask("status")["states"]["uncommitted"] == 0)


def test_a_commitment_outlives_a_kill(tmp_path: Path) -> None:
    """T60, T62: asked, killed, and the answer comes to the next process."""
    asked: list[Report] = []
    with sinking(Script(commit=asked.append)) as script:
        relay = Relay(tmp_path, script.port)
        relay.document["destinations"] = make_committing(script.port)
        relay.start()
        try:
            with relay.connect() as association:
                assert association.store(parcel(tmp_path, make_data_set("1.2.3.1"), "1.2.3.1")) == 0
            wait_for(lambda: bool(asked), 20)
            relay.kill()
            relay.start()
            assert report_to(relay, asked[0], []) == 0
            assert relay.ask("status")["states"]["uncommitted"] == 0
        finally:
            relay.kill()


def test_a_request_has_the_well_known_instance_and_our_transaction(tmp_path: Path) -> None:
    with sinking(Script(commit=promise)) as script:
        place = Destination("ARCHIVE", "RELAY", (Endpoint("127.0.0.1", script.port),), False, None, 1, 1, 1)
        with Outbound(place, ((COMMITMENT_UID, IMPLICIT_LITTLE),)) as association:
            many = [(CT, f"1.2.3.{number}") for number in range(500)]
            assert association.request_commitment("2.25.77", many) == 0
            found = association.await_report(5)
            assert found is not None
            assert decode_report(found[1], IMPLICIT_LITTLE) == Report("2.25.77", tuple(many), ())
            association.answer_report(found[0], 0)
            association.release()
    assert N_ACTION_RQ == 0x0130
