"""What goes to stdout and to stderr: one document and nothing else, nothing when all is well, no stray escapes."""

import json
import os
import pty
import re
import signal
import socket
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from fleet.cli import running
from fleet.dicom.items import (
    ImplementationClassUID,
    ImplementationVersionName,
    MaximumLength,
    PresentationContextAC,
    UserInformation,
)
from fleet.dicom.pdu import AssociateAC
from fleet.documents.packaged import read_schema
from fleet.workflow.context import Context
from fleet.workflow.story import Story
from tests.cli.conftest import box
from tests.cli.doors import Door, clean_environment, command, spawn
from tests.verify.peers import ANSWER, RELEASED, Peer, answer_well, read_pdu, replies, serving
from tests.workflow.scenes import HEAD

CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def check(document: Mapping[str, Any], name: str) -> None:
    jsonschema.Draft202012Validator(dict(read_schema(name))).validate(document)


def test_json_of_a_sweep_is_one_document_that_its_schema_accepts(boxes: Door) -> None:
    said = boxes("verify", "-o", "json")
    check(said.json, "sweep")
    assert (said.status, said.err, said.json["summary"]) == (0, "", {"total": 1, "answered": 1})


@pytest.mark.parametrize("words", [["plan"], ["apply", "--yes", "--hold-down", "0s"], ["apply", "--check"]])
def test_json_of_a_run_is_one_document_that_its_schema_accepts(hosts: Door, words: list[str]) -> None:
    said = hosts(*words, "-o", "json")
    check(said.json, "run")
    assert said.json["exit_status"] == said.status
    assert said.json["host_summary"]["total"] == 2


def test_json_of_a_playbook_holds_its_sweep_too(hosts: Door, good: Peer) -> None:
    hosts.write("site: north\nentities:\n" + box("GOOD", good), "boxes.yml")
    said = hosts("run", "nightly-verify", "-o", "json")
    check(said.json, "run")
    assert said.json["sweep"]["summary"] == {"total": 1, "answered": 1}


WRONG = "entities: [\n"


@pytest.mark.parametrize("verb", ["validate", "plan", "apply", "verify", "render", "run", "doctor", "explain-value"])
def test_json_is_one_document_also_where_an_error_ends_the_run(door: Door, verb: str) -> None:
    more = {"apply": ["--yes"], "run": ["apply"], "explain-value": ["X.port"]}.get(verb, [])
    gone = door(verb, *more, "-o", "json")
    assert gone.json["schema"].startswith("fleet.")
    assert gone.status == 1
    door.write(WRONG)
    invalid = door(verb, *more, "-o", "json")
    assert invalid.json["schema"].startswith("fleet.")
    assert invalid.status == 2


def test_json_without_a_history_says_why(boxes: Door) -> None:
    boxes.history.write_bytes(b"")
    for words in (["plan"], ["verify"]):
        said = boxes(*words, "-o", "json")
        check(said.json, "sweep" if words == ["verify"] else "run")
        assert "history" in json.dumps(said.json)
        assert said.status == 1


@pytest.mark.parametrize("words", [["render"], ["validate"], ["history"], ["doctor"], ["inventory", "--list"]])
def test_json_of_the_other_verbs_is_one_document(boxes: Door, words: list[str]) -> None:
    boxes("plan")
    said = boxes(*words, *([] if words[0] == "inventory" else ["-o", "json"]))
    assert isinstance(said.json, dict | list)
    assert said.status == 0


def test_json_of_one_earlier_run_is_that_run_with_its_results(boxes: Door) -> None:
    run_id = boxes("verify", "-o", "json").json["run_id"]
    said = boxes("history", "last", "-o", "json")
    assert said.json["run"]["start"]["run_id"] == run_id
    assert [row["ae_title"] for row in said.json["results"]] == ["GOOD"]


@pytest.mark.parametrize("words", [["validate"], ["plan"], ["verify"], ["apply", "--yes"], ["run", "nightly-verify"]])
def test_quiet_says_nothing_when_all_is_well(boxes: Door, words: list[str]) -> None:
    said = boxes(*words, "-q")
    assert (said.status, said.out, said.err) == (0, "", "")


def test_quiet_speaks_when_something_is_wrong(boxes: Door, good: Peer) -> None:
    good.close()
    said = boxes("verify", "-q")
    assert (said.status, "GOOD" in said.out) == (2, True)


def test_csv_and_junit_hold_every_result(boxes: Door) -> None:
    assert boxes("verify", "-o", "csv").out.count("GOOD") == 1
    assert "GOOD" in boxes("verify", "-o", "junit").out
    assert boxes("plan", "-o", "csv").status == 64


# Terminals -----------------------------------------------------------------------------------------------


