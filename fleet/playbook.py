"""`playbooks/*.yml` → calls to workflow, in batches.

A playbook has no expressions and no conditionals: what it can say is what `workflow` can do.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fleet.documents import Document, parse_document, read_bytes
from fleet.errors import InvalidInventory, Problem, Severity
from fleet.inventory.model import empty
from fleet.validate.schema import check_document, text_keys

NOT_BUILT_YET = {("apply", "confirm_within"): "what is not confirmed does not undo itself yet"}


@dataclass(frozen=True, slots=True)
class Step:
    """One step: its verb and its settings as typed."""

    verb: str
    settings: Mapping[str, Any] = field(default_factory=empty)


@dataclass(frozen=True, slots=True)
class Play:
    """Steps over the hosts of a selector, changed in batches under one budget of failures."""

    name: str
    hosts: str
    steps: tuple[Step, ...]
    serial: int | str | None = None
    max_fail: int | str = 0


def read_playbook(path: Path) -> tuple[Play, ...]:
    """The plays of a file.

    Raises `UnreadableFile` where it cannot be opened, `InvalidInventory` with every problem in it.
    """
    document, problems = parse_document(read_bytes(path), str(path), text_keys("playbook"))
    if document is not None:
        found, _ = check_document(document, "playbook")
        problems += found or _not_built_yet(document)
    if problems or document is None:
        raise InvalidInventory(tuple(sorted(problems, key=lambda problem: problem.sort_key)), "playbook")
    return tuple(_play(value) for value in document.value)


def _not_built_yet(document: Document) -> list[Problem]:
    """A key that is not built yet is refused, never ignored."""
    problems = []
    for number, play in enumerate(document.value):
        for index, step in enumerate(play["steps"]):
            for verb, settings in step.items() if isinstance(step, dict) else ():
                for key in settings or ():
                    if (verb, key) in NOT_BUILT_YET:
                        text = f"{verb}.{key} is not built yet: {NOT_BUILT_YET[verb, key]}; take it out"
                        at = document.locate((number, "steps", index, verb, key), key=True)
                        problems.append(Problem("not-built-yet", Severity.ERROR, text, at))
    return problems


def _play(value: dict[str, Any]) -> Play:
    return Play(
        name=value["name"],
        hosts=value["hosts"],
        steps=tuple(_step(step) for step in value["steps"]),
        serial=value.get("serial"),
        max_fail=value.get("max_fail_percentage", value.get("max_fail", 0)),
    )


def _step(value: Any) -> Step:
    if isinstance(value, str):
        return Step(value)
    ((verb, settings),) = value.items()
    return Step(verb, settings)
