"""Two connection objects talk to each other without a network."""

import pytest

from fleet.dicom.association import Acceptor, PeerFault, Requestor, make_command_pdu
from fleet.dicom.dimse import CommandAssembler, EchoRQ, EchoRSP
from fleet.dicom.errors import AbortReason
from fleet.dicom.items import PresentationContextAC, PresentationContextRQ
from fleet.dicom.pdu import Abort, AssociateAC, AssociateRJ, AssociateRQ, DataTF, ReleaseRP, ReleaseRQ
from fleet.dicom.state import State
from tests.dicom import samples
from tests.dicom.feeding import drain, feed

RQ = AssociateRQ("CALLED", "CALLING", (PresentationContextRQ(1, "1.2.840.10008.1.1", ("1.2.840.10008.1.2",)),))
AC = AssociateAC((PresentationContextAC(1, 0, "1.2.840.10008.1.2"),))


def _pair() -> tuple[Requestor, Acceptor]:
    requestor, acceptor = Requestor(), Acceptor()
    acceptor.transport_indicated()
    requestor.associate(RQ)
    requestor.transport_confirmed()
    assert feed(acceptor, requestor.data_to_send()) == [RQ]
    acceptor.accept(AC)
    assert feed(requestor, acceptor.data_to_send()) == [AC]
    return requestor, acceptor


def test_an_echo_from_request_to_release() -> None:
    requestor, acceptor = _pair()
    requestor.send_data(make_command_pdu(1, EchoRQ(1)))
    (data,) = feed(acceptor, requestor.data_to_send())
    assert isinstance(data, DataTF)
    assert CommandAssembler().add(data.values[0]) == (1, EchoRQ(1))
    acceptor.send_data(make_command_pdu(1, EchoRSP(1, 0)))
    (answer,) = feed(requestor, acceptor.data_to_send())
    assert isinstance(answer, DataTF)
    requestor.release()
    assert feed(acceptor, requestor.data_to_send()) == [ReleaseRQ()]
    acceptor.answer_release()
    assert feed(requestor, acceptor.data_to_send()) == [ReleaseRP()]
    assert requestor.wants_close
    assert requestor.state is State.IDLE
    acceptor.transport_closed()
    assert drain(acceptor) == []
    assert acceptor.state.value == "Sta1"


def test_both_sides_release_at_once() -> None:
    requestor, acceptor = _pair()
    requestor.release()
    acceptor.release()
    to_acceptor, to_requestor = requestor.data_to_send(), acceptor.data_to_send()
    assert feed(requestor, to_requestor) == [ReleaseRQ()]
    assert feed(acceptor, to_acceptor) == [ReleaseRQ()]
    requestor.answer_release()
    assert feed(acceptor, requestor.data_to_send()) == [ReleaseRP()]
    acceptor.answer_release()
    assert feed(requestor, acceptor.data_to_send()) == [ReleaseRP()]
    assert requestor.state is State.IDLE


def test_a_rejection_closes_the_requestor() -> None:
    requestor, acceptor = Requestor(), Acceptor()
    acceptor.transport_indicated()
    requestor.associate(RQ)
    requestor.transport_confirmed()
    feed(acceptor, requestor.data_to_send())
    acceptor.reject(AssociateRJ(1, 1, 7))
    assert feed(requestor, acceptor.data_to_send()) == [AssociateRJ(1, 1, 7)]
    assert requestor.wants_close


@pytest.mark.parametrize("step", [1, 5, 10_000])
def test_the_events_do_not_depend_on_how_the_bytes_are_cut(step: int) -> None:
    requestor = Requestor()
    requestor.associate(RQ)
    requestor.transport_confirmed()
    stream = samples.DCMTK_AC + samples.DCMTK_ECHO_RSP + Abort(0, 0).encode() + b"tail after the end"
    events = []
    for at in range(0, len(stream), step):
        events += feed(requestor, stream[at : at + step])
    assert [type(event).__name__ for event in events] == ["AssociateAC", "DataTF", "Abort"]
    assert requestor.wants_close


def test_garbage_is_answered_with_the_abort_that_fits() -> None:
    requestor = Requestor()
    requestor.associate(RQ)
    requestor.transport_confirmed()
    requestor.data_to_send()
    (fault,) = feed(requestor, b"HTTP/1.1 400 Bad Request\r\n")
    assert isinstance(fault, PeerFault)
    assert requestor.data_to_send() == Abort(2, AbortReason.UNRECOGNIZED_PDU).encode()
    assert feed(requestor, b"more" * 1000) == []
    assert requestor.data_to_send() == b""


def test_an_unexpected_pdu_is_answered_with_the_abort_that_fits() -> None:
    requestor, _ = _pair()
    (fault,) = feed(requestor, AC.encode())
    assert isinstance(fault, PeerFault)
    assert requestor.data_to_send() == Abort(2, AbortReason.UNEXPECTED_PDU).encode()
    assert requestor.state is State.AWAITING_CLOSE


def test_what_follows_in_one_segment_meets_the_state_that_our_answer_led_to() -> None:
    requestor, _ = _pair()
    requestor.receive(samples.DCMTK_ECHO_RSP + samples.RELEASE_RP)
    assert isinstance(requestor.next_event(), DataTF)
    requestor.release()
    assert requestor.next_event() == ReleaseRP()
    assert requestor.next_event() is None