def on_terminal(*words: str, folder: Path, **more: str) -> tuple[int, str]:
    """The verb on a terminal of its own; what it wrote there, and its exit status."""
    controller, terminal = pty.openpty()
    process = subprocess.Popen(
        command(*words),
        cwd=folder,
        env=clean_environment(folder) | {"TERM": "xterm"} | more,
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        start_new_session=True,
    )
    os.close(terminal)
    seen = b""
    while True:
        try:
            piece = os.read(controller, 65536)
        except OSError:  # EIO: the last process on the other side has gone (pty(7))
            break
        if not piece:
            break
        seen += piece
    os.close(controller)
    return process.wait(30), seen.decode()


def test_progress_is_shown_on_a_terminal_and_leaves_the_cursor_visible(boxes: Door) -> None:
    status, seen = on_terminal(*boxes.typed("verify"), folder=boxes.root)
    assert status == 0
    assert "echo" in seen
    assert seen.rindex("\x1b[?25h") > seen.rindex("\x1b[?25l")


def test_progress_and_colours_are_nowhere_but_on_a_terminal(boxes: Door) -> None:
    done = spawn(*boxes.typed("verify", "-v"), folder=boxes.root)
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"\x1b" not in done.stdout


@pytest.mark.parametrize("how", [{"NO_COLOR": "1"}, {"NO_COLOR": ""}, {}])
def test_no_color_takes_the_colours_away(boxes: Door, how: dict[str, str]) -> None:
    words = [] if how else ["--no-color"]
    _, seen = on_terminal(*boxes.typed("verify", "-v", *words), folder=boxes.root, **how)
    assert not re.search(r"\x1b\[[0-9;]*[1-9][0-9;]*m", seen)
    _, coloured = on_terminal(*boxes.typed("verify", "-v"), folder=boxes.root)
    assert re.search(r"\x1b\[[0-9;]*[1-9][0-9;]*m", coloured)


# Interruptions -------------------------------------------------------------------------------------------


