"""The upper layer's state machine as a table: PS3.8 tables 9-6 to 9-10.

`TABLE[state][event]` is the cell of table 9-10: an action and the state after it. Two cells leave the
next state to the action (AE-6, AR-8); they name both. A blank cell of the standard is a missing key:
the event cannot happen there, and only a mistake on our own side can ask for it.
"""

from enum import StrEnum
from typing import NamedTuple


class State(StrEnum):
    IDLE = "Sta1"
    AWAITING_RQ = "Sta2"
    AWAITING_LOCAL_ASSOCIATE_RESPONSE = "Sta3"
    AWAITING_TRANSPORT = "Sta4"
    AWAITING_AC_OR_RJ = "Sta5"
    ESTABLISHED = "Sta6"
    AWAITING_RELEASE_RP = "Sta7"
    AWAITING_LOCAL_RELEASE_RESPONSE = "Sta8"
    COLLISION_REQUESTOR_AWAITING_LOCAL = "Sta9"
    COLLISION_ACCEPTOR_AWAITING_RP = "Sta10"
    COLLISION_REQUESTOR_AWAITING_RP = "Sta11"
    COLLISION_ACCEPTOR_AWAITING_LOCAL = "Sta12"
    AWAITING_CLOSE = "Sta13"


class Event(StrEnum):
    ASSOCIATE_REQUEST = "Evt1"
    TRANSPORT_CONFIRMED = "Evt2"
    AC_RECEIVED = "Evt3"
    RJ_RECEIVED = "Evt4"
    TRANSPORT_INDICATED = "Evt5"
    RQ_RECEIVED = "Evt6"
    ASSOCIATE_RESPONSE_ACCEPT = "Evt7"
    ASSOCIATE_RESPONSE_REJECT = "Evt8"
    DATA_REQUEST = "Evt9"
    DATA_RECEIVED = "Evt10"
    RELEASE_REQUEST = "Evt11"
    RELEASE_RQ_RECEIVED = "Evt12"
    RELEASE_RP_RECEIVED = "Evt13"
    RELEASE_RESPONSE = "Evt14"
    ABORT_REQUEST = "Evt15"
    ABORT_RECEIVED = "Evt16"
    TRANSPORT_CLOSED = "Evt17"
    ARTIM_EXPIRED = "Evt18"
    INVALID_PDU = "Evt19"


class Action(StrEnum):
    CONNECT_TRANSPORT = "AE-1"
    SEND_RQ = "AE-2"
    CONFIRM_ACCEPTED = "AE-3"
    CONFIRM_REJECTED_CLOSE = "AE-4"
    RESPOND_TRANSPORT_START_ARTIM = "AE-5"
    INDICATE_ASSOCIATE_OR_REJECT = "AE-6"
    SEND_AC = "AE-7"
    SEND_RJ_START_ARTIM = "AE-8"
    SEND_DATA = "DT-1"
    INDICATE_DATA = "DT-2"
    SEND_RELEASE_RQ = "AR-1"
    INDICATE_RELEASE = "AR-2"
    CONFIRM_RELEASE_CLOSE = "AR-3"
    SEND_RELEASE_RP_START_ARTIM = "AR-4"
    STOP_ARTIM = "AR-5"
    INDICATE_DATA_WHILE_RELEASING = "AR-6"
    SEND_DATA_WHILE_RELEASING = "AR-7"
    INDICATE_RELEASE_COLLISION = "AR-8"
    SEND_RELEASE_RP = "AR-9"
    CONFIRM_RELEASE = "AR-10"
    SEND_USER_ABORT_START_ARTIM = "AA-1"
    STOP_ARTIM_CLOSE = "AA-2"
    INDICATE_ABORT_CLOSE = "AA-3"
    INDICATE_PROVIDER_ABORT = "AA-4"
    STOP_ARTIM_IDLE = "AA-5"
    IGNORE = "AA-6"
    SEND_ABORT = "AA-7"
    SEND_PROVIDER_ABORT_INDICATE_START_ARTIM = "AA-8"


class Transition(NamedTuple):
    action: Action
    next_state: State
    other_next_state: State | None = None


_A = {member.value: member for member in Action}
_S = {member.value: member for member in State}

