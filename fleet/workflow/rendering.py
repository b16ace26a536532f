"""render: what each host should hold, in a child process under limits of time and memory."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from fleet.errors import ClosedInventory, InvalidInventory
from fleet.inventory.model import Inventory
from fleet.render.artifacts import Program, RenderedHost, make_program
from fleet.targets.relay import PROGRAM_NAME
from fleet.workflow.context import Context
from fleet.workflow.reading import Reading, read_all


def read_with_templates(context: Context) -> Reading:
    """The inventory with everything that is wrong with it, and with the team's own templates: parsed, not run."""
    reading = read_all(context)
    if not reading.inventory.files and context.templates is None:
        return reading
    from fleet.render.check import check_templates  # loads jinja2: only inventories with templates pay

    root = context.inventory_root
    found = check_templates(reading.inventory, root if root.is_dir() else root.parent, context.templates)
    problems = sorted({*reading.problems, *found}, key=lambda problem: problem.sort_key)
    return replace(reading, problems=tuple(problems))


def render_hosts(
    reading: Reading,
    context: Context,
    names: Sequence[str] | None = None,
    meanwhile: Callable[[], object] | None = None,
) -> Mapping[str, RenderedHost]:
    """What the named hosts (all of them without names) should hold; `meanwhile` is done while the child works.

    Raises `InvalidInventory` where a value cannot be carried or a template is at fault, `ClosedInventory` where only a
    vault password is missing: nothing is contacted.
    """
    from fleet.render.collect import SEALED_CODE
    from fleet.render.limits import render_fleet_limited  # loads jinja2: only verbs that render pay

    rendered, problems = render_fleet_limited(
        reading.inventory,
        reading.peers,
        template_folder=context.templates,
        only=names,
        programs=read_programs(reading.inventory),
        meanwhile=meanwhile,
    )
    if problems and all(problem.code == SEALED_CODE for problem in problems):
        raise ClosedInventory(tuple(problems))
    if problems:
        raise InvalidInventory(tuple(problems))
    return rendered


def read_programs(inventory: Inventory) -> Mapping[str, Program]:
    """The files that hosts of this inventory get as they are: the relay's program where there is a relay."""
    if not any(entity.engine == "relay" and entity.instances for entity in inventory.entities):
        return {}
    from fleet.relay.archive.bundle import read_bundle  # in a checkout it is made now, which looks for pydicom

    return {PROGRAM_NAME: make_program(read_bundle())}
