"""The demo's archive does what dcmqrscp does: it admits by its tables and moves to the first row of a title."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from fleet.demo.archive_tables import parse_archive_tables
from fleet.demo.boxes import Box, Caller, is_success, make_image
from fleet.demo.engines import start_archive
from fleet.demo.ports import choose_ports
from fleet.demo.scp import DicomServer, Place
from fleet.demo.units import CannotStartError
from tests.demo.tables import ARCHIVE, FLOOR_1, FLOOR_2, tables_of


@pytest.fixture
def boxes(tmp_path: Path) -> Iterator[tuple[Box, Box]]:
    ports = choose_ports({"1": FLOOR_1, "2": FLOOR_2})
    first = Box("WS_1", Place(FLOOR_1, ports["1"]), tmp_path / "floor-1")
    second = Box("WS_2", Place(FLOOR_2, ports["2"]), tmp_path / "floor-2")
    yield first, second
    first.close()
    second.close()


def start(text: str, root: Path) -> tuple[DicomServer, Place]:
    server = start_archive(parse_archive_tables(text), Place(ARCHIVE, 0), root)
    return server, Place(ARCHIVE, server.port)


def test_a_move_lands_on_the_asker(boxes: tuple[Box, Box], tmp_path: Path) -> None:
    archive, place = start(tables_of(boxes[0].place, boxes[1].place, "WS_2"), tmp_path)
    try:
        image, asker = make_image(), Caller("WS_2", FLOOR_2)
        assert is_success(asker.store("PACS", place, image))
        assert is_success(asker.move("PACS", place, image.StudyInstanceUID, "WS_2"))
        assert boxes[0].shown == frozenset()
        assert boxes[1].shown == frozenset({image.SOPInstanceUID})
    finally:
        archive.close()


def test_with_one_title_twice_the_move_succeeds_on_the_wrong_screen(boxes: tuple[Box, Box], tmp_path: Path) -> None:
    archive, place = start(tables_of(boxes[0].place, boxes[1].place, "WS_1"), tmp_path)
    boxes[1].rename("WS_1")
    try:
        image, asker = make_image(), Caller("WS_1", FLOOR_2)
        assert is_success(asker.echo("WS_1", boxes[0].place))
        assert is_success(asker.echo("WS_1", boxes[1].place))
        assert is_success(asker.store("PACS", place, image))
        assert is_success(asker.move("PACS", place, image.StudyInstanceUID, "WS_1"))
        assert boxes[0].shown == frozenset({image.SOPInstanceUID})
        assert boxes[1].shown == frozenset()
    finally:
        archive.close()


def test_a_caller_is_known_by_title_and_address_together(boxes: tuple[Box, Box], tmp_path: Path) -> None:
    archive, place = start(tables_of(boxes[0].place, boxes[1].place, "WS_2"), tmp_path)
    try:
        assert is_success(Caller("WS_1", FLOOR_1).echo("PACS", place))
        assert Caller("WS_1", FLOOR_2).echo("PACS", place) is None
        assert Caller("STRANGER", FLOOR_1).echo("PACS", place) is None
        assert Caller("WS_1", FLOOR_1).echo("OTHER", place) is None
    finally:
        archive.close()


def test_a_move_to_nobody_is_refused(boxes: tuple[Box, Box], tmp_path: Path) -> None:
    archive, place = start(tables_of(boxes[0].place, boxes[1].place, "WS_2"), tmp_path)
    try:
        assert Caller("WS_1", FLOOR_1).move("PACS", place, "1.2.3", "WS_9") == 0xA801
    finally:
        archive.close()


def test_a_taken_port_is_told_as_dcmtk_tells_it(boxes: tuple[Box, Box], tmp_path: Path) -> None:
    text = tables_of(boxes[0].place, boxes[1].place, "WS_2")
    with pytest.raises(CannotStartError, match="cannot initialise network"):
        start_archive(parse_archive_tables(text), boxes[0].place, tmp_path)


def test_a_file_without_areas_does_not_start() -> None:
    with pytest.raises(CannotStartError, match="AETable"):
        parse_archive_tables("NetworkTCPPort = 104\n")
