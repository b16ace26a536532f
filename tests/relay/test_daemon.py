"""The daemon as operators and systemd see it."""

import json
import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from fleet.relay.__main__ import main
from fleet.relay.spool.queue import Spool
from tests.relay.configs import make_document, make_route
from tests.relay.house import make_data_set
from tests.relay.process import ROOT, Relay, relaying, wait_for
from tests.relay.sink import Script, sinking
from tests.relay.test_receive import parcel


def send(relay: Relay, folder: Path, *uids: str) -> None:
    with relay.connect() as association:
        for uid in uids:
            assert association.store(parcel(folder, make_data_set(uid), uid)) == 0
        association.release()


def test_what_comes_in_goes_out_and_is_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with sinking(Script()) as script, relaying(tmp_path, script.port) as relay:
        send(relay, tmp_path, "1.2.1", "1.2.2")
        wait_for(lambda: sorted(script.uids()) == ["1.2.1", "1.2.2"])
        wait_for(lambda: relay.ask("status")["states"]["queued"] == 0)
        status = relay.ask("status")
        assert status["counts"]["stored"] == status["counts"]["delivered"] == 2
        assert [caller["instances"] for caller in status["callers"]] == [2]
        assert 'fleet_relay_events_total{event="delivered"} 2' in relay.ask("metrics")
        assert main(["status", str(relay.config)]) == 0
        assert "ARCHIVE" in capsys.readouterr().out
        for path in relay.spool.rglob("*"):
            assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path
        assert relay.stop() == 0
        for planted in ("PLANTED", "1.2.1", "1.2.2"):  # T73
            assert planted not in relay.log.read_text()


def test_a_bad_new_file_keeps_the_old_one_and_a_good_one_holds_at_once(tmp_path: Path) -> None:
    with sinking(Script()) as script, relaying(tmp_path, script.port) as relay:
        assert relay.process is not None
        with relay.connect() as association:
            relay.config.write_text(json.dumps({**relay.document, "surprise": 1}))
            relay.process.send_signal(signal.SIGHUP)
            wait_for(lambda: any(each["event"] == "reload-refused" for each in relay.events()))
            relay.document["further_titles"] = ["SECOND"]
            relay.write()
            relay.process.send_signal(signal.SIGHUP)
            wait_for(lambda: any(each["event"] == "reloaded" for each in relay.events()))
            assert association.store(parcel(tmp_path, make_data_set("1.2.5"), "1.2.5")) == 0
        wait_for(lambda: script.uids() == ["1.2.5"])


def test_pause_resume_resend_and_drain(tmp_path: Path) -> None:
    with sinking(Script()) as script, relaying(tmp_path, script.port) as relay:
        relay.ask("pause", destination="ARCHIVE")
        send(relay, tmp_path, "1.2.7")
        assert relay.ask("status")["destinations"][0]["state"] == "paused"
        assert [row["state"] for row in relay.ask("list")] == ["queued"]
        assert script.uids() == []
        relay.ask("resume", destination="ARCHIVE")
        wait_for(lambda: script.uids() == ["1.2.7"])
        wait_for(lambda: relay.ask("status")["states"]["queued"] == 0)
        assert relay.ask("resend", study="1.2.3", destination="ARCHIVE") == {"changed": 1}
        relay.ask("drain")
        assert relay.process is not None
        assert relay.process.wait(15) == 0
        assert script.uids() == ["1.2.7", "1.2.7"]


