"""The boxes that fleet cannot push to: which are open by hand, and saying that they are done."""

from collections.abc import Sequence

from fleet.inventory.model import Entity
from fleet.report.history import History
from fleet.report.summary import BoxLine
from fleet.sheet.boxes import find_boxes, is_box, make_sheet
from fleet.sheet.changes import BoxState, BoxStatus, decide_boxes
from fleet.workflow.context import Context
from fleet.workflow.reading import Reading


def box_statuses(
    reading: Reading, history: History | None, entities: Sequence[Entity] | None = None, since: str | None = None
) -> tuple[BoxStatus, ...]:
    """The sheets of the boxes among `entities` (of all boxes without), compared with what they last held.

    `since` is a run: compared is then what they held at that time. Raises `HistoryError` for an unknown run.
    """
    chosen = find_boxes(reading.inventory) if entities is None else [each for each in entities if is_box(each)]
    marks = {} if history is None else history.sheet_marks() if since is None else history.sheets_at(since)
    return decide_boxes([make_sheet(reading.peers, entity) for entity in chosen], marks)


def boxes_by_hand(reading: Reading, history: History | None) -> tuple[list[BoxLine], list[str]]:
    """The open boxes, and those that nobody ever confirmed."""
    statuses = box_statuses(reading, history)
    by_hand = [
        BoxLine(status.sheet.box, status.why, tuple(status.changes), status.sheet.contact)
        for status in statuses
        if status.state is BoxState.OPEN
    ]
    unconfirmed = [status.sheet.box for status in statuses if status.state is BoxState.UNCONFIRMED]
    return by_hand, unconfirmed


def mark_boxes_done(history: History, context: Context, statuses: Sequence[BoxStatus], *, kind: str = "done") -> None:
    """Remember that these boxes hold what their sheets say, on this person's word."""
    marked_at = context.clock().isoformat()
    history.mark_done([status.sheet.to_json() for status in statuses], context.who, marked_at, kind=kind)
