"""Somebody who asks the virtual address all the time, so that a test hears whether anybody noticed a change."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from tests.lab.dialogue import Caller, call
from tests.lab.hospital import SERVICE_PORT, VIRTUAL_ADDRESS, Hospital


@contextmanager
def asking_all_the_time(hospital: Hospital, *, pause_s: float) -> Iterator[list[str]]:
    """A caller who rests so long between two associations; what it was told, whole once it has ended."""
    told: list[str] = []
    done = threading.Event()
    caller = Caller("FLEET_SCU", hospital.lab.controller.address)

    def ask() -> None:
        while not done.wait(pause_s):
            with hospital.lab.controller.namespace.entered():
                told.append(call(caller, VIRTUAL_ADDRESS, SERVICE_PORT))

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        yield told
    finally:
        done.set()
        asking.join(timeout=60)
