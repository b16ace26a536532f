"""verify: does it answer, from here and from where the traffic really starts.

Questions from the controller go through the sweep; questions from a host go through that host's SSH
connection, so that nothing is installed there. A host that cannot be reached answers for none of its
questions: they are `unknown`, which is not silence and not zero.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import groupby

from fleet.errors import UsageError
from fleet.events import ItemFinished, StageStarted
from fleet.inventory.model import Entity, Host
from fleet.push.transport import Connector
from fleet.verify.settings import Surroundings, SweepSettings
from fleet.verify.sweep import sweep
from fleet.verify.values import EchoResult, EchoTarget, Outcome
from fleet.workflow.context import Context
from fleet.workflow.reading import Reading
from fleet.workflow.targets import entity_targets, make_flow_questions, make_questions
from fleet.workflow.tunnel import ask_through

CONTROLLER = "controller"
HOSTS = "hosts"


@dataclass(frozen=True, slots=True)
class Asking:
    """From where, how hard, and whether policy is overridden (which is recorded)."""

    sources: tuple[str, ...] = (CONTROLLER,)
    override: bool = False
    settings: SweepSettings = field(default_factory=SweepSettings)
    total_s: float | None = None  # tightens every target's total deadline, never loosens it
    stop: Callable[[], bool] | None = None


def ask_entities(
    reading: Reading, context: Context, entities: Sequence[Entity], asking: Asking, connector: Connector | None = None
) -> tuple[EchoResult, ...]:
    """One result for every question: asked, skipped by policy, or unknown; sorted by site and title."""
    targets, results = _questions(reading, context, entities, asking)
    direct = [target for target in targets if target.source == CONTROLLER]
    through = [target for target in targets if target.source != CONTROLLER]
    context.observer(StageStarted("echo", len(targets)))

    def finished(result: EchoResult) -> None:
        context.observer(ItemFinished("echo", result.target.ae_title, result.outcome.value, result.detail))

    results += sweep(direct, asking.settings, on_result=finished, surroundings=Surroundings(stop=asking.stop))
    for result in _ask_through(reading, context, through, connector):
        finished(result)
        results.append(result)
    return tuple(sorted(results, key=_story_order))


def _questions(
    reading: Reading, context: Context, entities: Sequence[Entity], asking: Asking
) -> tuple[list[EchoTarget], list[EchoResult]]:
    targets: list[EchoTarget] = []
    skipped: list[EchoResult] = []
    for source in asking.sources:
        if source == HOSTS:
            targets += make_flow_questions(reading.peers, entities)
            continue
        questions = make_questions(reading.inventory, entities, context.clock(), override=asking.override)
        if source != CONTROLLER:
            if source not in reading.inventory.hosts:
                raise UsageError(f"--from {source}: neither controller, hosts, nor a host of this inventory")
            targets += [replace(target, source=source) for target in questions.targets]
        else:
            targets += questions.targets
        skipped += questions.skipped
    return [tighten(target, asking.total_s) for target in targets], skipped


def tighten(target: EchoTarget, total_s: float | None) -> EchoTarget:
    """The target with its deadline cut to `total_s`, where that is sooner."""
    if total_s is None or total_s >= target.timeouts.total_s:
        return target
    return replace(target, timeouts=replace(target.timeouts, total_s=total_s))


def _ask_through(
    reading: Reading, context: Context, targets: Iterable[EchoTarget], connector: Connector | None
) -> list[EchoResult]:
    """Ask each host's questions over that host's connection, hosts side by side, one question at a time."""
    by_host = {
        name: list(group)
        for name, group in groupby(sorted(targets, key=lambda each: each.source), lambda each: each.source)
    }
    if not by_host:
        return []

    def ask_host(name: str) -> list[EchoResult]:
        host = reading.inventory.hosts.get(name)
        if host is None or connector is None:
            return [
                _unknown(target, f"{name} cannot be asked from: it is no host that fleet logs in to")
                for target in by_host[name]
            ]
        return ask_through(host, by_host[name], connector, context.connect_deadline_s)

    with ThreadPoolExecutor(max_workers=min(context.forks, len(by_host))) as pool:
        return [result for results in pool.map(ask_host, by_host) for result in results]


def _unknown(target: EchoTarget, detail: str) -> EchoResult:
    return EchoResult(target, Outcome.UNKNOWN, detail=detail)


def _story_order(result: EchoResult) -> tuple[str, str, str, str, str, int]:
    target = result.target
    return (
        target.site or "",
        target.ae_title,
        target.source,
        target.virtual_service or "",
        target.address,
        target.port,
    )


def prove_hosts(reading: Reading, hosts: Sequence[Host]) -> Mapping[str, str]:
    """Ask every instance on `hosts`; policy and maintenance do not silence this: a change has to be proven.

    Returns, for each host where one does not answer as it should, why.
    """
    names = {host.name for host in hosts}
    targets = [
        target
        for entity in reading.inventory.entities
        if any(instance.host in names for instance in entity.instances)
        for target, _ in entity_targets(reading.inventory, entity)
        if target.host in names and target.source == CONTROLLER
    ]
    silent: dict[str, str] = {}
    for result in sweep(targets):
        target = result.target
        if result.outcome is not Outcome.ANSWERED and result.outcome not in target.accept and target.host:
            where = f"{target.ae_title} at {target.address}:{target.port}"
            silent.setdefault(target.host, f"after the change {where} ends as {result.outcome.value}: {result.detail}")
    return silent
