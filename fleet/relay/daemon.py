"""The relay as a whole: its threads, and how it starts, reloads and ends.

The caller's thread does the housekeeping (`operate.housekeeping`), one step a second, and tells systemd that the loops
are alive.
"""

import os
import random
import ssl
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from fleet.dicom.errors import PeerError
from fleet.errors import FleetError, UsageError
from fleet.relay.config import ConfigError, read_config
from fleet.relay.forward.commitments import take_report, tell_outcome
from fleet.relay.forward.outbound import Parcel
from fleet.relay.forward.senders import Surroundings, Worker, make_workers
from fleet.relay.operate import ledger
from fleet.relay.operate.control import Control
from fleet.relay.operate.housekeeping import SELDOM, Household, Housekeeping
from fleet.relay.operate.notify import Notifier
from fleet.relay.operate.queues import describe_destinations
from fleet.relay.operate.requests import Desk, Requests
from fleet.relay.operate.strays import count_unrouted
from fleet.relay.receive.admission import Door, make_door
from fleet.relay.receive.committer import Committer
from fleet.relay.receive.loop import Receiver
from fleet.relay.rules import Rules, check_built, judge_schedules, load_transform, resolve_names, uses_key
from fleet.relay.secure import make_server_context
from fleet.relay.spool.key import KEY_BYTES, read_key
from fleet.relay.spool.queue import Spool
from fleet.relay.spool.records import Task
from fleet.relay.store_command import INVALID_ARGUMENT, PROCESSING_FAILURE, SUCCESS
from fleet.relay.telling import Teller
from fleet.relay.values import Config, Quarantine

_ALIVE_S: Final = 20.0


@dataclass(frozen=True, slots=True)
class Outside:
    """What the daemon has of its process: where lines go, whom it notifies, after how many steps it forgets."""

    tell: Teller
    notify: Notifier
    seldom: int = SELDOM


def load(path: Path, transform: Any, now: datetime) -> tuple[Config, tuple[str, ...]]:
    """A configuration that this relay can carry out wholly, and warnings about it; raises `ConfigError`."""
    config = read_config(path)
    errors, warnings = judge_schedules(config, now)
    problems = (*check_built(config, transform), *errors)
    if problems:
        raise ConfigError(str(path), problems)
    return config, warnings


def open_door(config: Config) -> Door:
    """The callers of a configuration, with their names looked up now."""
    names = [name for caller in config.callers for name in caller.addresses]
    names += [place.address for to in config.destinations.values() if to.commitment for place in to.addresses]
    return make_door(config, resolve_names(names))


def open_secure(config: Config) -> ssl.SSLContext | None:
    """The certificate that callers meet, as it lies on the disk now."""
    return None if config.receive_tls is None else make_server_context(config.receive_tls)


