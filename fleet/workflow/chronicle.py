"""What a run writes into the journal: that it begins to change hosts, how each ends, and how it ended itself.

Names, digests and words of closed sets only. What a host or a product said is left out: it may hold what nobody may
read later.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fleet.report.history.opening import History
from fleet.report.journal import Head, Journal, journal_of
from fleet.report.summary import HostLine
from fleet.workflow.context import Context

if TYPE_CHECKING:
    from fleet.push.lock import Lease
    from fleet.workflow.commit import Commit


@dataclass(frozen=True, slots=True)
class Intent:
    """What a run is about to do, before it touches the first host."""

    fleet: str
    inventory_digest: str
    plan_digest: str
    hosts: tuple[str, ...]
    commit: Commit | None = None
    plan_id: str | None = None  # of a saved plan
    resumed: str | None = None
    overrides: tuple[str, ...] = ()


class Chronicle:
    """One run's lines in the journal; none where it changes nothing."""

    def __init__(self, context: Context, history: History, verb: str) -> None:
        self._context = context
        self._verb = verb
        self._journal = Journal(journal_of(history.path), history, context.clock)
        self.has_begun = False  # until hosts are about to be changed

    def begin(self, intent: Intent) -> None:
        """The run will change hosts now. Raises `HistoryError`: what cannot be written down is not done."""
        commit = intent.commit
        self._journal.append(
            {
                "event": "begin",
                "verb": self._verb,
                "fleet": intent.fleet,
                **describe_origin(self._context),
                "git": {"commit": commit.name, "dirty": commit.is_dirty} if commit else None,
                "inventory_digest": intent.inventory_digest,
                "plan_digest": intent.plan_digest,
                "plan_id": intent.plan_id,
                "resumed": intent.resumed,
                "overrides": list(intent.overrides),
                "hosts": list(intent.hosts),
            }
        )
        self.has_begun = True

    def touch(self, hosts: Sequence[str]) -> None:
        """These hosts are changed from now on."""
        self._append([{"event": "touch", "run": self._context.run_id, "hosts": list(hosts)}])

    def end_hosts(self, lines: Iterable[HostLine]) -> None:
        """How hosts ended, with each file that changed there."""
        self._append([_host_event(self._context.run_id, line) for line in lines])

    def override(self, text: str, **more: str) -> None:
        """Something beyond the ordinary was done on somebody's word."""
        self._append([{"event": "override", "run": self._context.run_id, "what": text, **more}])

    def finish(self, exit_status: int, counts: Mapping[str, int]) -> Head | None:
        """The run is over; returns the end of the chain, to be kept elsewhere too. None where it changed nothing."""
        if not self.has_begun:
            return None
        event = {"event": "end", "run": self._context.run_id, "exit_status": exit_status, "hosts": dict(counts)}
        head = self._journal.append(event)
        self._journal.settle()
        return head

    def _append(self, events: Sequence[Mapping[str, Any]]) -> None:
        if self.has_begun and events:
            self._journal.append(*events)


def describe_origin(context: Context) -> Mapping[str, Any]:
    """Which run it is, who is at work, from where, and why."""
    origin = context.origin
    return {
        "run": context.run_id,
        "who": {"user": origin.user, "sudo_user": origin.sudo_user, "login_user": origin.login_user},
        "from": {"host": origin.host, "ssh_client": origin.ssh_client},
        "reason": context.reason,
    }


def record_broken_lock(context: Context, history: History, fleet: str, broken: tuple[str, Lease]) -> None:
    """Somebody is about to break a lock by hand. Raises `HistoryError`: what cannot be written down is not done."""
    host, lease = broken
    journal = Journal(journal_of(history.path), history, context.clock)
    whose = f"{lease.owner} (run {lease.run_id})"
    said = {"what": "break lock", "host": host, "whose": whose}
    journal.append({"event": "override", "verb": "unlock", "fleet": fleet, **describe_origin(context), **said})
    journal.settle()


def _host_event(run_id: str, line: HostLine) -> Mapping[str, Any]:
    files = [{"path": each.path, "before": each.before_digest, "after": each.after_digest} for each in line.files]
    return {
        "event": "host",
        "run": run_id,
        "host": line.host,
        "outcome": line.outcome,
        "phase": line.phase,
        "files": files,
    }
