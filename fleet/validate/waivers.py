"""Problems that a team has accepted until a date: only of codes that say so, and never for longer.

A waiver takes away the problems of its code that are about something its selector selects. When its day has
passed they are errors again and say why; one that cannot help, or helps nobody, is a problem itself.
"""

import difflib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import date

from fleet.errors import EmptySelection, Problem, Severity
from fleet.inventory.model import Inventory, Waiver
from fleet.inventory.schedule import InvalidScheduleError, parse_date
from fleet.inventory.select import Selectors
from fleet.validate.context import error

CODES = ("waiver-unknown-code", "waiver-not-waivable", "waiver-unused", "waiver-date")


def apply_waivers(
    problems: list[Problem], inventory: Inventory, selectors: Selectors, waivable: Mapping[str, bool], today: date
) -> list[Problem]:
    """The problems that stand, and those of the waivers; `waivable` says of every code whether it can be waived."""
    own: list[Problem] = []
    gone: set[int] = set()
    over: dict[int, Waiver] = {}
    for waiver in inventory.waivers:
        against = _check_waiver(waiver, waivable)
        if against:
            own.append(against)
            continue
        words = _words(selectors, waiver.where)
        covered = [each for each in problems if each.code == waiver.code and not words.isdisjoint(each.subjects)]
        if not covered and not inventory.incomplete:
            own.append(_unused(waiver))
        if parse_date(waiver.until) < today:
            over.update((id(each), waiver) for each in covered)
        else:
            gone.update(id(each) for each in covered)
    standing = (each for each in problems if id(each) not in gone)
    return [*(_revived(each, over[id(each)]) if id(each) in over else each for each in standing), *own]


def _words(selectors: Selectors, where: str) -> frozenset[str]:
    """Titles and names of what a selector selects, of entities and of hosts."""
    words: set[str] = {where.strip()}
    with suppress(EmptySelection):
        words.update(word for entity in selectors.entities(where) for word in (*entity.titles, entity.name))
    with suppress(EmptySelection):
        words.update(host.name for host in selectors.hosts(where))
    return frozenset(words)


def _check_waiver(waiver: Waiver, waivable: Mapping[str, bool]) -> Problem | None:
    code = waiver.code
    about = (code,)
    if code not in waivable:
        close = difflib.get_close_matches(code, waivable, n=1)
        hint = f"did you mean {close[0]}?" if close else "docs/problems.md lists them"
        text = f"there is no problem {code!r} that a waiver could accept; what was meant still stops you; {hint}"
        return error("waiver-unknown-code", text, waiver.at("code"), about=about)
    if not waivable[code]:
        text = (
            f"{code} cannot be waived: what it warns of would harm patients or hosts whatever the reason; remove the"
            " waiver and what it is about"
        )
        return error("waiver-not-waivable", text, waiver.at("code"), about=about)
    try:
        parse_date(waiver.until)
    except InvalidScheduleError as wrong:
        text = f"this waiver of {code}: {wrong}; it counts for nothing; type the day on which it ends"
        return error("waiver-date", text, waiver.at("until"), about=about)
    return None


def _unused(waiver: Waiver) -> Problem:
    text = (
        f"this waiver of {waiver.code} for {waiver.where!r} accepts nothing that is there; left standing it would hide"
        " the next one unseen; remove it, or correct `where`"
    )
    return error("waiver-unused", text, waiver.at("where"), about=(waiver.code,))


def _revived(problem: Problem, waiver: Waiver) -> Problem:
    text = (
        f"{problem.message}; it was waived until {waiver.until} ({waiver.reason}, {waiver.location}) and is an error"
        " again"
    )
    also = (*problem.also, waiver.location)
    return replace(problem, severity=Severity.ERROR, message=text, also=also)
