"""Is the inventory true to itself: every rule over the whole of it, then what a team has waived.

Pure: the same inventory on the same day gives the same problems, all of them at once and in one order.
"""

from datetime import date

from fleet.errors import Location, Problem
from fleet.inventory.model import Inventory
from fleet.inventory.peers import Peers
from fleet.validate import waivers
from fleet.validate.context import Context, few, warning
from fleet.validate.rules.catalogue import ALONE, RULES

HELD_BACK = "not-checked"


def check_inventory(inventory: Inventory, peers: Peers, today: date) -> tuple[Problem, ...]:
    """What is wrong with an inventory that was loaded, sorted by file and line."""
    context = Context(inventory, peers, peers.selectors, today)
    waivable = waivable_codes()
    if inventory.unread:
        alone = (problem for rule in ALONE for problem in rule.check(context))
        # What can be waived may be waived in the file that could not be read.
        found = [*(problem for problem in alone if not waivable[problem.code]), _held_back(inventory)]
    else:
        found = [problem for rule in RULES for problem in rule.check(context)]
    standing = waivers.apply_waivers(found, inventory, peers.selectors, waivable, today)
    return tuple(sorted(standing, key=lambda problem: problem.sort_key))


def _held_back(inventory: Inventory) -> Problem:
    """One line for all that is not asked while a file cannot be read: its names would only look missing."""
    files = inventory.unread_files
    text = (
        f"not checked until {few(files)} can be read: references, flows, peers, relays, services and what products can"
        " carry; what stands in it would only look missing there; mend it and validate again"
    )
    return warning(HELD_BACK, text, Location(files[0], 1, 1), about=files)


def waivable_codes() -> dict[str, bool]:
    """Every code of every rule, and whether a team may waive it."""
    return {code: code in rule.WAIVABLE for rule in RULES for code in rule.CODES}


def all_codes() -> tuple[str, ...]:
    """Every code of a problem that is found here."""
    return (*waivable_codes(), *waivers.CODES, HELD_BACK)
