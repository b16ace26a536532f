"""Is the inventory true to itself: every rule over the whole of it, then what a team has waived.

Pure: the same inventory on the same day gives the same problems, all of them at once and in one order.
"""

from datetime import date

from fleet.errors import Problem
from fleet.inventory.model import Inventory
from fleet.inventory.peers import Peers
from fleet.validate import waivers
from fleet.validate.context import Context
from fleet.validate.rules.catalogue import RULES


def check_inventory(inventory: Inventory, peers: Peers, today: date) -> tuple[Problem, ...]:
    """What is wrong with an inventory that was loaded, sorted by file and line."""
    context = Context(inventory, peers, peers.selectors, today)
    found = [problem for rule in RULES for problem in rule.check(context)]
    standing = waivers.apply_waivers(found, inventory, peers.selectors, waivable_codes(), today)
    return tuple(sorted(standing, key=lambda problem: problem.sort_key))


def waivable_codes() -> dict[str, bool]:
    """Every code of every rule, and whether a team may waive it."""
    return {code: code in rule.WAIVABLE for rule in RULES for code in rule.CODES}


def all_codes() -> tuple[str, ...]:
    """Every code of a problem that is found here."""
    return (*waivable_codes(), *waivers.CODES)
