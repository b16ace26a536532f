"""One association from the first byte to the last: bytes in, bytes out, a deadline, an ending.

The dialogue owns no socket. Whoever carries it (the sweep's loop, a blocking channel) tells it that it
is connected, what came, that the peer closed, that the deadline passed; it returns what to send and in
the end holds outcome, words and times. It never raises for anything that a peer does.

    CONNECT → [TLS] → ASSOCIATE → ECHO … → RELEASE → over

Once the outcome is known, the association is still released in order; a release that fails is a
warning and changes no outcome.
"""

from collections.abc import Callable

from fleet.dicom.association import Indication, PeerFault, Requestor, TransportClosed, recall_nothing
from fleet.dicom.dimse import Command, CommandAssembler, EchoRSP
from fleet.dicom.errors import PeerError
from fleet.dicom.pdu import Abort, AssociateAC, AssociateRJ, DataTF, ReleaseRP, ReleaseRQ
from fleet.verify.classify import (
    Parties,
    classify_connect_error,
    describe_abort,
    describe_context,
    describe_rejection,
    describe_status,
)
from fleet.verify.endings import Phase, classify_expiry, classify_fault, classify_loss
from fleet.verify.prepare import ECHO_CONTEXT_ID, REMEMBERED_PDU_BYTES, Preparer, Question
from fleet.verify.tls import TlsError, TlsLayer
from fleet.verify.values import Outcome, Timeouts

# All that one peer may send us in one dialogue: an accept and a few answers are below 2 KB.
MAX_RECEIVED_BYTES = 262_144
_BYTES_AN_ECHO = 1024  # and so much more for each answer that came: somebody may ask 100,000 times
_MESSAGE_IDS = 0xFFFF  # PS3.7 E.1: two bytes; after the last one they begin again at 1

# Asking an Enum class for a member takes ten times as long as asking a module.
_ASSOCIATE, _ECHO, _RELEASE, _OVER = Phase.ASSOCIATE, Phase.ECHO, Phase.RELEASE, Phase.OVER
_ANSWERED = Outcome.ANSWERED

Trace = Callable[[str, bytes], None]


