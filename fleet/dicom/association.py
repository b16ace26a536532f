"""One association as seen by one side: bytes in, events out (PS3.8 section 9.2).

A connection object owns no socket and no clock. Its user feeds what came (`receive`), tells it that the
transport closed (`transport_closed`) or that the ARTIM timer ran out (`artim_expired`), asks what that
meant (`next_event`, until there is none), takes what has to be sent (`data_to_send`) and closes the
transport when `wants_close` says so.

Events are the PDUs themselves, as the standard's indications carry just their content, and two more:
`PeerFault` (we abort, and why) and `TransportClosed` (the peer went away without a word).

Who holds many associations meets the same bytes again and again. `hear` takes a segment that is, as a whole,
a PDU which was read before from its user's memory; whatever is not known goes the one way through the reader.
"""

from collections.abc import Callable
from dataclasses import dataclass

from fleet.dicom.dimse import EchoRQ, EchoRSP
from fleet.dicom.errors import AbortSource, LocalUseError, PeerError, UnexpectedPduError
from fleet.dicom.pdu import (
    Abort,
    AssociateAC,
    AssociateRJ,
    AssociateRQ,
    DataTF,
    Pdu,
    PduReader,
    PresentationDataValue,
    ReleaseRP,
    ReleaseRQ,
    decode_pdu,
)
from fleet.dicom.state import TABLE, Action, Event, State

MAX_PDU_BYTES = 16_384
# Asking an Enum class for a member takes ten times as long as asking a module.
_IDLE = State.IDLE
_DATA_REQUEST, _RELEASE_REQUEST = Event.DATA_REQUEST, Event.RELEASE_REQUEST
_RELEASE_RQ = ReleaseRQ().encode()
_RELEASE_RP = ReleaseRP().encode()


@dataclass(frozen=True, slots=True)
class PeerFault:
    """The peer broke the protocol; the association is aborted with `error.source` and `error.reason`."""

    error: PeerError


@dataclass(frozen=True, slots=True)
class TransportClosed:
    """The transport ended while the association still needed it (A-P-ABORT of the standard)."""


Indication = Pdu | PeerFault | TransportClosed

_EVENT_OF: dict[type[Pdu], Event] = {
    AssociateRQ: Event.RQ_RECEIVED,
    AssociateAC: Event.AC_RECEIVED,
    AssociateRJ: Event.RJ_RECEIVED,
    DataTF: Event.DATA_RECEIVED,
    ReleaseRQ: Event.RELEASE_RQ_RECEIVED,
    ReleaseRP: Event.RELEASE_RP_RECEIVED,
    Abort: Event.ABORT_RECEIVED,
}


_Subject = Pdu | PeerError | None
_Act = Callable[["Association", _Subject, bytes], State | None]
Recall = Callable[[bytes], Pdu | None]


def recall_nothing(_segment: bytes) -> Pdu | None:
    """For who remembers no PDUs."""
    return None


