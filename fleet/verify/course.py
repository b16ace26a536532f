"""One target's way through a sweep: its questions in turn, busy answers asked again, one result.

A course knows nothing of sockets and queues. The loop asks it for the next dialogue, hands the finished
dialogue back, and learns whether there is more to ask, when, or what the result is.
"""

import ssl
from collections.abc import Callable, Sequence
from statistics import median

from fleet.verify.classify import is_busy
from fleet.verify.dialogue import EchoDialogue, Trace
from fleet.verify.negotiate import Check, make_checks, name_unproposed
from fleet.verify.prepare import Preparer, Question
from fleet.verify.tls import TlsLayer, make_context
from fleet.verify.values import EchoResult, EchoTarget, Outcome, PeerInfo, Phases, Timeouts, TlsSettings

BUSY_PAUSE_S = 1.0
_TOO_LATE = "not everything expected could be asked within the total deadline"
_ANSWERED = Outcome.ANSWERED  # asking an Enum class for a member takes ten times as long as asking a module
_Facts = tuple[PeerInfo | None, tuple[str, ...]]
_NO_FACTS: _Facts = (None, ())
_SLOW_SHARE = 0.5
_SLOW_FROM_S = 0.5  # below this nobody calls a device slow


class Workshop:
    """What all courses of one sweep share: prepared bytes, TLS contexts, peers that were seen before."""

    def __init__(self, wall_clock: Callable[[], float]) -> None:
        self.preparer = Preparer()
        self._wall_clock = wall_clock
        self._contexts: dict[TlsSettings, ssl.SSLContext] = {}
        self._peers: dict[int, tuple[object, object, _Facts]] = {}

    def make_dialogue(self, target: EchoTarget, question: Question, trace: Trace | None = None) -> EchoDialogue:
        """Raise LocalTlsError when our own TLS files are not usable."""
        dialogue = EchoDialogue(question, target.timeouts, self.preparer, port=target.port)
        if target.tls is not None:
            name = target.tls.server_name or target.address
            dialogue.over_tls(TlsLayer(self._context(target.tls), name), self._wall_clock)
        if trace is not None:
            dialogue.traced(trace)
        return dialogue

    def _context(self, settings: TlsSettings) -> ssl.SSLContext:
        context = self._contexts.get(settings)
        if context is None:
            context = self._contexts[settings] = make_context(settings)
        return context

    def facts_of(self, dialogue: EchoDialogue, question: Question) -> _Facts:
        """Who answered, and what is odd in how it accepted this question."""
        accept = dialogue.accept
        if accept is None:
            return _NO_FACTS
        known = self._peers.get(id(accept))
        # A remembered accept: its facts are remembered too.
        if known is not None and known[0] is accept and known[1] is question.contexts:
            return known[2]
        told = accept.user_information
        peer = PeerInfo(told.implementation_class_uid, told.implementation_version, told.max_pdu_bytes)
        facts = (peer, name_unproposed(accept, question.contexts))
        if len(self._peers) < 1024:
            self._peers[id(accept)] = (accept, question.contexts, facts)
        return facts


