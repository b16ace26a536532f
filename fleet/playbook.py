"""`playbooks/*.yml` → calls to workflow, in batches.

A playbook has no expressions and no conditionals: what it can say is what `workflow` can do.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from fleet.documents.files import read_bytes
from fleet.documents.strict_yaml import parse_document
from fleet.documents.values import Document
from fleet.errors import EmptySelection, InvalidInventory, Location, Problem, Severity, UsageError
from fleet.inventory.model import empty
from fleet.inventory.settings import parse_duration
from fleet.plan.batches import FailureBudget, parse_percentage
from fleet.validate.schema import check_document, text_keys
from fleet.workflow.changing import Batching, check_window
from fleet.workflow.story import Permissions, Story
from fleet.workflow.sweeping import Asking

Settings = Mapping[str, Any]

_NOWHERE = Location("playbook")


@dataclass(frozen=True, slots=True)
class Step:
    """One step: its verb and its settings as typed."""

    verb: str
    settings: Mapping[str, Any] = field(default_factory=empty)
    at: Location = _NOWHERE


@dataclass(frozen=True, slots=True)
class Play:
    """Steps over the hosts of a selector, changed in batches under one budget of failures."""

    name: str
    hosts: str
    steps: tuple[Step, ...]
    serial: int | str | None = None
    max_fail: int | str = 0
    canaries: int | str | None = None


def read_playbook(path: Path) -> tuple[Play, ...]:
    """The plays of a file.

    Raises `UnreadableFile` where it cannot be opened, `InvalidInventory` with every problem in it.
    """
    document, problems = parse_document(read_bytes(path), str(path), text_keys("playbook"))
    if document is not None:
        found, _ = check_document(document, "playbook")
        problems += [*found, *_unfit(document)]
    if problems or document is None:
        raise InvalidInventory(tuple(sorted(problems, key=lambda problem: problem.sort_key)), "playbook")
    return tuple(_play(value, number, document) for number, value in enumerate(document.value))


def _unfit(document: Document) -> Iterator[Problem]:
    """Values of the right form that mean nothing: told with the schema's findings, before anybody is contacted."""
    for number, play in enumerate(document.value if isinstance(document.value, list) else ()):
        if not isinstance(play, dict):
            continue
        for key in ("serial", "max_fail_percentage"):
            with _telling(document, (number, key)) as told:
                if isinstance(play.get(key), str) and play[key].endswith("%"):
                    parse_percentage(play[key], key)
            yield from told
        steps = play.get("steps")
        for index, step in enumerate(steps if isinstance(steps, list) else ()):
            settings = step.get("apply") if isinstance(step, dict) else None
            with suppress(ValueError), _telling(document, (number, "steps", index, "apply")) as told:
                check_window(*_window(settings if isinstance(settings, dict) else {}))
            yield from told


@contextmanager
def _telling(document: Document, pointer: tuple[str | int, ...]) -> Iterator[list[Problem]]:
    """Wrong usage inside is a problem of the file, at its place."""
    told: list[Problem] = []
    try:
        yield told
    except UsageError as error:
        told.append(Problem("schema-value", Severity.ERROR, str(error), document.locate(pointer)))


def _window(settings: Settings) -> tuple[float, float]:
    """How long services are watched, and by when a change has to be confirmed."""
    return parse_duration(settings.get("hold_down", "10s")), parse_duration(settings.get("confirm_within", "120s"))


def _play(value: dict[str, Any], number: int, document: Document) -> Play:
    places = [document.locate((number, "steps", index)) for index, _ in enumerate(value["steps"])]
    return Play(
        name=value["name"],
        hosts=value["hosts"],
        steps=tuple(_step(step, at) for step, at in zip(value["steps"], places, strict=True)),
        serial=value.get("serial"),
        max_fail=value.get("max_fail_percentage", value.get("max_fail", 0)),
        canaries=value.get("canaries"),
    )


def _step(value: Any, at: Location) -> Step:
    if isinstance(value, str):
        return Step(value, at=at)
    ((verb, settings),) = value.items()
    return Step(verb, settings, at)


# Nothing in these touches a host's files: with an invalid inventory they may go on with the last valid one.
_HARMLESS = frozenset({"validate", "verify", "report"})


def perform(plays: Sequence[Play], story: Story, permissions: Permissions | None = None) -> None:
    """Do every step of every play; raises the first `FleetError` that a step raises.

    `permissions` are what the person who runs it allows for this one run, beyond what the steps say.
    """
    for play in plays:
        for step in play.steps:
            allowed = permissions or Permissions()
            if step.settings.get("adopt", False):
                allowed = replace(allowed, adopt=True)
            try:
                _STEPS[step.verb](play, step.settings, story, allowed)
            except EmptySelection as error:
                raise EmptySelection(f"{step.at}: {step.verb}: {error}") from error
            except UsageError as error:  # what was typed is the playbook, not a command line
                problem = Problem("schema-value", Severity.ERROR, f"{step.verb}: {error}", step.at)
                raise InvalidInventory((problem,), "playbook") from error


def _validate(play: Play, settings: Settings, story: Story, _allowed: Permissions) -> None:
    try:
        story.validate(strict=settings.get("strict", False))
    except InvalidInventory:
        if not {step.verb for step in play.steps} <= _HARMLESS or not story.use_last_valid():
            raise


def _plan(play: Play, _settings: Settings, story: Story, allowed: Permissions) -> None:
    story.plan(play.hosts, allowed)


def _apply(play: Play, settings: Settings, story: Story, allowed: Permissions) -> None:
    is_share = isinstance(play.max_fail, str)
    budget = (
        FailureBudget(max_fail_percentage=parse_percentage(str(play.max_fail), "max_fail_percentage"))
        if is_share
        else FailureBudget(max_fail=int(play.max_fail))
    )
    hold_s, within_s = _window(settings)
    check_window(hold_s, within_s)
    drain_s = parse_duration(settings.get("drain_timeout", "60s")) if settings.get("drain", True) else None
    no_way_back = settings.get("no_way_back", False)
    batching = Batching(play.serial, budget, hold_s, within_s, no_way_back, play.canaries, drain_s)
    story.apply(batching, play.hosts, allowed)


def _verify(play: Play, settings: Settings, story: Story, _allowed: Permissions) -> None:
    asking = Asking(tuple(settings.get("from", ("controller",))), settings.get("override", False))
    story.verify(asking, play.hosts, drift=settings.get("drift", False))


def _audit(play: Play, settings: Settings, story: Story, _allowed: Permissions) -> None:
    story.audit(play.hosts, strangers=settings.get("strangers", False))


def _report(_play: Play, _settings: Settings, story: Story, _allowed: Permissions) -> None:
    story.page()


_STEPS: Mapping[str, Callable[[Play, Settings, Story, Permissions], None]] = {
    "validate": _validate,
    "plan": _plan,
    "apply": _apply,
    "verify": _verify,
    "audit": _audit,
    "report": _report,
}