class Association:
    """What requestor and acceptor share: the state, the reader, the bytes that wait to be sent."""

    is_requestor = False
    # How every association begins; what differs is each one's own (a sweep makes a hundred thousand of them).
    state = State.IDLE
    artim_running = False
    wants_close = False
    _deaf = False
    _out: tuple[bytes, ...] = ()
    _indications: tuple[Indication, ...] = ()

    def __init__(
        self,
        max_pdu_bytes: int = MAX_PDU_BYTES,
        decode: Callable[[bytes], Pdu] = decode_pdu,
        recall: Recall = recall_nothing,
    ) -> None:
        """*max_pdu_bytes* bounds a P-DATA-TF; *decode* may be a `decode_pdu` that remembers.

        *recall* returns what *decode* made of a segment that was a whole PDU below that bound, else None.
        """
        self._reader = PduReader(max_pdu_bytes)
        self._decode = decode
        self._recall = recall

    def data_to_send(self) -> bytes:
        """Return, once, what has to go to the peer."""
        out, self._out = self._out, ()
        return out[0] if len(out) == 1 else b"".join(out)

    def receive(self, data: bytes) -> None:
        """Take bytes from the peer; `next_event` tells what they mean."""
        if not self._deaf and self.state is not _IDLE:
            self._reader.feed(data)

    def next_event(self) -> Indication | None:
        """Return what happened next, None when nothing more did. Never raises for what a peer sends.

        One event at a time: what comes behind it in the stream meets the state that the answer to this
        event has led to, however many PDUs came in one segment.
        """
        while not self._indications and not self._deaf and not self.wants_close:
            try:
                whole = self._reader.next_pdu()
                if whole is None:
                    return None
                pdu = self._decode(whole)
                self._step(_EVENT_OF[type(pdu)], pdu)
            except PeerError as error:
                self._deaf = True  # what follows in the stream has no frame any more
                self._step(Event.INVALID_PDU, error)
        return self._next_indication()

    def _next_indication(self) -> Indication | None:
        if not self._indications:
            return None
        first, *rest = self._indications
        self._indications = tuple(rest)
        return first

    def hear(self, data: bytes) -> Indication | None:
        """`receive` and then `next_event`, in one step where *data* is a PDU that was read before."""
        pdu = self._recall(data)
        if (
            pdu is None
            or self._reader.unread
            or self._indications
            or self._deaf
            or self.wants_close
            or self.state is _IDLE
        ):
            self.receive(data)
            return self.next_event()
        self._step(_EVENT_OF[type(pdu)], pdu)
        told, self._indications = self._indications, ()
        if len(told) == 1:
            return told[0]
        self._indications = told
        return self._next_indication()

    @property
    def is_drained(self) -> bool:
        """Whether `next_event` has nothing to tell until more bytes come."""
        return not self._indications and not self._reader.unread

    def transport_closed(self) -> None:
        """The peer closed the transport, or it broke."""
        if self.state is not _IDLE:
            self._deaf = True
            self._step(Event.TRANSPORT_CLOSED)

    def artim_expired(self) -> None:
        """The time that the peer had to speak or to close is over (PS3.8 9.1.5)."""
        if self.artim_running:
            self._step(Event.ARTIM_EXPIRED)

    def send_data(self, data: DataTF | bytes) -> None:
        """Send a P-DATA-TF; bytes are one that was encoded before."""
        self._step(_DATA_REQUEST, payload=data if isinstance(data, bytes) else data.encode())

    def release(self) -> None:
        self._step(_RELEASE_REQUEST)

    def answer_release(self) -> None:
        self._step(Event.RELEASE_RESPONSE)

    def abort(self) -> None:
        """Abort as the service user; without effect where there is no association to abort."""
        if Event.ABORT_REQUEST in TABLE[self.state]:
            self._step(Event.ABORT_REQUEST)

    def _step(self, event: Event, subject: _Subject = None, payload: bytes = b"") -> None:
        move = _MOVES[self.state].get(event)
        if move is None:
            raise LocalUseError(f"{event.name} is not possible in {self.state.value} ({self.state.name})")
        act, next_state = move
        # The action still sees the state that the event met; AE-6 and AR-8 choose the state after it.
        self.state = act(self, subject, payload) or next_state

    # Actions of tables 9-6 to 9-9. Those that start or stop the ARTIM timer only say so: no clock here.

    def _nothing(self, _subject: _Subject, _payload: bytes) -> State | None:
        return None

    def _send(self, _subject: _Subject, payload: bytes) -> State | None:
        self._out += (payload,)
        return None

    def _indicate(self, subject: _Subject, _payload: bytes) -> State | None:
        self._indications += (subject,)  # type: ignore[operator]  # the table asks it of PDUs only
        return None

    def _indicate_and_close(self, subject: _Subject, payload: bytes) -> State | None:
        self.wants_close = True
        return self._indicate(subject, payload)

    def _start_artim(self, _subject: _Subject, _payload: bytes) -> State | None:
        self.artim_running = True
        return None

    def _stop_artim(self, _subject: _Subject, _payload: bytes) -> State | None:
        self.artim_running = False
        return None

    def _stop_artim_and_close(self, _subject: _Subject, _payload: bytes) -> State | None:
        self.artim_running = False
        self.wants_close = True
        return None

    def _send_and_start_artim(self, _subject: _Subject, payload: bytes) -> State | None:
        self._out += (payload,)
        self.artim_running = True
        return None

    def _judge_request(self, subject: _Subject, _payload: bytes) -> State | None:
        self.artim_running = False
        if isinstance(subject, AssociateRQ) and not subject.protocol_version & 1:  # PS3.8 table 9-11, bit 0
            self._out += (AssociateRJ(1, 2, 2).encode(),)
            self.artim_running = True
            return State.AWAITING_CLOSE
        self._indications += (subject,)  # type: ignore[operator]  # AE-6 is reached by an RQ only
        return State.AWAITING_LOCAL_ASSOCIATE_RESPONSE

    def _send_release_rq(self, _subject: _Subject, _payload: bytes) -> State | None:
        self._out += (_RELEASE_RQ,)
        return None

    def _send_release_rp(self, _subject: _Subject, _payload: bytes) -> State | None:
        self._out += (_RELEASE_RP,)
        return None

    def _send_release_rp_and_start_artim(self, _subject: _Subject, _payload: bytes) -> State | None:
        return self._send_and_start_artim(None, _RELEASE_RP)

    def _indicate_release_collision(self, subject: _Subject, payload: bytes) -> State | None:
        self._indicate(subject, payload)
        if self.is_requestor:
            return State.COLLISION_REQUESTOR_AWAITING_LOCAL
        return State.COLLISION_ACCEPTOR_AWAITING_RP

    def _send_user_abort(self, subject: _Subject, _payload: bytes) -> State | None:
        if subject is not None:  # in Sta2 nobody is told by the standard; our user may want to log it
            self._indications += (PeerFault(self._fault_of(subject)),)
        return self._send_and_start_artim(None, Abort(AbortSource.SERVICE_USER, 0).encode())

    def _send_abort(self, subject: _Subject, _payload: bytes) -> State | None:
        error = self._fault_of(subject)
        self._out += (Abort(error.source, error.reason).encode(),)
        return None

    def _send_provider_abort(self, subject: _Subject, payload: bytes) -> State | None:
        self._indications += (PeerFault(self._fault_of(subject)),)
        self.artim_running = True
        return self._send_abort(subject, payload)

    def _indicate_closed(self, _subject: _Subject, _payload: bytes) -> State | None:
        self._indications += (TransportClosed(),)
        return None

    def _fault_of(self, subject: _Subject) -> PeerError:
        if isinstance(subject, PeerError):
            return subject
        return UnexpectedPduError(f"{type(subject).__name__} is not allowed in {self.state.value}")


