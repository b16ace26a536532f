"""How many connections may be open, and whose (T69).

Strangers, whose address no caller has, get a few places of their own, so that nothing they do touches a modality.
Among known addresses one that has no association yet always finds one: the last free places are kept for such.
"""

from collections import Counter
from collections.abc import Collection
from typing import Final

MAX_STRANGERS: Final = 32
MAX_PER_STRANGER: Final = 4
MAX_UNASSOCIATED: Final = 8  # connections of one known address that have not asked for an association yet


def choose_victim(unassociated: Counter[str], address: str, is_known: bool) -> bool:
    """Whether a new connection of this address has to push out the oldest one of its kind that has not spoken."""
    if is_known:
        return unassociated[address] >= MAX_UNASSOCIATED
    return unassociated[address] >= MAX_PER_STRANGER


def may_associate(open_by_address: Counter[str], address: str, known: Collection[str], limit: int) -> bool:
    """Whether an address may have one more association, of at most `limit` in all."""
    used = open_by_address.total()
    if used >= limit:
        return False
    if not open_by_address[address]:
        return True
    without = sum(1 for each in known if not open_by_address[each])
    return limit - used > min(without, limit // 2)
