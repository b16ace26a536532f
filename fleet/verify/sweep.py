"""The sweep: many targets in, one result for each out.

The brakes protect the devices: so many associations at once, so many at one address (a modality falls
over at its second), a pause between two, and an order that does not storm one site.
"""

from collections.abc import Sequence

from fleet.verify.course import Course, Workshop
from fleet.verify.loop import Loop
from fleet.verify.prepare import Question
from fleet.verify.settings import OnResult, Surroundings, SweepSettings
from fleet.verify.values import EchoResult, EchoTarget


def sweep(
    targets: Sequence[EchoTarget],
    settings: SweepSettings | None = None,
    *,
    on_result: OnResult | None = None,
    surroundings: Surroundings | None = None,
) -> list[EchoResult]:
    """Ask every target; return one result for each, in the order of *targets*.

    *on_result* hears of each result as it comes, on this thread. Ctrl-C and `stop` end the sweep early:
    what was asked stands, the rest is `unknown`.
    """
    settings = settings or SweepSettings()
    surroundings = surroundings or Surroundings()
    workshop = Workshop(surroundings.wall_clock)

    def make_course(target: EchoTarget) -> Course:
        return Course(target, Question(target.ae_title, target.calling, echoes=settings.repeat), workshop)

    return Loop(targets, make_course, settings, on_result, surroundings).run()