# One line an event, as the standard prints it: the state, the action, the state or states after it.
_IN_PEER_STATES = "Sta6 Sta7 Sta8 Sta9 Sta10 Sta11 Sta12"
_CELLS: tuple[tuple[str, str, str, str], ...] = (
    ("Evt1", "Sta1", "AE-1", "Sta4"),
    ("Evt2", "Sta4", "AE-2", "Sta5"),
    ("Evt3", "Sta2", "AA-1", "Sta13"),
    ("Evt3", f"Sta3 {_IN_PEER_STATES}", "AA-8", "Sta13"),
    ("Evt3", "Sta5", "AE-3", "Sta6"),
    ("Evt3", "Sta13", "AA-6", "Sta13"),
    ("Evt4", "Sta2", "AA-1", "Sta13"),
    ("Evt4", f"Sta3 {_IN_PEER_STATES}", "AA-8", "Sta13"),
    ("Evt4", "Sta5", "AE-4", "Sta1"),
    ("Evt4", "Sta13", "AA-6", "Sta13"),
    ("Evt5", "Sta1", "AE-5", "Sta2"),
    ("Evt6", "Sta2", "AE-6", "Sta3 Sta13"),
    ("Evt6", f"Sta3 Sta5 {_IN_PEER_STATES}", "AA-8", "Sta13"),
    ("Evt6", "Sta13", "AA-7", "Sta13"),
    ("Evt7", "Sta3", "AE-7", "Sta6"),
    ("Evt8", "Sta3", "AE-8", "Sta13"),
    ("Evt9", "Sta6", "DT-1", "Sta6"),
    ("Evt9", "Sta8", "AR-7", "Sta8"),
    ("Evt10", "Sta2", "AA-1", "Sta13"),
    ("Evt10", "Sta3 Sta5 Sta8 Sta9 Sta10 Sta11 Sta12", "AA-8", "Sta13"),
    ("Evt10", "Sta6", "DT-2", "Sta6"),
    ("Evt10", "Sta7", "AR-6", "Sta7"),
    ("Evt10", "Sta13", "AA-6", "Sta13"),
    ("Evt11", "Sta6", "AR-1", "Sta7"),
    ("Evt12", "Sta2", "AA-1", "Sta13"),
    ("Evt12", "Sta3 Sta5 Sta8 Sta9 Sta10 Sta11 Sta12", "AA-8", "Sta13"),
    ("Evt12", "Sta6", "AR-2", "Sta8"),
    ("Evt12", "Sta7", "AR-8", "Sta9 Sta10"),
    ("Evt12", "Sta13", "AA-6", "Sta13"),
    ("Evt13", "Sta2", "AA-1", "Sta13"),
    ("Evt13", "Sta3 Sta5 Sta6 Sta8 Sta9 Sta12", "AA-8", "Sta13"),
    ("Evt13", "Sta7 Sta11", "AR-3", "Sta1"),
    ("Evt13", "Sta10", "AR-10", "Sta12"),
    ("Evt13", "Sta13", "AA-6", "Sta13"),
    ("Evt14", "Sta8 Sta12", "AR-4", "Sta13"),
    ("Evt14", "Sta9", "AR-9", "Sta11"),
    ("Evt15", f"Sta3 Sta5 {_IN_PEER_STATES}", "AA-1", "Sta13"),
    ("Evt15", "Sta4", "AA-2", "Sta1"),
    ("Evt16", "Sta2 Sta13", "AA-2", "Sta1"),
    ("Evt16", f"Sta3 Sta5 {_IN_PEER_STATES}", "AA-3", "Sta1"),
    ("Evt17", "Sta2", "AA-5", "Sta1"),
    ("Evt17", f"Sta3 Sta4 Sta5 {_IN_PEER_STATES}", "AA-4", "Sta1"),
    ("Evt17", "Sta13", "AR-5", "Sta1"),
    ("Evt18", "Sta2 Sta13", "AA-2", "Sta1"),
    ("Evt19", "Sta2", "AA-1", "Sta13"),
    ("Evt19", f"Sta3 Sta5 {_IN_PEER_STATES}", "AA-8", "Sta13"),
    ("Evt19", "Sta13", "AA-7", "Sta13"),
)


def _build_table() -> dict[State, dict[Event, Transition]]:
    table: dict[State, dict[Event, Transition]] = {state: {} for state in State}
    for event, states, action, after in _CELLS:
        transition = Transition(_A[action], *(_S[name] for name in after.split()))
        for state in states.split():
            table[_S[state]][Event(event)] = transition
    return table


TABLE = _build_table()
