"""A member of a virtual service is taken out of it, changed, proven, and put back before its partner is touched.

First the balancers send it nothing new, then its associations may end, then its address moves to a partner: so a
change that goes wrong is nobody's on the wards. The last member that serves is never taken out. Whoever dies in
between leaves hosts that put the member back by their own timers.
"""

import math
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from fleet.errors import FleetError
from fleet.events import HostPhase, Notice, Observer
from fleet.inventory.model import Entity, Host, Instance, Inventory, VirtualService
from fleet.plan.steps import HostPlan, RunHandler
from fleet.push.clock import Clock, SystemClock
from fleet.push.drain import Drain, DrainReport, Traffic, observe_traffic, put_back, take_out
from fleet.push.outcome import HostOutcome, Outcome
from fleet.push.transport import Connector, Transport
from fleet.push.window import drain_seconds, list_touched_units
from fleet.targets import haproxy

_EVERY_S = 0.25
_MOVE_S = 12.0  # VRRP's partner waits for three advertisements (RFC 5798 section 6.1), and answers ARP at once
_STEP_S = 30.0  # one script on one host
_SPARE_S = 15.0  # staging and looking: what a host's own timer leaves beside the known times

Ask = Callable[[VirtualService, Sequence[str]], Mapping[str, str]]
"""Asks members of a service by C-ECHO, by their hosts' names (`""`: its virtual addresses); returns, for each that
does not answer, why."""


@dataclass(frozen=True, slots=True)
class Membership:
    """A host's share in one virtual service whose load other members can take."""

    service: VirtualService
    entity: Entity
    own: tuple[Instance, ...]
    partners: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DrainSettings:
    """`timeout_s` is how long associations may end by themselves, `within_s` how long the change itself may take,
    `prove_s` how long a member may take to answer again."""

    timeout_s: float = 60.0
    within_s: float = 120.0
    prove_s: float = 15.0
    clock: Clock = field(default_factory=SystemClock)
    ids: Callable[[], str] = lambda: secrets.token_hex(4)


def find_memberships(inventory: Inventory, host: str) -> tuple[Membership, ...]:
    """The services that this host can be taken out of: others serve them too, and their daemons are ours."""
    found = []
    for service in inventory.virtual_services:
        entity = inventory.find_entity(service.entity)
        if entity is None or service.via == "external":
            continue
        own = tuple(each for each in entity.instances if each.host == host)
        others = dict.fromkeys(each.host for each in entity.instances if each.host != host)
        if own and others:
            found.append(Membership(service, entity, own, tuple(others)))
    return tuple(found)


def needs_drain(plan: HostPlan) -> bool:
    """Whether what serves is touched, and served before: a first installation takes nothing away from anybody."""
    touches = list_touched_units(plan) or any(isinstance(step, RunHandler) for step in plan.steps)
    units = {service.unit for service in plan.rendered.services}
    return bool(touches) and units <= set(plan.before.units)


