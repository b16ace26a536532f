"""Where an instance goes: pure decisions, stored by whoever asked, so that a study never changes its mind.

Everything that depends on the hour is asked of the instant when the study's first instance arrived: whether the
route is open (`during`), and which destination is. Only where nobody was open then does the present count. A
destination that was chosen before is kept, whatever the clock shows now.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache

from fleet.relay.route.hours import (
    DAYS,
    HORIZON,
    Hours,
    UnreadableScheduleError,
    find_changes,
    find_vanished,
    format_span,
    is_open,
    next_opening,
    parse_hours,
)
from fleet.relay.values import Decision, ReceivedInstance, Route, Schedule, StudyFacts, Target

_ASK_AGAIN = timedelta(hours=1)


def decide(
    match: str, routes: Sequence[Route], instance: ReceivedInstance, study: StudyFacts, now: datetime
) -> tuple[Decision, ...]:
    """What the routes say of an instance; empty where none matches.

    With match `first` the first route that matches, or may still match, is the only one.
    """
    decided: list[Decision] = []
    for route in routes:
        of_route = _decide_route(route, instance, study, now)
        decided += of_route
        if of_route and match == "first":
            break
    return tuple(decided)


def next_backup(
    route: Route, chosen: str, chosen_at: float, last_delivery_at: float | None, now: datetime
) -> str | None:
    """The destination that takes over the study; None where it stays with `chosen`.

    The next one in the route's order that is open now, after the last one the first again: a destination that
    failed gets another turn when all others had theirs.
    """
    titles = [target.ae_title for target in route.primary]
    if chosen not in titles:
        return None
    at = titles.index(chosen)
    patience_s = route.primary[at].backup_after_s
    since = max(chosen_at, last_delivery_at if last_delivery_at is not None else chosen_at)
    if patience_s is None or now.timestamp() - since < patience_s:
        return None
    others = route.primary[at + 1 :] + route.primary[:at]
    return next((each.ae_title for each in others if is_open(_hours(each.during), now)), None)


def check_schedules(routes: Sequence[Route], now: datetime) -> tuple[str, ...]:
    """Sentences about schedules that cannot be read and hours that nobody serves; warnings begin with `warning: `."""
    return tuple(dict.fromkeys(sentence for route in routes for sentence in _check_route(route, now)))


def first_choice(route: Route, at: datetime) -> Target | None:
    """The one destination that is chosen at an instant, by local wall time; None where nobody is open."""
    return next((target for target in route.primary if is_open(_hours(target.during), at)), None)


def describe(route: Route, at: datetime) -> str:
    """The decision at an instant and the seven days that follow, for people."""
    chosen = first_choice(route, at)
    zone = _zone_of(route)
    lines = [f"{route.name} at {_format(at, zone)}: {_name_choice(route, chosen, at)}"]
    lines += [f"  {_format(begin, zone)} to {_format(end, zone)}  {what}" for begin, end, what in _week(route, at)]
    lines += [f"  {line}" for line in _check_route(route, at, timedelta(days=7))]
    for target in route.optional:
        opening = next_opening(_hours(target.during), at)
        when = "now" if opening == at else f"from {_format(opening, zone)}" if opening else "never"
        lines.append(f"  also to {target.ae_title}: {when}")
    return "\n".join(lines) + "\n"


# One route -------------------------------------------------------------------------------------------------


def _decide_route(route: Route, instance: ReceivedInstance, study: StudyFacts, now: datetime) -> list[Decision]:
    first = datetime.fromtimestamp(study.first_received_at, UTC)
    if not _asks_for(route, instance):
        return []
    known = study.choices.get(route.name)
    if known is None and not is_open(_hours(route.when.during), first):
        return []
    if known is None and not _study_matches(route, study):
        until = study.first_received_at + route.when.wait_for_study_s
        return [] if now.timestamp() >= until else [Decision(route.name, "wait", until=until)]
    primary = _choose_primary(route, known, first, now)
    if primary.action != "send":
        return [primary]
    return [primary, *(_choose_optional(route, target, first, now) for target in route.optional)]


def _choose_primary(route: Route, known: str | None, first: datetime, now: datetime) -> Decision:
    if known is not None and any(target.ae_title == known for target in route.primary):
        return Decision(route.name, "send", known)
    chosen = first_choice(route, first)
    if chosen is None and route.otherwise == "skip":
        return Decision(route.name, "skip")
    chosen = chosen or first_choice(route, now)
    if chosen is not None:
        return Decision(route.name, "send", chosen.ae_title)
    openings = (next_opening(_hours(target.during), now) for target in route.primary)
    until = min((opening for opening in openings if opening), default=now + _ASK_AGAIN)
    return Decision(route.name, "hold", until=until.timestamp())


def _choose_optional(route: Route, target: Target, first: datetime, now: datetime) -> Decision:
    """A further copy: at once when it was open as the study began, else not before it opens."""
    hours = _hours(target.during)
    opening = now if is_open(hours, first) else next_opening(hours, now)
    until = None if opening == now else (opening or now + HORIZON).timestamp()
    return Decision(route.name, "send", target.ae_title, "optional", until)


def _asks_for(route: Route, instance: ReceivedInstance) -> bool:
    """Whether an instance is of the kind that a route is for; the hour and the study are asked elsewhere."""
    when = route.when
    asked = (
        (when.calling, instance.calling.strip(" ")),
        (when.called, instance.called.strip(" ")),
        (when.modality, instance.modality),
        (when.sop_class, instance.sop_class_uid),
    )
    plain = all(patterns is None or _matches(patterns, value) for patterns, value in asked)
    return plain and all(_matches(each, instance.elements.get(key, "")) for key, each in when.elements.items())


def _study_matches(route: Route, study: StudyFacts) -> bool:
    return all(
        any(_matches(patterns, value) for value in study.seen.get(keyword, ()))
        for keyword, patterns in route.when.study_has.items()
    )


def _matches(patterns: Sequence[str], text: str) -> bool:
    """Whether one of several values is like one of the patterns; what is absent or empty is like none."""
    values = [value.strip(" \0") for value in text.split("\\")]
    return any(value and _pattern(pattern).fullmatch(value) for value in values for pattern in patterns)


@lru_cache(maxsize=4096)
def _pattern(pattern: str) -> re.Pattern[str]:
    pieces = {"*": ".*", "?": "."}
    return re.compile("".join(pieces.get(letter) or re.escape(letter) for letter in pattern), re.DOTALL)


def _hours(schedule: Schedule | None) -> Hours | None:
    return parse_hours(schedule) if schedule else None


# The week --------------------------------------------------------------------------------------------------


def _week(route: Route, at: datetime) -> Iterator[tuple[datetime, datetime, str]]:
    """The stretches of seven days, with what is chosen in each."""
    end = at + timedelta(days=7)
    edges = sorted({at, end, *(edge for hours in _all_hours(route) for edge in find_changes(hours, at, end))})
    begin, current = at, _name_choice(route, first_choice(route, at), at)
    for edge in edges[1:-1]:
        what = _name_choice(route, first_choice(route, edge), edge)
        if what != current:
            yield begin, edge, current
            begin, current = edge, what
    yield begin, end, current


def _name_choice(route: Route, chosen: Target | None, at: datetime) -> str:
    if not is_open(_hours(route.when.during), at):
        return "the route is closed"
    if chosen:
        return chosen.ae_title
    return "nobody: skipped" if route.otherwise == "skip" else "nobody: held until one opens"


def _all_hours(route: Route) -> list[Hours]:
    schedules = [route.when.during, *(target.during for target in route.primary)]
    return [parse_hours(schedule) for schedule in schedules if schedule]


def _zone_of(route: Route) -> Hours | None:
    return next(iter(_all_hours(route)), None)


def _format(at: datetime, hours: Hours | None) -> str:
    """Local wall time with its offset, so that both passes of a repeated hour differ."""
    local = at.astimezone(hours.zone if hours else UTC)
    return f"{DAYS[local.weekday()]} {local:%Y-%m-%d %H:%M %z}"


def _check_route(route: Route, now: datetime, ahead: timedelta = HORIZON) -> Iterator[str]:
    schedules = [route.when.during, *(target.during for target in (*route.primary, *route.optional))]
    try:
        all_hours = [parse_hours(schedule) for schedule in schedules if schedule]
    except UnreadableScheduleError as error:
        yield f"route {route.name}: {error}"
        return
    for hours in dict.fromkeys(all_hours):
        for gone in find_vanished(hours, now, now + ahead):
            yield (
                f"warning: route {route.name}: the window {format_span(gone.span)} is empty on {gone.on}, "
                f"when {gone.zone} turns its clock over it"
            )
    gap = None if route.otherwise else _first_gap(route, now, ahead)
    if gap:
        yield (
            f"warning: route {route.name}: nobody is open at {_format(gap, _zone_of(route))} and it does not say "
            "`otherwise`; what arrives then is held until a destination opens"
        )


def _first_gap(route: Route, now: datetime, ahead: timedelta) -> datetime | None:
    edges = sorted({now, *(edge for hours in _all_hours(route) for edge in find_changes(hours, now, now + ahead))})
    during = _hours(route.when.during)
    return next((edge for edge in edges if is_open(during, edge) and first_choice(route, edge) is None), None)


def choices_by_route(decisions: Sequence[Decision]) -> Mapping[str, str]:
    """What is to be stored for the rest of a study: the primary destination of each route."""
    return {each.route: each.destination for each in decisions if each.destination and each.role == "primary"}
