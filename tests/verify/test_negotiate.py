"""Stricter questions: what is asked, in how many associations, and how answers are judged."""

import socket
from collections.abc import Callable

import pytest

from fleet.dicom.items import PresentationContextAC
from fleet.dicom.pdu import AssociateAC, AssociateRJ, AssociateRQ, decode_pdu
from fleet.verify.course import Workshop
from fleet.verify.negotiate import (
    find_sop_class_uid,
    find_transfer_syntax_uid,
    make_checks,
    make_echo_contexts,
    name_unproposed,
)
from fleet.verify.prepare import MAX_REQUEST_BYTES, Preparer, Question
from fleet.verify.sweep import sweep
from fleet.verify.values import EchoResult, EchoTarget, Expectation, Outcome, Timeouts
from tests.verify.peers import ANSWER, PEER_INFORMATION, RELEASED, read_pdu, serving

QUICK = Timeouts(connect_s=1, acse_s=1, dimse_s=1, total_s=3)
CT = "1.2.840.10008.5.1.4.1.1.2"
MR = "1.2.840.10008.5.1.4.1.1.4"

Judge = Callable[[AssociateRQ], bytes]


def choosy(judge: Judge) -> Callable[[socket.socket], None]:
    """A peer that answers each request as *judge* says, and echoes."""

    def script(sock: socket.socket) -> None:
        request = decode_pdu(read_pdu(sock))
        assert isinstance(request, AssociateRQ)
        sock.sendall(judge(request))
        while True:
            kind = read_pdu(sock)[0]
            sock.sendall(ANSWER if kind == 4 else RELEASED)

    return script


def accept(request: AssociateRQ, refused: tuple[str, ...] = ()) -> bytes:
    contexts = tuple(
        PresentationContextAC(c.context_id, 3 if c.abstract_syntax in refused else 0, c.transfer_syntaxes[0])
        for c in request.presentation_contexts
    )
    return AssociateAC(contexts, PEER_INFORMATION).encode()


def ask(judge: Judge, expect: Expectation) -> tuple[EchoResult, int]:
    with serving(choosy(judge)) as peer:
        target = EchoTarget("TITLE", "127.0.0.1", peer.port, "FLEET_SCU", timeouts=QUICK, expect=expect)
        (result,) = sweep([target])
        return result, peer.connections


def strict(request: AssociateRQ) -> bytes:
    if request.called != "TITLE":
        return AssociateRJ(1, 1, 7).encode()
    if request.calling != "FLEET_SCU":
        return AssociateRJ(1, 1, 3).encode()
    return accept(request)


def test_a_strict_peer_meets_the_expectation() -> None:
    result, connections = ask(strict, Expectation(rejects_wrong_called_title=True, rejects_unknown_callers=True))
    assert (result.outcome, result.detail, connections) == (Outcome.ANSWERED, "", 3)


def test_a_peer_that_lets_everybody_in_fails_both_expectations() -> None:
    result, _ = ask(accept, Expectation(rejects_wrong_called_title=True, rejects_unknown_callers=True))
    assert result.outcome is Outcome.EXPECTATION_FAILED
    assert "to the title NOT_TITLE was accepted" in result.detail
    assert "from FLEET_NOBODY was accepted" in result.detail


def test_a_busy_rejection_proves_nothing() -> None:
    def busy(request: AssociateRQ) -> bytes:
        return accept(request) if request.called == "TITLE" else AssociateRJ(2, 3, 1).encode()

    result, _ = ask(busy, Expectation(rejects_wrong_called_title=True))
    assert result.outcome is Outcome.EXPECTATION_FAILED
    assert "could not be found out" in result.detail


def test_what_is_not_accepted_is_named() -> None:
    expect = Expectation(sop_classes=("CTImageStorage", MR), transfer_syntaxes=("JPEG2000Lossless",))
    result, connections = ask(lambda request: accept(request, refused=(MR,)), expect)
    assert result.outcome is Outcome.EXPECTATION_FAILED
    assert result.detail == f"not accepted: {MR} with JPEG2000Lossless (abstract syntax not supported)"
    assert connections == 2
    result, _ = ask(accept, expect)
    assert result.outcome is Outcome.ANSWERED


