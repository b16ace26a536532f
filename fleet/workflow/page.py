"""report: the page for people."""

from dataclasses import replace

from fleet.report.history.opening import History
from fleet.report.page import Fleet, Page, make_page
from fleet.workflow.boxes import boxes_by_hand
from fleet.workflow.context import Context
from fleet.workflow.kept import open_snapshot
from fleet.workflow.reading import Reading


def page_of(history: History, reading: Reading, context: Context) -> Page:
    """What history and inventory say together: last runs, what fails since when, waivers, boxes by hand.

    What stands in an inventory that is not valid is not told as work for anybody: the last valid one is taken,
    or nothing, and the page says so.
    """
    name = reading.inventory.name
    fleets = (name,) if name else history.fleets()
    history.concern(fleets[0] if len(fleets) == 1 else "")
    if not reading.errors:
        return _page(history, _fleet(history, reading), context)
    snapshot = history.last_valid_inventory()
    count = len(reading.errors)
    wrong = f"the inventory is not valid ({count} error{'' if count == 1 else 's'}; `fleet validate` shows them)"
    if snapshot is None:
        unknown = f" and whose it is cannot be read (history holds {', '.join(fleets)})" if len(fleets) > 1 else ""
        return _page(history, Fleet(name, remark=f"{wrong}{unknown}: boxes and waivers are left out"), context)
    with open_snapshot(snapshot, context) as (_, old):
        remark = f"{wrong}: boxes and waivers are those of the last valid one, of {snapshot.recorded_at}"
        return _page(history, replace(_fleet(history, old), remark=remark), context)


def _fleet(history: History, reading: Reading) -> Fleet:
    by_hand, unconfirmed = boxes_by_hand(reading, history)
    inventory = reading.inventory
    return Fleet(inventory.name, inventory.waivers, tuple(by_hand), tuple(unconfirmed))


def _page(history: History, fleet: Fleet, context: Context) -> Page:
    return make_page(history, fleet, context.clock().strftime("%Y-%m-%dT%H:%M:%SZ"))
