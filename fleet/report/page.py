"""`fleet report` as text: what a person who comes in the morning wants to know, from the history and the inventory.

Gathered first as one value, so that the page in HTML to come tells the same story.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date

from fleet.inventory.model import Waiver
from fleet.report.history import History
from fleet.report.palette import PLAIN, Palette
from fleet.report.records import FailingSince, StoredRun
from fleet.report.summary import BoxLine
from fleet.report.text import format_boxes, format_place, format_stored_counts
from fleet.sheet.safe import safe_text

_VERBS = (("validate", "last validate"), ("apply", "last apply"), ("verify", "last sweep"))


@dataclass(frozen=True, slots=True)
class Fleet:
    """What the page needs of the inventory as it is now; all of it may be empty when the inventory is invalid."""

    name: str = ""
    waivers: tuple[Waiver, ...] = ()
    by_hand: tuple[BoxLine, ...] = ()
    unconfirmed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Page:
    """The page as a value."""

    fleet: Fleet
    made_at: str
    today: date
    last: tuple[tuple[str, StoredRun | None], ...]
    failing: tuple[FailingSince, ...]
    hosts_failed: tuple[str, ...]
    waivers: tuple[tuple[Waiver, int], ...]


def make_page(history: History, fleet: Fleet, made_at: str, *, warn_below_days: int = 30) -> Page:
    """Everything that the page says; `made_at` is ISO 8601 in UTC."""
    today = date.fromisoformat(made_at[:10])
    last = tuple((title, _last(history, verb)) for verb, title in _VERBS)
    apply = next(run for title, run in last if title == "last apply")
    bad = (line for line in history.host_outcomes(apply.run_id) if line.verdict != "good") if apply else ()
    return Page(
        fleet=fleet,
        made_at=made_at,
        today=today,
        last=last,
        failing=history.failing_since(),
        hosts_failed=tuple(f"{line.host}: {line.outcome} {line.detail}".strip() for line in bad),
        waivers=find_expiring(fleet.waivers, today, warn_below_days),
    )


def _last(history: History, verb: str) -> StoredRun | None:
    """The newest run that did this, by itself or as a playbook."""
    if verb == "verify":
        found = history.last_sweep()
        return found[0] if found else None
    applied = history.last_applied() if verb == "apply" else None
    newest = history.last_run(verb=verb)
    if applied is None or (newest is not None and newest.start.started_at >= applied.applied_at):
        return newest
    return history.show_run(applied.run_id)


def find_expiring(waivers: Iterable[Waiver], today: date, warn_below_days: int = 30) -> tuple[tuple[Waiver, int], ...]:
    """Waivers that end within so many days or have ended (then the days are negative), the most urgent first.

    An `until` that is no date is validate's business and left out here.
    """
    found = []
    for waiver in waivers:
        try:
            days = (date.fromisoformat(waiver.until[:10]) - today).days
        except ValueError:
            continue
        if days < warn_below_days:
            found.append((waiver, days))
    return tuple(sorted(found, key=lambda pair: (pair[1], pair[0].code, pair[0].where)))


def format_page(page: Page, palette: Palette = PLAIN) -> str:
    """The page for a terminal or a mail."""
    lines = "".join(f"{line}\n" for line in _lines(page, palette))
    boxes = format_boxes(page.fleet.by_hand, page.fleet.unconfirmed, palette)
    return f"{lines}\n{boxes or 'no box is open by hand' + chr(10)}"


def _lines(page: Page, palette: Palette) -> Iterator[str]:
    name = safe_text(page.fleet.name) or "the fleet"
    yield palette.paint("bold", f"{name}, {page.made_at}")
    yield ""
    for title, run in page.last:
        yield f"{title + ':':<15}{_run(run)}"
    yield ""
    yield from _section("not as desired in the last sweep", _failing(page.failing, palette), "everything answers")
    yield from _section("hosts not as desired after the last apply", map(safe_text, page.hosts_failed), "")
    yield from _section("waivers that end", _waivers(page.waivers, palette), "no waiver ends soon")


def _run(run: StoredRun | None) -> str:
    if run is None:
        return "never"
    status = "unfinished" if run.exit_status is None else f"exit status {run.exit_status}"
    counts = format_stored_counts(run)
    who = f" by {safe_text(run.start.who)}" if run.start.who else ""
    return f"{run.start.started_at}{who}, {status}{'; ' if counts else ''}{counts}  ({safe_text(run.run_id)})"


def _section(title: str, lines: Iterable[str], otherwise: str) -> Iterator[str]:
    told = list(lines)
    if told:
        yield f"{title}:"
        yield from (f"    {line}" for line in told)
    elif otherwise:
        yield otherwise


def _failing(failing: Sequence[FailingSince], palette: Palette) -> Iterator[str]:
    for each in sorted(failing, key=lambda each: (each.since_at, each.ae_title, each.address)):
        place = format_place(each.address, each.port)
        sweeps = f"{each.sweeps} sweeps" if each.sweeps > 1 else "new"
        since = f"since {each.since_at} ({sweeps})"
        word = palette.paint("bad", each.outcome)
        yield f"{safe_text(each.ae_title)} {place} {word} {since} {safe_text(each.detail)}".rstrip()


def _waivers(waivers: Sequence[tuple[Waiver, int]], palette: Palette) -> Iterator[str]:
    for waiver, days in waivers:
        when = palette.paint("bad", f"ended {waiver.until}") if days < 0 else f"{days} days left, until {waiver.until}"
        yield f"{safe_text(waiver.code)} for {safe_text(waiver.where)}: {when} ({safe_text(waiver.reason)})"
