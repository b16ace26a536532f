"""The spool's key: lost or exchanged, it is told before a patient gets another name. # T74"""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fleet.errors import UsageError
from fleet.relay.__main__ import main
from fleet.relay.spool.key import NewKey, accept_key, read_changes, read_key
from fleet.relay.spool.queue import Spool
from fleet.relay.spool.schema import SpoolError
from tests.relay.configs import make_document, make_route
from tests.relay.process import ROOT, relaying, wait_for
from tests.relay.sink import Script, sinking
from tests.relay.test_spool import make_stored, to_archive

FIRST, SECOND = b"1" * 32, b"2" * 32
SAID = NewKey(1.0, 1000, "the disk is gone")


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "spool")


def receive(spool: Spool) -> Path:
    """Make history, and say where the key lies."""
    spool.add([make_stored(spool, "a")], to_archive)
    return spool.folder / "deidentify.key"


def test_a_key_that_others_may_read_or_that_is_cut_off_is_refused(spool: Spool) -> None:
    """T74: with an empty key, every name could be tried out."""
    key = read_key(spool, lambda: bytes(32), True)
    path = spool.folder / "deidentify.key"
    assert read_key(spool, lambda: b"another".ljust(32), True) == key
    path.chmod(0o640)
    with pytest.raises(SpoolError, match="0600"):
        read_key(spool, lambda: key, True)
    path.chmod(0o600)
    path.write_bytes(b"")
    with pytest.raises(SpoolError, match="holds 0 bytes"):
        read_key(spool, lambda: key, True)


def test_a_fresh_spool_makes_its_key_and_may_lose_it_before_it_received_anything(spool: Spool) -> None:
    assert read_key(spool, lambda: FIRST, True) == FIRST
    (spool.folder / "deidentify.key").unlink()
    assert read_key(spool, lambda: SECOND, True) == SECOND


def test_a_key_that_is_missing_beside_what_was_received_is_not_made_anew(spool: Spool) -> None:
    read_key(spool, lambda: FIRST, True)
    path = receive(spool)
    path.unlink()
    with pytest.raises(SpoolError, match=r"deidentify.key is missing.*other stand-ins.*new-key"):
        read_key(spool, lambda: SECOND, False)
    assert not path.exists()
    spool.write_private(path, FIRST)
    assert read_key(spool, lambda: SECOND, True) == FIRST


def test_a_key_that_was_exchanged_is_refused_although_all_was_forgotten_since(spool: Spool) -> None:
    read_key(spool, lambda: FIRST, True)
    path = receive(spool)
    spool.change("DELETE FROM instances")
    path.write_bytes(SECOND)
    with pytest.raises(SpoolError, match="another key than the one"):
        read_key(spool, lambda: FIRST, True)


def test_a_spool_of_an_older_relay_that_lost_its_key_is_refused_where_a_route_needs_it(spool: Spool) -> None:
    receive(spool)
    with pytest.raises(SpoolError, match="is missing"):
        read_key(spool, lambda: FIRST, True)


def test_where_nothing_was_ever_deidentified_a_lost_key_stops_nobody(spool: Spool) -> None:
    read_key(spool, lambda: FIRST, False)
    receive(spool).unlink()
    assert read_key(spool, lambda: SECOND, False) == SECOND
    assert read_key(spool, lambda: FIRST, True) == SECOND, "from here on it is used"
    (spool.folder / "deidentify.key").unlink()
    with pytest.raises(SpoolError, match="is missing"):
        read_key(spool, lambda: FIRST, True)


def test_a_person_says_that_it_is_lost_for_good_and_that_is_written_down(spool: Spool) -> None:
    read_key(spool, lambda: FIRST, True)
    path = receive(spool)
    with pytest.raises(UsageError, match="works with; nothing was changed"):
        accept_key(spool, lambda: SECOND, SAID)
    path.unlink()
    with pytest.raises(UsageError, match="say why"):
        accept_key(spool, lambda: SECOND, NewKey(1.0, 1000, " "))
    accept_key(spool, lambda: SECOND, SAID)
    assert read_key(spool, lambda: FIRST, True) == SECOND
    [change] = read_changes(spool)
    assert (change["at"], change["user_id"], change["reason"]) == (1.0, 1000, "the disk is gone")
    database = (spool.folder / "queue.sqlite-wal").read_bytes() + (spool.folder / "queue.sqlite").read_bytes()
    assert SECOND not in database


def test_a_relay_does_not_start_without_its_key_and_does_when_it_was_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    deidentify = {"profile": "basic", "options": [], "pseudonyms": ["PatientID"]}
    path = tmp_path / "relay.json"
    path.write_text(json.dumps(make_document(tmp_path / "spool", routes=[make_route(deidentify=deidentify)])))
    spool = Spool(tmp_path / "spool")
    receive(spool)
    spool.close()
    command = [sys.executable, "-m", "fleet.relay", "run", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False, cwd=ROOT)
    assert done.returncode == 1
    assert "deidentify.key is missing" in done.stderr
    assert main(["new-key", str(path), "--reason", "no backup"]) == 0
    assert "keep a copy" in capsys.readouterr().out
    assert main(["new-key", str(path), "--reason", "no backup"]) == 64


def test_a_reload_without_the_key_is_refused_and_the_old_file_holds_on(tmp_path: Path) -> None:
    deidentify = {"profile": "basic", "options": [], "pseudonyms": ["PatientID"]}
    routes = [make_route(deidentify=deidentify)]
    spool = Spool(tmp_path / "spool")
    receive(spool)
    spool.write_private(spool.folder / "deidentify.key", FIRST)
    spool.close()
    with sinking(Script()) as script, relaying(tmp_path, script.port, routes=routes) as relay:
        assert relay.process is not None
        (relay.spool / "deidentify.key").unlink()
        relay.document["further_titles"] = ["SECOND"]
        relay.write()
        relay.process.send_signal(signal.SIGHUP)
        wait_for(lambda: any(each["event"] == "reload-refused" for each in relay.events()))
        [refused] = [each for each in relay.events() if each["event"] == "reload-refused"]
        assert "deidentify.key is missing" in refused["why"]
        (relay.spool / "deidentify.key").write_bytes(FIRST)
        (relay.spool / "deidentify.key").chmod(0o600)
        relay.process.send_signal(signal.SIGHUP)
        wait_for(lambda: any(each["event"] == "reloaded" for each in relay.events()))
