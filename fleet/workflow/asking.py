"""verify: does it answer, from here and from where the traffic really starts.

Questions from the controller go through the sweep; questions from a host go through that host's SSH
connection, so that nothing is installed there. A host that cannot be reached answers for none of its
questions: they are `unknown`, which is not silence and not zero. Every result is heard as it comes, so that
a run that is cut off has what it had.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace

from fleet.errors import EmptySelection, did_you_mean
from fleet.events import ItemFinished, StageStarted
from fleet.inventory.model import Entity, Host, VirtualService
from fleet.push.transport import Connector
from fleet.verify.values import EchoResult, EchoTarget, Outcome
from fleet.workflow.context import Context
from fleet.workflow.reading import Reading
from fleet.workflow.sweeping import CONTROLLER, Asking, ask_directly, was_interrupted
from fleet.workflow.targets import Policy, entity_targets, make_flow_questions, make_questions

HOSTS = "hosts"


def ask_entities(
    reading: Reading, context: Context, entities: Sequence[Entity], asking: Asking, connector: Connector | None = None
) -> tuple[EchoResult, ...]:
    """One result for every question: asked, skipped by policy, or unknown; sorted by site and title.

    Raises `EmptySelection` where there is nothing to ask. Ctrl-C is raised again when every result was heard.
    """
    targets, skipped = _questions(reading, context, entities, asking)
    if not targets and not skipped:
        raise EmptySelection(_nothing_to_ask(entities, asking.sources))
    direct = [target for target in targets if target.source == CONTROLLER]
    through = [target for target in targets if target.source != CONTROLLER]
    context.observer(StageStarted("echo", len(targets)))
    for result in skipped:
        _hear(asking, result)

    def finished(result: EchoResult) -> None:
        context.observer(ItemFinished("echo", result.target.ae_title, result.outcome.value, result.detail))
        _hear(asking, result)

    results = [*skipped, *ask_directly(direct, asking, finished)]
    interrupted = was_interrupted(results)
    if interrupted:
        late = [_unknown(target, "the run was interrupted before this was asked") for target in through]
        for result in late:
            finished(result)
        results += late
        raise KeyboardInterrupt
    results += _ask_through(reading, context, through, connector, _Through(asking, finished))
    return tuple(sorted(results, key=_story_order))


def _hear(asking: Asking, result: EchoResult) -> None:
    if asking.hear is not None:
        asking.hear(result)


def _nothing_to_ask(entities: Sequence[Entity], sources: Sequence[str]) -> str:
    names = ", ".join(entity.ae_title for entity in entities[:5]) + (" and others" if len(entities) > 5 else "")
    if set(sources) == {HOSTS}:
        return f"no flow starts at {names} on a host of ours, so no host has a question; nothing was asked"
    return f"nothing to ask: {names} listen nowhere (listens: false); nothing was asked"


def _questions(
    reading: Reading, context: Context, entities: Sequence[Entity], asking: Asking
) -> tuple[list[EchoTarget], list[EchoResult]]:
    targets: list[EchoTarget] = []
    skipped: list[EchoResult] = []
    now = context.clock()
    for source in dict.fromkeys(asking.sources):
        _check_source(reading, source)
        if source == HOSTS:
            policy = Policy(reading.inventory, now, override=asking.override)
            questions = make_flow_questions(reading.peers, entities, policy)
        else:
            questions = make_questions(reading.inventory, entities, now, override=asking.override)
        named = source not in (CONTROLLER, HOSTS)
        targets += [replace(target, source=source) if named else target for target in questions.targets]
        skipped += questions.skipped
    return [tighten(target, asking.total_s) for target in targets], skipped


def _check_source(reading: Reading, source: str) -> None:
    if source not in (CONTROLLER, HOSTS) and source not in reading.inventory.hosts:
        known = sorted(reading.inventory.hosts)
        hint = did_you_mean(source, (CONTROLLER, HOSTS, *known)) or f"; the hosts are: {', '.join(known) or 'none'}"
        raise EmptySelection(
            f"--from {source}: neither controller, hosts, nor a host of this inventory; nothing was asked{hint}"
        )


def tighten(target: EchoTarget, total_s: float | None) -> EchoTarget:
    """The target with its deadline cut to `total_s`, where that is sooner."""
    if total_s is None or total_s >= target.timeouts.total_s:
        return target
    return replace(target, timeouts=replace(target.timeouts, total_s=total_s))


@dataclass(frozen=True)
class _Through:
    """How questions are asked through hosts, and who hears of each host's results when they are there."""

    asking: Asking
    finished: Callable[[EchoResult], None]


