"""The order of a drain, over hosts that only remember what they were told: out, quiet, away, changed, back, proven."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pytest

from fleet.errors import NetworkError
from fleet.events import Event
from fleet.inventory.model import Host, VirtualService
from fleet.plan.manifest import Manifest
from fleet.plan.steps import HostPlan, ReloadUnit, RestartUnit, RunHandler, Step, UnitReason
from fleet.push.outcome import HostOutcome, Outcome
from fleet.push.script import Script
from fleet.push.transport import REPLY_LIMIT_BYTES, ByteStream, CommandResult, Transport
from fleet.render.artifacts import RenderedHost, RenderedService
from fleet.workflow.draining import Draining, DrainSettings, find_memberships, needs_drain
from tests.workflow.scenes import HEAD, VIRTUAL, Scene, host_rows, virtual_pair

BALANCED = virtual_pair(
    """\
    via: haproxy
    vrrp: {interface: eth0, virtual_router_id: 7, priority: {north-1: 110, north-2: 100}}
"""
)
RESTART = RestartUnit("pacs.service", UnitReason.CHANGED, "-", "-")
SETTINGS = DrainSettings(2.0, 10.0, 1.0)


@dataclass
class World:
    """Both hosts, what they were told, and a clock that only goes on when somebody sleeps."""

    log: list[str] = field(default_factory=list)
    silent: dict[str, str] = field(default_factory=dict)
    refuses: dict[str, str] = field(default_factory=dict)  # host → a line of its answer
    unreachable: set[str] = field(default_factory=set)
    open_here: list[int] = field(default_factory=list)  # what is counted each time; the last one stays
    holder: str = "north-1"
    moves: bool = True
    now: float = 0.0
    heard: list[Event] = field(default_factory=list)

    def monotonic_s(self) -> float:
        return self.now

    def sleep(self, seconds: float, /) -> None:
        self.now += seconds

    def open_(self, host: Host, *, deadline_s: float) -> Transport:
        if host.name in self.unreachable:
            raise NetworkError(f"{host.name}: no answer", phase="connect")
        return Told(host.name, self)

    def ask(self, _service: VirtualService, names: Sequence[str]) -> Mapping[str, str]:
        return {name: self.silent[name] for name in names if name in self.silent}

    def count(self) -> int:
        if len(self.open_here) > 1:
            return self.open_here.pop(0)
        return self.open_here[0] if self.open_here else 0


@dataclass
class Told:
    """A host that does as it is told."""

    name: str
    world: World
    is_open: bool = True

    def run_script(
        self, script: Script, *, deadline_s: float, limit_bytes: int = REPLY_LIMIT_BYTES, become: bool | None = None
    ) -> CommandResult:
        lines = {"drain": self._drain, "put-back": self._back, "traffic": self._traffic}[script.verb](script)
        return CommandResult(0, "\n".join(["fleet-host 1", *lines, "end", ""]).encode(), b"")

    def _drain(self, script: Script) -> list[str]:
        itself = "\ndrain_self\n" in script.text
        self.world.log.append(f"{self.name} {'moves away' if itself else 'drains'}")
        if self.name in self.world.refuses:
            return [self.world.refuses[self.name], "failed"]
        if itself and self.world.moves:
            self.world.holder = "north-2" if self.name == "north-1" else "north-1"
        return [f"self {'yes' if self.world.moves else 'no'}"] if itself else []

    def _back(self, _script: Script) -> list[str]:
        self.world.log.append(f"{self.name} puts back")
        self.world.holder = "north-1"
        return []

    def _traffic(self, _script: Script) -> list[str]:
        held = f"held {VIRTUAL}" if self.world.holder == self.name else "held"
        return [f"open here {self.world.count()}", "open through 0", held]

    def open_channel(self, address: str, port: int, *, deadline_s: float) -> ByteStream:
        raise AssertionError(f"{self.name}: a drain asks and tells by scripts alone; it opens no channel to a service")

    def close(self) -> None:
        self.is_open = False


def make_plan(host: str, *steps: Step, before: tuple[str, ...] = ("pacs.service",)) -> HostPlan:
    rendered = RenderedHost(host, services=(RenderedService("pacs.service", ours=True, port=11112),))
    return HostPlan(host, rendered, steps or (RESTART,), before=Manifest(units=before))


@pytest.fixture
def world() -> World:
    return World()


def carry_out(
    scene: Scene, world: World, plan: HostPlan, ending: HostOutcome | None = None
) -> tuple[HostOutcome, list[str]]:
    """What became of the host, and what the report says beside it."""
    scene.write(HEAD + host_rows(("north-1", "north-2", "north-3")) + BALANCED)
    inventory = scene.reading().inventory
    draining = Draining(inventory, world, world.ask, world.heard.append)

    def change() -> HostOutcome:
        world.log.append("change")
        return ending or HostOutcome(plan.host, Outcome.CONVERGED)

    settings = DrainSettings(SETTINGS.timeout_s, SETTINGS.within_s, SETTINGS.prove_s, world, lambda: "a")
    usher = draining.around(settings, "run-1")
    return usher(inventory.hosts[plan.host], plan, change), draining.notes


def test_a_member_leaves_before_its_change_and_comes_back_after_it(scene: Scene, world: World) -> None:  # T36
    outcome, notes = carry_out(scene, world, make_plan("north-1"))
    assert outcome.outcome is Outcome.CONVERGED
    assert world.log == [
        "north-1 drains", "north-2 drains", "north-1 moves away", "change", "north-2 puts back", "north-1 puts back",
    ]  # fmt: skip
    assert (notes, world.holder) == ([], "north-1")


def test_a_host_that_serves_behind_no_address_and_one_that_is_only_read_are_left_alone(
    scene: Scene, world: World
) -> None:
    assert carry_out(scene, world, make_plan("north-3"))[0].outcome is Outcome.CONVERGED
    assert world.log == ["change"]
    assert not needs_drain(make_plan("north-1", before=()))
    assert not needs_drain(HostPlan("north-1", RenderedHost("north-1")))
    for step in (ReloadUnit("pacs.service", UnitReason.OWED, "-", "-"), RunHandler("true", UnitReason.OWED, "-")):
        assert needs_drain(make_plan("north-1", step))


def test_an_appliance_in_front_is_not_ours_to_tell(scene: Scene) -> None:
    scene.write(HEAD + host_rows(("north-1", "north-2")) + virtual_pair("    via: external\n"))
    assert find_memberships(scene.reading().inventory, "north-1") == ()


def test_its_associations_may_end_before_it_is_touched(scene: Scene, world: World) -> None:
    world.open_here = [2, 1, 0]
    _, notes = carry_out(scene, world, make_plan("north-1"))
    assert (notes, world.now >= 0.5) == ([], True)


def test_what_does_not_end_in_time_is_cut_and_told(scene: Scene, world: World) -> None:
    world.open_here = [1]
    outcome, notes = carry_out(scene, world, make_plan("north-2"))
    assert outcome.outcome is Outcome.CONVERGED
    assert notes == ["north-2: 1 association did not end within 2 s and may be cut"]
    assert world.now >= 2


def test_the_last_member_that_serves_is_changed_where_it_stands(scene: Scene, world: World) -> None:
    world.silent["north-2"] = "PACS at 127.0.30.2:11112 ends as refused"
    outcome, notes = carry_out(scene, world, make_plan("north-1"))
    assert (outcome.outcome, world.log) == (Outcome.CONVERGED, ["change"])
    assert notes == [
        "north-1: it is changed in service, since it is the last that serves: PACS at 127.0.30.2:11112 ends as refused"
    ]


def test_a_partner_that_another_run_took_out_locks_this_one(scene: Scene, world: World) -> None:  # T32
    world.refuses["north-1"] = "partner north-2 run-9.b"
    outcome, _ = carry_out(scene, world, make_plan("north-1"))
    assert outcome.outcome is Outcome.LOCKED
    assert "its partner north-2 is out of service for a change by run run-9, and this one may be" in outcome.detail
    assert "change" not in world.log
    assert world.log[-1] == "north-1 puts back", "what it had claimed itself is given back"


def test_a_host_that_refuses_is_changed_in_service_and_that_is_said(scene: Scene, world: World) -> None:
    world.refuses["north-2"] = "refused bm8gdGltZXJz"
    outcome, notes = carry_out(scene, world, make_plan("north-1"))
    assert outcome.outcome is Outcome.CONVERGED
    assert world.log == ["north-1 drains", "north-2 drains", "north-2 puts back", "north-1 puts back", "change"]
    assert notes == [
        "north-1: it is changed in service, since it could not be taken out of it: no timers",
    ]


def test_an_address_that_nobody_takes_over_stays(scene: Scene, world: World) -> None:
    world.moves = False
    _, notes = carry_out(scene, world, make_plan("north-1"))
    assert world.log[-1] == "change"
    assert "keepalived there has no tracked file yet, so its address stays" in notes[0]


def test_an_address_that_does_not_answer_through_the_partner_comes_back_before_the_change(
    scene: Scene, world: World
) -> None:
    world.silent[""] = "PACS at 127.0.30.100:104 ends as refused"
    _, notes = carry_out(scene, world, make_plan("north-1"))
    assert world.log[-3:] == ["north-2 puts back", "north-1 puts back", "change"]
    assert "the address moved, but does not answer through its partner" in notes[0]


@pytest.mark.parametrize("ending", ["failed", "rolled_back", "unreachable", "rollback_failed"])
def test_however_the_change_ends_the_member_is_put_back(ending: str, scene: Scene, world: World) -> None:
    outcome, _ = carry_out(scene, world, make_plan("north-1"), HostOutcome("north-1", Outcome(ending), "switch"))
    assert (outcome.outcome, outcome.phase) == (Outcome(ending), "switch")
    assert world.log[-2:] == ["north-2 puts back", "north-1 puts back"]


def test_a_member_that_does_not_serve_again_is_a_failure_so_that_its_partner_stays(
    scene: Scene, world: World
) -> None:  # T36
    world.silent["north-1"] = "PACS at 127.0.30.1:11112 ends as refused"
    outcome, _ = carry_out(scene, world, make_plan("north-1"))
    assert (outcome.outcome, outcome.phase) == (Outcome.FAILED, "put-back")
    assert outcome.detail == "it was changed and put back, but PACS at 127.0.30.1:11112 ends as refused"


def test_a_partner_that_cannot_be_told_is_named_and_no_reason_to_stay(scene: Scene, world: World) -> None:
    world.unreachable.add("north-2")
    outcome, notes = carry_out(scene, world, make_plan("north-1"))
    assert "north-2 could not be told that it leaves: north-2: no answer" in notes[0]
    assert "north-1 moves away" in world.log
    assert outcome.outcome is Outcome.CONVERGED
