"""Makes instances durable before they are acknowledged, many at a time.

One thread takes whatever has come to its end while it was busy: files are synced beside one another, the folder
once, and one transaction records them all. So one sender pays for its own syncs, and twenty share theirs.
"""

import queue
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final, Protocol

from fleet.relay.header import (
    MODALITY,
    SOP_CLASS_UID,
    SOP_INSTANCE_UID,
    STUDY_INSTANCE_UID,
    HeaderError,
    read_texts,
)
from fleet.relay.receive.admission import is_uid
from fleet.relay.receive.incoming import Incoming, Refusal, refuse_for
from fleet.relay.spool.files import sync_folder
from fleet.relay.spool.queue import Spool
from fleet.relay.spool.records import Decide, Stored
from fleet.relay.spool.schema import SpoolFullError
from fleet.relay.store_command import CANNOT_UNDERSTAND, DATA_SET_MISMATCH, OUT_OF_RESOURCES
from fleet.relay.telling import Teller
from fleet.relay.values import Decision, ReceivedInstance, StudyFacts

MAX_BATCH: Final = 64
_SYNCERS: Final = 4


@dataclass(frozen=True, slots=True)
class Arrival:
    """An instance whose last byte is here; `answer` is called with None for success, from the committer's thread."""

    incoming: Incoming
    calling: str
    called: str
    received_at: float
    answer: Callable[[Refusal | None], None]


class Rules(Protocol):
    """What of the configuration the committer needs; it may change between two batches."""

    @property
    def wanted(self) -> Mapping[str, int]:
        """The elements that routes ask about."""

    def decide(self, instance: ReceivedInstance, study: StudyFacts, /) -> Sequence[Decision]:
        """Where an instance goes."""


class Committer:
    """The thread; `rules` gives the rules that hold now."""

    def __init__(
        self, spool: Spool, rules: Callable[[], Rules], tell: Teller, queued: Callable[[], None] = lambda: None
    ) -> None:
        """`queued` is called when something new may be sent."""
        self._spool, self._rules, self._tell, self._queued = spool, rules, tell, queued
        self._arrivals: queue.SimpleQueue[Arrival | None] = queue.SimpleQueue()
        self._pool = ThreadPoolExecutor(_SYNCERS, "sync")
        self._thread = threading.Thread(target=self._run, name="commit", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Finish what was submitted, then end."""
        self._arrivals.put(None)
        self._thread.join()
        self._pool.shutdown()

    @property
    def is_alive(self) -> bool:
        return self._thread.is_alive()

    def submit(self, arrival: Arrival) -> None:
        self._arrivals.put(arrival)

    def _run(self) -> None:
        while (first := self._arrivals.get()) is not None:
            batch, ending = [first], False
            while len(batch) < MAX_BATCH and not self._arrivals.empty():
                further = self._arrivals.get()
                if further is None:
                    ending = True
                    break
                batch.append(further)
            self.commit(batch)
            if ending:
                return

    def commit(self, batch: Sequence[Arrival]) -> None:
        """Make a batch durable and answer each of it, whatever happens."""
        try:
            refusals = self._commit(batch)
        except Exception as error:  # noqa: BLE001  the senders must get an answer, and it must not be success
            self._tell("commit-failed", error=type(error).__name__)
            refusals = {id(arrival): Refusal(OUT_OF_RESOURCES, "spool: internal error") for arrival in batch}
        for arrival in batch:
            arrival.answer(refusals.get(id(arrival)))
        self._queued()

    def _commit(self, batch: Sequence[Arrival]) -> dict[int, Refusal]:
        rules = self._rules()
        refusals: dict[int, Refusal] = {}
        stored: list[tuple[Arrival, Stored]] = []
        for arrival, found in zip(batch, self._map(lambda each: self._settle(each, rules.wanted), batch), strict=True):
            if isinstance(found, Refusal):
                refusals[id(arrival)] = found
            else:
                stored.append((arrival, found))
        if stored:
            self._record(stored, rules.decide, refusals)
        return refusals

    def _map(
        self, function: Callable[[Arrival], Stored | Refusal], batch: Sequence[Arrival]
    ) -> Sequence[Stored | Refusal]:
        return [function(batch[0])] if len(batch) == 1 else list(self._pool.map(function, batch))

    def _settle(self, arrival: Arrival, wanted: Mapping[str, int]) -> Stored | Refusal:
        """Read what it is, bring it to the disk, give it its final name."""
        incoming = arrival.incoming
        try:
            read = _read_instance(arrival, wanted)
            if isinstance(read, Refusal):
                incoming.discard()
                return read
            incoming.sync()
            final = self._spool.path(incoming.spool_id)
            incoming.path.rename(final)
            incoming.path = final
        except OSError as error:
            incoming.discard()
            return refuse_for(error)
        except Exception as error:  # noqa: BLE001  one odd instance must not refuse those that came beside it (T65)
            self._tell("not-read", spool_id=incoming.spool_id, error=type(error).__name__)
            incoming.discard()
            return Refusal(CANNOT_UNDERSTAND, "its data set cannot be read")
        return Stored(read, incoming.size_bytes, incoming.data_set_offset, incoming.sha256)

    def _record(self, stored: Sequence[tuple[Arrival, Stored]], decide: Decide, refusals: dict[int, Refusal]) -> None:
        try:
            sync_folder(self._spool.files)
            news = self._spool.add([each for _, each in stored], decide)
        except OSError as error:
            for arrival, _ in stored:
                arrival.incoming.discard()
                refusals[id(arrival)] = refuse_for(error)
            return
        except SpoolFullError as error:
            # The files stay: after an error of the disk nobody knows whether the rows are on it. The next start does.
            self._tell("queue-not-written", error=str(error.__cause__), instances=len(stored))
            for arrival, _ in stored:
                if error.is_clean:
                    arrival.incoming.discard()
                refusals[id(arrival)] = Refusal(OUT_OF_RESOURCES, "spool: the queue cannot be written")
            return
        for (arrival, _), is_new in zip(stored, news, strict=True):
            self._tell.count("stored" if is_new else "duplicate")
            if not is_new:
                arrival.incoming.discard()


def _read_instance(arrival: Arrival, wanted: Mapping[str, int]) -> ReceivedInstance | Refusal:
    """What the data set says of itself has to be what the command said (T67)."""
    incoming = arrival.incoming
    request = incoming.request
    try:
        with incoming.path.open("rb", buffering=8192) as file:
            file.seek(incoming.data_set_offset)
            texts, elements = read_texts(file, incoming.context.transfer_syntax, wanted)
    except HeaderError as error:
        return Refusal(CANNOT_UNDERSTAND, str(error))
    if texts.get(SOP_INSTANCE_UID) != request.sop_instance_uid or texts.get(SOP_CLASS_UID) != request.sop_class_uid:
        return Refusal(DATA_SET_MISMATCH, "the data set is not the instance that the command names")
    study = texts.get(STUDY_INSTANCE_UID, "")
    if not is_uid(study):
        return Refusal(DATA_SET_MISMATCH, "the data set has no Study Instance UID")
    return ReceivedInstance(
        incoming.spool_id,
        incoming.path,
        arrival.calling,
        arrival.called,
        request.sop_class_uid,
        request.sop_instance_uid,
        study,
        texts.get(MODALITY, ""),
        incoming.context.transfer_syntax,
        arrival.received_at,
        elements,
    )
