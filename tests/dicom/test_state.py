"""Every pair of state and event of PS3.8 table 9-10: the table itself, and an association driven by it."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pynetdicom.fsm
import pytest

from fleet.dicom.association import Acceptor, Association, PeerFault, Requestor, TransportClosed
from fleet.dicom.errors import LocalUseError
from fleet.dicom.items import PresentationContextAC, PresentationContextRQ
from fleet.dicom.pdu import (
    Abort,
    AssociateAC,
    AssociateRJ,
    AssociateRQ,
    DataTF,
    Pdu,
    PresentationDataValue,
    ReleaseRP,
    ReleaseRQ,
)
from fleet.dicom.state import TABLE, Action, Event, State
from tests.dicom.feeding import drain, feed

GRID = Path(__file__).parents[1] / "cases" / "dicom" / "table-9-10.txt"
RQ = AssociateRQ("CALLED", "CALLING", (PresentationContextRQ(1, "1.2", ("1.2.3",)),))
AC = AssociateAC((PresentationContextAC(1, 0, "1.2.3"),))
DATA = DataTF((PresentationDataValue(1, b"x", is_command=True, is_last=True),))

RECEIVED: dict[Event, Pdu] = {
    Event.AC_RECEIVED: AC,
    Event.RJ_RECEIVED: AssociateRJ(1, 1, 7),
    Event.RQ_RECEIVED: RQ,
    Event.DATA_RECEIVED: DATA,
    Event.RELEASE_RQ_RECEIVED: ReleaseRQ(),
    Event.RELEASE_RP_RECEIVED: ReleaseRP(),
    Event.ABORT_RECEIVED: Abort(2, 0),
}


def _read_grid() -> dict[tuple[str, str], tuple[str, list[str]]]:
    lines = [line.split() for line in GRID.read_text().splitlines() if not line.startswith("#")]
    states = lines[0][1:]
    cells = {}
    for event, *row in lines[1:]:
        for state, cell in zip(states, row, strict=True):
            if cell != "-":
                action, after = cell.split("/")
                cells[event, state] = (action, after.split("|"))
    return cells


GRID_CELLS = _read_grid()
PAIRS = [(event, state) for event in Event for state in State]


@pytest.mark.parametrize(("event", "state"), PAIRS)
def test_each_cell_is_the_standards(event: Event, state: State) -> None:
    transition = TABLE[state].get(event)
    expected = GRID_CELLS.get((event.value, state.value))
    if expected is None:
        assert transition is None
        return
    assert transition is not None
    after = [next_state.value for next_state in transition[1:] if isinstance(next_state, State)]
    assert (transition.action.value, after) == expected


def test_the_table_agrees_with_pynetdicoms() -> None:
    ours = {(event.value, state.value): cell.action.value for state in State for event, cell in TABLE[state].items()}
    theirs = {pair: action.replace("_", "-") for pair, action in pynetdicom.fsm.TRANSITION_TABLE.items()}
    assert ours == theirs


def test_every_action_of_the_standard_is_used() -> None:
    assert {cell.action for row in TABLE.values() for cell in row.values()} == set(Action)


def _put(association: Association, state: State) -> None:
    association.state = state
    association.artim_running = state in (State.AWAITING_RQ, State.AWAITING_CLOSE)
    if isinstance(association, Requestor):
        association._request = RQ.encode()


def _trigger(association: Association, event: Event) -> Sequence[object]:
    """Cause *event* through the public door that belongs to it."""
    if event in RECEIVED:
        return feed(association, RECEIVED[event].encode())
    if event is Event.INVALID_PDU:
        return feed(association, b"GET / HTTP/1.1")
    if event is Event.TRANSPORT_CLOSED:
        association.transport_closed()
        return drain(association)
    if event is Event.ARTIM_EXPIRED:
        association.artim_expired()
        return drain(association)
    _LOCAL[event](association)
    return []


_LOCAL: dict[Event, Callable[[Association], None]] = {
    Event.ASSOCIATE_REQUEST: lambda it: it.associate(RQ),  # type: ignore[attr-defined]
    Event.TRANSPORT_CONFIRMED: lambda it: it.transport_confirmed(),  # type: ignore[attr-defined]
    Event.TRANSPORT_INDICATED: lambda it: it.transport_indicated(),  # type: ignore[attr-defined]
    Event.ASSOCIATE_RESPONSE_ACCEPT: lambda it: it.accept(AC),  # type: ignore[attr-defined]
    Event.ASSOCIATE_RESPONSE_REJECT: lambda it: it.reject(AssociateRJ(1, 1, 1)),  # type: ignore[attr-defined]
    Event.DATA_REQUEST: lambda it: it.send_data(DATA),
    Event.RELEASE_REQUEST: lambda it: it.release(),
    Event.RELEASE_RESPONSE: lambda it: it.answer_release(),
    Event.ABORT_REQUEST: lambda it: it.abort(),
}
_QUIET_WHEN_IMPOSSIBLE = {Event.TRANSPORT_CLOSED, Event.ARTIM_EXPIRED, Event.INVALID_PDU, Event.ABORT_REQUEST}

_USER_ABORT, _PROVIDER_ABORT_TYPE = Abort(0, 0).encode(), b"\x07"
# What each action puts on the wire: whole PDUs, or the first byte where the content depends on the fault.
SENT: dict[str, bytes] = {
    "AE-2": RQ.encode(),
    "AE-7": AC.encode(),
    "AE-8": AssociateRJ(1, 1, 1).encode(),
    "DT-1": DATA.encode(),
    "AR-7": DATA.encode(),
    "AR-1": ReleaseRQ().encode(),
    "AR-4": ReleaseRP().encode(),
    "AR-9": ReleaseRP().encode(),
    "AA-1": _USER_ABORT,
    "AA-7": _PROVIDER_ABORT_TYPE,
    "AA-8": _PROVIDER_ABORT_TYPE,
}
CLOSES = {"AE-4", "AR-3", "AA-2", "AA-3"}
STARTS_ARTIM = {"AE-5", "AE-8", "AR-4", "AA-1", "AA-8"}
STOPS_ARTIM = {"AE-6", "AR-5", "AA-2", "AA-5"}


@pytest.mark.parametrize("make", [Requestor, Acceptor])
@pytest.mark.parametrize(("event", "state"), PAIRS)
def test_an_association_does_what_each_cell_says(make: type[Association], event: Event, state: State) -> None:
    association = make()
    _put(association, state)
    if event in _LOCAL and not _has_door(association, event):
        return
    cell = GRID_CELLS.get((event.value, state.value))
    if cell is None:
        _assert_impossible(association, event, state)
        return
    indications = _trigger(association, event)
    action, after = cell
    expected = after[0]
    if action == "AR-8":  # the requestor of the association answers first
        expected = "Sta9" if association.is_requestor else "Sta10"
    assert association.state.value == expected
    assert association.data_to_send()[: len(SENT.get(action, b""))] == SENT.get(action, b"")
    assert association.wants_close == (action in CLOSES)
    if action in STARTS_ARTIM:
        assert association.artim_running
    if action in STOPS_ARTIM:
        assert not association.artim_running
    _assert_indications(action, event, indications)


def _has_door(association: Association, event: Event) -> bool:
    mine = {
        Event.ASSOCIATE_REQUEST: Requestor,
        Event.TRANSPORT_CONFIRMED: Requestor,
        Event.TRANSPORT_INDICATED: Acceptor,
        Event.ASSOCIATE_RESPONSE_ACCEPT: Acceptor,
        Event.ASSOCIATE_RESPONSE_REJECT: Acceptor,
    }
    return isinstance(association, mine.get(event, Association))


def _assert_impossible(association: Association, event: Event, state: State) -> None:
    if event in _LOCAL and event not in _QUIET_WHEN_IMPOSSIBLE:
        with pytest.raises(LocalUseError):
            _trigger(association, event)
    elif state is State.IDLE or event in (Event.ARTIM_EXPIRED, Event.ABORT_REQUEST):
        assert not _trigger(association, event)
    else:  # bytes before the transport is open: a carrier that does this is broken
        with pytest.raises(LocalUseError):
            _trigger(association, event)
    assert association.state is state
    assert association.data_to_send() == b""


def _assert_indications(action: str, event: Event, indications: Sequence[object]) -> None:
    if action in {"AE-3", "AE-4", "AE-6", "DT-2", "AR-2", "AR-3", "AR-6", "AR-8", "AR-10", "AA-3"}:
        assert list(indications) == [RECEIVED[event]]
    elif action == "AA-4":
        assert list(indications) == [TransportClosed()]
    elif action == "AA-8" or (action == "AA-1" and event is not Event.ABORT_REQUEST):
        assert [type(indication) for indication in indications] == [PeerFault]
    else:
        assert not indications


def test_an_acceptor_rejects_another_protocol_version() -> None:
    acceptor = Acceptor()
    acceptor.transport_indicated()
    other = AssociateRQ("A", "B", (), protocol_version=2)
    assert feed(acceptor, other.encode()) == []
    assert acceptor.data_to_send() == AssociateRJ(1, 2, 2).encode()
    assert acceptor.state is State.AWAITING_CLOSE
    assert acceptor.artim_running