class EchoDialogue:
    """See the module. Attributes without underscore are for the carrier to read."""

    phase = Phase.CONNECT
    over = False
    outcome: Outcome | None = None
    status: int | None = None
    detail = ""
    warnings: tuple[str, ...] = ()
    accept: AssociateAC | None = None
    rejection: AssociateRJ | None = None
    certificate_days: int | None = None
    connect_s: float | None = None
    tls_s: float | None = None
    associate_s: float | None = None
    release_s: float | None = None
    echo_times_s: list[float]
    deadline: float
    first_bytes: bytes  # what `connected` will return, where that is known before

    _tls: TlsLayer | None = None
    _trace: Trace | None = None
    _wall_clock: Callable[[], float] | None = None
    _local_name: Callable[[], object] | None = None
    _assembler: CommandAssembler | None = None
    _answers_head = b""
    _received_bytes = 0
    _plain_bytes = 0  # of these, what TLS held; counted where it is spoken

    def __init__(self, question: Question, timeouts: Timeouts, preparer: Preparer, *, port: int) -> None:
        # The rest has its value above until something happens: a sweep makes a hundred thousand of these.
        self._question = question
        self._timeouts = timeouts
        self._preparer = preparer
        self._port = port
        recall = preparer.recall if question.max_pdu_bytes >= REMEMBERED_PDU_BYTES else recall_nothing
        self._association = Requestor(question.max_pdu_bytes, preparer.decode, recall)
        self.first_bytes = preparer.associate_bytes(question)
        self._association.associate(self.first_bytes)
        self.echo_times_s = []

    def over_tls(self, tls: TlsLayer, wall_clock: Callable[[], float]) -> None:
        """Speak through *tls*; the certificate's days are counted by *wall_clock*."""
        self.first_bytes = b""
        self._tls = tls
        self._wall_clock = wall_clock

    def traced(self, trace: Trace) -> None:
        """Tell *trace* of every plain byte."""
        self._trace = trace

    # What the carrier tells.

    def start(self, now: float, total_deadline: float) -> None:
        """The connection is being opened; the whole dialogue has to be over by *total_deadline*."""
        self._phase_from = now
        self._total_deadline = total_deadline
        self.deadline = min(now + self._timeouts.connect_s, total_deadline)

    def connected(self, now: float, local_name: Callable[[], object] | None = None) -> bytes:
        """The connection is open; *local_name* tells our own address if somebody has to know."""
        self.connect_s = now - self._phase_from
        self._local_name = local_name
        if self._tls is None:
            return self._begin_association(now)
        self._enter(Phase.TLS, now, self._timeouts.acse_s)
        try:
            return self._tls.start()
        except TlsError as error:
            self._end(Outcome.TLS_FAILED, str(error))
            return b""

    def receive(self, data: bytes, now: float) -> bytes:
        """Take what came; return what to send."""
        self._received_bytes += len(data)
        if self._received_bytes > MAX_RECEIVED_BYTES and self._received_bytes > self._bearable_bytes():
            return self._refuse_flood()
        if self._tls is None:
            return self._receive_plain(data, now)
        return self._receive_through_tls(self._tls, data, now)

    def peer_closed(self, now: float) -> None:
        self._lost(None, now)

    def broke(self, number: int, now: float) -> None:
        """The transport failed with this errno."""
        self._lost(number, now)

    def expired(self, now: float) -> bytes:
        """The deadline passed; return the A-ABORT with which we leave."""
        if now >= self._total_deadline:
            limit = "the total deadline"
        else:
            limit = f"{self.deadline - self._phase_from:g} s"
        self._break_off(*classify_expiry(self.phase, limit, self._heard_bytes()))
        return self._leave()

    def interrupted(self) -> bytes:
        """We stop for a reason of our own; return the A-ABORT with which we leave."""
        self._settle(Outcome.UNKNOWN, "the sweep was stopped while this target was asked")
        return self._leave()

    def failed(self, error: Exception) -> None:
        """A fault of our own ended the dialogue: one peer must not end the whole sweep."""
        self._end(Outcome.LOCAL_ERROR, f"a fault in fleet itself, please report it: {error!r}")

    # The course of the dialogue.

    def _begin_association(self, now: float) -> bytes:
        self._association.transport_confirmed()
        self._enter(_ASSOCIATE, now, self._timeouts.acse_s)
        return self._take_out()

    def _receive_through_tls(self, tls: TlsLayer, data: bytes, now: float) -> bytes:
        try:
            plain = tls.decrypt(data)
            out = b""
            if self.phase is Phase.TLS and tls.established:
                self.tls_s = now - self._phase_from
                if self._wall_clock is not None:
                    self.certificate_days = tls.certificate_days(self._wall_clock)
                out = self._begin_association(now)
            if plain:
                self._plain_bytes += len(plain)
                out += self._receive_plain(plain, now)
            if tls.closed_by_peer:
                self.peer_closed(now)
            sealed = tls.encrypt(out)
            return sealed + tls.close() if self.over else sealed
        except TlsError as error:
            self._break_off(Outcome.TLS_FAILED, str(error))
            return tls.encrypt(b"")

    def _receive_plain(self, data: bytes, now: float) -> bytes:
        if self._trace is not None:
            self._trace("received", data)
        if len(self._answers_head) < 16:
            self._answers_head += data[:256]
        association = self._association
        indication = association.hear(data)
        while indication is not None:
            self._on(indication, now)
            if self.over or association.is_drained:
                break
            indication = association.next_event()
        return self._take_out() if self._trace is not None else association.data_to_send()

    def _take_out(self) -> bytes:
        out = self._association.data_to_send()
        if self._trace is not None and out:
            self._trace("sent", out)
        return out

    def _on(self, indication: Indication, now: float) -> None:
        kind = type(indication)
        if kind is DataTF:
            self._on_data(indication, now)  # type: ignore[arg-type]
        elif kind is AssociateAC:
            self._on_accept(indication, now)  # type: ignore[arg-type]
        elif kind is ReleaseRP:
            self.release_s = now - self._phase_from
            self._over()
        elif isinstance(indication, AssociateRJ):
            self.rejection = indication
            self.associate_s = now - self._phase_from
            self._end(Outcome.ASSOCIATION_REJECTED, describe_rejection(indication, self._parties()))
        elif isinstance(indication, Abort):
            self._on_abort(indication)
        elif isinstance(indication, PeerFault):
            self._on_fault(indication.error)
        elif isinstance(indication, ReleaseRQ):
            self._on_release_request()
        elif isinstance(indication, TransportClosed):
            self._on_lost(None)

    def _on_accept(self, accept: AssociateAC, now: float) -> None:
        self.accept = accept
        self.associate_s = now - self._phase_from
        if not self._question.echoes:
            self._settle(_ANSWERED, "")
            self._release(now)
            return
        for context in accept.presentation_contexts:
            if context.context_id == ECHO_CONTEXT_ID and context.result == 0:
                self._send_echo(now)
                return
        self._refuse_context(accept, now)

    def _refuse_context(self, accept: AssociateAC, now: float) -> None:
        named = {context.context_id: context for context in accept.presentation_contexts}
        words = describe_context(named.get(ECHO_CONTEXT_ID), ECHO_CONTEXT_ID, list(named))
        self._settle(Outcome.CONTEXT_NOT_ACCEPTED, words)
        self._release(now)

    def _send_echo(self, now: float) -> None:
        self._association.send_data(self._preparer.echo_bytes(len(self.echo_times_s) % _MESSAGE_IDS + 1))
        self._enter(_ECHO, now, self._timeouts.dimse_s)

    def _on_data(self, data: DataTF, now: float) -> None:
        if self.phase is not _ECHO:  # late fragments while we release: nobody waits for them
            return
        assembler = self._assembler
        if assembler is None:
            assembler = self._assembler = CommandAssembler(self._preparer.decode_command)
        try:
            for value in data.values:
                whole = assembler.add(value)
                if whole is not None and self.phase is _ECHO:
                    self._on_command(*whole, now)
        except PeerError as error:
            self._settle(Outcome.ECHO_FAILED, f"the answer to C-ECHO cannot be read: {error.words}")
            self._association.abort()
            self._over()

    def _on_command(self, context_id: int, command: Command, now: float) -> None:
        message_id = len(self.echo_times_s) % _MESSAGE_IDS + 1
        if not isinstance(command, EchoRSP):
            words = f"the peer answered C-ECHO with another command ({command})"
            self._settle(Outcome.ECHO_FAILED, words)
        elif context_id != ECHO_CONTEXT_ID:
            words = f"the answer came on presentation context {context_id} instead of {ECHO_CONTEXT_ID}"
            self._settle(Outcome.ECHO_FAILED, words)
        elif command.message_id_responded_to != message_id:
            words = f"the peer answered message {command.message_id_responded_to} instead of {message_id}"
            self._settle(Outcome.ECHO_FAILED, words)
        else:
            self._on_answer(command, now)
            return
        self._release(now)

    def _on_answer(self, answer: EchoRSP, now: float) -> None:
        self.echo_times_s.append(now - self._phase_from)
        self.status = answer.status
        if answer.has_data_set:
            self.warnings += ("its C-ECHO response announces a data set, which PS3.7 9.3.5.2 forbids",)
        if answer.status != 0x0000:
            self._settle(Outcome.ECHO_FAILED, describe_status(answer.status, answer.error_comment))
        elif len(self.echo_times_s) < self._question.echoes:
            self._send_echo(now)
            return
        else:
            self.outcome = _ANSWERED
        self._release(now)

    def _release(self, now: float) -> None:
        if self._question.abort_at_end:
            self._association.abort()
            self._over()
            return
        self._association.release()
        self._enter(_RELEASE, now, self._timeouts.acse_s)

    # What can go wrong.

    def _on_abort(self, abort: Abort) -> None:
        self._break_off(Outcome.ASSOCIATION_ABORTED, describe_abort(abort, self.phase.value))

    def _on_fault(self, error: PeerError) -> None:
        """The core aborts by itself; here it gets its name."""
        self._break_off(*classify_fault(self.phase, error, self._answers_head))

    def _on_release_request(self) -> None:
        self._association.answer_release()
        if self.phase is not _RELEASE:  # else both at once (PS3.8 table 9-10, AR-8): ours is still due
            words = "the peer released the association instead of answering C-ECHO"
            self._end(Outcome.ECHO_FAILED, words)

    def _lost(self, number: int | None, now: float) -> None:
        if self.over:
            return
        if self.phase is Phase.CONNECT:
            self.connect_s = now - self._phase_from
            self._end(*classify_connect_error(number or 0))
        elif self.phase is Phase.TLS and self._tls is not None:
            self._end(Outcome.TLS_FAILED, self._tls.describe_close())
        else:
            self._association.transport_closed()
            self._on_lost(number)

    def _on_lost(self, number: int | None) -> None:
        head = self._answers_head
        self._break_off(*classify_loss(self.phase, number, self._heard_bytes(), self._port, head))

    def _refuse_flood(self) -> bytes:
        words = f"the peer sent more than {self._bearable_bytes()} bytes; nothing of that belongs to a C-ECHO"
        self._break_off(Outcome.ASSOCIATION_ABORTED, f"we aborted: {words}")
        return self._leave()

    def _heard_bytes(self) -> int:
        """What the peer said in this phase's own language: a TLS handshake is no answer to an association request."""
        return self._received_bytes if self._tls is None or self.phase is Phase.TLS else self._plain_bytes

    def _bearable_bytes(self) -> int:
        return MAX_RECEIVED_BYTES + _BYTES_AN_ECHO * len(self.echo_times_s)

    # Small steps.

    def _enter(self, phase: Phase, now: float, limit_s: float) -> None:
        self.phase = phase
        self._phase_from = now
        self.deadline = now + limit_s
        if self.deadline > self._total_deadline:  # noqa: PLR1730 (three times a dialogue, and min() costs six times as much)
            self.deadline = self._total_deadline

    def _settle(self, outcome: Outcome, detail: str) -> None:
        """The first outcome stays; what comes later can only be a warning."""
        if self.outcome is None:
            self.outcome = outcome
            self.detail = detail

    def _end(self, outcome: Outcome, detail: str) -> None:
        self._settle(outcome, detail)
        self._over()

    def _break_off(self, outcome: Outcome, words: str) -> None:
        """An end in disorder: a failure, or only a warning when everything but the release was done."""
        if self.phase is _RELEASE:
            self.warnings += (f"the release failed: {words}",)
            self._over()
        else:
            self._end(outcome, words)

    def _over(self) -> None:
        self.over = True
        self.phase = _OVER

    def _leave(self) -> bytes:
        self._over()
        self._association.abort()
        out = self._take_out()
        if self._tls is None:
            return out
        return self._tls.encrypt(out) + self._tls.close() if self._tls.established else b""

    def _parties(self) -> Parties:
        question = self._question
        name = self._local_name() if self._local_name is not None else None
        if isinstance(name, tuple) and name:
            return Parties(question.called, question.calling, str(name[0]))
        return Parties(question.called, question.calling)
