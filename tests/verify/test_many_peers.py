"""Many peers at once, three in ten of which misbehave, each in one of the ways that we know."""

import contextlib
import time

from fleet.verify.course import Course, Workshop
from fleet.verify.dialogue import EchoDialogue, Trace
from fleet.verify.loop import Loop
from fleet.verify.prepare import Question
from fleet.verify.settings import Surroundings, SweepSettings
from fleet.verify.sweep import sweep
from fleet.verify.values import EchoTarget, Outcome, Timeouts
from tests.verify.peers import Peer, answer_well, serving
from tests.verify.test_hostile_peers import BEHAVIOURS

PATIENT = Timeouts(connect_s=2.0, acse_s=2.0, dimse_s=2.0, total_s=3.5)
TARGETS = 10_000


def test_of_ten_thousand_three_in_ten_misbehave_and_each_is_told_once_and_in_time() -> None:  # T50, T52
    """Every target is an address of its own; all known ways of misbehaving, a few servers for each."""
    ways = [way for name, way in BEHAVIOURS.items() if name != "well"]
    with contextlib.ExitStack() as stack:
        good = [stack.enter_context(serving(answer_well, "0.0.0.0")) for _ in range(4)]
        bad = [stack.enter_context(serving(script, "0.0.0.0")) for script, _, _ in ways]
        targets, expected = [], []
        for number in range(TARGETS):
            misbehaves = number % 10 < 3
            peer: Peer = bad[number % len(bad)] if misbehaves else good[number % len(good)]
            expected.append(ways[number % len(bad)][1] if misbehaves else Outcome.ANSWERED)
            address = f"127.{20 + number // 40_000}.{number // 200 % 200}.{1 + number % 200}"
            targets.append(EchoTarget(f"T{number}", address, peer.port, "FLEET_SCU", timeouts=PATIENT))
        heard: list[str] = []
        results = sweep(targets, SweepSettings(seed=3), on_result=lambda result: heard.append(result.target.ae_title))
    assert sorted(heard) == sorted(target.ae_title for target in targets)
    wrong = [
        (result.outcome, outcome, result.detail)
        for result, outcome in zip(results, expected, strict=True)
        if result.outcome is not outcome
    ]
    assert wrong == []
    assert max(result.elapsed_s for result in results) < PATIENT.total_s + 1


def test_a_fault_of_our_own_costs_one_target_and_not_the_sweep() -> None:
    class Broken(Workshop):
        def make_dialogue(self, target: EchoTarget, question: Question, trace: Trace | None = None) -> EchoDialogue:
            def fail(_direction: str, _data: bytes) -> None:
                raise ZeroDivisionError

            return super().make_dialogue(target, question, fail if target.ae_title == "BAD" else trace)

    workshop = Broken(time.time)
    with serving(answer_well) as peer:
        targets = [EchoTarget(title, "127.0.0.1", peer.port, "F", timeouts=PATIENT) for title in ("BAD", "GOOD")]
        loop = Loop(
            targets,
            lambda target: Course(target, Question(target.ae_title, target.calling), workshop),
            SweepSettings(),
            None,
            Surroundings(),
        )
        bad, good = loop.run()
    assert (bad.outcome, good.outcome) == (Outcome.LOCAL_ERROR, Outcome.ANSWERED)
    assert "ZeroDivisionError" in bad.detail
