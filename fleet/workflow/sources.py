"""Everything that decides what is rendered: the inventory's files, those beside it, and the team's templates.

`inventory.digest` is over what the inventory names. A template may include others and may lie over one of ours, so
what is pinned (a saved plan, a run that is resumed) is pinned to all of `templates/` too.
"""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

from fleet.errors import PlanStale
from fleet.workflow.context import Context
from fleet.workflow.reading import Reading

_SHOWN = 5


def list_sources(reading: Reading, context: Context) -> Mapping[str, str]:
    """Path → SHA-256, sorted by path."""
    found = dict(reading.inventory.sources)
    if context.templates is not None:
        found |= _digest_folder(context.templates)
    return dict(sorted(found.items()))


def _digest_folder(folder: Path) -> dict[str, str]:
    found = {}
    for above, _, names in os.walk(folder, followlinks=True):
        for name in names:
            path = Path(above) / name
            inside = f"templates/{path.relative_to(folder).as_posix()}"
            try:
                found[inside] = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "no file"
            except OSError:
                found[inside] = "unreadable"
    return found


def check_sources(then: Mapping[str, str], now: Mapping[str, str], made: str) -> None:
    """Raise `PlanStale` where the inventory is no longer what it was, naming what changed."""
    changes = [f"{path} changed" for path in then if path in now and then[path] != now[path]]
    changes += [f"{path} is gone" for path in then if path not in now]
    changes += [f"{path} is new" for path in now if path not in then]
    if not changes:
        return
    more = f", and {len(changes) - _SHOWN} more" if len(changes) > _SHOWN else ""
    raise PlanStale(
        f"the inventory moved on since {made}: {', '.join(changes[:_SHOWN])}{more}; nothing was contacted. Make a new "
        "plan, and have it looked at again"
    )
