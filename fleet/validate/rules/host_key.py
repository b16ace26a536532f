"""A host whose key is not pinned cannot be logged in to."""

from collections.abc import Iterator

from fleet.errors import Problem
from fleet.validate.context import Context, warning

CODES = ("host-key-missing",)
WAIVABLE = CODES


def check(context: Context) -> Iterator[Problem]:
    """Hosts of ours without `host_keys`."""
    for host in context.inventory.hosts.values():
        if not host.host_keys:
            text = (
                f"the host {host.name} has no pinned host_keys; fleet would refuse to log in, since anybody could"
                f" answer at {host.address}; see its fingerprints with `fleet trust {host.name}` and pin them"
            )
            yield warning(CODES[0], text, host.location, about=(host.name,))
