"""audit: is the fleet's truth one truth; changes nothing and needs no right to write anywhere."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from fleet.audit.tables import Finding, check_admissions
from fleet.inventory.model import Entity
from fleet.verify.values import EchoTarget, Outcome
from fleet.workflow.changing import Planned
from fleet.workflow.reading import Reading
from fleet.workflow.sweeping import was_interrupted
from fleet.workflow.targets import entity_targets

STRANGER = "FLEET_STRANGER"
# storescp and wlmscpfs cannot limit callers at all (dcmtk 3.6.7): only these engines are asked as a stranger.
_ENGINES_WITH_TABLES = ("dcmqrscp",)


def audit_hosts(planned: Planned) -> Iterator[Finding]:
    """Drift of every host, and callers in its live tables that no flow allows, or that are missing there."""
    for read in planned.readings:
        if read.observed is None:
            continue
        plan = planned.by_host[read.host]
        for step in plan.writes:
            yield Finding(
                read.host,
                step.path,
                "drift",
                f"{step.path} is not what the inventory says; `fleet plan -l {read.host}` shows how",
            )
        for removal in plan.removals:
            text = f"{removal.path} is ours and no longer in the inventory; `fleet apply -l {read.host}` removes it"
            yield Finding(read.host, removal.path, "drift", text)
        for problem in plan.problems:
            yield Finding(read.host, problem.subject, problem.code, problem.message)
        for file in planned.rendered[read.host].files:
            observed = read.observed.files.get(file.path)
            if (
                "/dcmqrscp-" in file.path
                and file.path.endswith(".cfg")
                and observed is not None
                and observed.content is not None
            ):
                live = observed.content.decode("utf-8", "replace")
                yield from check_admissions(read.host, file.path, file.content, live)


def audit_strangers(reading: Reading, entities: Sequence[Entity]) -> Iterator[Finding]:
    """Ask each server of ours as a caller that no flow allows: it must reject, or everybody can read there."""
    targets = [
        replace(target, calling=STRANGER, accept=frozenset())
        for entity in entities
        if entity.engine in _ENGINES_WITH_TABLES
        for target, _ in entity_targets(reading.inventory, entity)
        if target.host and target.source == "controller"
    ]
    from fleet.verify.sweep import sweep  # loads the protocol: a change of files begins without

    results = sweep(targets)
    if was_interrupted(results):
        raise KeyboardInterrupt
    for result in results:
        if result.outcome not in (Outcome.ASSOCIATION_REJECTED, Outcome.ASSOCIATION_ABORTED):
            yield _stranger_finding(result.target, result.outcome, result.detail)


def _stranger_finding(target: EchoTarget, outcome: Outcome, detail: str) -> Finding:
    where = f"{target.ae_title} at {target.address}:{target.port}"
    if outcome is Outcome.ANSWERED:
        text = f"{where} answers {STRANGER}, which no flow allows: it would answer anybody; look at its table"
        return Finding(target.host or "", where, "caller-not-refused", text)
    text = f"{where} could not be asked as a stranger: {outcome.value}: {detail}"
    return Finding(target.host or "", where, "caller-not-asked", text)
