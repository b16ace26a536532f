"""The boxes that fleet cannot push to: which are open by hand, and saying that they are done."""

from collections.abc import Mapping, Sequence

from fleet.inventory.model import Entity
from fleet.report.history.opening import History
from fleet.report.records import SheetMark
from fleet.report.summary import BoxLine
from fleet.sheet.boxes import Sheet, find_boxes, is_box, make_sheet
from fleet.sheet.changes import BoxState, BoxStatus, compare_sheets, decide_boxes
from fleet.workflow.context import Context
from fleet.workflow.kept import open_snapshot
from fleet.workflow.reading import Reading


def box_statuses(
    reading: Reading, history: History | None, entities: Sequence[Entity] | None = None
) -> tuple[BoxStatus, ...]:
    """The sheets of the boxes among `entities` (of all boxes without), compared with what they last held."""
    marks = {} if history is None else history.sheet_marks()
    return decide_boxes(_sheets(reading, entities), marks)


def boxes_since(
    reading: Reading, history: History, entities: Sequence[Entity] | None, run: str, context: Context
) -> tuple[BoxStatus, ...]:
    """The same, compared with the inventory of a run; where that was not valid, with what was marked by then.

    Raises `HistoryError` for an unknown run.
    """
    run_id = history.show_run(run).run_id
    snapshot = history.inventory_of(run_id)
    if snapshot is None:
        marks: Mapping[str, SheetMark] = history.sheets_at(run_id)
        return decide_boxes(_sheets(reading, entities), marks)
    with open_snapshot(snapshot, context) as (_, old):
        return compare_sheets(_sheets(old, None), _sheets(reading, entities), run_id)


def _sheets(reading: Reading, entities: Sequence[Entity] | None) -> list[Sheet]:
    chosen = find_boxes(reading.inventory) if entities is None else [each for each in entities if is_box(each)]
    return [make_sheet(reading.peers, entity) for entity in chosen]


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
