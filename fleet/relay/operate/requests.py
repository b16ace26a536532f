"""What an operator's request does: the verbs of the control socket, each with what it needs of the relay."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from fleet.errors import UsageError, did_you_mean
from fleet.relay.forward.senders import Worker
from fleet.relay.operate import ledger
from fleet.relay.operate.control import read_states, read_task, read_text
from fleet.relay.operate.metrics import format_metrics
from fleet.relay.operate.reidentify import Question, read_questions, reidentify
from fleet.relay.rules import Rules
from fleet.relay.spool.queue import Spool
from fleet.relay.telling import Teller


@dataclass(frozen=True, slots=True)
class Desk:
    """What of a relay the verbs work with; `changed` says that the queue or its destinations are others now."""

    spool: Spool
    tell: Teller
    rules: Callable[[], Rules]
    workers: Callable[[], Mapping[str, tuple[Worker, ...]]]
    status: Callable[[float], dict[str, Any]]
    drain: Callable[[], None]
    changed: Callable[[], None]


class Requests:
    """Answers them, one at a time."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def handle(self, request: Mapping[str, Any]) -> Any:
        """What a request asks for; raises `UsageError` where it cannot be done, and has done nothing then."""
        desk = self._desk
        now = time.time()
        verb = read_text(request, "verb")
        if verb == "status":
            return desk.status(now)
        if verb == "metrics":
            return format_metrics(desk.status(now), desk.tell.counts())
        if verb == "list":
            return ledger.list_tasks(desk.spool, read_states(request))
        if verb == "reidentify":
            return self._reidentify(request, now)
        if verb == "drain":
            desk.drain()
            return {"draining": True}
        changed = self._change(verb, request, now)
        desk.changed()
        desk.tell("operator", verb=verb, changed=changed)
        return {"changed": changed}

    def _reidentify(self, request: Mapping[str, Any], now: float) -> Any:
        desk = self._desk
        if request.get("asked") is None:
            return read_questions(desk.spool)
        reason = read_text(request, "reason") if request.get("reason") is not None else ""
        question = Question(read_text(request, "asked"), int(request["user_id"]), reason)
        found = reidentify(desk.spool, desk.rules().key, question, now)
        desk.tell("reidentified", user_id=question.user_id, found=len(found))
        return found

    def _change(self, verb: str, request: Mapping[str, Any], now: float) -> int:
        desk = self._desk
        to = None if request.get("destination") is None else read_text(request, "destination")
        known = sorted(desk.rules().config.destinations)
        if to is not None and to not in known:
            hint = did_you_mean(to, known) or f"; there are {', '.join(known)}"
            raise UsageError(f"{to!r} is no destination{hint}")
        match verb, to:
            case "retry", _:
                for name, workers in list(desk.workers().items()):
                    if to in {None, name}:
                        workers[0].circuit.record_success()
                return ledger.retry(desk.spool, to)
            case "pause", str():
                changed = ledger.pause(desk.spool, to, now)
                for worker in desk.workers().get(to, ()):
                    worker.hold()
                return changed
            case "resume", str():
                return ledger.resume(desk.spool, to)
            case "resend", _:
                wanted = ledger.Resend(read_text(request, "study"), to, self._find_routes(to))
                return ledger.resend(desk.spool, wanted, now)
            case "release", None:
                return _met(ledger.release(desk.spool, read_task(request), now), "quarantined")
            case "drop", None:
                return _met(ledger.drop(desk.spool, read_task(request), now), "quarantined, unrouted or uncommitted")
        raise UsageError(f"the relay cannot {verb!r} like this")

    def _find_routes(self, destination: str | None) -> tuple[str, ...]:
        """The routes that lead to a destination, if only for some."""
        desk = self._desk
        routes = desk.rules().config.routes
        return tuple(
            each.name for each in routes if destination in {to.ae_title for to in (*each.primary, *each.optional)}
        )


def _met(changed: int, state: str) -> int:
    if not changed:
        raise UsageError(f"no such task is {state}, so nothing was changed; `quarantine CONFIG show` lists them")
    return changed
