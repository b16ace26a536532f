"""What senders have in their hands, so that nobody else gives it away meanwhile.

A sender takes a batch out of the queue and sends it one by one, which may take minutes. When a study moves to another
destination in between, each of its instances must go to one of the two: what is not on its way yet goes with the
move, and the sender that took it is told before it sends it. Only one process has a spool open, so memory is enough:
after a crash nothing is in anybody's hands.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol


class Taken(Protocol):
    """A task as a sender took it."""

    @property
    def task_id(self) -> int: ...

    @property
    def destination(self) -> str: ...

    @property
    def generation(self) -> int: ...


class Hand:
    """What one destination's senders are sending; any thread may ask."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.generation = 0
        self.task_ids: set[int] = set()


class Hands:
    """One hand for each destination; a move from one of them keeps only that one's senders waiting."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._hands: dict[str, Hand] = {}

    def generation(self, destination: str) -> int:
        """To be asked before a batch is read: what is taken away from now on is another generation."""
        return self._hand(destination).generation

    def begin(self, task: Taken) -> bool:
        """Whether it may be sent now; False when something was taken away since its batch was read."""
        hand = self._hand(task.destination)
        with hand.lock:
            if hand.generation != task.generation:
                return False
            hand.task_ids.add(task.task_id)
            return True

    def end(self, task: Taken) -> None:
        """Its answer is recorded, or did not come."""
        hand = self._hand(task.destination)
        with hand.lock:
            hand.task_ids.discard(task.task_id)

    def under_way(self, destination: str) -> frozenset[int]:
        """What is on its way there now."""
        hand = self._hand(destination)
        with hand.lock:
            return frozenset(hand.task_ids)

    def everything(self) -> frozenset[int]:
        """What is on its way to anybody now."""
        with self._lock:
            names = tuple(self._hands)
        return frozenset(task for name in names for task in self.under_way(name))

    @contextmanager
    def closed(self, destination: str) -> Iterator[frozenset[int]]:
        """Nothing begins to be sent there while tasks are taken away; gives those that are on their way."""
        hand = self._hand(destination)
        with hand.lock:
            hand.generation += 1
            yield frozenset(hand.task_ids)

    def _hand(self, destination: str) -> Hand:
        with self._lock:
            return self._hands.setdefault(destination, Hand())
