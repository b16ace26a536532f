"""Which plan is carried out: one from a file that somebody reviewed, or that of a run that was cut off."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from fleet.errors import BrokenPlan, FleetError, HistoryError, PlanStale, UsageError
from fleet.events import ItemFinished, StageStarted
from fleet.inventory.model import Host
from fleet.plan.saved import SavedPlan, parse_saved_plan
from fleet.push.lock import Claim
from fleet.push.observe import run_threads
from fleet.push.outcome import Outcome
from fleet.push.settle import SettleSettings, try_settle
from fleet.push.transport import Connector
from fleet.report.alive import is_at_work
from fleet.report.history.opening import History
from fleet.report.summary import HostLine
from fleet.workflow.changing import INTERRUPTED
from fleet.workflow.context import Context
from fleet.workflow.holding import Held
from fleet.workflow.ledger import BEGUN
from fleet.workflow.plan_file import check_seal, read_plan_file
from fleet.workflow.reading import Reading
from fleet.workflow.sources import check_sources, list_sources

_UNFINISHED = frozenset({Outcome.PENDING.value, Outcome.NOT_REACHED.value})


def hold_file(path: Path, reading: Reading, context: Context, history: History | None) -> Held:
    """The plan in a file, if it is of this inventory and was not used up. Raises `BrokenPlan`, `PlanStale`."""
    saved = read_plan_file(path)
    if history is None:
        raise UsageError("a saved plan needs the history that it was made with")
    used = history.use_of_plan(saved.plan_id)
    if used:
        raise PlanStale(used)
    concealer = history.read_key()
    if concealer.key_id != saved.key_id:
        raise PlanStale(
            f"{path}: the plan was made with another history than {history.path}, which alone knows whether it was used"
            " and has the key of its digests; nothing was contacted. Give that one with --history, or make a new plan"
        )
    check_seal(saved, concealer, path)
    _check(saved, reading, context, f"the plan {saved.plan_id} was made on {saved.made_at}")
    return Held(saved, concealer, frozenset(saved.pins))


def hold_run(run_id: str, reading: Reading, context: Context, history: History | None) -> Held:
    """What a run that was cut off had before it, and has no final outcome for. Raises `PlanStale`, UsageError."""
    if history is None:
        raise UsageError("--resume needs the history")
    run_id = _newest(run_id, history)
    text = history.plan_of(run_id)
    if text is None:
        raise UsageError(
            f"the run {run_id} had not begun to change anything (or was no apply), so there is nothing to go on with:"
            " apply again; nothing was done"
        )
    if is_at_work(history.path, run_id):
        raise UsageError(f"the run {run_id} is still at work; nothing was done. Wait until it has ended")
    try:
        saved = parse_saved_plan(text)
    except BrokenPlan as error:
        raise HistoryError(f"the plan of the run {run_id} cannot be read: {error}; apply anew") from error
    _check(saved, reading, context, f"the run {run_id}")
    ended = {line.host: line for line in history.host_outcomes(run_id)}
    open_hosts = [pin.host for pin in saved.hosts if pin.host not in ended or _is_open(ended[pin.host])]
    begun = frozenset(name for name in open_hosts if name in ended and ended[name].phase in {BEGUN, INTERRUPTED})
    return Held(saved, history.read_key(), frozenset(open_hosts), begun, run_id)


def _newest(run_id: str, history: History) -> str:
    """The run itself, or the last that went on with it."""
    found = history.last_run_with_plan() if run_id == "last" else history.show_run(run_id).run_id
    if found is None:
        raise UsageError("--resume last: no run of this fleet has begun to change anything yet; nothing was done")
    while (later := history.resumed_by(found)) is not None:
        found = later
    return found


def _is_open(line: HostLine) -> bool:
    return line.outcome in _UNFINISHED or line.phase == INTERRUPTED


def _check(saved: SavedPlan, reading: Reading, context: Context, made: str) -> None:
    name = reading.inventory.name
    if saved.fleet != name:
        raise PlanStale(
            f"the plan is of the fleet {saved.fleet!r}, this inventory is of {name!r}; nothing was contacted"
        )
    check_sources(saved.sources, list_sources(reading, context), made)


def find_runs_over(history: History | None, own: str) -> frozenset[str]:
    """Runs of this machine that are over: what one of them holds on a host, nobody will ever give back."""
    if history is None:
        return frozenset()
    runs = ((run_id, is_over) for run_id, is_over in history.recent_changes() if run_id != own)
    return frozenset(run_id for run_id, is_over in runs if is_over or not is_at_work(history.path, run_id))


def settle_hosts(held: Held, hosts: Sequence[Host], connector: Connector, context: Context) -> Mapping[str, str]:
    """What a run that was cut off left on hosts that it had begun is brought to its end; what was found, by host."""
    meant = [host for host in hosts if host.name in held.begun]
    run_id = held.resumed or ""
    settings = SettleSettings(Claim(f"{context.who} at {context.where}", context.run_id))
    context.observer(StageStarted("settle", len(meant)))

    def settle(host: Host) -> str:
        said = _settle_one(host, connector, context, (run_id, settings))
        context.observer(ItemFinished("settle", host.name, "settled", said))
        return said

    found = zip(meant, run_threads(settle, meant, context.forks), strict=True)
    return {host.name: said for host, said in found if said}


def _settle_one(host: Host, connector: Connector, context: Context, what: tuple[str, SettleSettings]) -> str:
    try:
        transport = connector.open_(host, deadline_s=context.connect_deadline_s)
    except FleetError:
        return ""  # whoever reads it next says so
    try:
        said, _ = try_settle(transport, *what)
        return said
    finally:
        transport.close()