def hang(sock: socket.socket) -> None:
    read_pdu(sock)
    read_pdu(sock)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_sweep_that_is_told_to_stop_reports_and_records_what_it_had(door: Door, number: signal.Signals) -> None:
    with serving(answer_well, "127.0.33.1") as good, serving(hang, "127.0.33.2") as hung:
        slow = HEAD.replace("acse: 1s", "acse: 30s").replace("total: 2s", "total: 40s")
        door.write(slow + "entities:\n" + box("GOOD", good) + box("HUNG", hung))
        process = subprocess.Popen(
            command(*door.typed("verify", "-o", "json")),
            cwd=door.root,
            env=clean_environment(door.root),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        deadline = time.monotonic() + 20
        while not (good.connections and hung.connections) and time.monotonic() < deadline:
            time.sleep(0.02)
        time.sleep(0.3)  # the answer is on its way: nothing here can be asked whether it came
        process.send_signal(number)
        out, err = process.communicate(timeout=20)
    document = json.loads(out)
    assert {row["ae_title"]: row["outcome"] for row in document["results"]} == {"GOOD": "answered", "HUNG": "unknown"}
    assert process.returncode == 1
    assert b"interrupted" in err
    assert b"Traceback" not in err
    stored = door("history", "last", "-o", "json").json
    assert len(stored["results"]) == 2
    assert stored["run"]["exit_status"] == 1


def test_whoever_stops_reading_gets_no_traceback(boxes: Door) -> None:
    for words in (["schema", "inventory"], [*boxes.typed("verify", "-o", "json")], [*boxes.typed("render")]):
        line = " ".join(f"'{word}'" for word in command(*words))
        done = subprocess.run(
            ["/bin/sh", "-c", f"{line} | true"],
            cwd=boxes.root,
            env=clean_environment(boxes.root),
            capture_output=True,
            timeout=30,
            check=False,
        )
        assert done.stderr == b""


def test_ctrl_c_during_a_plan_is_1_and_recorded(hosts: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Story, "plan", interrupted)
    said = hosts("plan", "-o", "json")
    assert said.status == 1
    assert said.json["failure"].startswith("interrupted")
    assert "fleet: interrupted" in said.err


# Asking before writing -----------------------------------------------------------------------------------


def test_apply_shows_the_plan_before_it_asks_and_a_no_writes_nothing(
    hosts: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    class Terminal:
        def isatty(self) -> bool:
            return True

    def say_no(question: str, **_: object) -> bool:
        asked.append(question + hosts.capsys.readouterr().err)
        return False

    monkeypatch.setattr("sys.stdin", Terminal())
    monkeypatch.setattr("click.confirm", say_no)
    said = hosts("apply")
    assert said.status == 3
    assert "not confirmed: nothing was written" in said.out
    assert "2 hosts would change" in asked[0]
    assert "/etc/note" in asked[0]
    assert {verb for host in hosts.machines.values() for verb in host.log} == {"observe"}


def test_apply_asks_nobody_where_nothing_would_be_written_anyway(hosts: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal:
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr("sys.stdin", Terminal())
    monkeypatch.setattr("click.confirm", lambda *_, **__: pytest.fail("asked"))
    del hosts.machines["north-2"]
    assert hosts("apply").status == 2


# What peers say ------------------------------------------------------------------------------------------


EVIL = b"\x1b[31mX\x07\x9b2J\r"


def evil_accept() -> bytes:
    information = UserInformation(
        (MaximumLength(16384), ImplementationClassUID("1.2.3"), ImplementationVersionName("EVIL"))
    )
    accept = AssociateAC(
        (PresentationContextAC(1, 0, "1.2.840.10008.1.2"),), information, reserved_titles=bytes(32)
    ).encode()
    grown = accept.replace(b"\x55\x00\x00\x04EVIL", b"\x55\x00" + len(EVIL).to_bytes(2, "big") + EVIL)
    more = len(grown) - len(accept)
    start = grown.index(b"\x50\x00")
    length = int.from_bytes(grown[start + 2 : start + 4], "big") + more
    grown = grown[: start + 2] + length.to_bytes(2, "big") + grown[start + 4 :]
    return grown[:2] + (len(grown) - 6).to_bytes(4, "big") + grown[6:]


def answer_evilly(sock: socket.socket) -> None:
    for reply in (evil_accept(), ANSWER, RELEASED):
        read_pdu(sock)
        sock.sendall(reply)


@pytest.mark.parametrize(
    "words",
    [
        ["verify", "-vv"],
        ["verify", "-o", "json"],
        ["verify", "-o", "junit"],
        ["verify", "-o", "csv"],
        ["run", "nightly-verify", "-vv"],
        ["history", "last"],
        ["history", "last", "-o", "json"],
        ["report"],
    ],
)
def test_escapes_of_a_peer_reach_no_terminal(door: Door, words: list[str]) -> None:  # T53
    with serving(answer_evilly, "127.0.33.3") as evil:
        expect = ", verify: {expect: {implementation_version: GOOD}}"
        door.write(HEAD + "entities:\n" + box("EVIL", evil, expect))
        if words[0] in {"history", "report"}:
            assert door("verify").status == 2
        said = door(*words)
    assert not CONTROL.search(said.out), repr(CONTROL.search(said.out))
    assert not CONTROL.search(said.err)
    assert "EVIL" in said.out


@pytest.mark.parametrize("level", [[], ["-v"], ["-d"]])
def test_escapes_of_a_peer_reach_no_terminal_by_echo(door: Door, level: list[str]) -> None:  # T53
    with serving(answer_evilly, "127.0.33.3") as evil:
        said = door.bare("echo", *level, evil.address, str(evil.port))
    assert (said.status, CONTROL.search(said.out)) == (0, None)


def test_a_rejection_by_garbage_reaches_no_terminal_raw(door: Door) -> None:  # T53
    with serving(replies(b"HTTP/1.1 400 \x1b[2J\x07\r\n\r\n"), "127.0.33.4") as web:
        door.write(HEAD + "entities:\n" + box("WEB", web))
        for words in (["verify"], ["verify", "-o", "json"]):
            said = door(*words)
            assert (said.status, CONTROL.search(said.out)) == (2, None)


# Secrets -------------------------------------------------------------------------------------------------

CANARY = "canary-4711-password"


def test_a_password_is_in_no_output_and_in_no_history(boxes: Door, tmp_path: Path) -> None:  # T39
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    key.write_text("no key", encoding="ascii")
    certificate.write_text("no certificate", encoding="ascii")
    for level in ([], ["-v"], ["-d"]):
        said = boxes.bare("echo", *level, "+tls", str(key), str(certificate), "+pw", CANARY, "127.0.0.1", "1")
        assert said.status != 0
        assert CANARY not in said.out + said.err
    assert boxes("verify", "-l", "GOOD", "+pw", CANARY).status == 64  # no verb but echo has it
    assert boxes("verify").status == 0
    stored = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert b"SQLite" in stored
    assert CANARY.encode() not in stored


def test_what_was_typed_is_in_the_history(boxes: Door) -> None:
    boxes("verify", "--repeat", "2")
    assert boxes("history", "last", "-o", "json").json["run"]["start"]["argv"][-2:] == ["--repeat", "2"]


def test_a_bug_ends_as_1_with_a_word_about_it_and_a_recorded_run(hosts: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    def stumble(*_: object) -> None:
        raise RuntimeError("stumbled")

    monkeypatch.setattr(Story, "plan", stumble)
    said = hosts("plan")
    assert (said.status, "this is a bug in fleet" in said.err) == (1, True)
    assert hosts("history", "last", "-o", "json").json["run"]["exit_status"] == 1


def test_bars_are_closed_whatever_the_run_ended_by(monkeypatch: pytest.MonkeyPatch, hosts: Door) -> None:
    closed: list[Context] = []
    monkeypatch.setattr(running, "close_progress", closed.append)
    hosts("plan", "-l", "nobody")
    assert len(closed) == 1