class Draining:
    """Goes round the change of each host of a run; what it could not do is in `notes`."""

    def __init__(self, inventory: Inventory, connector: Connector, ask: Ask, observer: Observer) -> None:
        self._inventory, self._connector = inventory, connector
        self._ask, self._observer = ask, observer
        self.notes: list[str] = []

    def around(
        self, settings: DrainSettings, run_id: str
    ) -> Callable[[Host, HostPlan, Callable[[], HostOutcome]], HostOutcome]:
        """What `apply_batch` calls for each host with the change itself."""

        def usher(host: Host, plan: HostPlan, change: Callable[[], HostOutcome]) -> HostOutcome:
            memberships = find_memberships(self._inventory, host.name)
            if not memberships or not needs_drain(plan):
                return change()
            drain = self._make_drain(host, plan, memberships, settings, run_id)
            return _Turn(self, host, memberships, drain, settings).carry_out(change)

        return usher

    def _make_drain(
        self, host: Host, plan: HostPlan, memberships: Sequence[Membership], settings: DrainSettings, run_id: str
    ) -> Drain:
        lasts_s = settings.timeout_s + settings.within_s + drain_seconds(plan) + _SPARE_S
        servers = [
            (each.service.name, haproxy.make_server_name(each.entity, instance))
            for each in memberships
            for instance in each.own
        ]
        partners = dict.fromkeys(name for each in memberships for name in each.partners)
        addresses = dict.fromkeys(instance.address for each in memberships for instance in each.own)
        return Drain(
            host.name,
            f"{run_id}.{settings.ids()}",
            math.ceil(lasts_s),
            tuple(partners),
            tuple(servers),
            tuple(addresses),
        )

    def open_(self, name: str) -> Transport:
        """A connection to a host of the inventory; raises FleetError."""
        return self._connector.open_(self._inventory.hosts[name], deadline_s=_STEP_S)

    def tell(self, host: str, text: str, *, note: bool = True) -> None:
        """A sentence for whoever watches, and for the report where somebody has to know."""
        self._observer(Notice(f"{host}: {text}"))
        if note:
            self.notes.append(f"{host}: {text}")

    def phase(self, host: str, name: str) -> None:
        """How far a host is."""
        self._observer(HostPhase(host, name))

    def ask(self, service: VirtualService, names: Sequence[str]) -> Mapping[str, str]:
        """Who of them does not answer."""
        return self._ask(service, names)


