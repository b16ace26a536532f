"""The story as a verb opens it: with this door's connections. Loaded only by runs that have one."""

from functools import partial

from fleet.cli.connect import open_connector
from fleet.cli.door import Door
from fleet.report.history.opening import History
from fleet.workflow.context import Context
from fleet.workflow.ledger import Ledger
from fleet.workflow.story import Story


def open_story(door: Door, context: Context, ledger: Ledger, history: History) -> Story:
    """One run's story."""
    return Story(context, ledger, history, partial(open_connector, door=door))