_ACTIONS: dict[Action, _Act] = {
    Action.CONNECT_TRANSPORT: Association._nothing,  # the owner of the transport does it
    Action.SEND_RQ: Association._send,
    Action.CONFIRM_ACCEPTED: Association._indicate,
    Action.CONFIRM_REJECTED_CLOSE: Association._indicate_and_close,
    Action.RESPOND_TRANSPORT_START_ARTIM: Association._start_artim,
    Action.INDICATE_ASSOCIATE_OR_REJECT: Association._judge_request,
    Action.SEND_AC: Association._send,
    Action.SEND_RJ_START_ARTIM: Association._send_and_start_artim,
    Action.SEND_DATA: Association._send,
    Action.INDICATE_DATA: Association._indicate,
    Action.SEND_RELEASE_RQ: Association._send_release_rq,
    Action.INDICATE_RELEASE: Association._indicate,
    Action.CONFIRM_RELEASE_CLOSE: Association._indicate_and_close,
    Action.SEND_RELEASE_RP_START_ARTIM: Association._send_release_rp_and_start_artim,
    Action.STOP_ARTIM: Association._stop_artim,
    Action.INDICATE_DATA_WHILE_RELEASING: Association._indicate,
    Action.SEND_DATA_WHILE_RELEASING: Association._send,
    Action.INDICATE_RELEASE_COLLISION: Association._indicate_release_collision,
    Action.SEND_RELEASE_RP: Association._send_release_rp,
    Action.CONFIRM_RELEASE: Association._indicate,
    Action.SEND_USER_ABORT_START_ARTIM: Association._send_user_abort,
    Action.STOP_ARTIM_CLOSE: Association._stop_artim_and_close,
    Action.INDICATE_ABORT_CLOSE: Association._indicate_and_close,
    Action.INDICATE_PROVIDER_ABORT: Association._indicate_closed,
    Action.STOP_ARTIM_IDLE: Association._stop_artim,
    Action.IGNORE: Association._nothing,
    Action.SEND_ABORT: Association._send_abort,
    Action.SEND_PROVIDER_ABORT_INDICATE_START_ARTIM: Association._send_provider_abort,
}
# The table with its actions looked up: every event of every association passes here.
_MOVES: dict[State, dict[Event, tuple[_Act, State]]] = {
    state: {event: (_ACTIONS[transition.action], transition.next_state) for event, transition in row.items()}
    for state, row in TABLE.items()
}


class Requestor(Association):
    """The side that asks for the association."""

    is_requestor = True

    def associate(self, request: AssociateRQ | bytes) -> None:
        """Ask for an association; bytes are an A-ASSOCIATE-RQ that was encoded before."""
        self._request = request if isinstance(request, bytes) else request.encode()
        self._step(Event.ASSOCIATE_REQUEST)

    def transport_confirmed(self) -> None:
        """The transport is open: the request may go out."""
        self._step(Event.TRANSPORT_CONFIRMED, payload=self._request)


class Acceptor(Association):
    """The side that is asked."""

    def transport_indicated(self) -> None:
        """A peer has opened a transport; the ARTIM timer runs until its request is here."""
        self._step(Event.TRANSPORT_INDICATED)

    def accept(self, answer: AssociateAC) -> None:
        self._step(Event.ASSOCIATE_RESPONSE_ACCEPT, payload=answer.encode())

    def reject(self, answer: AssociateRJ) -> None:
        self._step(Event.ASSOCIATE_RESPONSE_REJECT, payload=answer.encode())


def make_command_pdu(context_id: int, command: EchoRQ | EchoRSP) -> DataTF:
    """A command set as one fragment of one P-DATA-TF."""
    return DataTF((PresentationDataValue(context_id, command.encode(), is_command=True, is_last=True),))
