"""The last net before a terminal: what errors, hosts and programs say loses every secret of the run on its way out.

Nothing should ever be caught here. But a host may print a file, and a bug may put a value into its message.
"""

import traceback
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from fleet.errors import FleetError, InvalidInventory
from fleet.events import Event, HostPhase, ItemFinished, Notice, Observer, ignore

Mask = Callable[[str], str]


class Bug(Exception):
    """Something that is nobody's fault but ours; the message is its traceback without secrets."""


def make_bug(error: BaseException, mask: Mask) -> Bug:
    """A bug as it may be told."""
    return Bug(mask("".join(traceback.format_exception(error))))


def mask_error(error: BaseException, mask: Mask) -> None:
    """Take secrets out of what an error says, in place: it goes on to whoever tells it."""
    error.args = tuple(mask(each) if isinstance(each, str) else each for each in error.args)
    if isinstance(error, InvalidInventory):
        error.problems = tuple(replace(each, message=mask(each.message)) for each in error.problems)
    for cause in (error.__cause__, error.__context__):
        if isinstance(cause, FleetError):
            mask_error(cause, mask)


class MaskedObserver:
    """An observer that hears no secrets."""

    def __init__(self, observer: Observer, mask: Mask) -> None:
        self._observer, self._mask = observer, mask

    def __call__(self, event: Event, /) -> None:
        """Pass one event on."""
        match event:
            case Notice():
                event = Notice(self._mask(event.text))
            case ItemFinished() | HostPhase() if event.detail:
                event = replace(event, detail=self._mask(event.detail))
        self._observer(event)

    def close(self) -> None:
        """Take the bars off the terminal, where the observer has some."""
        close: Any = getattr(self._observer, "close", None)
        if close is not None:
            close()


def mask_observer(observer: Observer, mask: Mask) -> Observer:
    """The observer behind the net; one that does not look needs none."""
    return observer if observer is ignore else MaskedObserver(observer, mask)
