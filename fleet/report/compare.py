"""`--compare`: what is different from a sweep before, or from each target's own last one, target by target. Pure."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from fleet.report.palette import PLAIN, Palette
from fleet.report.summary import EchoLine
from fleet.report.text import format_place
from fleet.sheet.safe import safe_text

SLOWER_FACTOR: Final = 3.0
SLOWER_BY_S: Final = 0.5

Target = tuple[Any, ...]  # title, address, port, calling, who asks


@dataclass(frozen=True, slots=True)
class Earlier:
    """What to compare with: results, the runs that they are of, and what these runs asked beside them."""

    runs: tuple[str, ...]
    lines: Sequence[EchoLine]
    beside: Sequence[EchoLine] = ()


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two sweeps side by side; pairs are (before, now).

    Compared is only what both asked and neither skipped; `appeared` and `gone` are what only one of them has.
    """

    newly_failing: tuple[tuple[EchoLine, EchoLine], ...]
    failing_otherwise: tuple[tuple[EchoLine, EchoLine], ...]
    recovered: tuple[tuple[EchoLine, EchoLine], ...]
    slower: tuple[tuple[EchoLine, EchoLine, float], ...]  # and what is usual
    appeared: tuple[EchoLine, ...]
    gone: tuple[EchoLine, ...]


def compare_sweeps(
    before: Sequence[EchoLine], now: Sequence[EchoLine], habits: Mapping[Target, float] = MappingProxyType({})
) -> Comparison:
    """What changed from one sweep to the next, in the order of the new one.

    `habits` are the seconds that a target usually takes; without one it is compared with the sweep before.
    """
    old, new = _by_target(before), _by_target(now)
    pairs = [(old[key], line) for key, line in new.items() if key in old]
    asked = [(was, is_) for was, is_ in pairs if not (was.is_skipped or is_.is_skipped)]
    return Comparison(
        newly_failing=tuple(pair for pair in asked if pair[0].as_desired and not pair[1].as_desired),
        failing_otherwise=tuple(pair for pair in asked if _fails_otherwise(*pair)),
        recovered=tuple(pair for pair in asked if not pair[0].as_desired and pair[1].as_desired),
        slower=tuple(
            (*pair, usual_s) for pair in asked for usual_s in _usual(*pair, habits) if _is_slower(*pair, usual_s)
        ),
        appeared=tuple(line for key, line in new.items() if key not in old and not line.is_skipped),
        gone=tuple(line for key, line in old.items() if key not in new),
    )


def leave_out_unasked(before: Iterable[EchoLine], now: Sequence[EchoLine], *, is_narrowed: bool) -> list[EchoLine]:
    """Without whom this sweep could not ask: of another asker, and in a narrowed sweep whoever it does not mean."""
    targets, partners = {target_of(line) for line in now}, {partner_of(line) for line in now}
    askers = set() if is_narrowed else {line.value("from") for line in now}
    return [
        line
        for line in before
        if target_of(line) in targets or partner_of(line) in partners or line.value("from") in askers
    ]


def _by_target(lines: Iterable[EchoLine]) -> dict[Target, EchoLine]:
    return {target_of(line): line for line in lines}


def target_of(line: EchoLine) -> Target:
    """What makes two results those of one target."""
    return tuple(line.value(key) for key in ("ae_title", "address", "port", "calling", "from"))


def _usual(before: EchoLine, now: EchoLine, habits: Mapping[Target, float]) -> tuple[float, ...]:
    """What to compare with; nothing where there is no answer before."""
    habit = habits.get(target_of(now))
    if habit is None and before.outcome != "answered":
        return ()
    return (habit if habit is not None else before.value("elapsed_s") or 0.0,)


def _fails_otherwise(before: EchoLine, now: EchoLine) -> bool:
    return not before.as_desired and not now.as_desired and before.outcome != now.outcome


def _is_slower(before: EchoLine, now: EchoLine, usual_s: float) -> bool:
    """Three times as long as usual, and by an amount that a person would notice; only answers are compared."""
    if before.outcome != "answered" or now.outcome != "answered":
        return False
    is_s = now.value("elapsed_s") or 0.0
    return bool(is_s > SLOWER_FACTOR * usual_s and is_s - usual_s >= SLOWER_BY_S)


def format_comparison(comparison: Comparison, runs: Sequence[str], palette: Palette = PLAIN) -> str:
    """What changed since these runs, the bad news first; one line when nothing did."""
    lines = list(_lines(comparison, palette))
    return "".join(f"{line}\n" for line in lines or [f"no change since {' and '.join(map(safe_text, runs))}"])


def _lines(comparison: Comparison, palette: Palette) -> Iterator[str]:
    told = (
        ("bad", "newly failing", comparison.newly_failing),
        ("bad", "failing otherwise", comparison.failing_otherwise),
        ("warn", "slower", tuple(each[:2] for each in comparison.slower)),
        ("good", "recovered", comparison.recovered),
    )
    usual = {id(now): usual_s for _, now, usual_s in comparison.slower}
    for style, word, pairs in told:
        for before, now in pairs:
            usual_s = usual.get(id(now))
            is_habit = word == "slower" and usual_s is not None and usual_s != before.value("elapsed_s")
            habit = f" (usually {usual_s:.3f} s)" if is_habit else ""
            change = f"was {_state(before)}, is {_state(now)}{habit}"
            detail = safe_text(now.value("detail") or "")
            yield f"{palette.paint(style, word)}: {_name(now)}: {change} {detail}".rstrip()
    moved = {partner_of(line) for line in comparison.appeared} & {partner_of(line) for line in comparison.gone}
    for line in comparison.appeared:
        if partner_of(line) in moved:
            places = [_place(each) for each in comparison.gone if partner_of(each) == partner_of(line)]
            yield f"asked elsewhere: {_name(line)}, before at {', '.join(places)}"
    appeared = [line for line in comparison.appeared if partner_of(line) not in moved]
    gone = [line for line in comparison.gone if partner_of(line) not in moved]
    for word, lines in (("not asked before", appeared), ("no longer asked", gone)):
        if lines:
            names = ", ".join(safe_text(str(line.value("ae_title"))) for line in lines[:8])
            more = f" and {len(lines) - 8} more" if len(lines) > 8 else ""
            yield f"{word}: {names}{more}"


def _state(line: EchoLine) -> str:
    seconds = line.value("elapsed_s")
    timed = line.outcome == "answered" and seconds is not None
    return f"{safe_text(line.outcome)} in {seconds:.3f} s" if timed else safe_text(line.outcome)


def _name(line: EchoLine) -> str:
    return f"{safe_text(str(line.value('ae_title')))} {_place(line)}"


def _place(line: EchoLine) -> str:
    return format_place(line.value("address"), line.value("port"))


def partner_of(line: EchoLine) -> Target:
    """The same partner asked by the same, wherever it is."""
    return tuple(line.value(key) for key in ("ae_title", "host", "calling", "from"))
