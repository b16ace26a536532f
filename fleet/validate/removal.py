"""A half-empty inventory (a deleted file, a bad merge) must not empty the hospital's tables (T19).

Against what was last applied: more than ten entities or hosts gone, or a fifth of them (three at least), is
refused unless the operator says how many may go. Pure: who was there comes from the history, by the workflow.
"""

from collections.abc import Collection, Mapping

from fleet.errors import Location, Problem
from fleet.validate.context import error, few

CODE = "removal-refused"
MOST = 10
LEAST = 3  # fewer are a day's work, however small the fleet
FIFTH = 5


Names = frozenset[str]


def check_removal(
    previous_titles: Names, previous_hosts: Names, titles: Names, hosts: Names, allowed: int
) -> list[Problem]:
    """What vanished too much since the last applied run; `allowed` of each kind may (`--allow-removal`)."""
    problems = []
    for kind, before, after in (("titles", previous_titles, titles), ("hosts", previous_hosts, hosts)):
        vanished = sorted(before - after)
        if is_suspicious(len(vanished), before) and len(vanished) > allowed:
            problems.append(_refusal(kind, vanished, len(before)))
    return problems


def check_still_sent(senders: Mapping[str, Collection[str]], titles: Names, allowed: int) -> list[Problem]:
    """Titles that vanished although others still send to them: `senders` by title, of the last applied run.

    A scanner sends where it was told until somebody tells it otherwise, and nobody is there any more.
    """
    missed = {title: sorted(titles & set(who)) for title, who in senders.items() if title not in titles}
    missed = {title: who for title, who in sorted(missed.items()) if who}
    if len(missed) <= allowed:
        return []
    told = "; ".join(
        f"{title}, which {few(who)} still send{'s' if len(who) == 1 else ''} to" for title, who in missed.items()
    )
    text = (
        f"{len(missed)} of the titles that are gone since the last applied run still receive: {told}; first let"
        f" them send elsewhere, or say --allow-removal={len(missed)} if it is meant"
    )
    return [error(CODE, text, Location("inventory"), about=tuple(missed))]


def is_suspicious(vanished: int, before: Collection[str]) -> bool:
    """Whether so many at once look like a mistake."""
    return vanished > MOST or (vanished >= LEAST and vanished * FIFTH >= len(before))


def _refusal(kind: str, vanished: list[str], before: int) -> Problem:
    effect = (
        "every table would lose them, and archives refuse their images"
        if kind == "titles"
        else "what fleet keeps on them would be left to itself"
    )
    text = (
        f"{len(vanished)} of {before} {kind} of the last applied run are gone ({few(vanished)}); {effect}; look for a"
        f" file that is missing, or say --allow-removal={len(vanished)} if it is meant"
    )
    return error(CODE, text, Location("inventory"), about=tuple(vanished))
