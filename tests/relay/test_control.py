"""The operator's door: whatever is asked, the relay answers in words and goes on."""

import json
import socket
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fleet.errors import FleetError
from fleet.relay.operate.control import MAX_REQUEST_BYTES, SOCKET_NAME
from tests.relay.process import Relay, relaying
from tests.relay.sink import Script, sinking

VERBS = (
    "status", "metrics", "list", "retry", "release", "drop", "pause", "resume", "resend", "reidentify", "dance",
)  # fmt: skip
LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(-(10**40), 10**40), st.floats(), st.text(max_size=20),
    st.sampled_from(["ARCHIVE", "\ud800", "1.2.3", "queued", "\0"]),
)  # fmt: skip
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
)
KEYS = st.sampled_from(["task", "destination", "study", "states", "asked", "reason", "user_id"])


def say(relay: Relay, line: bytes) -> dict[str, Any]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(10)
        sock.connect(str(relay.spool / SOCKET_NAME))
        sock.sendall(line)
        sock.shutdown(socket.SHUT_WR)
        with sock.makefile("rb") as file:
            answer: dict[str, Any] = json.loads(file.readline())
    return answer


def test_what_cannot_be_meant_is_refused_in_words(tmp_path: Path) -> None:
    with sinking(Script()) as script, relaying(tmp_path, script.port) as relay:
        for task in (10**30, -1, 0, True, 1.5, "7", None, [7], {"a": 1}):
            for verb in ("release", "drop"):
                with pytest.raises(FleetError, match="a number that `list` tells"):
                    relay.ask(verb, task=task)
        with pytest.raises(FleetError, match="no such task"):
            relay.ask("drop", task=2**63 - 1)
        odd: tuple[Any, ...] = ([], {}, 7, "\ud800")
        for destination in odd:
            with pytest.raises(FleetError, match="'destination' of a request is text"):
                relay.ask("pause", destination=destination)
        with pytest.raises(FleetError, match="'NOBODY' is no destination"):
            relay.ask("pause", destination="NOBODY")
        for states in ("queued", ["gone"], [["queued"]], {"a": 1}, 7):
            with pytest.raises(FleetError, match="'states' of a request is a list of"):
                relay.ask("list", states=states)
        assert relay.ask("list", states=["queued", "queued"]) == []
        for line in (b"", b"\n", b"[" * 60_000 + b"\n", b"\xff\n", b"7\n", b"{\n", b"1" * 5000 + b"\n"):
            assert "nothing was done" in say(relay, line)["error"]
        most = json.dumps({"verb": "status", "more": "x" * (MAX_REQUEST_BYTES - 40)}).encode() + b"\n"
        assert len(most) <= MAX_REQUEST_BYTES
        assert "answer" in say(relay, most)
        assert relay.ask("status")["states"]["queued"] == 0


def test_no_request_gets_an_internal_error_or_none_at_all(tmp_path: Path) -> None:
    with sinking(Script()) as script, relaying(tmp_path, script.port) as relay:

        @settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
        @given(st.sampled_from(VERBS) | VALUES, st.dictionaries(KEYS, VALUES, max_size=4))
        def fuzz(verb: Any, more: dict[str, Any]) -> None:
            answer = say(relay, json.dumps({"verb": verb, **more}).encode() + b"\n")
            assert "answer" in answer or "internal" not in answer["error"], answer

        fuzz()
        assert relay.process is not None
        assert relay.process.poll() is None
        assert relay.ask("status")["states"]["queued"] == 0
