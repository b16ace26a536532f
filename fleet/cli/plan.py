"""`fleet plan`: what would change, and which boxes a person has to change; changes nothing."""

import click

from fleet.cli.door import Door, door
from fleet.cli.limit import tell_limit
from fleet.cli.running import CHANGES, tell_run
from fleet.workflow.story import Permissions, Story


@click.command("plan")
@door(outputs=CHANGES, contacts=True)
@click.option("--adopt", is_flag=True, help="Show files at our paths that no manifest knows as taken over.")
@click.option("--allow-removal", type=click.IntRange(0), default=0, metavar="N", help="So many may vanish.")
@click.option("--forget-host", multiple=True, metavar="HOST", help="This host is gone for good; again for more.")
def command(door: Door, adopt: bool, allow_removal: int, forget_host: tuple[str, ...]) -> int:
    """Read the hosts and show what would change as a diff, equal diffs folded.

    Exit status: 0 nothing to change, 2 something is wrong, 3 changes to hosts are pending (boxes by hand do
    not count).
    """
    permissions = Permissions(adopt, allow_removal, forget_host)
    return tell_run(door, "plan", lambda story: _plan(door, story, permissions))


def _plan(door: Door, story: Story, permissions: Permissions) -> None:
    tell_limit(door, story)
    story.plan(None, permissions)
