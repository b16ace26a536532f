"""Progress as values, and the observer that gets them.

The engine is silent: it calls an observer and knows nothing of terminals. Events are small frozen values;
an observer that does not care ignores them.
"""

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class StageStarted:
    """A stage of the story began: `stage` is its verb, `total` how many things it will go through."""

    stage: str
    total: int


@dataclass(frozen=True, slots=True)
class ItemFinished:
    """One host, file or association of the stage came to its end; `outcome` is a word of a closed set."""

    stage: str
    name: str
    outcome: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class HostPhase:
    """A host entered a phase (connect, observe, stage, check, switch, handler, look-again)."""

    host: str
    phase: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Notice:
    """A sentence for the person who watches; never the only place where a fact is told."""

    text: str


Event = StageStarted | ItemFinished | HostPhase | Notice


class Observer(Protocol):
    """Whoever watches a run."""

    def __call__(self, event: Event, /) -> None:
        """Take one event; must not raise."""


def ignore(_event: Event, /) -> None:
    """The observer that does not look."""
