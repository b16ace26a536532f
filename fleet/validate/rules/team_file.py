"""A path on a host is written by one template."""

from collections.abc import Iterator

from fleet.errors import EmptySelection, Problem
from fleet.inventory.model import TeamFile
from fleet.validate.context import Context, error

CODES = ("file-path-duplicate",)
WAIVABLE = False


def check(context: Context) -> Iterator[Problem]:
    """Files of the team's own that meet on a host."""
    first: dict[tuple[str, str], TeamFile] = {}
    told: set[tuple[int, int]] = set()
    for file in context.inventory.files:
        try:
            hosts = context.selectors.hosts(file.where)
        except EmptySelection:
            continue
        for host in hosts:
            known = first.setdefault((host.name, file.path), file)
            if known is not file and (id(known), id(file)) not in told:
                told.add((id(known), id(file)))
                text = (
                    f"{file.path} on {host.name} is made from two templates (the other at {known.location}); each apply"
                    " would undo the other's; narrow a `where`, or remove one"
                )
                yield error(CODES[0], text, file.at("path"), known.at("path"), about=(host.name, file.path))
