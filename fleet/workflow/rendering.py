"""render: what each host should hold, in a child process under limits of time and memory."""

from collections.abc import Mapping, Sequence

from fleet.errors import InvalidInventory
from fleet.render.artifacts import RenderedHost
from fleet.workflow.context import Context
from fleet.workflow.reading import Reading


def render_hosts(reading: Reading, context: Context, names: Sequence[str] | None = None) -> Mapping[str, RenderedHost]:
    """What the named hosts (all of them without names) should hold.

    Raises `InvalidInventory` where a value cannot be carried or a template is at fault: nothing is contacted.
    """
    from fleet.render.limits import render_fleet_limited  # loads jinja2: only verbs that render pay

    rendered, problems = render_fleet_limited(
        reading.inventory, reading.peers, template_folder=context.templates, only=names
    )
    if problems:
        raise InvalidInventory(tuple(problems))
    return rendered
