"""What the units of the demo start: dcmtk's servers, as far as the story needs them, by pynetdicom.

They read the very files that fleet pushed; nobody hands them anything else.
"""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

from pydicom import dcmread
from pynetdicom import build_context, evt
from pynetdicom.sop_class import ModalityWorklistInformationFind, StudyRootQueryRetrieveInformationModelMove

from fleet.demo.archive_tables import ArchiveTables, parse_archive_tables
from fleet.demo.scp import IMAGES, DicomServer, Duties, Place, keep_image
from fleet.demo.units import Answer, CannotStartError, Command

PENDING = 0xFF00


def _find_after(words: tuple[str, ...], options: set[str]) -> str | None:
    """The word that follows one of the options."""
    return next((after for word, after in pairwise(words) if word in options), None)


def _find_port(words: tuple[str, ...]) -> int:
    """The last word of dcmtk's servers is their port, where there is one."""
    return int(words[-1]) if words and words[-1].isdigit() else 0


def _read_tables(command: Command) -> ArchiveTables:
    path = _find_after(command.words, {"-c", "--config"})
    if path is None:
        raise CannotStartError("F: no configuration file (-c)")
    # While fleet checks a file, its name is that of this machine already.
    place = Path(path) if Path(path).is_relative_to(command.root) else command.locate(path)
    try:
        return parse_archive_tables(place.read_text("ascii"))
    except (OSError, ValueError) as error:
        raise CannotStartError(f"F: cannot read {path}: {error}") from error


def start_dcmqrscp(command: Command) -> DicomServer:
    """The archive of the tables that its `-c` names."""
    tables = _read_tables(command)
    port = _find_port(command.words) or tables.port
    return start_archive(tables, Place(command.address, port), command.root)


def start_archive(tables: ArchiveTables, place: Place, root: Path) -> DicomServer:
    """An archive that takes, keeps and moves; its areas lie below `root`."""
    areas = {title: root / path.lstrip("/") for title, path in tables.areas.items()}

    def store(event: Any) -> int:
        return keep_image(areas[event.assoc.acceptor.primitive.called_ae_title.strip()], event)

    def move(event: Any) -> Iterator[Any]:
        destination = tables.find_destination(str(event.move_destination).strip())
        if destination is None:
            yield None, None  # PS3.4 table C.4-2: A801, move destination unknown
            return
        contexts = [build_context(each) for each in IMAGES]
        yield destination.address, destination.port, {"bind_address": (place.address, 0), "contexts": contexts}
        found = _find_study(areas.values(), str(event.identifier.StudyInstanceUID))
        yield len(found)
        for dataset in found:
            yield PENDING, dataset

    duties = Duties(
        (*IMAGES, StudyRootQueryRetrieveInformationModelMove), ((evt.EVT_C_STORE, store), (evt.EVT_C_MOVE, move))
    )
    return DicomServer(next(iter(areas)), place, tables.admits, duties)


def _find_study(areas: Any, study_uid: str) -> list[Any]:
    read = (dcmread(path) for area in areas for path in sorted(area.glob("*.dcm")))
    return [dataset for dataset in read if dataset.StudyInstanceUID == study_uid]


def check_dcmqrscp(command: Command) -> Answer:
    """dcmqrscp on a spare port: stays when it could read its file (it listens nowhere), else its status 10."""
    try:
        _read_tables(command)
    except CannotStartError as error:
        return Answer(10, (str(error),))
    return Answer("stay")


def start_wlmscpfs(command: Command) -> DicomServer:
    """A worklist that is empty today; it knows the titles that have a folder."""
    path = _find_after(command.words, {"-dfp", "--data-files-path"})
    if path is None:
        raise CannotStartError("F: no data files path (-dfp)")
    folder = command.locate(path)

    def admit(called: str, _calling: str, _address: str) -> bool:
        return (folder / called).is_dir()

    def find(_event: Any) -> Iterator[Any]:
        yield from ()

    duties = Duties((ModalityWorklistInformationFind,), ((evt.EVT_C_FIND, find),))
    return DicomServer("WLMSCPFS", Place(command.address, _find_port(command.words)), admit, duties)
