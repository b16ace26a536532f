"""One apply at a time on a host: of many who try, one wins, the others name him, and nobody waits for ever."""

import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from fleet.push.apply import apply_host
from fleet.push.lock import Claim, break_lock, observe_lock, parse_lease
from fleet.push.outcome import HostOutcome, Outcome
from fleet.push.stage import StageSettings, make_stage_script
from fleet.push.switch import SwitchSettings, make_switch_script, parse_switch_reply
from fleet.push.transport import CommandResult
from tests.push.local_host import LocalTransport
from tests.push.scenes import NOW, converge, let_leases_expire, list_leftovers, make_plan, rendered_file, rendered_host

ANNA, BERT = StageSettings("anna-1.aa", "anna on desk-1"), StageSettings("bert-1.bb", "bert on desk-2")


def stage(root: Path, who: StageSettings, content: str = "new\n") -> CommandResult:
    transport = LocalTransport(root)
    plan = make_plan(rendered_host(rendered_file(content=content)), transport)
    return transport.run_script(make_stage_script(plan, who), deadline_s=30)


@pytest.mark.parametrize("count", [2, 5, 16])
def test_of_many_who_apply_at_once_one_wins_and_the_others_name_a_holder(root: Path, count: int) -> None:  # T32
    contents = [f"version {number}\n" * 50 for number in range(count)]
    plans = [make_plan(rendered_host(rendered_file(content=text)), LocalTransport(root)) for text in contents]

    def apply(number: int) -> HostOutcome:
        claim = Claim(f"person {number} on desk-{number}", f"run-{number}")
        return apply_host(plans[number], LocalTransport(root), replace(NOW, claim=claim))

    with ThreadPoolExecutor(count) as pool:
        outcomes = list(pool.map(apply, range(count)))
    winners = [number for number, each in enumerate(outcomes) if each.outcome is Outcome.CONVERGED]
    assert len(winners) == 1, [(each.outcome.value, each.detail) for each in outcomes]
    assert (root / "etc/dcmtk/dcmqrscp.cfg").read_text() == contents[winners[0]]
    # Whoever came late finds a lock, or a file that moved on since his plan.
    assert {each.outcome for each in outcomes} <= {Outcome.CONVERGED, Outcome.LOCKED, Outcome.STALE}
    named = [each for each in outcomes if each.outcome is Outcome.LOCKED and "person" in each.detail]
    assert all("desk-" in each.detail and "nothing was written" in each.detail for each in named)
    assert list_leftovers(root) == []
    assert observe_lock(LocalTransport(root), deadline_s=30).lease is None


def test_takers_of_an_expired_lease_race_and_one_wins(root: Path) -> None:  # T32
    program = LocalTransport(root)
    for _round in range(5):
        assert b"staged" in stage(root, ANNA).stdout
        let_leases_expire(root)
        texts = [
            make_stage_script(
                make_plan(rendered_host(rendered_file()), program), StageSettings(f"run-{number}.x", f"p{number}")
            ).text.encode()
            for number in range(8)
        ]
        with ThreadPoolExecutor(8) as pool:
            answers = [done.stdout.split(b"\n")[-3] for done in pool.map(program.run_text, texts)]
        assert sorted(answers) == [b"failed"] * 7 + [b"staged"], answers
        let_leases_expire(root)


def test_the_second_fails_at_once_and_says_who_holds_the_host(root: Path) -> None:  # T32
    stage(root, ANNA)
    outcome = converge(rendered_host(rendered_file(content="other\n")), LocalTransport(root))
    assert (outcome.outcome, outcome.phase) == (Outcome.LOCKED, "lock")
    assert "north-1 is locked by anna on desk-1 (run anna-1)" in outcome.detail
    assert not (root / "etc/dcmtk/dcmqrscp.cfg").exists()


def test_reading_waits_for_nobody(root: Path) -> None:
    stage(root, ANNA)
    assert make_plan(rendered_host(rendered_file()), LocalTransport(root)).problems == ()


def test_a_lease_that_ran_out_by_the_host_s_own_clock_is_taken_over(root: Path) -> None:  # T32, T42
    stage(root, ANNA)
    assert observe_lock(LocalTransport(root), deadline_s=30).lease is not None
    let_leases_expire(root)
    assert observe_lock(LocalTransport(root), deadline_s=30).lease is None
    assert converge(rendered_host(rendered_file()), LocalTransport(root)).outcome is Outcome.CONVERGED


def test_a_host_that_was_restarted_is_held_by_nobody(root: Path) -> None:  # T32
    stage(root, ANNA)
    (lease,) = (root / "run/fleet").glob("lease.*")
    words = lease.read_text().split()
    lease.write_text(" ".join([words[0], "another-boot", *words[2:]]) + "\n")
    assert observe_lock(LocalTransport(root), deadline_s=30).lease is None


