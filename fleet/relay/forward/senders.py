"""Sends what is queued: threads of its own for each destination, so that none holds up another (T64).

A destination has up to four associations at a time, as many as it allows. A study stays in one of them, which keeps a
series in its order (T65), and one negotiation serves many instances. When associations fail, nothing is sent until a
C-ECHO has been answered.
"""

import errno
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fleet.dicom.commitment import Reference
from fleet.dicom.dimse import VERIFICATION_UID
from fleet.dicom.errors import PeerError
from fleet.relay.forward.commitments import (
    RESULT_S,
    RETRY_S,
    claim_uncommitted,
    record_asked,
    take_report,
    tell_outcome,
)
from fleet.relay.forward.outbound import (
    BLOCK_BYTES,
    COMMITMENT,
    MAX_CONTEXTS,
    AssociationFailed,
    ChangedFileError,
    Outbound,
    Pacing,
    Parcel,
)
from fleet.relay.forward.outcome import MAX_ATTEMPTS, Circuit, Meaning, make_pause_s, read_status
from fleet.relay.forward.throttle import Meter, Throttle
from fleet.relay.header import IMPLICIT_LITTLE
from fleet.relay.spool.queue import Spool
from fleet.relay.spool.records import LANES, Task
from fleet.relay.store_command import INVALID_ARGUMENT, SUCCESS
from fleet.relay.telling import Teller
from fleet.relay.values import Destination, Quarantine

BATCH: Final = 200
IDLE_LOOK_S: Final = 2.0
_LOOK_S: Final = 0.1
ASK_EVERY_S: Final = 30.0  # for commitment, while there is always something to send
REPORT_S: Final = 3.0  # how long a report is waited for in the association of its request
PREPARED_BYTES: Final = 256 * 1024**2  # copies that lie in the spool at a time, for each association
PREPARED_S: Final = 5.0  # and how long the first of them waits for the others
LONGEST_WAIT_S: Final = 5.0  # for its rate with an association open; peers end one on which nothing happens

Prepare = Callable[[Task], Parcel | Quarantine]
OpenAssociation = Callable[[Destination, Sequence[tuple[str, str]]], Outbound]


