"""dcmtk's receiver, storescp 3.6.x: a command line and, if wanted, an association profile of the host's own.

It compares no title and no caller, and it would run a shell command built from what a peer sent
(`--exec-on-…` with #a, #c, #p): those options are refused (T80).
"""

from collections.abc import Iterator

from fleet.errors import Problem
from fleet.inventory.model import Entity
from fleet.targets.refusal import cannot_carry, cannot_do

TARGET = "storescp"
PROGRAM = "/usr/bin/storescp"
_EXECUTING = ("-xcr", "--exec-on-reception", "-xcs", "--exec-on-eostudy", "-rns", "--rename-on-eostudy")
_OWN_OPTIONS = (
    "-aet",
    "--aetitle",
    "-od",
    "--output-directory",
    "--fork",
    "--single-process",
    "-xf",
    "--config-file",
    "-id",
    "--inetd",
)


def check_entity(entity: Entity) -> Iterator[Problem]:
    """What storescp cannot carry of an entity that it serves."""
    run = entity.run
    if run is None:
        return
    title = entity.ae_title
    if title.startswith("@"):
        reason = "on the command lines of dcmtk's programs a word that begins with '@' names a file of further words"
        yield cannot_carry(TARGET, f"the title {title!r}", reason, entity.at("ae_title"), subjects=(title,))
    if ("profile" in run.settings) != ("profile_file" in run.settings):
        reason = "`-xf FILE PROFILE` needs both; give profile_file and profile, or neither"
        yield cannot_carry(TARGET, "one of profile_file and profile alone", reason, run.location, subjects=(title,))
    for option in run.settings.get("options", ()):
        if option in _EXECUTING:
            reason = "it runs a shell command with words that a peer sent"
            yield cannot_carry(TARGET, f"the option {option!r}", reason, run.at("options"), subjects=(title,))
        elif option in _OWN_OPTIONS:
            reason = "fleet sets this itself"
            yield cannot_carry(TARGET, f"the option {option!r}", reason, run.at("options"), subjects=(title,))
    what = (
        f"serves {title} and can limit neither callers nor called titles: whoever reaches its port may store; "
        "limit it with the firewall rules of `fleet sheet --firewall`"
    )
    yield cannot_do(TARGET, what, run.location, subjects=(title,))