def _ask_through(
    reading: Reading, context: Context, targets: Iterable[EchoTarget], connector: Connector | None, how: _Through
) -> list[EchoResult]:
    """Ask each host's questions over that host's connection, hosts side by side, devices never stormed."""
    by_host: dict[str, list[EchoTarget]] = defaultdict(list)
    for target in targets:
        by_host[target.source].append(target)
    if not by_host:
        return []
    from fleet.workflow.tunnel import Brakes, ask_through  # loads the protocol, as above

    brakes = Brakes(how.asking.settings, (target for asked in by_host.values() for target in asked))

    def ask_host(name: str) -> list[EchoResult]:
        host = reading.inventory.hosts.get(name)
        if host is None or connector is None:
            text = f"{name} cannot be asked from: it is no host that fleet logs in to"
            return [_unknown(target, text) for target in by_host[name]]
        return ask_through(host, by_host[name], connector, context.connect_deadline_s, brakes)

    results: list[EchoResult] = []
    with ThreadPoolExecutor(max_workers=min(context.forks, len(by_host))) as pool:
        waiting = {pool.submit(ask_host, name): name for name in by_host}
        try:
            for future in as_completed(waiting):
                answered = future.result()
                results += answered
                del by_host[waiting[future]]
                for result in answered:
                    how.finished(result)
        except KeyboardInterrupt:
            brakes.stop()
            pool.shutdown(wait=False, cancel_futures=True)
            for target in (target for asked in by_host.values() for target in asked):
                how.finished(_unknown(target, "the run was interrupted while this was asked"))
            raise
    return results


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


def prove_hosts(
    reading: Reading, context: Context, hosts: Sequence[Host], connector: Connector | None = None
) -> Mapping[str, str]:
    """Ask every instance on `hosts`, and the virtual addresses that they serve; policy and maintenance do not
    silence this: a change has to be proven.

    Returns, for each host where one does not answer as it should, why.
    """
    names = {host.name for host in hosts}
    targets = [
        target
        for entity in reading.inventory.entities
        if any(instance.host in names for instance in entity.instances)
        for target, _ in entity_targets(reading.inventory, entity)
        if target.host in names or target.virtual_service
    ]
    silent: dict[str, str] = {}
    for target, how in _ask_for_proof(reading, context, targets, connector):
        for name in [target.host] if target.host else _serving(reading, target, names):
            silent.setdefault(name, f"after the change {how}")
    return silent


def prove_members(
    reading: Reading, context: Context, service: VirtualService, names: Sequence[str], connector: Connector
) -> Mapping[str, str]:
    """Ask members of a virtual service by their hosts' names; `""` stands for its addresses.

    Returns, for each that does not answer as it should, why.
    """
    entity = reading.inventory.find_entity(service.entity)
    pairs = () if entity is None else entity_targets(reading.inventory, entity)
    targets = [
        target
        for target, _ in pairs
        if (target.virtual_service == service.name and "" in names)
        or (not target.virtual_service and target.host in names)
    ]
    silent: dict[str, str] = {}
    for target, how in _ask_for_proof(reading, context, targets, connector):
        silent.setdefault("" if target.virtual_service else target.host or "", how)
    return silent


def _ask_for_proof(
    reading: Reading, context: Context, targets: Sequence[EchoTarget], connector: Connector | None
) -> Iterator[tuple[EchoTarget, str]]:
    """Those that do not answer as they should, and how they end."""
    from fleet.verify.sweep import sweep  # only who asks loads the protocol: hosts are changed before they are asked

    results = sweep([target for target in targets if target.source == CONTROLLER])
    if was_interrupted(results):
        raise KeyboardInterrupt
    through = [target for target in targets if target.source != CONTROLLER]
    results += _ask_through(reading, context, through, connector, _Through(Asking(), _nobody_hears))
    for result in results:
        target = result.target
        if result.outcome is not Outcome.ANSWERED and result.outcome not in target.accept:
            yield (
                target,
                f"{target.ae_title} at {target.address}:{target.port} ends as {result.outcome.value}: {result.detail}",
            )


def _serving(reading: Reading, target: EchoTarget, names: set[str]) -> list[str]:
    """Those of `names` behind the virtual address that was asked."""
    entity = reading.inventory.find_entity(target.ae_title)
    return [each.host for each in entity.instances if each.host in names] if entity is not None else []


def _nobody_hears(_result: EchoResult) -> None:
    """A proof's results are told as the host's outcome."""
