"""Gives birth to relays quickly: a process that has imported everything forks one for each line that it reads.

usage: python -m tests.relay.nursery CONFIG LOG

A child is the daemon as it is, with a housekeeping step every few milliseconds, so that a kill meets those as well.
It writes its process id when it listens. The last child is waited for before the next one is born.
"""

import os
import sys
import time
from pathlib import Path
from typing import Final

from fleet.relay.daemon import Daemon, Outside
from fleet.relay.operate.notify import Notifier
from fleet.relay.rules import load_transform
from fleet.relay.telling import Teller

STEP_S: Final = 0.01


def live(config: Path, log: Path) -> None:
    """Be the relay until killed."""
    os.umask(0o077)
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    tell = Teller(lambda line: (os.write(descriptor, line.encode() + b"\n"), None)[1], os.urandom(32), time.time)
    daemon = Daemon(config, Outside(tell, Notifier(None), seldom=3))  # forgets often, so that kills meet that too
    daemon.start()
    os.write(1, b"%d\n" % os.getpid())
    while daemon.step():
        time.sleep(STEP_S)


def main(config: Path, log: Path) -> None:
    load_transform()
    child = 0
    for _ in sys.stdin.buffer:
        if child:
            os.waitpid(child, 0)
        child = os.fork()
        if not child:
            try:
                live(config, log)
            except BaseException as error:  # noqa: BLE001  whatever it is, the test has to hear of it
                os.write(1, f"died: {error!r}\n".encode())
            os._exit(1)
    if child:
        os.waitpid(child, 0)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
