"""DICOM servers of the demo, by pynetdicom: who is admitted is a function, what is done with images another."""

import logging
import socketserver
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pynetdicom import AE, evt
from pynetdicom.sop_class import (
    CTImageStorage,
    SecondaryCaptureImageStorage,
    UltrasoundImageStorage,
    Verification,
)
from pynetdicom.transport import ThreadedAssociationServer

from fleet.demo.units import CannotStartError

TIMEOUT_S = 5.0
_CLOSE_S = 0.5  # how long one that never asked for anything is waited for
_POLL_S = 0.05  # how soon a server notices that it should end
IMAGES = (CTImageStorage, SecondaryCaptureImageStorage, UltrasoundImageStorage)
SUCCESS = 0x0000
CANNOT_STORE = 0xA700  # PS3.4 table B.2-1: refused, out of resources

Admit = Callable[[str, str, str], bool]
"""Called title, calling title, caller's address → whether the association is accepted."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where somebody listens."""

    address: str
    port: int


@dataclass(frozen=True, slots=True)
class Duties:
    """What a server does: `contexts` beside Verification, and handlers of pynetdicom's events."""

    contexts: tuple[Any, ...] = ()
    handlers: tuple[tuple[Any, Callable[[Any], Any]], ...] = field(default=())


def silence() -> None:
    """pynetdicom tells its log about every peer; the demo tells its story by itself."""
    logging.getLogger("pynetdicom").setLevel(logging.CRITICAL + 1)


def make_ae(ae_title: str, contexts: Iterable[Any] = ()) -> Any:
    """A pynetdicom AE with every timeout set."""
    silence()
    ae = AE(ae_title)
    ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = ae.connection_timeout = TIMEOUT_S
    for context in (Verification, *contexts):
        ae.add_supported_context(context)
    return ae


class DicomServer:
    """Listens from the moment it is made until `close`."""

    def __init__(self, ae_title: str, place: Place, admit: Admit, duties: Duties) -> None:
        self._admit = admit
        self.associations_seen = 0
        self._ae = make_ae(ae_title, duties.contexts)
        handlers = [(evt.EVT_REQUESTED, self._judge), *duties.handlers]
        try:
            self._server = self._ae.make_server(
                (place.address, place.port), evt_handlers=handlers, server_class=ThreadedAssociationServer
            )
        except OSError as error:
            raise CannotStartError(f"cannot initialise network: {error.strerror or error}") from error
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(_POLL_S,), name=f"demo-scp-{ae_title}", daemon=True
        )
        self._thread.start()

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._server.server_address[1])

    def close(self) -> None:
        """Abort what is going on and stop listening."""
        socketserver.BaseServer.shutdown(self._server)  # pynetdicom's own wants a server that it started itself
        self._server.server_close()
        for association in self._server.active_associations:
            if association.is_established:
                association.abort()
            association.join(_CLOSE_S)
        self._thread.join(TIMEOUT_S)

    def _judge(self, event: Any) -> None:
        """Reject as dcmqrscp does, 1/1/7 for whoever it does not know (PS3.8 table 9-21)."""
        self.associations_seen += 1
        asked = event.assoc.requestor.primitive
        called, calling = str(asked.called_ae_title).strip(), str(asked.calling_ae_title).strip()
        if not self._admit(called, calling, event.assoc.requestor.address):
            event.assoc.acse.send_reject(0x01, 0x01, 0x07)
            event.assoc.kill()


def keep_image(folder: Path, event: Any) -> int:
    """C-STORE: the instance becomes a file named by its UID."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        name = f"{event.request.AffectedSOPInstanceUID}.dcm"
        (folder / name).write_bytes(event.encoded_dataset(include_meta=True))
    except OSError:
        return CANNOT_STORE
    return SUCCESS
