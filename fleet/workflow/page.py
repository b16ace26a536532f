"""report: the page for people."""

from fleet.report.history import History
from fleet.report.page import Fleet, Page, make_page
from fleet.workflow.boxes import boxes_by_hand
from fleet.workflow.context import Context
from fleet.workflow.reading import Reading


def page_of(history: History, reading: Reading, context: Context) -> Page:
    """What history and inventory say together: last runs, what fails since when, waivers, boxes by hand."""
    by_hand, unconfirmed = boxes_by_hand(reading, history)
    inventory = reading.inventory
    fleet = Fleet(inventory.name, inventory.waivers, tuple(by_hand), tuple(unconfirmed))
    return make_page(history, fleet, context.clock().strftime("%Y-%m-%dT%H:%M:%SZ"))