def test_a_script_that_was_killed_on_the_host_holds_nothing(root: Path) -> None:  # T29, T32
    transport = LocalTransport(root)
    text = make_stage_script(make_plan(rendered_host(rendered_file()), transport), ANNA).text
    transport.run_text(text.replace("\nstage_end 20\n", "\nkill -9 $$\n").encode())
    assert observe_lock(transport, deadline_s=30).lease is None


def test_a_switch_whose_lock_was_taken_does_nothing(root: Path) -> None:  # T32
    transport = LocalTransport(root)
    plan = make_plan(rendered_host(rendered_file()), transport)
    transport.run_script(make_stage_script(plan, ANNA), deadline_s=30)
    let_leases_expire(root)
    stage(root, BERT)
    result = transport.run_script(make_switch_script(plan, SwitchSettings(ANNA.token, ANNA.owner)), deadline_s=30)
    report = parse_switch_reply(plan, result)
    assert report.lost
    assert "bert on desk-2" in report.detail
    assert not (root / "etc/dcmtk/dcmqrscp.cfg").exists()
    lease = observe_lock(transport, deadline_s=30).lease
    assert lease is not None
    assert lease.token == BERT.token


def test_a_lock_is_broken_only_while_it_is_the_one_that_was_shown(root: Path) -> None:
    stage(root, ANNA)
    transport = LocalTransport(root)
    assert not break_lock(transport, "somebody-else", deadline_s=30).broken
    report = break_lock(transport, ANNA.token, deadline_s=30)
    assert report.broken
    assert report.lease is not None
    assert report.lease.owner == "anna on desk-1"
    assert observe_lock(transport, deadline_s=30).lease is None


def test_after_a_cut_the_lock_runs_out_soon_and_may_be_broken_before(root: Path) -> None:  # T25, T32
    """A link that falls silent between staging and the switch leaves a lease that waits, and staged files."""
    stage(root, ANNA)
    transport = LocalTransport(root)
    lease = observe_lock(transport, deadline_s=30).lease
    assert lease is not None
    assert lease.left_s <= 20
    wanted = rendered_host(rendered_file(content="other\n"))
    assert converge(wanted, transport).outcome is Outcome.LOCKED
    assert break_lock(transport, lease.token, deadline_s=30).broken
    assert converge(wanted, transport).outcome is Outcome.CONVERGED
    assert list_leftovers(root) == []
    # Whoever was cut off and comes back late changes nothing.
    late = make_plan(rendered_host(rendered_file(content="late\n")), transport)
    result = transport.run_script(make_switch_script(late, SwitchSettings(ANNA.token, ANNA.owner)), deadline_s=30)
    assert parse_switch_reply(late, result).lost
    assert (root / "etc/dcmtk/dcmqrscp.cfg").read_text() == "other\n"


def test_a_script_that_lives_keeps_its_lease_however_long_it_takes(root: Path) -> None:  # T32
    """The host's clock jumps ahead by more than a lease while it works."""
    text = make_stage_script(make_plan(rendered_host(rendered_file()), LocalTransport(root)), ANNA).text
    (root / "proc").mkdir()
    (root / "proc/uptime").write_text("990.00 0.00\n")
    later = 'printf "1100 0\\n" >"$root/proc/uptime"; say_lease seen'
    answer = LocalTransport(root).run_text(text.replace("\nstage_end 20", f"\n{later}\nstage_end 20").encode())
    (seen,) = [line.split()[1:] for line in answer.stdout.decode().splitlines() if line.startswith("seen ")]
    lease = parse_lease(seen)
    assert (lease.token, lease.age_s, lease.heard_s, lease.left_s, lease.is_working) == (ANNA.token, 110, 0, 30, True)
    waiting = observe_lock(LocalTransport(root), deadline_s=30).lease
    assert waiting is not None
    assert (waiting.age_s, waiting.heard_s, waiting.left_s, waiting.is_working) == (110, 0, 20, False)


def test_what_a_holder_calls_himself_does_nothing_to_a_terminal(root: Path) -> None:  # T40
    stage(root, replace(ANNA, owner="a\x1b[2Jb"))
    outcome = converge(rendered_host(rendered_file()), LocalTransport(root))
    assert "\x1b" not in outcome.detail
    assert "a\\x1b[2Jb" in outcome.detail


def test_no_duration_is_taken_from_a_clock_that_somebody_may_set() -> None:  # T42
    """Neither here nor on the host: a step of the time during a window must not end it, nor make it last."""
    push = Path(__file__).parents[2] / "fleet" / "push"
    ours = [path.read_text(encoding="utf-8") for path in push.rglob("*.py")]
    theirs = [path.read_text(encoding="utf-8") for path in push.rglob("*.sh")]
    assert len(ours) > 20
    assert len(theirs) > 5
    assert not any(re.search(r"time\.time\(|datetime|time_ns|CLOCK_REALTIME", text) for text in ours)
    assert not any(re.search(r"(?m)(?:^|[|;&(]|\$\()\s*date\b|--on-calendar|EPOCH", text) for text in theirs)
    assert any("--on-active" in text for text in theirs), "systemd counts from now on, by CLOCK_MONOTONIC"
