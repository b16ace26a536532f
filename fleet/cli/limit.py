"""What --limit means, told before any host is contacted: a person who slipped sees it in time."""

import sys

from fleet.cli.door import Door
from fleet.sheet.safe import safe_text
from fleet.workflow.story import Story


def tell_limit(door: Door, story: Story) -> None:
    """The hosts by name, on stderr; nothing without a limit, and nothing with -q."""
    if door.limit is None or door.quiet:
        return
    hosts = [host.name for host in story.hosts()]
    many = f"{len(hosts)} host{'' if len(hosts) == 1 else 's'}"
    print(f"--limit {safe_text(door.limit)} means {many}: {', '.join(hosts)}", file=sys.stderr, flush=True)
