"""Looking at hosts: one round trip each, many at once, and every host ends as a reading or a failure."""

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

from fleet.errors import FleetError, HostError, NetworkError
from fleet.events import HostPhase, ItemFinished, Observer, StageStarted, ignore
from fleet.inventory.model import Host
from fleet.plan.decide import check_words
from fleet.plan.question import Question, make_question
from fleet.plan.state import ObservedHost
from fleet.push.outcome import HostOutcome, Outcome
from fleet.push.reading import parse_observation
from fleet.push.script import Script, format_call, format_script
from fleet.push.transport import OBSERVE_LIMIT_BYTES, Connector, Deadlines, Transport
from fleet.render.artifacts import RenderedHost

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class ObserveSettings:
    """How many hosts at once, and how long each may take."""

    forks: int = 20
    deadlines: Deadlines = field(default_factory=Deadlines)


@dataclass(frozen=True, slots=True)
class HostReading:
    """What a host said, or why it said nothing: exactly one of the two."""

    host: str
    observed: ObservedHost | None = None
    failure: HostOutcome | None = None


def make_observe_script(question: Question) -> Script:
    """The script that reads everything a question asks for."""
    calls = ["observe_begin"]
    asked = [word for index, (path, digest) in enumerate(question.files) for word in (index, path, digest)]
    calls.append(format_call("observe_files", *asked))
    calls += [f"next={len(question.files)}", "observe_manifest", "observe_started"]
    calls += [format_call("observe_folder", index, path) for index, path in enumerate(question.folders)]
    calls.append(format_call("observe_units", *question.units))
    calls.append(format_call("observe_unwanted_relays", *question.units))
    for function, names in (
        ("observe_program", question.programs),
        ("observe_python", question.pythons),
        ("observe_user", question.users),
        ("observe_group", question.groups),
    ):
        calls += [format_call(function, index, name) for index, name in enumerate(names)]
    if question.ports:
        calls.append("observe_listening")
        calls.append(format_call("observe_connections", *(f"{port:04X}" for port in question.ports)))
    calls.append("observe_end")
    return Script("observe", format_script("observe", calls), question)


def observe_host(rendered: RenderedHost, transport: Transport, *, deadline_s: float) -> ObservedHost:
    """One round trip; raises FleetError. Words that may not reach a script are refused before."""
    unfit = check_words(rendered)
    if unfit:
        raise HostError("; ".join(problem.message for problem in unfit), phase="plan")
    question = make_question(rendered)
    result = transport.run_script(make_observe_script(question), deadline_s=deadline_s, limit_bytes=OBSERVE_LIMIT_BYTES)
    return parse_observation(rendered.host, question, result)


def observe_fleet(
    rendered: Sequence[tuple[Host, RenderedHost]],
    connector: Connector,
    settings: ObserveSettings | None = None,
    observer: Observer = ignore,
) -> tuple[HostReading, ...]:
    """All hosts, `forks` at a time, in the order given; one reading each whatever happens to them."""
    chosen = settings or ObserveSettings()
    observer(StageStarted("observe", len(rendered)))

    def read(pair: tuple[Host, RenderedHost]) -> HostReading:
        reading = _observe_one(pair[0], pair[1], connector, chosen.deadlines, observer)
        failure = reading.failure
        observer(
            ItemFinished(
                "observe", reading.host, failure.outcome if failure else "observed", failure.detail if failure else ""
            )
        )
        return reading

    return tuple(run_threads(read, rendered, chosen.forks))


def _observe_one(
    host: Host, rendered: RenderedHost, connector: Connector, deadlines: Deadlines, observer: Observer
) -> HostReading:
    observer(HostPhase(host.name, "connect"))
    try:
        transport = connector.open_(host, deadline_s=deadlines.connect_s)
        try:
            observer(HostPhase(host.name, "observe"))
            return HostReading(host.name, observe_host(rendered, transport, deadline_s=deadlines.observe_s))
        finally:
            transport.close()
    except FleetError as error:
        return HostReading(host.name, failure=make_failure(host.name, error))


def make_failure(host: str, error: FleetError, phase: str = "") -> HostOutcome:
    """The outcome that an error of a host means."""
    told = phase or getattr(error, "phase", "")
    if isinstance(error, NetworkError):
        return HostOutcome(host, Outcome.UNREACHABLE, phase or error.phase, str(error))
    if isinstance(error, HostError) and error.phase == "plan":
        return HostOutcome(host, Outcome.REFUSED, "plan", str(error))
    return HostOutcome(host, Outcome.FAILED, told, str(error))


def run_threads(
    work: Callable[[Item], Result],
    items: Sequence[Item],
    forks: int,
    hear: Callable[[Sequence[Result]], None] | None = None,
) -> list[Result]:
    """Results in the order of the items; nothing is under way any more when it returns.

    `hear` gets each result as it comes, in the thread of whoever called. Ctrl-C begins nothing more, waits for what
    is under way, and lets that be heard too; a second one does not wait.
    """
    if not items:
        return []
    pool = ThreadPoolExecutor(max_workers=max(1, min(forks, len(items))), thread_name_prefix="fleet")
    way = _UnderWay()
    ended: dict[int, Result] = {}
    told: set[int] = set()

    def run(index: int) -> None:
        with way.take() as may_begin:
            if may_begin:
                ended[index] = work(items[index])

    def tell() -> None:
        new = [index for index in sorted(ended) if index not in told]
        if hear is not None and new:
            hear([ended[index] for index in new])
        told.update(new)

    try:
        waiting = {pool.submit(run, index) for index in range(len(items))}
        while waiting:
            done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            for future in done:
                future.result()  # a fault of ours is raised, not lost
            tell()
    except BaseException as error:
        way.close()  # a second Ctrl-C leaves here
        if isinstance(error, KeyboardInterrupt):
            tell()
        raise
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
    return [ended[index] for index in range(len(items))]


class _UnderWay:
    """How many are at work, and whether more may begin. The pool itself loses a thread that Ctrl-C caught starting."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._count = 0
        self._is_open = True

    @contextmanager
    def take(self) -> Iterator[bool]:
        """One more, if it may begin."""
        with self._changed:
            may_begin = self._is_open
            self._count += may_begin
        try:
            yield may_begin
        finally:
            with self._changed:
                self._count -= may_begin
                self._changed.notify_all()

    def close(self) -> None:
        """No more begins; returns when nobody is at work."""
        with self._changed:
            self._is_open = False
            self._changed.wait_for(lambda: self._count == 0)
