"""The dialogue by itself: no socket, a clock that is a number, and bytes of any kind."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleet.dicom.association import make_command_pdu
from fleet.dicom.dimse import EchoRSP
from fleet.dicom.pdu import Abort, AssociateRJ, ReleaseRP, ReleaseRQ, decode_pdu
from fleet.verify.dialogue import EchoDialogue
from fleet.verify.endings import Phase
from fleet.verify.prepare import Preparer, Question
from fleet.verify.values import Outcome, Timeouts
from tests.verify.peers import ACCEPT, ANSWER, RELEASED

TIMEOUTS = Timeouts(connect_s=1, acse_s=2, dimse_s=3, total_s=5)


def make_dialogue(**question: int) -> EchoDialogue:
    dialogue = EchoDialogue(Question("CALLED", "CALLING", **question), TIMEOUTS, Preparer(), port=104)  # type: ignore[arg-type]
    dialogue.start(100.0, 105.0)
    return dialogue


def test_a_whole_echo_leaves_times_for_each_phase() -> None:
    dialogue = make_dialogue()
    assert decode_pdu(dialogue.connected(100.25)).called == "CALLED"  # type: ignore[union-attr]
    dialogue.receive(ACCEPT, 100.75)
    dialogue.receive(ANSWER, 101.75)
    assert dialogue.phase is Phase.RELEASE
    dialogue.receive(RELEASED, 102.0)
    assert dialogue.over
    assert dialogue.outcome is Outcome.ANSWERED
    times = (dialogue.connect_s, dialogue.associate_s, dialogue.echo_times_s, dialogue.release_s)
    assert times == (0.25, 0.5, [1.0], 0.25)


def test_each_phase_has_its_own_deadline_below_the_total_one() -> None:
    dialogue = make_dialogue()
    assert dialogue.deadline == 101.0
    dialogue.connected(100.5)
    assert dialogue.deadline == 102.5
    dialogue.receive(ACCEPT, 101.0)
    assert dialogue.deadline == 104.0
    dialogue.receive(ANSWER, 103.5)
    assert dialogue.deadline == 105.0  # the total deadline, not two seconds later


def test_bytes_that_trickle_do_not_move_a_deadline() -> None:  # T50
    dialogue = make_dialogue()
    dialogue.connected(100.5)
    for number in range(20):
        dialogue.receive(ACCEPT[number : number + 1], 100.5 + number / 10)
    assert dialogue.deadline == 102.5
    assert decode_pdu(dialogue.expired(102.5)) == Abort(0, 0)
    assert dialogue.outcome is Outcome.ASSOCIATION_TIMEOUT
    assert "within 2 s" in dialogue.detail


def test_several_echoes_share_one_association_with_message_ids_of_their_own() -> None:
    dialogue = make_dialogue(echoes=3)
    dialogue.connected(100.0)
    dialogue.receive(ACCEPT, 100.0)
    for message_id in (1, 2, 3):
        assert not dialogue.echo_times_s or len(dialogue.echo_times_s) == message_id - 1
        dialogue.receive(make_command_pdu(1, EchoRSP(message_id, 0)).encode(), 100.0 + message_id)
    assert dialogue.phase is Phase.RELEASE
    assert len(dialogue.echo_times_s) == 3


def test_a_hundred_thousand_echoes_are_neither_a_flood_nor_more_than_there_are_message_ids() -> None:
    dialogue = make_dialogue(echoes=100_000)
    dialogue.connected(100.0)
    dialogue.receive(ACCEPT, 100.0)
    dialogue.echo_times_s.extend([0.001] * 65_533)
    for message_id in (65_534, 65_535, 1, 2):
        dialogue.receive(make_command_pdu(1, EchoRSP(message_id, 0)).encode(), 100.0)
    assert (len(dialogue.echo_times_s), dialogue.over) == (65_537, False)
    late = b"\x04\x00" + (1 << 14).to_bytes(4, "big")
    for _ in range(20):  # more than a single echo may bring, and what so many answers may have brought
        dialogue.receive(late + (16_380).to_bytes(4, "big") + b"\x01\x00" + bytes(16_378), 100.0)
    assert not dialogue.over


def test_an_abort_at_the_end_replaces_the_release() -> None:
    dialogue = make_dialogue(abort_at_end=True)
    dialogue.connected(100.0)
    dialogue.receive(ACCEPT, 100.0)
    assert decode_pdu(dialogue.receive(ANSWER, 100.0)) == Abort(0, 0)
    assert (dialogue.over, dialogue.outcome) == (True, Outcome.ANSWERED)


@pytest.mark.parametrize(
    ("number", "outcome"),
    [
        (111, Outcome.REFUSED),
        (113, Outcome.NO_ROUTE),
        (101, Outcome.NO_ROUTE),
        (110, Outcome.CONNECT_TIMEOUT),
        (104, Outcome.CONNECTION_LOST),
        (99, Outcome.LOCAL_ERROR),
        (0, Outcome.LOCAL_ERROR),
    ],
)
def test_an_errno_of_connect_has_its_outcome(number: int, outcome: Outcome) -> None:  # T51
    dialogue = make_dialogue()
    dialogue.broke(number, 100.5)
    assert dialogue.outcome is outcome
    assert dialogue.detail
    assert dialogue.connect_s == 0.5


def test_an_interrupted_dialogue_leaves_with_an_abort() -> None:
    dialogue = make_dialogue()
    dialogue.connected(100.0)
    assert decode_pdu(dialogue.interrupted()) == Abort(0, 0)
    assert dialogue.outcome is Outcome.UNKNOWN


PIECES = [ACCEPT, ANSWER, RELEASED, ReleaseRQ().encode(), ReleaseRP().encode(), Abort(2, 2).encode()]
PIECES += [AssociateRJ(1, 3, 1).encode(), make_command_pdu(1, EchoRSP(1, 0x0110)).encode(), b"HTTP/1.1", b"\x02\0\0"]


@given(
    st.lists(st.one_of(st.sampled_from(PIECES), st.binary(max_size=30)), max_size=8),
    st.integers(1, 400),
    st.sampled_from(["close", "reset", "expire", "interrupt"]),
    st.integers(0, 3),
)
@settings(max_examples=500, deadline=None)
def test_no_bytes_make_a_dialogue_raise_or_end_without_an_outcome(
    pieces: list[bytes], step: int, end: str, echoes: int
) -> None:  # T50
    dialogue = make_dialogue(echoes=echoes)
    dialogue.connected(100.1)
    stream = b"".join(pieces)
    for at in range(0, len(stream), step):
        if dialogue.over:
            break
        dialogue.receive(stream[at : at + step], 100.2)
    if not dialogue.over:
        {
            "close": lambda: dialogue.peer_closed(101.0),
            "reset": lambda: dialogue.broke(104, 101.0),
            "expire": lambda: dialogue.expired(106.0),
            "interrupt": dialogue.interrupted,
        }[end]()
    assert dialogue.over
    assert dialogue.outcome is not None
    assert dialogue.detail or dialogue.outcome is Outcome.ANSWERED


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_no_mutation_of_a_good_dialogue_makes_it_raise(data: st.DataObject) -> None:  # T50
    stream = bytearray(ACCEPT + ANSWER + RELEASED)
    for _ in range(data.draw(st.integers(1, 3))):
        stream[data.draw(st.integers(0, len(stream) - 1))] = data.draw(st.integers(0, 255))
    dialogue = make_dialogue()
    dialogue.connected(100.1)
    for reply in (stream[: len(ACCEPT)], stream[len(ACCEPT) : -10], stream[-10:]):
        if not dialogue.over:
            dialogue.receive(bytes(reply), 100.2)
    if not dialogue.over:
        dialogue.expired(106.0)
    assert dialogue.outcome is not None


def test_a_pdu_over_the_bound_is_refused_also_where_other_dialogues_remember_it() -> None:
    preparer = Preparer()
    for bound, ending in ((4096, Outcome.ANSWERED), (64, Outcome.ASSOCIATION_ABORTED)):
        dialogue = EchoDialogue(Question("CALLED", "CALLING", max_pdu_bytes=bound), TIMEOUTS, preparer, port=104)
        dialogue.start(0.0, 10.0)
        dialogue.connected(0.1)
        for data in (ACCEPT, ANSWER, RELEASED):
            if not dialogue.over:
                dialogue.receive(data, 0.2)
        assert dialogue.outcome is ending
