"""A single probe returns the evidence beside the result."""

from fleet.dicom.pdu import Abort, AssociateAC, AssociateRJ
from fleet.verify.probe import ProbeOptions, probe
from fleet.verify.values import Outcome, Timeouts
from tests.verify.peers import ACCEPT, ANSWER, RELEASED, answer_well, replies, serving

QUICK = Timeouts(connect_s=1, acse_s=1, dimse_s=1, total_s=3)


def test_a_probe_shows_what_was_proposed_answered_and_sent() -> None:
    with serving(answer_well) as peer:
        options = ProbeOptions(
            peer.address, peer.port, "CALLED", "ME", contexts=2, transfer_syntaxes=3, max_pdu_bytes=4096, timeouts=QUICK
        )
        report = probe(options)
    assert report.result.outcome is Outcome.ANSWERED
    (negotiation,) = report.negotiations
    assert (negotiation.request.called, negotiation.request.calling) == ("CALLED", "ME")
    assert negotiation.request.user_information.max_pdu_bytes == 4096
    assert isinstance(negotiation.answer, AssociateAC)
    (first, accepted), (second, unanswered) = negotiation.contexts()
    assert len(first.transfer_syntaxes) == len(set(second.transfer_syntaxes)) == 3
    assert accepted is not None
    assert (accepted.result, unanswered) == (0, None)
    directions = [entry.direction for entry in report.trace]
    assert directions == ["sent", "received"] * 3
    assert report.trace[0].data == negotiation.request.encode()
    assert report.trace[1].data == ACCEPT
    assert [entry.at_s for entry in report.trace] == sorted(entry.at_s for entry in report.trace)


def test_a_rejection_is_part_of_the_evidence() -> None:
    with serving(replies(AssociateRJ(1, 1, 7).encode())) as peer:
        report = probe(ProbeOptions(peer.address, peer.port, timeouts=QUICK))
    assert report.negotiations[0].answer == AssociateRJ(1, 1, 7)
    assert "ANY-SCP" in report.result.detail
    assert "ECHOSCU" in report.result.detail


def test_a_probe_can_end_with_an_abort() -> None:
    with serving(replies(ACCEPT, ANSWER, RELEASED)) as peer:
        report = probe(ProbeOptions(peer.address, peer.port, abort_at_end=True, timeouts=QUICK))
    assert report.result.outcome is Outcome.ANSWERED
    assert report.trace[-1].data == Abort(0, 0).encode()


def test_a_probe_of_nobody_is_a_result() -> None:
    report = probe(ProbeOptions("127.0.0.1", 1, timeouts=QUICK))
    assert (report.result.outcome, report.trace) == (Outcome.REFUSED, ())
    assert report.negotiations[0].answer is None


def test_an_accept_that_breaks_off_is_told_with_what_came() -> None:
    with serving(replies(ACCEPT[:5])) as peer:
        report = probe(ProbeOptions(peer.address, peer.port, timeouts=QUICK))
    assert report.result.outcome is Outcome.CONNECTION_LOST
    assert "after 5 bytes" in report.result.detail
