"""dcmtk's worklist server, wlmscpfs 3.6.x: a command line and a folder with one sub-folder for each called title.

It rejects every association for a title without the folder `DATA_FILES/TITLE/`, and the worklist query
without a `lockfile` in it. It cannot limit its callers.
"""

import re
from collections.abc import Iterator

from fleet.errors import Problem
from fleet.inventory.model import Entity
from fleet.targets.refusal import cannot_carry, cannot_do

TARGET = "wlmscpfs"
PROGRAM = "/usr/bin/wlmscpfs"
LOCK_FILE = "lockfile"
_FOLDER = re.compile(r"[A-Za-z0-9._@+,=~-]{1,16}", re.ASCII)
_OWN_OPTIONS = ("-dfp", "--data-files-path", "-s", "--single-process", "--fork", "-dhl", "--disable-host-lookup")


def explain_title(title: str) -> str | None:
    """Why a title cannot be the name of its folder; None where it can."""
    if title in {".", ".."}:
        return f"{title!r} as a folder below data_files means another folder"
    if not _FOLDER.fullmatch(title):
        return "its data lie in a folder of that name, and fleet makes folders of letters, digits and ._@+,=~- only"
    return None


def check_entity(entity: Entity) -> Iterator[Problem]:
    """What wlmscpfs cannot carry of an entity that it serves."""
    run = entity.run
    if run is None:
        return
    for title in entity.titles:
        reason = explain_title(title)
        if reason:
            yield cannot_carry(
                TARGET, f"the title {title!r} as a folder", reason, entity.at("ae_title"), subjects=(entity.ae_title,)
            )
    for option in run.settings.get("options", ()):
        if option in _OWN_OPTIONS:
            yield cannot_carry(
                TARGET,
                f"the option {option!r}",
                "fleet sets this itself",
                run.at("options"),
                subjects=(entity.ae_title,),
            )
    what = (
        f"serves {entity.ae_title} and cannot limit its callers: whoever reaches its port may read the worklist; "
        "limit it with the firewall rules of `fleet sheet --firewall`"
    )
    yield cannot_do(TARGET, what, run.location, subjects=(entity.ae_title,))
