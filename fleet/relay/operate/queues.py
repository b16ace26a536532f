"""Each destination as an operator sees it: what is queued for it, how fast it goes, and whether it lives."""

from collections.abc import Mapping, Sequence
from typing import Any

from fleet.relay.forward.senders import Worker
from fleet.relay.operate import ledger
from fleet.relay.spool.queue import Spool


def describe_destinations(spool: Spool, workers_of: Mapping[str, Sequence[Worker]], now: float) -> list[dict[str, Any]]:
    """Those that are configured, then those that something is queued for although they are not."""
    queues = {row["destination"]: row for row in ledger.read_queues(spool, now)}
    unserved = [row for name, row in sorted(queues.items()) if name not in workers_of]
    paused = ledger.read_paused(spool)
    return [
        {
            "destination": name,
            "queued": queues.get(name, {}).get("queued", 0),
            "oldest_s": round(queues.get(name, {}).get("oldest_s", 0.0), 1),
            "last_minute": workers[0].meter.per_minute(now),
            "state": _state(workers, name in paused),
            "why": workers[0].circuit.reason,
        }
        for name, workers in sorted(workers_of.items())
    ] + [
        {
            "destination": row["destination"],
            "queued": row["queued"],
            "oldest_s": round(row["oldest_s"], 1),
            "last_minute": 0,
            "state": "down",
            "why": "it is not in the configuration any more; what is queued is decided anew",
        }
        for row in unserved
    ]


def _state(workers: Sequence[Worker], is_paused: bool) -> str:
    if is_paused:
        return "paused"
    circuit = workers[0].circuit
    if circuit.failures:
        return "down" if circuit.is_open else "failing"
    return "sending" if any(worker.is_sending for worker in workers) else "idle"
