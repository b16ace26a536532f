"""One association by address, with everything that is to be told of it.

The same machinery as the sweep's, with echoscu's choices as options; beside the result it returns what
was proposed, what was answered and the bytes that went over the wire.
"""

from collections.abc import Callable
from dataclasses import dataclass

from fleet.dicom.items import PresentationContextAC, PresentationContextRQ
from fleet.dicom.pdu import AssociateAC, AssociateRJ, AssociateRQ
from fleet.verify.course import Course, Workshop
from fleet.verify.dialogue import EchoDialogue, Trace
from fleet.verify.loop import Loop
from fleet.verify.negotiate import make_echo_contexts
from fleet.verify.prepare import MAX_PDU_BYTES, Question, make_associate_rq
from fleet.verify.settings import Surroundings, SweepSettings
from fleet.verify.values import EchoResult, EchoTarget, Timeouts, TlsSettings

PATIENT = Timeouts(connect_s=30.0, acse_s=30.0, dimse_s=30.0, total_s=60.0)


@dataclass(frozen=True, slots=True)
class ProbeOptions:
    """echoscu's options by meaning; what is unlimited there is 30 seconds here."""

    address: str
    port: int
    called: str = "ANY-SCP"  # -aec
    calling: str = "ECHOSCU"  # -aet
    contexts: int = 1  # -ppc
    transfer_syntaxes: int = 1  # -pts
    timeouts: Timeouts = PATIENT  # -to -ta -td
    max_pdu_bytes: int = MAX_PDU_BYTES  # -pdu
    repeat: int = 1  # --repeat
    abort_at_end: bool = False  # --abort
    tls: TlsSettings | None = None


@dataclass(frozen=True, slots=True)
class TraceEntry:
    """Plain bytes that were "sent" or "received", and when, counted from the start."""

    at_s: float
    direction: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Negotiation:
    """One association's request, and the answer if one came."""

    request: AssociateRQ
    answer: AssociateAC | AssociateRJ | None

    def contexts(self) -> tuple[tuple[PresentationContextRQ, PresentationContextAC | None], ...]:
        """Each proposed context with its answer."""
        accepted = self.answer.presentation_contexts if isinstance(self.answer, AssociateAC) else ()
        answers = {context.context_id: context for context in accepted}
        return tuple((context, answers.get(context.context_id)) for context in self.request.presentation_contexts)


@dataclass(frozen=True, slots=True)
class ProbeReport:
    """The result, and the evidence. There are several negotiations where a busy peer was asked again."""

    result: EchoResult
    negotiations: tuple[Negotiation, ...]
    trace: tuple[TraceEntry, ...]


class _Recorder(Workshop):
    """A workshop that keeps what it made."""

    def __init__(self, surroundings: Surroundings) -> None:
        super().__init__(surroundings.wall_clock)
        self._clock = surroundings.clock
        self._started_at = surroundings.clock()
        self.made: list[tuple[Question, EchoDialogue]] = []
        self.entries: list[TraceEntry] = []

    def make_dialogue(self, target: EchoTarget, question: Question, trace: Trace | None = None) -> EchoDialogue:
        dialogue = super().make_dialogue(target, question, trace or self._note)
        self.made.append((question, dialogue))
        return dialogue

    def _note(self, direction: str, data: bytes) -> None:
        self.entries.append(TraceEntry(self._clock() - self._started_at, direction, data))


def probe(
    options: ProbeOptions,
    *,
    surroundings: Surroundings | None = None,
    stop: Callable[[], bool] | None = None,
) -> ProbeReport:
    """Hold one association as *options* say. Answers, never raises for anything a peer does."""
    surroundings = surroundings or Surroundings(stop=stop)
    recorder = _Recorder(surroundings)
    target = EchoTarget(
        options.called,
        options.address,
        options.port,
        options.calling,
        timeouts=options.timeouts,
        tls=options.tls,
    )
    question = Question(
        options.called,
        options.calling,
        make_echo_contexts(options.contexts, options.transfer_syntaxes),
        options.repeat,
        options.abort_at_end,
        options.max_pdu_bytes,
    )
    settings = SweepSettings(resolve_s=options.timeouts.connect_s)
    loop = Loop([target], lambda one: Course(one, question, recorder), settings, None, surroundings)
    (result,) = loop.run()
    negotiations = tuple(
        Negotiation(make_associate_rq(asked), dialogue.accept or dialogue.rejection)
        for asked, dialogue in recorder.made
    )
    return ProbeReport(result, negotiations, tuple(recorder.entries))