class Daemon:
    """One relay; `start`, then `step` about every second, then `stop`."""

    def __init__(self, path: Path, outside: Outside) -> None:
        self._path, self._outside = path, outside
        self._tell, self._notify = outside.tell, outside.notify
        self._module = load_transform()
        config, warnings = load(path, self._module, datetime.now(UTC))
        self._warn(warnings)
        self.spool = Spool(config.spool)
        try:
            self._begin(config)
        except BaseException:
            self.spool.close()
            raise

    def _begin(self, config: Config) -> None:
        key = read_key(self.spool, lambda: os.urandom(KEY_BYTES), uses_key(config))
        transform = None if self._module is None else self._module.transform
        self.rules = Rules(config, self._tell, key, self.spool.work, transform)
        found = self.spool.reconcile(time.time())
        self._tell(
            "reconciled",
            instances=found.instances,
            parts=found.removed_parts,
            orphans=len(found.orphans),
            missing=len(found.missing),
        )
        self._house = Housekeeping(
            Household(self.spool, self._tell, lambda: self.rules, self._wake_workers, self._outside.seldom)
        )
        self._house.begin()
        self._committer = Committer(self.spool, lambda: self.rules, self._tell, self._wake_workers)
        door = self._open_door(config)
        self._receiver = Receiver(self.spool, self._committer, door, self._tell, config.max_associations)
        self._receiver.beat = self._beat
        self._receiver.take_report = self._take_report
        self._receiver.secure = open_secure(config)
        self.port = self._listen(config)
        desk = Desk(
            self.spool,
            self._tell,
            lambda: self.rules,
            lambda: self._workers,
            self.status,
            self.drain,
            self._note_change,
        )
        self._control = Control(self.spool.folder, Requests(desk).handle)
        self._thread = threading.Thread(target=self._receiver.serve, name="receive", daemon=True)
        self._workers: dict[str, tuple[Worker, ...]] = {}
        self._retired: list[Worker] = []
        self._beaten_at = time.monotonic()
        self._started_at = time.time()
        self.is_draining = False

    def _open_door(self, config: Config) -> Door:
        door = open_door(config)
        for caller, found in door.callers:
            if caller.addresses and not found:
                self._tell("caller-not-found", calling=caller.ae_title, why="its names have no address; reload later")
        return door

    def _listen(self, config: Config) -> int:
        """Open the ports; where one of them speaks TLS, the plain one stays plain and the other one is TLS only."""
        address, tls = config.listen.address, config.receive_tls
        places = [(config.listen.port, tls is not None and tls.port is None)]
        if tls is not None and tls.port is not None:
            places.append((tls.port, True))
        ports = []
        for port, is_secure in places:
            try:
                ports.append(self._receiver.listen(address, port, is_secure))
            except OSError as error:
                where = f"{address} port {port}"
                raise FleetError(f"cannot listen on {where}: {error.strerror or error}; nothing was taken") from error
        return ports[0]

    def start(self) -> None:
        """Begin to take, to send and to answer."""
        self._committer.start()
        self._thread.start()
        self._match_workers()
        self._control.start()
        self._tell("started", port=self.port, routes=len(self.rules.config.routes))
        self._notify("READY=1", f"STATUS=listening on port {self.port}")

    def stop(self) -> None:
        """Take no more, let associations finish within their time, end. What is queued stays queued (T78)."""
        self._notify("STOPPING=1")
        deadline = time.monotonic() + self.rules.config.drain_timeout_s
        for worker in self._all_workers():
            worker.stop()
        self._receiver.stop(self.rules.config.drain_timeout_s)
        self._thread.join(self.rules.config.drain_timeout_s + 5)
        self._committer.stop()
        for worker in (*self._all_workers(), *self._retired):
            worker.join(max(deadline - time.monotonic(), 1.0))
        self._control.close()
        self._tell("stopped")
        if not self._thread.is_alive():
            self._receiver.close()
        self.spool.close()

    def step(self) -> bool:
        """One step of housekeeping; False when a drain is complete."""
        try:
            self._house.step(time.time())
            is_drained = self.is_draining and self._is_drained()
        except Exception as error:  # noqa: BLE001  a full disk must not end what still delivers, and so makes room
            self._tell("housekeeping-failed", error=type(error).__name__)
            is_drained = False
        if self._is_alive():
            self._notify("WATCHDOG=1")
        return not is_drained

    def _is_alive(self) -> bool:
        """The loop that receives beats by itself; a step of ours came to its end."""
        return time.monotonic() - self._beaten_at < _ALIVE_S and self._committer.is_alive

    def _beat(self) -> None:
        self._beaten_at = time.monotonic()

    def _take_report(self, destination: str, transfer_syntax: str, data: bytes) -> int:
        """What a destination commits itself to, in an association that it opened."""
        try:
            outcome = take_report(self.spool, destination, data, transfer_syntax, time.time())
        except PeerError:  # it is none: the association ends
            raise
        except Exception as error:  # noqa: BLE001  a disk that fails must not end what receives; it is asked again
            self._tell("commitment-not-recorded", destination=destination, error=type(error).__name__)
            return PROCESSING_FAILURE
        self._tell("commitment", destination=destination, known=outcome.is_known, **tell_outcome(outcome))
        self._wake_workers()
        return SUCCESS if outcome.is_known else INVALID_ARGUMENT

    def _is_drained(self) -> bool:
        states = ledger.count_states(self.spool)
        return self._receiver.associations == 0 and states["queued"] == 0

    # Configuration

    def reload(self) -> bool:
        """Read the file again; a bad one changes nothing (the old one holds on)."""
        self._notify.reloading()
        try:
            config, warnings = load(self._path, self._module, datetime.now(UTC))
            _check_same_place(self.rules.config, config)
            secure, door = open_secure(config), self._open_door(config)
            key = read_key(self.spool, lambda: self.rules.key, uses_key(config))
        except Exception as error:  # noqa: BLE001  whatever is wrong with a new file, the old one goes on
            self._tell("reload-refused", why=str(error))
            self._notify("READY=1", "STATUS=a new configuration was refused, the old one holds on")
            return False
        self._warn(warnings)
        self._house.foresee(config)
        self.rules = Rules(config, self._tell, key, self.rules.work, self.rules.transform)
        for worker in self._all_workers():  # what was prepared by the old file's steps does not go out after this
            worker.hold()
        self._receiver.change(door, config.max_associations, secure)
        self._house.is_to_look = True
        self._match_workers()
        self._tell("reloaded", routes=len(config.routes))
        self._notify("READY=1", f"STATUS=listening on port {self.port}")
        return True

    def _warn(self, warnings: Sequence[str]) -> None:
        for warning in warnings:
            self._tell("warning", why=warning.removeprefix("warning: "))

    def _match_workers(self) -> None:
        """A worker for each destination; one whose destination changed is replaced when it has ended its instance."""
        wanted = self.rules.config.destinations
        for name, workers in list(self._workers.items()):
            if wanted.get(name) != workers[0].destination:
                for worker in workers:
                    worker.stop()
                self._retired += self._workers.pop(name)
        for name, destination in wanted.items():
            if name not in self._workers:
                self._retired = [old for old in self._retired if old.is_alive]
                before = tuple(old for old in self._retired if old.destination.ae_title == name)
                around = Surroundings(self.spool, self._prepare, self._tell, random.random)
                self._workers[name] = make_workers(destination, around)
                for worker in self._workers[name]:
                    worker.start(before)

    def _prepare(self, task: Task) -> Parcel | Quarantine:
        return self.rules.prepare(task)

    def _wake_workers(self) -> None:
        for worker in self._all_workers():
            worker.wake()

    def _all_workers(self) -> list[Worker]:
        return [worker for workers in list(self._workers.values()) for worker in workers]

    def _note_change(self) -> None:
        self._house.is_to_look = True
        self._wake_workers()

    def drain(self) -> None:
        """Take no more, send what is queued, then end."""
        self.is_draining = True
        self._receiver.stop(self.rules.config.drain_timeout_s)
        self._tell("draining")

    def status(self, now: float) -> dict[str, Any]:
        """What an operator and the metrics want to know."""
        return {
            "ae_title": self.rules.config.ae_title,
            "port": self.port,
            "up_s": round(now - self._started_at, 1),
            "draining": self.is_draining,
            "associations": self._receiver.associations,
            "states": ledger.count_states(self.spool),
            "destinations": describe_destinations(self.spool, self._workers, now),
            "unrouted": count_unrouted(self.spool),
            "callers": ledger.read_callers(self.spool),
            "free_bytes": self.spool.free_bytes(),
            "kept": ledger.read_kept(self.spool),
            "counts": self._tell.counts(),
        }


def _check_same_place(old: Config, new: Config) -> None:
    """What cannot change while the relay runs."""
    for what in ("listen", "spool", "max_pdu_bytes"):
        if getattr(old, what) != getattr(new, what):
            raise UsageError(f"{what} changed, which takes a restart; nothing of the new file holds until then")
    if _secure_place(old) != _secure_place(new):
        raise UsageError("where TLS is spoken changed, which takes a restart; nothing of the new file holds until then")


def _secure_place(config: Config) -> int | None:
    tls = config.receive_tls
    return None if tls is None else tls.port or config.listen.port