def test_many_contexts_are_asked_in_requests_below_16_kb() -> None:
    classes = tuple(f"1.2.840.10008.5.1.4.1.1.{number}.{'9' * 35}" for number in range(300))
    target = EchoTarget("T", "127.0.0.1", 104, "F", expect=Expectation(sop_classes=classes))
    checks = make_checks(target)
    questions = [check.question for check in checks if check.question is not None]
    assert sum(len(question.contexts) for question in questions) == 300
    assert all(len(Preparer().associate_bytes(question)) < MAX_REQUEST_BYTES for question in questions)
    assert all(len(question.contexts) <= 128 for question in questions)


def test_a_name_that_nobody_knows_is_told() -> None:
    result, _ = ask(accept, Expectation(sop_classes=("CTImageStorrage",)))
    assert result.outcome is Outcome.EXPECTATION_FAILED
    assert "'CTImageStorrage' is neither" in result.detail


def test_names_and_uids_are_both_understood() -> None:
    assert find_sop_class_uid("CTImageStorage") == find_sop_class_uid(CT) == CT
    assert find_sop_class_uid("Verification") == "1.2.840.10008.1.1"
    assert find_transfer_syntax_uid("JPEG2000") == "1.2.840.10008.1.2.4.91"
    with pytest.raises(ValueError, match="neither"):
        find_transfer_syntax_uid("JPEG3000")


def test_the_wrong_title_is_never_the_right_one() -> None:
    for title in ("A", "NOT_A", "NOT_NOT_NOT_NOT_", "N" * 16):
        target = EchoTarget(title, "127.0.0.1", 104, "F", expect=Expectation(rejects_wrong_called_title=True))
        (check,) = make_checks(target)
        assert check.question is not None
        assert check.question.called != title


EXPLICIT = "1.2.840.10008.1.2.1"


def explicit_only(request: AssociateRQ) -> bytes:
    """A peer that accepts with what it likes, whatever was proposed."""
    contexts = tuple(PresentationContextAC(each.context_id, 0, EXPLICIT) for each in request.presentation_contexts)
    return AssociateAC(contexts, PEER_INFORMATION).encode()


def test_an_accept_with_a_transfer_syntax_that_was_not_proposed_is_a_warning() -> None:
    result, _ = ask(explicit_only, Expectation())
    assert (result.outcome, len(result.warnings)) == (Outcome.ANSWERED, 1)
    assert f"was not proposed (PS3.8 9.3.3.2): '{EXPLICIT}' in presentation context 1;" in result.warnings[0]
    assert ask(accept, Expectation())[0].warnings == ()


def test_an_expected_class_with_another_syntax_than_asked_for_is_not_accepted() -> None:
    result, _ = ask(
        explicit_only, Expectation(sop_classes=("CTImageStorage",), transfer_syntaxes=("JPEG2000Lossless",))
    )
    assert result.outcome is Outcome.EXPECTATION_FAILED
    assert f"CTImageStorage with JPEG2000Lossless (but with '{EXPLICIT}', which was not proposed)" in result.detail


def test_what_was_proposed_is_remembered_with_the_accept_and_not_mixed_up() -> None:
    workshop = Workshop(lambda: 0.0)
    told = decode_pdu(AssociateAC((PresentationContextAC(1, 0, EXPLICIT),), PEER_INFORMATION).encode())
    dialogue = workshop.make_dialogue(EchoTarget("A", "127.0.0.1", 104, "B"), Question("A", "B"))
    dialogue.accept = told  # type: ignore[assignment]
    usual, both = Question("A", "B"), Question("A", "B", make_echo_contexts(1, 2))
    for _ in range(2):
        assert len(workshop.facts_of(dialogue, usual)[1]) == 1
        assert workshop.facts_of(dialogue, both)[1] == ()


def test_of_many_contexts_the_first_are_named() -> None:
    accepted = AssociateAC(tuple(PresentationContextAC(number, 0, "1.2.3") for number in range(1, 11, 2)))
    (warning,) = name_unproposed(accepted, make_echo_contexts(4, 1))
    assert "in presentation context 5 and 1 more;" in warning, "context 9 was not proposed at all"
