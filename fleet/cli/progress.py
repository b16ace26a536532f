"""Progress on a terminal: what is being done, how far it is, what failed. On stderr, gone when done."""

from contextlib import suppress

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TaskID, TextColumn

from fleet.events import Event, ItemFinished, Notice, StageStarted


class TerminalProgress:
    """An observer with one bar a stage."""

    def __init__(self, *, color: bool, verbose: int) -> None:
        self._console = Console(stderr=True, no_color=not color, highlight=False)
        self._verbose = verbose
        columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(30), MofNCompleteColumn())
        self._bars = Progress(*columns, console=self._console, transient=True)
        self._tasks: dict[str, TaskID] = {}
        self._left: dict[str, int] = {}
        self._is_gone = False

    def __call__(self, event: Event, /) -> None:
        """Show one event; a terminal that is gone must not stop who is changing a host."""
        if self._is_gone:
            return
        try:
            self._show(event)
        except OSError:
            self._is_gone = True

    def _show(self, event: Event) -> None:
        if isinstance(event, StageStarted):
            self._start(event)
        elif isinstance(event, ItemFinished):
            self._finish(event)
        elif isinstance(event, Notice):
            self._console.print(event.text, markup=False)
        elif self._verbose:
            self._console.print(f"{event.host}: {event.phase} {event.detail}".rstrip(), markup=False)

    def close(self) -> None:
        """Take everything off the terminal."""
        for task in self._tasks.values():
            self._bars.remove_task(task)
        self._tasks.clear()
        with suppress(OSError):
            self._bars.stop()

    def _start(self, event: StageStarted) -> None:
        if not event.total or event.stage in self._tasks:  # a batch is a part of the stage that is shown already
            return
        if not self._tasks:
            self._bars.start()
        self._tasks[event.stage] = self._bars.add_task(event.stage, total=event.total)
        self._left[event.stage] = event.total

    def _finish(self, event: ItemFinished) -> None:
        task = self._tasks.get(event.stage)
        if task is None:
            return
        self._bars.advance(task)
        self._left[event.stage] -= 1
        if self._left[event.stage] <= 0:
            self._bars.remove_task(task)
            del self._tasks[event.stage]
            if not self._tasks:
                self._bars.stop()
