"""How a host ends, on a host that is a dictionary and a clock that is a number."""

from dataclasses import dataclass

import pytest

from fleet.errors import DeadlineExceeded, NetworkError
from fleet.events import Event, HostPhase, ItemFinished
from fleet.inventory.model import Host
from fleet.plan.steps import HostPlan, PlanProblem
from fleet.push.apply import ApplySettings, apply_batch, apply_host
from fleet.push.outcome import Outcome
from fleet.push.script import Script
from fleet.push.transport import CommandResult
from fleet.render.artifacts import RenderedHost, RenderedService
from tests.push.fake_host import FakeConnector, FakeHost, FakeUnit
from tests.push.scenes import NOW, make_plan, rendered_file, rendered_host

CONF = rendered_file("/etc/pacs.cfg", restarts=("pacs.service",))
SYSTEM = rendered_host(CONF, services=(RenderedService("pacs.service", ours=False, port=104),))


@dataclass
class FakeClock:
    """Time that passes when somebody waits."""

    now_s: float = 0.0

    def monotonic_s(self) -> float:
        return self.now_s

    def sleep(self, seconds: float, /) -> None:
        self.now_s += seconds


@pytest.fixture
def host() -> FakeHost:
    return FakeHost(units={"pacs.service": FakeUnit()})


def test_phases_are_told_as_they_begin(host: FakeHost) -> None:
    told: list[Event] = []
    outcome = apply_host(make_plan(SYSTEM, host), host, NOW, told.append)
    assert outcome.outcome is Outcome.CONVERGED
    assert told == [HostPhase("north-1", phase) for phase in ("stage", "switch", "look-again")]


def test_an_empty_plan_touches_nothing(host: FakeHost) -> None:
    apply_host(make_plan(SYSTEM, host), host, NOW)
    host.log.clear()
    assert apply_host(make_plan(SYSTEM, host), host).outcome is Outcome.UNCHANGED
    assert host.log == ["observe"]


def test_a_problem_of_the_plan_refuses_the_host_before_anything(host: FakeHost) -> None:
    plan = HostPlan("north-1", SYSTEM, (), (PlanProblem("x", "the user dcmtk is not on the host", "dcmtk"),))
    outcome = apply_host(plan, host)
    assert (outcome.outcome, outcome.phase) == (Outcome.REFUSED, "plan")
    assert "dcmtk" in outcome.detail
    assert host.log == []


def test_a_service_that_dies_in_the_hold_is_a_failure(host: FakeHost) -> None:  # T35
    class Dying(FakeClock):
        def sleep(self, seconds: float, /) -> None:
            super().sleep(seconds)
            host.units["pacs.service"].active = "failed"

    outcome = apply_host(make_plan(SYSTEM, host), host, ApplySettings(hold_s=10, clock=Dying()))
    assert (outcome.outcome, outcome.phase) == (Outcome.FAILED, "look-again")
    assert "start pacs.service" in outcome.detail


RELOADED = rendered_host(
    rendered_file("/etc/proxy.cfg", reloads=("proxy.service",)),
    services=(RenderedService("proxy.service", ours=False),),
)


@pytest.mark.parametrize(("revived", "ending"), [(0, Outcome.CONVERGED), (1, Outcome.FAILED)])
def test_a_service_that_dies_after_its_reload_and_is_brought_back_is_a_failure(  # T35
    revived: int, ending: Outcome
) -> None:
    """`active` at both looks, and not the same process: a reload leaves systemd's old count as it was."""
    host = FakeHost(units={"proxy.service": FakeUnit("active", "enabled", restarts=7)})

    class Flapping(FakeClock):
        def sleep(self, seconds: float, /) -> None:
            super().sleep(seconds)
            host.units["proxy.service"].restarts += revived

    outcome = apply_host(make_plan(RELOADED, host), host, ApplySettings(hold_s=10, clock=Flapping()))
    assert outcome.outcome is ending
    assert ("proxy.service died after its reload" in outcome.detail) == bool(revived)


class Slow(FakeHost):
    """A service that listens only after some looks."""

    looks_until_up = 3

    def run_script(self, script: Script, **_more: object) -> CommandResult:
        result = super().run_script(script, deadline_s=1)
        if script.verb != "observe":
            return result
        self.looks_until_up -= 1
        ports = b"listening 0068\n" if self.looks_until_up < 0 else b"listening 0016\n"
        return CommandResult(0, result.stdout.removesuffix(b"end\n") + ports + b"end\n", b"")


def test_a_service_may_take_its_time_to_listen() -> None:
    host, clock = Slow(units={"pacs.service": FakeUnit()}), FakeClock()
    outcome = apply_host(make_plan(SYSTEM, host), host, ApplySettings(hold_s=0, settle_s=5, clock=clock))
    assert outcome.outcome is Outcome.CONVERGED
    assert 0 < clock.now_s <= 5


def test_a_service_that_never_listens_is_a_failure() -> None:
    host = Slow(units={"pacs.service": FakeUnit()})
    host.looks_until_up = 1000
    outcome = apply_host(make_plan(SYSTEM, host), host, ApplySettings(settle_s=5, clock=FakeClock()))
    assert outcome.outcome is Outcome.FAILED
    assert "nothing listens on port 104" in outcome.detail


@pytest.mark.parametrize(("verb", "fate"), [("stage", "no live file was touched"), ("switch", "is not known")])
def test_a_connection_that_breaks_says_what_that_means_for_the_files(host: FakeHost, verb: str, fate: str) -> None:
    plan = make_plan(SYSTEM, host)
    host.failures[verb] = NetworkError("the connection broke", phase="session")
    outcome = apply_host(plan, host)
    assert (outcome.outcome, outcome.phase) == (Outcome.UNREACHABLE, verb)
    assert fate in outcome.detail
    host.failures[verb] = DeadlineExceeded("too late", phase=verb)
    assert apply_host(plan, host).outcome is Outcome.FAILED


def test_outcomes_add_up_to_the_hosts_that_were_planned(host: FakeHost) -> None:
    hosts = {"good": host, "broken": FakeHost(units={"pacs.service": FakeUnit()}, failing_units={"pacs.service"})}
    told: list[Event] = []
    pairs = [(Host(name, "127.0.0.1", "n"), make_plan(SYSTEM, hosts[name])) for name in hosts]
    pairs.append((Host("gone", "127.0.0.1", "n"), pairs[0][1]))
    pairs.append((Host("same", "127.0.0.1", "n"), HostPlan("same", RenderedHost("same"))))
    outcomes = apply_batch(pairs, FakeConnector(hosts), NOW, told.append)
    assert [each.outcome for each in outcomes] == [
        Outcome.CONVERGED,
        Outcome.FAILED,
        Outcome.UNREACHABLE,
        Outcome.UNCHANGED,
    ]
    assert outcomes[1].phase == "handler"
    assert len([event for event in told if isinstance(event, ItemFinished)]) == 4


def test_every_failure_counts_and_nothing_else_does() -> None:
    assert [each for each in Outcome if each.is_failure] == [
        Outcome.REFUSED,
        Outcome.STALE,
        Outcome.LOCKED,
        Outcome.FAILED,
        Outcome.ROLLED_BACK,
        Outcome.ROLLBACK_FAILED,
        Outcome.UNREACHABLE,
    ]