def make_random_uid() -> str:
    """A UID of our own (PS3.5 B.2): 2.25 and a random number of 122 bits."""
    return f"2.25.{uuid.uuid4().int}"


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What every worker shares."""

    spool: Spool
    prepare: Prepare
    tell: Teller
    dice: Callable[[], float]
    open_association: OpenAssociation = Outbound
    clock: Callable[[], float] = time.time
    make_uid: Callable[[], str] = make_random_uid


def make_plain_parcel(task: Task) -> Parcel:
    """An instance that goes out as it came."""
    instance = task.instance
    return Parcel(
        instance.path,
        task.data_set_offset,
        task.size_bytes,
        task.sha256,
        instance.sop_class_uid,
        instance.sop_instance_uid,
        instance.transfer_syntax_uid,
    )


def read_data_set_offset(path: Path) -> int:
    """Where the data set of a Part 10 file begins (PS3.10 7.1: (0002,0000) says how long its group is)."""
    with path.open("rb") as file:
        head = file.read(144)
    if len(head) < 144 or head[128:132] != b"DICM" or head[132:136] != b"\2\0\0\0":
        raise ValueError("it has no file meta information")
    return 144 + int.from_bytes(head[140:144], "little")


def make_workers(destination: Destination, around: Surroundings) -> tuple["Worker", ...]:
    """As many as the destination takes associations, and not more than there are lanes."""
    count = min(destination.max_associations, LANES)
    shared = Shared(Circuit(), Throttle(destination.rates), Meter())
    return tuple(Worker(destination, around, range(first, LANES, count), shared) for first in range(count))


@dataclass(frozen=True, slots=True)
class Shared:
    """What the workers of one destination have in common."""

    circuit: Circuit
    throttle: Throttle
    meter: Meter


class Worker:
    """Serves some lanes of one destination until it is stopped."""

    def __init__(
        self,
        destination: Destination,
        around: Surroundings,
        lanes: Sequence[int] = range(LANES),
        shared: Shared | None = None,
    ) -> None:
        self.destination = destination
        shared = shared or Shared(Circuit(), Throttle(destination.rates), Meter())
        self.circuit, self.throttle, self.meter = shared.circuit, shared.throttle, shared.meter
        self._lanes = lanes
        self.is_sending = False
        self._asked_at = 0.0
        self._around = around
        self._wake, self._ending = threading.Event(), threading.Event()
        self._stopping = False
        self._is_held = False
        self._after: tuple[Worker, ...] = ()
        self._thread = threading.Thread(target=self._run, name="forward", daemon=True)

    def start(self, after: Sequence["Worker"] = ()) -> None:
        """Begin, as soon as those that it comes after have ended the instance that they are at."""
        self._after = tuple(after)
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        return self._thread.is_alive()

    def wake(self) -> None:
        """Something may have been queued."""
        self._wake.set()

    def hold(self) -> None:
        """It was paused, or its routes have other steps now: nothing prepared follows what is on its way."""
        self._is_held = True

    def stop(self) -> None:
        """End after the instance that is on its way."""
        self._stopping = True
        self._ending.set()
        self._wake.set()

    def join(self, timeout_s: float) -> None:
        self._thread.join(timeout_s)

    def _run(self) -> None:
        while not self._stopping and any(each.is_alive for each in self._after):
            self._ending.wait(_LOOK_S)
        while not self._stopping:
            self._wake.clear()
            try:
                has_more = self.work()
            except Exception as error:  # noqa: BLE001  one broken instance or disk must not end a destination for ever
                self._tell("worker-failed", error=type(error).__name__)
                self.circuit.record_failure(time.monotonic(), "our own fault, see the log", self._around.dice)
                has_more = False
            if not has_more:
                self._wake.wait(IDLE_LOOK_S)

    def work(self) -> bool:
        """Send one batch; whether there may be more to do at once."""
        self._is_held = False  # before the look, so that a pause from here on is not overlooked
        if self._is_paused() or time.monotonic() < self.circuit.probe_at or self._is_to_wait():
            return False
        tasks = self._around.spool.claim(self.destination.ae_title, self._around.clock(), BATCH, self._lanes)
        if self.destination.commitment and 0 in self._lanes:
            self._ask(is_idle=not tasks)
        if not tasks:
            return False
        if self.circuit.is_open and not self._probe():
            return False
        parcels = self._prepare(tasks)
        if parcels:
            self.is_sending = True
            try:
                self._send(parcels)
            finally:
                self.is_sending = False
                for task, parcel in parcels:
                    if parcel.path != task.instance.path:
                        parcel.path.unlink(missing_ok=True)
        return self.circuit.failures == 0

    def _is_to_wait(self) -> bool:
        """Whether the rate asks for a pause so long that no association is kept open for it."""
        return self.throttle.delay_s(self._around.clock()) > LONGEST_WAIT_S

    def _pace(self, size_bytes: int) -> float:
        """Wait until so much may go; returns how long that took. A relay that ends waits no more."""
        wait_s = self.throttle.pay(size_bytes, self._around.clock())
        if wait_s > 0:
            self._ending.wait(wait_s)
        return max(wait_s, 0.0)

    def _pacing(self) -> Pacing | None:
        """None where nothing limits the speed now."""
        now = self._around.clock()
        if self.throttle.rate(now) is None:
            return None
        return Pacing(self._pace, self.throttle.block_bytes(now, BLOCK_BYTES))

    def _is_paused(self) -> bool:
        found = self._around.spool.read("SELECT 1 FROM paused WHERE destination = ?", (self.destination.ae_title,))
        return bool(found)

    def _ask(self, is_idle: bool) -> None:
        """Ask it to commit itself to what it was sent: when nothing is to be sent, or it was not asked for a while."""
        spool, name, now = self._around.spool, self.destination.ae_title, self._around.clock()
        if self.circuit.is_open or (not is_idle and abs(now - self._asked_at) < ASK_EVERY_S):
            return
        self._asked_at = now
        tasks = claim_uncommitted(spool, name, now)
        if not tasks:
            return
        transaction_uid = self._around.make_uid()
        record_asked(spool, tuple(tasks), transaction_uid, now + RESULT_S)
        try:
            with self._around.open_association(self.destination, (COMMITMENT,)) as association:
                status = association.request_commitment(transaction_uid, tuple(tasks.values()))
                found = association.await_report(REPORT_S) if status == 0 else None
                if found is not None:
                    request, data = found
                    outcome = take_report(spool, name, data, IMPLICIT_LITTLE, now)
                    association.answer_report(request, SUCCESS if outcome.is_known else INVALID_ARGUMENT)
                    self._tell("commitment", None, **tell_outcome(outcome))
                association.release()
            if status != 0:
                self._tell("commitment-refused", status=f"{status:04X}", instances=len(tasks))
        except (AssociationFailed, PeerError) as error:
            record_asked(spool, tuple(tasks), transaction_uid, now + RETRY_S)
            self._tell("commitment-failed", why=str(error), instances=len(tasks))

    def _probe(self) -> bool:
        """Ask a dead destination whether it lives, instead of throwing images at it."""
        try:
            with self._around.open_association(self.destination, ((VERIFICATION_UID, IMPLICIT_LITTLE),)) as association:
                status = association.echo()
                association.release()
            if status != 0:
                raise AssociationFailed(f"C-ECHO was answered with {status:04X}")
        except AssociationFailed as error:
            self._failed(str(error))
            return False
        self._tell("destination-back")
        self.circuit.record_success()
        return True

    def _prepare(self, tasks: Sequence[Task]) -> list[tuple[Task, Parcel]]:
        """As many of them as go out next: made copies fill no disk, and nothing waits for the last of them."""
        parcels: list[tuple[Task, Parcel]] = []
        kinds: set[tuple[str, str]] = set()
        made_bytes, began_at = 0, time.monotonic()
        for task in tasks:
            if made_bytes > PREPARED_BYTES or (parcels and time.monotonic() - began_at > PREPARED_S):
                break
            try:
                parcel = self._around.prepare(task)
            except OSError as error:
                self._again(
                    task, f"this machine could not prepare it ({errno.errorcode.get(error.errno or 0, 'OSError')})"
                )
                continue
            if isinstance(parcel, Quarantine):
                self._quarantine(task, parcel.reason)
                continue
            if len(kinds | {parcel.kind}) > MAX_CONTEXTS:
                break
            kinds.add(parcel.kind)
            parcels.append((task, parcel))
            made_bytes += parcel.size_bytes if parcel.path != task.instance.path else 0
        return parcels

    def _send(self, parcels: Sequence[tuple[Task, Parcel]]) -> None:
        kinds = tuple(dict.fromkeys(parcel.kind for _, parcel in parcels))
        try:
            with self._around.open_association(self.destination, kinds) as association:
                self.circuit.record_success()
                for task, parcel in parcels:
                    if self._is_held or self._is_to_wait():
                        break
                    self._ending.wait(self.throttle.delay_s(self._around.clock()))
                    if self._stopping or not self._take_up(association, task, parcel):
                        break
                association.release()
        except AssociationFailed as error:
            self._failed(str(error))

    def _take_up(self, association: Outbound, task: Task, parcel: Parcel) -> bool:
        """Send it unless it was given to another destination since this batch was taken; whether to go on."""
        hands = self._around.spool.hands
        if not hands.begin(task):
            return False
        try:
            return self._send_one(association, task, parcel)
        finally:
            hands.end(task)

    def _send_one(self, association: Outbound, task: Task, parcel: Parcel) -> bool:
        """Whether the association may go on."""
        if parcel.kind not in association.contexts:
            self._again(task, "the destination does not take this kind of instance (presentation context refused)")
            return True
        self.throttle.begin_instance(self._around.clock())
        try:
            status = association.store(parcel, self._pacing())
        except ChangedFileError as error:
            self._quarantine(task, str(error))
            return False
        except FileNotFoundError:
            self._quarantine(task, "its file is missing")
            association.abort()
            return False
        except AssociationFailed as error:
            # What it lost may be lost because of this very instance: it comes again later, behind the others.
            self._again(task, str(error))
            raise
        sent = (parcel.sop_class_uid, parcel.sop_instance_uid) if self.destination.commitment else None
        return self._settle(task, status, sent)

    def _settle(self, task: Task, status: int, sent: Reference | None) -> bool:
        meaning = read_status(status)
        spool, now = self._around.spool, self._around.clock()
        if meaning in {Meaning.DELIVERED, Meaning.NOTED}:
            self.meter.count(now)
        if meaning is Meaning.DELIVERED:
            spool.record_delivered(task, now, sent=sent)
            self._around.tell.count("delivered")
        elif meaning is Meaning.NOTED:
            spool.record_delivered(task, now, f"status {status:04X}", sent)
            self._around.tell.count("delivered")
            self._tell("delivered-with-warning", task, status=f"{status:04X}")
        elif meaning is Meaning.LATER:
            self._failed(f"it has no room (status {status:04X})")
            return False
        elif meaning is Meaning.REFUSED:
            self._quarantine(task, f"refused with status {status:04X}")
        else:
            self._again(task, f"answered with status {status:04X}")
        return True

    def _again(self, task: Task, reason: str) -> None:
        """T65: an instance that never gets through leaves the queue, and the queue behind it moves."""
        if task.attempts + 1 >= MAX_ATTEMPTS:
            self._quarantine(task, f"after {MAX_ATTEMPTS} attempts: {reason}")
            return
        now = self._around.clock()
        self._around.spool.record_failed(task, now, now + make_pause_s(task.attempts, self._around.dice), reason)
        self._around.tell.count("retried")
        self._tell("to-be-retried", task, why=reason)

    def _quarantine(self, task: Task, reason: str) -> None:
        self._around.spool.record_quarantined(task, self._around.clock(), reason)
        self._tell("quarantined", task, why=reason)

    def _failed(self, reason: str) -> None:
        self.circuit.record_failure(time.monotonic(), reason, self._around.dice)
        self._tell("destination-failed", why=reason, failures=self.circuit.failures)

    def _tell(self, event: str, task: Task | None = None, **fields: str | int) -> None:
        if task is not None:
            fields["spool_id"] = task.instance.spool_id
            fields["route"] = task.route
            fields["instance"] = self._around.tell.hash_uid(task.instance.sop_instance_uid)
        self._around.tell(event, destination=self.destination.ae_title, **fields)
