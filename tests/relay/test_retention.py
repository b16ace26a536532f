"""What is delivered is kept for a time and up to a size; what is not delivered is kept."""

import json
from pathlib import Path

import pytest

from fleet.relay.daemon import Daemon, Outside
from fleet.relay.operate import ledger
from fleet.relay.operate.notify import Notifier
from fleet.relay.spool.queue import Spool
from fleet.relay.telling import Teller
from fleet.relay.values import Decision, ReceivedInstance, StudyFacts
from tests.relay.configs import make_document
from tests.relay.process import free_port
from tests.relay.test_spool import make_stored


def fill(folder: Path, count: int) -> Spool:
    """Instances of 1,000 bytes each, by their records."""
    spool = Spool(folder)

    def decide(instance: ReceivedInstance, _study: StudyFacts) -> tuple[Decision, ...]:
        return (Decision("all", "send", "ARCHIVE"),)

    for number in range(count):
        stored = make_stored(spool, f"{number:04}", uid=f"1.2.{number}", sha256=f"{number}")
        spool.add([type(stored)(stored.instance, 1000, 0, stored.sha256)], decide)
    return spool


def deliver(spool: Spool, at: float, *names: str) -> None:
    for task in spool.claim("ARCHIVE", 1e9, 1000):
        if task.instance.spool_id in names:
            spool.record_delivered(task, at)


def left(spool: Spool) -> list[str]:
    return sorted(path.stem for path in spool.files.iterdir())


def keep(folder: Path, document: dict[str, object], now: float) -> list[str]:
    """One look of the daemon at what it keeps."""
    config = folder / "relay.json"
    document["listen"] = {"address": "127.0.0.1", "port": free_port()}
    config.write_text(json.dumps(document))
    daemon = Daemon(config, Outside(Teller(lambda _line: None, bytes(32), lambda: 0.0), Notifier(None)))
    try:
        daemon._house.forget(now)
        return left(daemon.spool)
    finally:
        daemon.start()
        daemon.stop()


@pytest.mark.parametrize(
    ("retention", "now", "expected"),
    [
        ({"keep_s": 100, "max_bytes": None}, 150.0, ["0000", "0001", "0002", "0003"]),
        ({"keep_s": 100, "max_bytes": None}, 201.0, ["0001", "0002", "0003"]),
        ({"keep_s": 100, "max_bytes": None}, 999.0, ["0003"]),
        ({"keep_s": 0, "max_bytes": None}, 301.0, ["0003"]),
        ({"keep_s": 1000, "max_bytes": 2500}, 301.0, ["0002", "0003"]),
        ({"keep_s": 1000, "max_bytes": 4000}, 301.0, ["0000", "0001", "0002", "0003"]),
        ({"keep_s": 1000, "max_bytes": 0}, 301.0, ["0003"]),
    ],
)
def test_delivered_instances_go_by_age_and_by_space_oldest_first(
    tmp_path: Path, retention: dict[str, object], now: float, expected: list[str]
) -> None:
    spool = fill(tmp_path / "spool", 4)
    for number in range(3):
        deliver(spool, 100.0 * (number + 1), f"{number:04}")
    spool.close()
    document = make_document(tmp_path / "spool", retention=retention)
    assert keep(tmp_path, document, now) == expected


def test_without_room_what_is_delivered_goes_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """T61."""
    spool = fill(tmp_path / "spool", 2)
    deliver(spool, 100.0, "0000")
    spool.close()
    monkeypatch.setattr(Spool, "free_bytes", lambda _self: 0)
    document = make_document(tmp_path / "spool", retention={"keep_s": 1000, "max_bytes": None})
    assert keep(tmp_path, document, 101.0) == ["0001"]


def test_forgetting_takes_what_belongs_to_the_study_with_its_last_instance(tmp_path: Path) -> None:
    spool = fill(tmp_path / "spool", 2)
    deliver(spool, 1.0, "0000", "0001")
    assert spool.forget(["0000"]) == 1
    assert spool.read("SELECT count(*) FROM studies") == spool.read("SELECT count(*) FROM choices") == [(1,)]
    assert spool.forget(["0001"]) == 1
    assert spool.read("SELECT count(*) FROM studies") == spool.read("SELECT count(*) FROM choices") == [(0,)]
    assert ledger.read_kept(spool) == {"instances": 0, "bytes": 0}


def test_thousands_are_forgotten_in_one_look(tmp_path: Path) -> None:
    spool = fill(tmp_path / "spool", 0)

    def decide(_instance: ReceivedInstance, _study: StudyFacts) -> tuple[Decision, ...]:
        return (Decision("all", "skip"),)

    spool.add([make_stored(spool, f"{number:05}", f"1.3.{number}", f"{number}") for number in range(1200)], decide)
    spool.close()
    document = make_document(tmp_path / "spool", retention={"keep_s": 0, "max_bytes": None})
    assert keep(tmp_path, document, 1e9) == []