class Course:
    """See the module."""

    __slots__ = (
        "_check",
        "_checks",
        "_complaints",
        "_first",
        "_question",
        "_workshop",
        "attempts",
        "deadline",
        "resolve_s",
        "resolved",
        "started_at",
        "target",
    )

    def __init__(self, target: EchoTarget, question: Question, workshop: Workshop) -> None:
        self.target = target
        self.attempts = 0
        self.started_at: float | None = None
        self.deadline = 0.0
        self.resolve_s = 0.0
        self.resolved = ""
        self._workshop = workshop
        self._question = question
        self._checks: list[Check] = []
        self._check: Check | None = None  # the one being asked; None is the question itself
        self._first: EchoDialogue | None = None
        self._complaints: list[str] = []

    def next_dialogue(self, now: float) -> EchoDialogue:
        """Make what is to be held next; LocalTlsError and ValueError are faults of our own data."""
        if self.started_at is None:
            self.started_at = now
            self.deadline = now + self.target.timeouts.total_s - self.resolve_s
        question = self._question
        if self._check is not None and self._check.question is not None:
            question = self._check.question
        else:
            self.attempts += 1
        dialogue = self._workshop.make_dialogue(self.target, question)
        dialogue.start(now, self.deadline)
        return dialogue

    def take(self, dialogue: EchoDialogue, now: float) -> EchoResult | float:
        """Take a finished dialogue; return the result, or the time at which to go on."""
        if self._check is not None:
            self._judge(self._check, dialogue)
        else:
            self._first = dialogue
            again_at = self._busy_until(dialogue, now)
            if again_at is not None:
                return again_at
            if dialogue.outcome is not _ANSWERED or self.target.expect is None:
                return self._make_result(now)
            self._prepare_checks(dialogue)
        if not self._checks:
            return self._make_result(now)
        if now >= self.deadline:
            self._complaints.append(_TOO_LATE)
            return self._make_result(now)
        self._check = self._checks.pop(0)
        return now

    def _prepare_checks(self, dialogue: EchoDialogue) -> None:
        try:
            checks = make_checks(self.target)
        except ValueError as error:
            self._complaints.append(f"the expectation cannot be checked: {error}")
            return
        for check in checks:
            if check.question is None:
                self._judge(check, dialogue)
            else:
                self._checks.append(check)

    def _judge(self, check: Check, dialogue: EchoDialogue) -> None:
        complaint = check.judge(dialogue)
        if complaint is not None:
            self._complaints.append(complaint)

    def try_elsewhere(self, words: str) -> None:
        """The connection was not opened, and the name has another address: nobody has been asked yet."""
        self.attempts -= 1
        self.resolved = words

    def give_up(self, now: float) -> EchoResult | None:
        """Return the result when the time to ask again ran out while the course had to wait."""
        if self._first is None or now < self.deadline:
            return None
        if self._check is not None:
            self._complaints.append(_TOO_LATE)
        return self._make_result(now)

    def fail(self, outcome: Outcome, detail: str, now: float) -> EchoResult:
        """Return a result that no dialogue led to."""
        warnings = (f"asked although policy spares it: {self.target.overridden}",) if self.target.overridden else ()
        elapsed_s = self.resolve_s + (now - self.started_at if self.started_at is not None else 0.0)
        phases = Phases(resolve_s=self.resolve_s)
        return EchoResult(
            self.target,
            outcome,
            detail=detail,
            warnings=warnings,
            attempts=max(1, self.attempts),
            phases=phases,
            elapsed_s=elapsed_s,
        )

    def _busy_until(self, dialogue: EchoDialogue, now: float) -> float | None:
        rejection = dialogue.rejection
        if rejection is None or not is_busy(rejection):
            return None
        again_at = now + BUSY_PAUSE_S * self.attempts
        return again_at if again_at + self._spared_s() < self.deadline else None

    def _spared_s(self) -> float:
        """The last try must have some time of its own, or it could only time out."""
        return min(0.5, self.target.timeouts.total_s / 4)

    def _make_result(self, now: float) -> EchoResult:
        dialogue = self._first
        assert dialogue is not None  # noqa: S101 (take() has set it)
        outcome = dialogue.outcome or Outcome.UNKNOWN
        detail = dialogue.detail
        if self._complaints:
            outcome, detail = Outcome.EXPECTATION_FAILED, "; ".join(self._complaints)
        if self.attempts > 1 and outcome is not _ANSWERED:
            detail = f"{detail}; asked {self.attempts} times"
        if len(dialogue.echo_times_s) > 1:
            words = describe_times(dialogue.echo_times_s)
            detail = f"{detail}; {words}" if detail else words
        if self.resolved:
            detail = f"{detail}; {self.resolved}" if detail else self.resolved
        started_at = self.started_at if self.started_at is not None else now
        times = dialogue.echo_times_s
        elapsed_s = now - started_at + self.resolve_s
        peer, oddities = self._workshop.facts_of(dialogue, self._question)
        return EchoResult(
            self.target,
            outcome,
            dialogue.status,
            detail,
            self._warnings(dialogue, oddities, elapsed_s),
            self.attempts,
            peer,
            dialogue.certificate_days,
            Phases(
                self.resolve_s,
                dialogue.connect_s,
                dialogue.tls_s,
                dialogue.associate_s,
                times[0] if len(times) == 1 else median(times) if times else None,
                dialogue.release_s,
            ),
            elapsed_s,
            tuple(times),
        )

    def _warnings(self, dialogue: EchoDialogue, oddities: tuple[str, ...], elapsed_s: float) -> tuple[str, ...]:
        warnings = dialogue.warnings
        if oddities:
            warnings = oddities + warnings
        if self.target.overridden:
            warnings = (f"asked although policy spares it: {self.target.overridden}", *warnings)
        if self.attempts > 1 and dialogue.outcome is _ANSWERED:
            warnings += (f"it was busy before it answered: asked {self.attempts} times",)
        days, tls = dialogue.certificate_days, self.target.tls
        if days is not None and tls is not None and days < tls.warn_below_days:
            warnings += (f"the peer's certificate expires in {days} days",)
        if elapsed_s > _SLOW_FROM_S and dialogue.outcome is _ANSWERED:
            warnings += _name_slow_phases(dialogue, self.target.timeouts)
        return warnings


def describe_times(times_s: Sequence[float]) -> str:
    """What several echoes took: the smallest, the median, and what 95 of 100 stayed below (nearest rank)."""
    ordered = sorted(times_s)
    p95 = ordered[max(0, -(-len(ordered) * 95 // 100) - 1)]
    words = ((ordered[0], "min"), (median(ordered), "median"), (p95, "p95"))
    return f"{len(ordered)} echoes: " + ", ".join(f"{what} {seconds * 1000:.1f} ms" for seconds, what in words)


def _name_slow_phases(dialogue: EchoDialogue, timeouts: Timeouts) -> tuple[str, ...]:
    """A phase that took more than half of the time it is allowed will fail on a worse day."""
    times = (
        ("opening the connection", dialogue.connect_s, timeouts.connect_s),
        ("the TLS handshake", dialogue.tls_s, timeouts.acse_s),
        ("the association", dialogue.associate_s, timeouts.acse_s),
        ("C-ECHO", max(dialogue.echo_times_s, default=None), timeouts.dimse_s),
        ("the release", dialogue.release_s, timeouts.acse_s),
    )
    return tuple(
        f"slow: {name} took {took_s:.1f} s of the {limit_s:g} s allowed"
        for name, took_s, limit_s in times
        if took_s is not None and took_s > _SLOW_SHARE * limit_s
    )