@dataclass(slots=True)
class _Turn:
    """One member's way out and back."""

    draining: Draining
    host: Host
    memberships: Sequence[Membership]
    drain: Drain
    settings: DrainSettings
    told: list[str] = field(default_factory=list)  # hosts that have to put it back
    held: frozenset[str] = frozenset()

    def carry_out(self, change: Callable[[], HostOutcome]) -> HostOutcome:
        """The change, with the member out of service where that is safe."""
        try:
            busy = self._leave()
            outcome = busy or change()
        finally:
            troubles = self._return()
        if busy is None and outcome.outcome in {Outcome.CONVERGED, Outcome.UNCHANGED}:
            silent = self._prove_back() if self.told else ""
            if silent or troubles:
                return replace(outcome, outcome=Outcome.FAILED, phase="put-back", detail=silent or troubles[0])
        return outcome

    # Out ------------------------------------------------------------------------------------------------

    def _leave(self) -> HostOutcome | None:
        """Take it out, or say why it stays in; an outcome where it must not be touched at all."""
        self.draining.phase(self.host.name, "drain")
        alone = self._find_nobody_else()
        if alone:
            self.draining.tell(self.host.name, f"it is changed in service, since it is the last that serves: {alone}")
            return None
        try:
            report = self._tell_all()
            if report.busy:
                return self._busy(*report.busy)
            if report.refused:
                self._stay(report.refused)
                return None
            self._wait(lambda traffic: traffic.here)
            self._move_address()
        except FleetError as error:
            self._stay(str(error))
        return None

    def _find_nobody_else(self) -> str:
        """Why no partner could take over, for the first service where that is so."""
        for each in self.memberships:
            silent = self.draining.ask(each.service, each.partners)
            if len(silent) == len(each.partners):
                return "; ".join(silent.values())
        return ""

    def _tell_all(self) -> DrainReport:
        """Every member's host, in one order for everybody: of two runs that meet one goes on."""
        for name in sorted({self.host.name, *self.drain.partners}):
            try:
                report = self._tell(name, itself=False)
            except FleetError as error:
                if name == self.host.name:
                    raise
                # Its balancer cannot be told; its own checks find out a moment later.
                self.draining.tell(self.host.name, f"{name} could not be told that it leaves: {error}")
                continue
            if report.busy or report.refused:
                return report
        return DrainReport()

    def _tell(self, name: str, *, itself: bool) -> DrainReport:
        transport = self.draining.open_(name)
        try:
            self.told = [*dict.fromkeys((*self.told, name))]
            return take_out(transport, self.drain, itself=itself, deadline_s=_STEP_S)
        finally:
            transport.close()

    def _stay(self, why: str) -> None:
        self._return()
        self.told = []
        self.draining.tell(self.host.name, f"it is changed in service, since it could not be taken out of it: {why}")

    def _busy(self, partner: str, token: str) -> HostOutcome:
        self._return()
        self.told = []
        run = token.rpartition(".")[0] or token
        detail = (
            f"its partner {partner} is out of service for a change by run {run}, and this one may be the last that "
            "serves; nothing was written; when nobody is at work there, its own timer puts it back within minutes"
        )
        return HostOutcome(self.host.name, Outcome.LOCKED, "drain", detail)

    def _wait(self, count: Callable[[Traffic], int]) -> None:
        """Until nothing of it is open any more, or the time is over: then it is cut, and that is said."""
        clock = self.settings.clock
        until = clock.monotonic_s() + self.settings.timeout_s
        transport = self.draining.open_(self.host.name)
        try:
            while left := count(self._look(transport)):
                if clock.monotonic_s() >= until:
                    many = f"{left} association{'' if left == 1 else 's'}"
                    text = f"{many} did not end within {self.settings.timeout_s:g} s and may be cut"
                    self.draining.tell(self.host.name, text)
                    return
                clock.sleep(_EVERY_S)
        finally:
            transport.close()

    def _look(self, transport: Transport) -> Traffic:
        here = {instance.port for each in self.memberships for instance in each.own}
        through = {each.service.port for each in self.memberships}
        addresses = [address.address for each in self.memberships for address in each.service.addresses]
        return observe_traffic(transport, sorted(here), sorted(through), addresses, deadline_s=_STEP_S)

    def _move_address(self) -> None:
        """Let the virtual addresses go to a partner, at a moment when nobody is connected through them."""
        self.held = self._see().held
        if self.held:
            self._wait(lambda traffic: traffic.through)
        report = self._tell(self.host.name, itself=True)
        if not self.held:
            return
        if not report.moves:
            self._stay("keepalived there has no tracked file yet, so its address stays")
            return
        if not self._until(lambda: not self._see().held):
            self._stay("no partner took its address over")
            return
        if not self._until(lambda: not self._list_silent(("",))):
            silent = "; ".join(self._list_silent(("",)))
            self._stay(f"the address moved, but does not answer through its partner: {silent}")

    def _see(self) -> Traffic:
        transport = self.draining.open_(self.host.name)
        try:
            return self._look(transport)
        finally:
            transport.close()

    def _until(self, is_so: Callable[[], bool]) -> bool:
        clock = self.settings.clock
        until = clock.monotonic_s() + _MOVE_S
        while not is_so():
            if clock.monotonic_s() >= until:
                return False
            clock.sleep(_EVERY_S)
        return True

    # Back -----------------------------------------------------------------------------------------------

    def _return(self) -> tuple[str, ...]:
        """Every host that was told, the member itself last: its partners must know it before callers come."""
        return tuple(self._put_back_everywhere())

    def _put_back_everywhere(self) -> Iterator[str]:
        for name in sorted(self.told, key=lambda name: name == self.host.name):
            try:
                transport = self.draining.open_(name)
                try:
                    broken = put_back(transport, self.drain, deadline_s=_STEP_S)
                finally:
                    transport.close()
            except FleetError as error:
                broken = str(error)
                self.draining.tell(
                    self.host.name, f"{name} could not be told to put it back ({error}); {name}'s own timer does"
                )
            if broken:
                yield f"{name} did not put it back: {broken}"

    def _prove_back(self) -> str:
        """Why it does not serve again, after everybody had time to find each other; nothing when it does."""
        self.draining.phase(self.host.name, "put-back")
        clock = self.settings.clock
        until = clock.monotonic_s() + max(self.settings.prove_s, _MOVE_S)
        if self.held:
            try:
                if not self._until(lambda: self.held <= self._see().held):
                    self.draining.tell(self.host.name, "its address has not come back to it yet")
            except FleetError as error:
                return str(error)
        while silent := self._list_silent((self.host.name, "")):
            if clock.monotonic_s() >= until:
                return f"it was changed and put back, but {silent[0]}"
            clock.sleep(_EVERY_S)
        return ""

    def _list_silent(self, names: Sequence[str]) -> list[str]:
        found: list[str] = []
        for each in self.memberships:
            found += self.draining.ask(each.service, names).values()
        return found
