"""The boxes of vendors: a workstation with a screen, a modality with an image, and what a person does at them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ImplicitVRLittleEndian, generate_uid
from pynetdicom import AE, evt
from pynetdicom.sop_class import CTImageStorage, StudyRootQueryRetrieveInformationModelMove, Verification

from fleet.demo.scp import IMAGES, SUCCESS, TIMEOUT_S, DicomServer, Duties, Place, keep_image, silence


class Box:
    """A vendor's machine that listens: it takes what is sent to its title and shows it on its screen."""

    def __init__(self, ae_title: str, place: Place, screen: Path) -> None:
        self.ae_title = ae_title
        self.place = place
        self._screen = screen
        duties = Duties(IMAGES, ((evt.EVT_C_STORE, lambda event: keep_image(screen, event)),))
        self._server = DicomServer(ae_title, place, self._admit, duties)

    @property
    def shown(self) -> frozenset[str]:
        """The SOP instances on its screen."""
        return frozenset(path.stem for path in self._screen.glob("*.dcm"))

    @property
    def associations_seen(self) -> int:
        """How many asked it something."""
        return self._server.associations_seen

    def rename(self, ae_title: str) -> None:
        """Somebody types another title into the box."""
        self.ae_title = ae_title

    def close(self) -> None:
        """Switch it off."""
        self._server.close()

    def _admit(self, called: str, _calling: str, _address: str) -> bool:
        return called == self.ae_title


@dataclass(frozen=True, slots=True)
class Caller:
    """Somebody who asks: a title and the address that the associations come from."""

    ae_title: str
    address: str

    def echo(self, called: str, place: Place) -> int | None:
        """C-ECHO: the status, None where there was no association or no answer."""
        with _Association(self, called, place, Verification) as association:
            return _status(association.send_c_echo()) if association.is_established else None

    def store(self, called: str, place: Place, image: Dataset) -> int | None:
        """C-STORE of one image: the status."""
        with _Association(self, called, place, image.SOPClassUID) as association:
            return _status(association.send_c_store(image)) if association.is_established else None

    def move(self, called: str, place: Place, study_uid: str, destination: str) -> int | None:
        """C-MOVE of a study to a title: the final status."""
        asked = Dataset()
        asked.QueryRetrieveLevel = "STUDY"
        asked.StudyInstanceUID = study_uid
        model = StudyRootQueryRetrieveInformationModelMove
        with _Association(self, called, place, model) as association:
            if not association.is_established:
                return None
            last = None
            for answer, _ in association.send_c_move(asked, destination, model):
                last = _status(answer)
            return last


class _Association:
    """One association with every timeout set, released at the end."""

    def __init__(self, caller: Caller, called: str, place: Place, context: Any) -> None:
        silence()
        ae = AE(caller.ae_title)
        ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = ae.connection_timeout = TIMEOUT_S
        ae.add_requested_context(context)
        self._open = ae.associate(place.address, place.port, ae_title=called, bind_address=(caller.address, 0))

    def __enter__(self) -> Any:
        return self._open

    def __exit__(self, *_: object) -> None:
        if self._open.is_established:
            self._open.release()


def _status(answer: Dataset) -> int | None:
    """The status of a response; an empty one means that none came in time."""
    return int(answer.Status) if "Status" in answer else None


def is_success(status: int | None) -> bool:
    """PS3.7 Annex C: 0000H is success and nothing else is."""
    return status == SUCCESS


def make_image(patient: str = "Demo^Patient") -> Dataset:
    """A small CT image of nobody."""
    image = Dataset()
    image.SOPClassUID = CTImageStorage
    image.SOPInstanceUID = generate_uid()
    image.StudyInstanceUID = generate_uid()
    image.SeriesInstanceUID = generate_uid()
    image.PatientName, image.PatientID, image.Modality = patient, "DEMO-1", "CT"
    image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
    image.Rows = image.Columns = 16
    image.BitsAllocated = image.BitsStored = 8
    image.HighBit, image.PixelRepresentation = 7, 0
    image.PixelData = bytes(range(256))
    image.file_meta = _meta(image)
    return image


def _meta(image: Dataset) -> Any:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = image.SOPClassUID
    meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
    meta.TransferSyntaxUID = ImplicitVRLittleEndian
    return meta
