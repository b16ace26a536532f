"""An inventory from history: its files as they were, in a folder for the time of a run."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from fleet.errors import HistoryError
from fleet.report.records import Snapshot
from fleet.workflow.context import Context
from fleet.workflow.reading import Reading, read_all


@contextmanager
def open_snapshot(snapshot: Snapshot, context: Context) -> Iterator[tuple[Context, Reading]]:
    """The inventory of an earlier run, and the run's parameters with it in the place of the one that was typed.

    The team's own templates stay those of today: they are no part of what history keeps.
    """
    with TemporaryDirectory(prefix="fleet-inventory-") as name:
        folder = Path(name)
        for inside, content in snapshot.files.items():
            path = folder / inside
            if not path.resolve().is_relative_to(folder.resolve()):
                raise HistoryError(f"the history holds a file {inside!r}, which leads out of an inventory; not used")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        there = replace(context, inventory_root=folder, template_folder=context.templates)
        yield there, read_all(there)
