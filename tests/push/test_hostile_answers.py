"""A host that answers by our own grammar, and lies in it: whatever it says is a value or that host's failure."""

from base64 import b64encode
from collections.abc import Callable, Mapping

from hypothesis import given, settings
from hypothesis import strategies as st

from fleet.errors import FleetError
from fleet.push.drain import Drain, observe_traffic, put_back, take_out
from fleet.push.echoing import run_echo
from fleet.push.lock import Claim, break_lock, observe_lock
from fleet.push.ping import ping_host
from fleet.push.root_shell import Answer
from fleet.push.script import END, HELLO
from fleet.push.settle import SettleSettings, settle_host
from fleet.push.stage import parse_stage_reply
from fleet.push.switch import parse_switch_reply
from fleet.push.transport import CommandResult
from fleet.push.window import parse_window_reply
from tests.push.fake_host import FakeHost
from tests.push.scenes import make_plan, rendered_file, rendered_host

PLAN = make_plan(rendered_host(rendered_file(), rendered_file("/etc/note")), FakeHost())
OUT = Drain("north-1", "run-1.ab", 60)


class Liar(FakeHost):
    """Says one thing, whatever it is asked."""

    said: CommandResult

    def run_script(self, *_words: object, **_more: object) -> CommandResult:
        return self.said


class Hasty:
    """A clock of somebody who waits for nothing."""

    now_s = 0.0

    def monotonic_s(self) -> float:
        self.now_s += 100
        return self.now_s

    def sleep(self, seconds: float, /) -> None:
        self.now_s += seconds


PARSERS: Mapping[str, Callable[[Liar], object]] = {
    "stage": lambda liar: parse_stage_reply(PLAN, liar.said),
    "switch": lambda liar: parse_switch_reply(PLAN, liar.said),
    "window": lambda liar: parse_window_reply(liar.said),
    "lock": lambda liar: observe_lock(liar, deadline_s=1),
    "unlock": lambda liar: break_lock(liar, "run-1.ab", deadline_s=1),
    "settle": lambda liar: settle_host(liar, "run-1", SettleSettings(Claim(), clock=Hasty())),
    "ping": lambda liar: ping_host(liar, deadline_s=1),
    "drain": lambda liar: take_out(liar, OUT, itself=True, deadline_s=1),
    "put-back": lambda liar: put_back(liar, OUT, deadline_s=1),
    "traffic": lambda liar: observe_traffic(liar, [104], [105], ["10.0.0.9", "::9"], deadline_s=1),
    "echo": lambda liar: run_echo(liar, ["/usr/bin/echoscu"], ["-v"], wall_s=1),
}
SAID = b64encode(b"status " + b"9" * 5000).decode()
FIRST = [
    "failed",
    "checked",
    "staged",
    "stage",
    "locked",
    "no-way-back",
    "settled",
    "lease",
    "window",
    "partner",
    "refused",
]
FIRST += [
    "broken",
    "open",
    "held",
    "self",
    "uid",
    "made",
    "moved",
    "done",
    "switched",
    "stale",
    "lost",
    "said",
    "missing",
]
WORD = ["", "-", "-1", "0", "1", "7", "139", "9" * 11, "9" * 5000, "free", "working", "run-1.ab", "armed", "none"]
WORD += ["here", "through", "yes", "check", "state", "/etc/shadow", "10.0.0.9", "aGk=", "!!!", SAID]
lines = st.lists(
    st.builds(lambda head, rest: " ".join([head, *rest]), st.sampled_from(FIRST), st.lists(st.sampled_from(WORD))),
    max_size=4,
)


@given(lines, st.sampled_from([0, 1, 255, None]))
@settings(max_examples=400, deadline=None)
def test_whatever_a_host_answers_is_a_value_or_its_own_failure(answer: list[str], status: int | None) -> None:  # T40
    liar = Liar()
    liar.said = CommandResult(status, "\n".join([HELLO, *answer, END, ""]).encode(), b"")
    said = [failure_of(parse, liar) for parse in PARSERS.values()]
    assert "".join(said).isprintable()


def failure_of(parse: Callable[[Liar], object], liar: Liar) -> str:
    """What is told of the host; nothing where the answer could be read."""
    try:
        parse(liar)
    except FleetError as error:
        return str(error)
    return ""


def test_an_answer_with_a_number_of_5000_digits_is_a_failure_of_that_host() -> None:  # T40
    """Python refuses to make a number of it, by an error that is no host's."""
    for name, line in {"stage": "checked 9", "switch": "failed x 9", "ping": "uid 9", "traffic": "open here 9"}.items():
        liar = Liar()
        liar.said = CommandResult(0, f"{HELLO}\n{line}{'9' * 5000}\n{END}\n".encode(), b"")
        assert "garbled" in failure_of(PARSERS[name], liar)


def test_the_end_of_a_script_says_a_status_and_nothing_else() -> None:  # T40
    answer = Answer(b"\nFLEET_ab ", 1_000_000)
    assert answer.take("stdout", b"\nFLEET_ab " + b"9" * 5000 + b"\n")
    assert answer.status is None