def test_a_quarantined_instance_is_released_by_its_number(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    answers = [0xC000, 0]
    with sinking(Script(status=lambda _uid: answers.pop(0))) as script, relaying(tmp_path, script.port) as relay:
        send(relay, tmp_path, "1.2.9")
        wait_for(lambda: relay.ask("status")["states"]["quarantined"] == 1)
        assert main(["quarantine", str(relay.config), "show"]) == 0
        task = json.loads(capsys.readouterr().out)["task"]
        assert main(["quarantine", str(relay.config), "release", str(task)]) == 0
        wait_for(lambda: script.uids() == ["1.2.9"])
        assert main(["quarantine", str(relay.config), "release", str(task)]) == 1
        assert main(["quarantine", str(relay.config), "drop", "4711"]) == 1
        assert "no such task is quarantined" in capsys.readouterr().err


def test_a_route_that_deidentifies_lets_no_name_out(tmp_path: Path) -> None:
    """T74: what leaves is what the route's steps made; the original stays in the spool."""
    deidentify = {"profile": "basic", "options": [], "pseudonyms": ["PatientID"]}
    routes = [make_route(deidentify=deidentify)]
    with sinking(Script(keep=True)) as script, relaying(tmp_path, script.port, routes=routes) as relay:
        send(relay, tmp_path, "1.2.40", "1.2.41")
        wait_for(lambda: len(script.received) == 2 or relay.ask("status")["states"]["quarantined"] > 0)
        assert relay.ask("status")["states"]["quarantined"] == 0, relay.ask("list")
        assert not {"1.2.40", "1.2.41"} & set(script.uids())
        for planted in (b"PLANTED", b"1.2.40", b"1.2.41"):
            assert planted not in bytes(script.bodies)
        assert len(script.bodies) > 4000
        wait_for(lambda: list((relay.spool / "work").iterdir()) == [])


def test_systemd_is_told_when_it_is_ready_alive_and_stopping(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock, sinking(Script()) as script:
        sock.bind(str(tmp_path / "notify"))
        sock.settimeout(10)
        relay = Relay(tmp_path, script.port)
        relay.start(NOTIFY_SOCKET=str(tmp_path / "notify"))
        assert sock.recv(1000).startswith(b"READY=1")
        assert sock.recv(1000) == b"WATCHDOG=1"
        assert relay.stop() == 0
        rest = b""
        while b"STOPPING=1" not in rest:
            rest = sock.recv(1000)


def test_a_second_relay_exits(tmp_path: Path) -> None:
    """T77."""
    with sinking(Script()) as script, relaying(tmp_path, script.port) as relay:
        done = subprocess.run(
            [sys.executable, "-m", "fleet.relay", "run", str(relay.config)],
            capture_output=True, text=True, timeout=20, check=False, cwd=ROOT,
        )  # fmt: skip
        assert done.returncode == 1
        assert "another relay works" in done.stderr


def test_a_port_that_is_taken_is_told_and_the_spool_is_free_again(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        document = make_document(tmp_path / "spool")
        document["listen"]["port"] = sock.getsockname()[1]
        path = tmp_path / "relay.json"
        path.write_text(json.dumps(document))
        command = [sys.executable, "-m", "fleet.relay", "run", str(path)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False, cwd=ROOT)
    assert done.returncode == 1
    assert "Address already in use; nothing was taken" in done.stderr
    Spool(tmp_path / "spool").close()


def test_what_is_not_built_does_not_start(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    document = make_document(tmp_path / "spool", routes=[make_route(when={"elements": {"NoSuchKeyword": ["x"]}})])
    document["destinations"]["ARCHIVE"]["tls"] = {"ca_file": "/no/such/ca.pem", "server_name": "archive"}
    path = tmp_path / "relay.json"
    path.write_text(json.dumps(document))
    assert main(["check", str(path)]) == 2
    told = capsys.readouterr().err
    assert "there is no CA file /no/such/ca.pem" in told
    assert "NoSuchKeyword is no keyword" in told
    assert not (tmp_path / "spool").exists()


def test_verbs_without_a_relay_say_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "relay.json"
    path.write_text(json.dumps(make_document(tmp_path / "spool")))
    assert main(["status", str(path)]) == 1
    assert "no relay has run from this CONFIG on this machine" in capsys.readouterr().err
    (tmp_path / "spool").mkdir()
    assert main(["status", str(path)]) == 1
    assert "No such file or directory; is its service running?" in capsys.readouterr().err
    (tmp_path / "spool").rmdir()
    (tmp_path / "spool").write_text("no folder")
    assert main(["status", str(path)]) == 1
    assert "cannot be entered: Not a directory" in capsys.readouterr().err
    assert main(["when", str(path), "all", "--at", "2026-03-29T02:30+01:00"]) == 0
    assert "all at Sun 2026-03-29 01:30" in capsys.readouterr().out
    assert main(["when", str(path), "al"]) == 64
    assert "no route 'al'; did you mean 'all'?" in capsys.readouterr().err
    with pytest.raises(SystemExit) as raised:
        main(["dance", str(path)])
    assert raised.value.code == 64


def test_what_is_left_is_told_by_a_relay_that_runs_and_by_a_spool_that_lies_still(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with sinking(Script()) as script, relaying(tmp_path, script.port) as relay:
        assert main(["left", str(relay.config)]) == 0
        relay.ask("pause", destination="ARCHIVE")
        send(relay, tmp_path, "1.2.50", "1.2.51")
        capsys.readouterr()
        assert main(["left", str(relay.config)]) == 2
        assert capsys.readouterr().out == f"2 queued left in {relay.spool}\n"
        assert relay.stop() == 0
        assert main(["left", str(relay.config)]) == 2
        assert capsys.readouterr().out == f"2 queued left in {relay.spool}\n"
        relay.start()
        relay.ask("resume", destination="ARCHIVE")
        wait_for(lambda: main(["left", str(relay.config)]) == 0)


def test_nothing_is_left_where_no_spool_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "relay.json"
    path.write_text(json.dumps(make_document(tmp_path / "spool")))
    assert main(["left", str(path)]) == 0
    assert not (tmp_path / "spool").exists()


def test_a_new_file_with_a_name_that_is_none_does_not_end_the_relay(tmp_path: Path) -> None:
    with sinking(Script()) as script, relaying(tmp_path, script.port) as relay:
        assert relay.process is not None
        relay.document["callers"][0]["addresses"] = ["x" * 64 + ".example", "127.0.0.1"]
        relay.document["callers"].append({**relay.document["callers"][0], "ae_title": "CT2", "addresses": ["a..b"]})
        relay.write()
        relay.process.send_signal(signal.SIGHUP)
        wait_for(lambda: any(each["event"] == "reloaded" for each in relay.events()))
        assert [each["calling"] for each in relay.events() if each["event"] == "caller-not-found"] == ["CT2"]
        send(relay, tmp_path, "1.2.5")
        wait_for(lambda: script.uids() == ["1.2.5"])


def test_a_reload_waits_for_no_destination_that_is_silent(tmp_path: Path) -> None:
    """A watchdog would end the relay, and every association with it, while it waits."""
    with socket.create_server(("127.0.0.1", 0)) as silent, sinking(Script()) as script:
        silent_port = silent.getsockname()[1]
        with relaying(tmp_path, silent_port) as relay:
            assert relay.process is not None
            relay.document["destinations"]["ARCHIVE"]["timeouts_s"] = {"connect": 60, "acse": 60}
            relay.write()
            relay.process.send_signal(signal.SIGHUP)
            wait_for(lambda: any(each["event"] == "reloaded" for each in relay.events()))
            send(relay, tmp_path, "1.2.5")
            peer, _ = silent.accept()
            relay.document["destinations"]["ARCHIVE"]["addresses"][0]["port"] = script.port
            relay.write()
            relay.process.send_signal(signal.SIGHUP)
            wait_for(lambda: sum(each["event"] == "reloaded" for each in relay.events()) == 2, 5)
            assert script.uids() == [], "what is on its way with the old one is not sent beside it"
            peer.close()
            wait_for(lambda: script.uids() == ["1.2.5"], 30)


def test_what_is_queued_for_a_destination_that_is_gone_goes_where_its_route_leads_now(tmp_path: Path) -> None:
    with sinking(Script()) as script, relaying(tmp_path, script.port) as relay:
        assert relay.process is not None
        relay.ask("pause", destination="ARCHIVE")
        send(relay, tmp_path, "1.2.5")
        relay.document["destinations"]["OTHER"] = {**relay.document["destinations"].pop("ARCHIVE"), "ae_title": "OTHER"}
        relay.document["routes"] = [make_route(to="OTHER")]
        relay.write()
        relay.process.send_signal(signal.SIGHUP)
        wait_for(lambda: script.uids() == ["1.2.5"])
        [told] = [each for each in relay.events() if each["event"] == "stray"]
        assert (told["route"], told["destination"], told["tasks"]) == ("all", "ARCHIVE", 1)
        assert [each["destination"] for each in relay.ask("status")["destinations"]] == ["OTHER"]


def test_what_no_route_takes_any_more_is_shown_with_the_reason_and_comes_back_with_its_route(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with sinking(Script()) as script, relaying(tmp_path, script.port) as relay:
        relay.ask("pause", destination="ARCHIVE")
        send(relay, tmp_path, "1.2.5")
        assert relay.stop() == 0
        relay.document["routes"] = [make_route("mr", when={"modality": ["MR"]})]
        relay.start()
        gone = "its route all is not in the configuration any more"
        wait_for(lambda: relay.ask("status")["unrouted"] == [{"route": "all", "why": gone, "tasks": 1}])
        assert f'fleet_relay_unrouted{{route="all",why="{gone}"}} 1' in relay.ask("metrics")
        assert main(["status", str(relay.config)]) == 0
        assert f"1 of route all: {gone}" in capsys.readouterr().out
        relay.ask("resume", destination="ARCHIVE")
        relay.document["routes"] = [make_route()]
        relay.write()
        assert relay.process is not None
        relay.process.send_signal(signal.SIGHUP)
        wait_for(lambda: script.uids() == ["1.2.5"])
        wait_for(lambda: relay.ask("status")["unrouted"] == [])


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["statu", "relay.json"], "no 'statu'; did you mean 'status'?"),
        (["quarantine", "relay.json", "relese"], "no 'relese'; did you mean 'release'?"),
        (["list", "relay.json", "--state", "queue"], "no 'queue'; did you mean 'queued'?"),
        (["zzz", "relay.json"], "no 'zzz'; there are run, check, "),
    ],
)
def test_a_slip_in_a_verb_or_a_word_of_it_is_told_with_what_was_meant(
    words: list[str], hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 64
    assert hint in capsys.readouterr().err
