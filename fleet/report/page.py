"""`fleet report` as text: what a person who comes in the morning wants to know, from the history and the inventory.

Gathered first as one value, so that the page in HTML to come tells the same story.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import date

from fleet.inventory.model import Waiver
from fleet.report.history.opening import History
from fleet.report.palette import PLAIN, Palette
from fleet.report.records import FailingSince, StoredRun
from fleet.report.summary import BoxLine
from fleet.report.text import format_boxes, format_place, format_stored_counts
from fleet.sheet.safe import safe_text

_VERBS = (("validate", "last validate"), ("apply", "last apply"), ("verify", "last sweep"))
_RUNS_BACK = 50
_SOON_DAYS = 30


@dataclass(frozen=True, slots=True)
class Fleet:
    """What the page needs of the inventory as it is now; all of it may be empty when the inventory is invalid."""

    name: str = ""
    waivers: tuple[Waiver, ...] = ()
    by_hand: tuple[BoxLine, ...] = ()
    unconfirmed: tuple[str, ...] = ()
    remark: str = ""  # what the reader has to know before believing the rest


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


def make_page(history: History, fleet: Fleet, made_at: str) -> Page:
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
        waivers=find_ends(fleet.waivers, today),
    )


def _last(history: History, verb: str) -> StoredRun | None:
    """The newest run that did this, by itself or as a playbook."""
    if verb == "verify":
        found = history.last_sweep()
        return found[0] if found else None
    if verb == "validate":  # every run that reads the inventory validates it
        runs = history.list_runs(_RUNS_BACK)
        return next((run for run in runs if run.start.inventory_digest or run.summary.get("problem_lines")), None)
    applied = history.last_applied() if verb == "apply" else None
    runs = history.list_runs(_RUNS_BACK, verb=verb)
    newest = next((run for run in runs if _came_to_hosts(run)), None)
    if applied is None or (newest is not None and newest.start.started_at >= applied.applied_at):
        return newest
    return history.show_run(applied.run_id)


def _came_to_hosts(run: StoredRun) -> bool:
    """Whether it changed anything or tried to: one that was refused before, or only looked, applied nothing."""
    hosts = run.summary.get("hosts")
    return run.finished_at is None or (
        isinstance(hosts, Mapping) and any(n for key, n in hosts.items() if key != "pending")
    )


def find_ends(waivers: Iterable[Waiver], today: date) -> tuple[tuple[Waiver, int], ...]:
    """Every waiver with the days that are left (negative when it has ended), the most urgent first.

    An `until` that is no date is validate's business and left out here.
    """
    found = []
    for waiver in waivers:
        with suppress(ValueError):
            found.append((waiver, (date.fromisoformat(waiver.until[:10]) - today).days))
    return tuple(sorted(found, key=lambda pair: (pair[1], pair[0].code, pair[0].where)))


def format_page(page: Page, palette: Palette = PLAIN) -> str:
    """The page for a terminal or a mail."""
    lines = "".join(f"{line}\n" for line in _lines(page, palette))
    boxes = format_boxes(page.fleet.by_hand, page.fleet.unconfirmed, palette)
    calm = "" if page.fleet.remark else "no box is open by hand\n"
    return f"{lines}\n{boxes or calm}".rstrip("\n") + "\n"


def _lines(page: Page, palette: Palette) -> Iterator[str]:
    name = safe_text(page.fleet.name) or "the fleet"
    yield palette.paint("bold", f"{name}, {page.made_at}")
    if page.fleet.remark:
        yield palette.paint("bad", safe_text(page.fleet.remark))
    yield ""
    for title, run in page.last:
        yield f"{title + ':':<15}{_validation(run) if title == 'last validate' else _run(run)}"
    yield ""
    swept = dict(page.last).get("last sweep") is not None
    calm = "everything answers" if swept else ""
    yield from _section("not as desired in the last sweep", _failing(page.failing, palette), calm)
    yield from _section("hosts not as desired after the last apply", map(safe_text, page.hosts_failed), "")
    yield from _section("waivers", _waivers(page.waivers, palette), "" if page.fleet.remark else "no waivers")


def _validation(run: StoredRun | None) -> str:
    """What a run found in the inventory, and nothing of what it found beyond: it may have been a sweep."""
    if run is None or run.exit_status is None:
        return _run(run)
    problems = run.summary.get("problems")
    errors = isinstance(problems, Mapping) and problems.get("errors")
    return _line(replace(run, summary={"problems": problems}), "not valid" if errors else "valid")


def _run(run: StoredRun | None) -> str:
    if run is None:
        return "never"
    return _line(run, "unfinished" if run.exit_status is None else f"exit status {run.exit_status}")


def _line(run: StoredRun, status: str) -> str:
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
        until = safe_text(waiver.until)
        if days < 0:
            when = palette.paint("bad", f"ended {until}")
        else:
            style = "warn" if days < _SOON_DAYS else ""
            when = palette.paint(style, f"{days} days left, until {until}")
        yield f"{safe_text(waiver.code)} for {safe_text(waiver.where)}: {when} ({safe_text(waiver.reason)})"
