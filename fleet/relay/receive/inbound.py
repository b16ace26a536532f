"""One association of a peer with us: what its bytes mean, and what is answered. No socket here, and no clock.

The core's state machine says what may follow what; pieces of messages go past it to the disk.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

from fleet.dicom.association import Acceptor, PeerFault, TransportClosed
from fleet.dicom.commitment import COMMITMENT_UID, N_EVENT_REPORT_RQ
from fleet.dicom.dimse import VERIFICATION_UID
from fleet.dicom.errors import InvalidValueError, LocalUseError, PeerError, UnexpectedPduError, UnrecognizedPduError
from fleet.dicom.pdu import Abort, AssociateRJ, AssociateRQ, DataTF, PresentationDataValue, ReleaseRQ
from fleet.dicom.state import State
from fleet.relay.receive.admission import Admitted, Context, is_uid
from fleet.relay.receive.committer import Arrival
from fleet.relay.receive.incoming import Incoming, Refusal
from fleet.relay.receive.stream import Fragment, PduStream
from fleet.relay.store_command import (
    C_CANCEL_RQ,
    C_ECHO_RQ,
    C_STORE_RQ,
    INVALID_INSTANCE,
    OUT_OF_RESOURCES,
    SOP_CLASS_NOT_SUPPORTED,
    SUCCESS,
    UNRECOGNIZED_OPERATION,
    CommandSet,
    decode_command,
    encode_response,
)

MAX_COMMAND_BYTES: Final = 4096
MAX_REPORT_BYTES: Final = 1_048_576
TLS_HANDSHAKE: Final = 0x16  # RFC 8446 5.1: the content type that a client begins with
MAX_INSTANCE_BYTES: Final = 64 * 1024**3
_SOME_DATA: Final = DataTF((PresentationDataValue(1, b"", is_command=False, is_last=True),)).encode()


TakeReport = Callable[[str, str, bytes], int]  # calling title, transfer syntax, data set; gives a status


@dataclass(frozen=True, slots=True)
class House:
    """What an association needs of the relay around it."""

    judge: Callable[[AssociateRQ, str], Admitted | AssociateRJ]
    make_incoming: Callable[[CommandSet, Context], Incoming | Refusal]
    submit: Callable[[Arrival], None]
    answered: Callable[["Inbound", CommandSet, int, Refusal | None], None]  # from another thread
    clock: Callable[[], float]
    max_pdu_bytes: int
    take_report: TakeReport


class Inbound:
    """Bytes in through `feed`, bytes out in `out`; `is_over` says that nothing more will come of it."""

    def __init__(self, address: str, house: House) -> None:
        self.address, self._house = address, house
        self.out = bytearray()
        self.is_over = False  # close once `out` is sent
        self.calling = self.called = ""
        self.ending = "closed"
        self.instances = 0
        self.pending: CommandSet | None = None  # a C-STORE whose bytes are all here, not durable yet
        self._acceptor = Acceptor(max_pdu_bytes=64)  # a P-DATA-TF never goes through it
        self._acceptor.transport_indicated()
        self._stream = PduStream(house.max_pdu_bytes)
        self._contexts: dict[int, Context] = {}
        self._command = bytearray()
        self._incoming: Incoming | None = None
        self._discarding: tuple[CommandSet, int] | None = None  # the data set of a request that is refused
        self._report: tuple[CommandSet, Context, bytearray] | None = None  # what a destination commits itself to
        self._context_id = 0

    @property
    def is_established(self) -> bool:
        return self._acceptor.state is State.ESTABLISHED

    @property
    def is_inside(self) -> bool:
        """Whether a PDU or a message has begun and has to go on."""
        return self._stream.is_inside or bool(self._command or self._incoming or self._discarding or self._report)

    @property
    def incoming(self) -> Incoming | None:
        """The instance that is on its way to the disk."""
        return self._incoming

    def feed(self, data: memoryview) -> None:
        """Take what came; never raises for what a peer sends."""
        try:
            for event in self._stream.feed(data):
                if isinstance(event, Fragment):
                    self._take_fragment(event)
                else:
                    self._acceptor.receive(event)
                    self._go_on()
                if self.is_over:
                    return
        except PeerError as error:
            self._fail(error)

    def close(self) -> None:
        """The transport is gone: what was half here is thrown away."""
        if self._incoming is not None:
            self._incoming.discard()
            self._incoming = None
        self.is_over = True

    def abort(self, why: str) -> None:
        """We end it (PS3.8 9.3.8: source 0, the service user)."""
        self._end(why, Abort(0, 0))

    def _fail(self, error: PeerError) -> None:
        words = error.words
        if isinstance(error, UnrecognizedPduError) and error.head[0] == TLS_HANDSHAKE and not self.is_established:
            words = "a TLS handshake came where plain DICOM is spoken"
        self._end(f"aborted: {words}", Abort(error.source, error.reason))

    def _end(self, why: str, abort: Abort) -> None:
        if not self.is_over:
            self.ending = why
            self.out += abort.encode()
            self.close()

    def _go_on(self) -> None:
        while (event := self._acceptor.next_event()) is not None:
            if isinstance(event, AssociateRQ):
                self._take_request(event)
            elif isinstance(event, ReleaseRQ):
                self.ending = "released"
                self._acceptor.answer_release()
            elif isinstance(event, PeerFault):
                self.ending = f"aborted: {event.error.words}"
            elif isinstance(event, Abort | TransportClosed):
                self.ending = "aborted by the peer"
        self.out += self._acceptor.data_to_send()
        # PS3.8 9.1.4: after A-RELEASE-RP, -RJ or A-ABORT the peer closes; we do not wait for it any longer than it
        # takes to send ours.
        if self._acceptor.wants_close or self._acceptor.state in {State.AWAITING_CLOSE, State.IDLE}:
            self.close()

    def _take_request(self, request: AssociateRQ) -> None:
        self.calling, self.called = request.calling, request.called
        verdict = self._house.judge(request, self.address)
        if isinstance(verdict, AssociateRJ):
            self.ending = f"rejected {verdict.result}/{verdict.source}/{verdict.reason}"
            self._acceptor.reject(verdict)
        else:
            self._contexts = dict(verdict.contexts)
            self._acceptor.accept(verdict.answer)

    # Messages (PS3.7, PS3.8 annex E)

    def _take_fragment(self, fragment: Fragment) -> None:
        if not self.is_established:
            self._acceptor.receive(_SOME_DATA)
            self._go_on()
            return
        context = self._contexts.get(fragment.context_id)
        if context is None:
            raise InvalidValueError(f"a fragment comes in context {fragment.context_id}, which was not accepted")
        if self.pending is not None:
            raise UnexpectedPduError("a further message comes before the last one was answered")
        if fragment.is_command:
            self._take_command(fragment, context)
        else:
            self._take_data(fragment)

    def _take_command(self, fragment: Fragment, context: Context) -> None:
        if (
            self._incoming
            or self._discarding
            or self._report
            or (self._command and fragment.context_id != self._context_id)
        ):
            raise UnexpectedPduError("a command set begins inside another message")
        if len(self._command) + len(fragment.data) > MAX_COMMAND_BYTES:
            raise InvalidValueError(f"a command set exceeds {MAX_COMMAND_BYTES} bytes")
        self._context_id = fragment.context_id
        self._command += fragment.data
        if fragment.ends:
            command = decode_command(bytes(self._command))
            self._command.clear()
            self._take_message(command, context)

    def _take_message(self, command: CommandSet, context: Context) -> None:
        if command.field == C_CANCEL_RQ and not command.has_data_set:
            return
        if command.field & 0x8000:
            raise UnexpectedPduError("a response comes to a question that nobody asked")
        if command.field == N_EVENT_REPORT_RQ and context.abstract_syntax == COMMITMENT_UID and command.has_data_set:
            self._report = command, context, bytearray()
            return
        status = _judge(command, context)
        if command.field == C_STORE_RQ and command.has_data_set and status == SUCCESS:
            made = self._house.make_incoming(command, context)
            if isinstance(made, Incoming):
                self._incoming = made
                return
            status = made.status
        if command.has_data_set:
            self._discarding = (command, status)
        else:
            self.answer(command, status)

    def _take_data(self, fragment: Fragment) -> None:
        if fragment.context_id != self._context_id or not (self._incoming or self._discarding or self._report):
            raise UnexpectedPduError("a data set comes without its command")
        if self._report is not None:
            self._take_report(fragment, *self._report)
            return
        if self._incoming is not None:
            self._incoming.write(fragment.data)
            if self._incoming.size_bytes > MAX_INSTANCE_BYTES:
                raise InvalidValueError(f"an instance exceeds {MAX_INSTANCE_BYTES} bytes")
        if not fragment.ends:
            return
        incoming, self._incoming = self._incoming, None
        if self._discarding is not None:
            (command, status), self._discarding = self._discarding, None
            self.answer(command, status)
        elif incoming is not None and incoming.refusal is not None:
            self.answer(incoming.request, incoming.refusal.status, incoming.refusal.comment)
        elif incoming is not None:
            self._submit(incoming)

    def _take_report(self, fragment: Fragment, command: CommandSet, context: Context, data: bytearray) -> None:
        data += fragment.data
        if len(data) > MAX_REPORT_BYTES:
            raise InvalidValueError(f"a report exceeds {MAX_REPORT_BYTES} bytes")
        if fragment.ends:
            self._report = None
            self.answer(command, self._house.take_report(self.calling, context.transfer_syntax, bytes(data)))

    def _submit(self, incoming: Incoming) -> None:
        self.pending = incoming.request
        answer = partial(self._house.answered, self, incoming.request, self._context_id)
        self._house.submit(Arrival(incoming, self.calling, self.called, self._house.clock(), answer))

    def stored(self, request: CommandSet, context_id: int, refusal: Refusal | None) -> None:
        """The committer is done with an instance; the peer may be gone by now, which loses nothing."""
        self.pending = None
        if not self.is_established or self.is_over:
            return
        self._context_id = context_id
        if refusal is None:
            self.instances += 1
            self.answer(request, SUCCESS)
        else:
            self.answer(request, refusal.status, refusal.comment)

    def answer(self, request: CommandSet, status: int, comment: str = "") -> None:
        """Send a response in the context of the request."""
        value = PresentationDataValue(
            self._context_id, encode_response(request, status, comment), is_command=True, is_last=True
        )
        try:
            self._acceptor.send_data(DataTF((value,)))
        except LocalUseError:
            return
        self.out += self._acceptor.data_to_send()


def _judge(command: CommandSet, context: Context) -> int:
    if command.field == C_ECHO_RQ:
        return SUCCESS if context.abstract_syntax == VERIFICATION_UID else SOP_CLASS_NOT_SUPPORTED
    if command.field != C_STORE_RQ:
        return UNRECOGNIZED_OPERATION
    if context.abstract_syntax == VERIFICATION_UID or command.sop_class_uid != context.abstract_syntax:
        return SOP_CLASS_NOT_SUPPORTED
    if not is_uid(command.sop_instance_uid):
        return INVALID_INSTANCE
    return SUCCESS if command.has_data_set else OUT_OF_RESOURCES
