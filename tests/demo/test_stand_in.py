"""The demo does not lie about dcmqrscp: dcmtk's own, with the same file, does to the same callers what ours does."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest

from fleet.demo.archive_tables import parse_archive_tables
from fleet.demo.boxes import Box, Caller, is_success, make_image
from fleet.demo.engines import start_archive
from fleet.demo.ports import choose_ports
from fleet.demo.scp import Place
from tests.demo.tables import ARCHIVE, AREA, FLOOR_1, FLOOR_2, tables_of

PROGRAM = "/usr/bin/dcmqrscp"
DEADLINE_S = 10.0


@contextmanager
def serve_ours(text: str, folder: Path) -> Iterator[Place]:
    """The demo's archive with these tables."""
    server = start_archive(parse_archive_tables(text), Place(ARCHIVE, 0), folder)
    try:
        yield Place(ARCHIVE, server.port)
    finally:
        server.close()


@contextmanager
def serve_dcmtk(text: str, folder: Path) -> Iterator[Place]:
    """dcmtk's archive with these tables; its whole group is ended afterwards."""
    area, path = folder / "area", folder / "dcmqrscp.cfg"
    area.mkdir()
    path.write_text(text.replace(AREA, str(area)), "ascii")
    place = Place(ARCHIVE, choose_ports({"archive": ARCHIVE})["archive"])
    process = subprocess.Popen(
        [PROGRAM, "-dhl", "-ta", "5", "-td", "5", "-c", str(path), str(place.port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        wait_for(place, process)
        yield place
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(DEADLINE_S)


def wait_for(place: Place, process: "subprocess.Popen[bytes]") -> None:
    """Until somebody listens there."""
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline:
        with closing(socket.socket()) as probe:
            if probe.connect_ex((place.address, place.port)) == 0:
                return
        with suppress(subprocess.TimeoutExpired):
            raise AssertionError(f"dcmqrscp ended with {process.wait(0.05)}")
    raise AssertionError("dcmqrscp does not listen")


def observe(kind: str, second_title: str, folder: Path) -> dict[str, object]:
    """What floor 2 sees of an archive: who is let in, what is answered, and which screen gets the image."""
    ports = choose_ports({"1": FLOOR_1, "2": FLOOR_2})
    first = Box("WS_1", Place(FLOOR_1, ports["1"]), folder / "floor-1")
    second = Box(second_title, Place(FLOOR_2, ports["2"]), folder / "floor-2")
    image, asker = make_image(), Caller(second_title, FLOOR_2)
    text = tables_of(first.place, second.place, second_title)
    serve = {"ours": serve_ours, "dcmtk": serve_dcmtk}[kind]
    try:
        with serve(text, folder) as place:
            return {
                "stranger": Caller("STRANGER", FLOOR_1).echo("PACS", place),
                "wrong called title": asker.echo("OTHER", place),
                "wrong address": Caller("WS_1", "127.0.21.43").echo("PACS", place),
                "echo": is_success(asker.echo("PACS", place)),
                "store": is_success(asker.store("PACS", place, image)),
                "move": is_success(asker.move("PACS", place, image.StudyInstanceUID, second_title)),
                "move to nobody": is_success(asker.move("PACS", place, image.StudyInstanceUID, "WS_9")),
                "images on floor 1": len(first.shown),
                "images on floor 2": len(second.shown),
            }
    finally:
        first.close()
        second.close()


@pytest.mark.interop
@pytest.mark.parametrize(("second_title", "floor_1", "floor_2"), [("WS_2", 0, 1), ("WS_1", 1, 0)])
def test_both_archives_answer_alike(second_title: str, floor_1: int, floor_2: int, tmp_path: Path) -> None:
    seen = {}
    for kind in ("ours", "dcmtk"):
        (tmp_path / kind).mkdir()
        seen[kind] = observe(kind, second_title, tmp_path / kind)
    assert seen["ours"] == seen["dcmtk"]
    assert seen["dcmtk"]["move"] is True
    assert (seen["dcmtk"]["images on floor 1"], seen["dcmtk"]["images on floor 2"]) == (floor_1, floor_2)
