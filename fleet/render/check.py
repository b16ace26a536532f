"""A team's templates, parsed and not run: what is wrong with them before any host is rendered."""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from fleet.errors import Location, Problem, Severity, TemplateError
from fleet.inventory.model import Inventory
from fleet.render.collect import TEMPLATE_CODE
from fleet.render.engine import Templates
from fleet.render.formats import Format, format_of_path, format_of_template, template_names
from fleet.render.session import PLAIN_TYPES

_PLACE = re.compile(r"(?P<name>[^\n]+?):(?P<line>[0-9]+): (?P<message>.*)", re.DOTALL)


def check_templates(inventory: Inventory, root: Path, template_folder: Path | None) -> tuple[Problem, ...]:
    """Every template that the inventory names or that lies over one of ours, and those that they name in turn.

    `root` is where the inventory's own names begin; a problem stands in the template, at its line.
    """
    templates = Templates(template_folder, PLAIN_TYPES)
    found: dict[tuple[str, str], Problem] = {}
    for name, format_, source in _list_templates(inventory, template_folder):
        for problem in _check(templates, name, format_, source):
            place = root if source is not None and problem.location.document == name else template_folder or root
            document = str(place / problem.location.document)
            told = replace(problem, location=Location(document, problem.location.line, 1))
            found.setdefault((document, problem.message), told)
    return tuple(found.values())


def _list_templates(inventory: Inventory, folder: Path | None) -> Iterator[tuple[str, Format, str | None]]:
    for file in inventory.files:
        yield file.template, format_of_path(file.path), file.source
    for name in template_names():
        if folder is not None and (folder / name).is_file():
            yield name, format_of_template(name), None


def _check(templates: Templates, name: str, format_: Format, source: str | None) -> Iterator[Problem]:
    waiting, seen = [(name, source)], {name}
    while waiting:
        each, text = waiting.pop()
        try:
            named = templates.check(each, format_, text)
        except TemplateError as error:
            yield _problem(error, each)
            continue
        waiting += [(other, None) for other in named if other not in seen]
        seen.update(named)


def _problem(error: TemplateError, name: str) -> Problem:
    place = _PLACE.fullmatch(str(error))
    said = (place["message"] if place else str(error)).rstrip(".")
    message = f"this is no template: {said}; no host that needs it can be rendered"
    at = Location(place["name"], int(place["line"]), 1) if place else Location(name, 1, 1)
    return Problem(TEMPLATE_CODE, Severity.ERROR, message, at)
