"""Doors for the tests of this room."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.doors import Door
from tests.push.fake_host import FakeHost
from tests.verify.peers import Peer, answer_well, serving
from tests.workflow.scenes import HEAD, NOTE, host_rows


@pytest.fixture
def door(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Door:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return Door(tmp_path, monkeypatch, capsys)


@pytest.fixture
def good() -> Iterator[Peer]:
    with serving(answer_well, "127.0.33.1") as peer:
        yield peer


@pytest.fixture
def boxes(door: Door, good: Peer) -> Door:
    """One box that answers."""
    door.write(HEAD + "entities:\n" + box("GOOD", good))
    return door


@pytest.fixture
def hosts(door: Door) -> Door:
    """Two hosts that should hold one file."""
    names = ("north-1", "north-2")
    door.write(HEAD + host_rows(names) + NOTE)
    door.write("hello\n", "note.j2")
    door.machines |= {name: FakeHost() for name in names}
    return door


def box(title: str, peer: Peer, more: str = "") -> str:
    place = f"address: {peer.address}, port: {peer.port}"
    return f"  - {{ae_title: {title}, kind: other, {place}, provides: [verification]{more}}}\n"
