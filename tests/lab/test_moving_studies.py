"""Images through the virtual address: stored there, and moved back to the one who asked."""

import base64
import io
import subprocess

import pytest
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid

from tests.lab.hospital import INBOX, SERVICE_PORT, VIRTUAL_ADDRESS, WORKSTATIONS, Hospital
from tests.lab.hosts import LabHost

MACHINES = {"NORTH_WS01": "workstation-1", "NORTH_WS02": "workstation-2"}
LIMITS = "-to 5 -ta 10 -td 20"


def make_image(patient: str) -> FileDataset:
    """A legal secondary capture of 8 by 8 pixels."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    image.SOPClassUID, image.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    image.PatientName, image.PatientID = patient, patient
    image.StudyInstanceUID, image.SeriesInstanceUID = generate_uid(), generate_uid()
    image.StudyID, image.SeriesNumber, image.InstanceNumber = "1", 1, 1
    image.StudyDate, image.StudyTime, image.AccessionNumber, image.Modality = "20260101", "120000", "A1", "OT"
    image.Rows = image.Columns = 8
    image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
    image.BitsAllocated = image.BitsStored = 8
    image.HighBit, image.PixelRepresentation = 7, 0
    image.PixelData = bytes(64)
    return image


def put_image(host: LabHost, image: FileDataset) -> str:
    """The file's path on the host; its shell is the only way in, so it goes as text."""
    buffer = io.BytesIO()
    image.save_as(buffer, enforce_file_format=True)
    path = f"/srv/{image.SOPInstanceUID}.dcm"
    host.run(f"base64 -d > {path}", stdin=base64.b64encode(buffer.getvalue()).decode(), check=True)
    return path


def move_study(host: LabHost, title: str, study: str) -> subprocess.CompletedProcess[str]:
    """C-MOVE of one study from the virtual address to the asker itself."""
    return host.run(
        f"/usr/bin/movescu -v {LIMITS} -aet {title} -aem {title} -aec NORTH_PACS -S "
        f"-k QueryRetrieveLevel=STUDY -k StudyInstanceUID={study} {VIRTUAL_ADDRESS} {SERVICE_PORT}"
    )


def list_inbox(hospital: Hospital, title: str) -> set[str]:
    """SOP instances that a workstation got; storescp names its files MODALITY.UID."""
    names = hospital.lab[MACHINES[title]].run(f"ls {INBOX}", check=True).stdout.split()
    return {name.partition(".")[2] for name in names}


@pytest.mark.parametrize("title", WORKSTATIONS)
def test_a_study_stored_and_moved_through_the_virtual_address_lands_on_the_asker(
    hospital: Hospital, title: str
) -> None:
    for machine in MACHINES.values():
        hospital.lab[machine].run(f"rm -rf {INBOX}/*", check=True)
    host = hospital.lab[MACHINES[title]]
    image = make_image(f"PATIENT^{title}")
    path = put_image(host, image)
    stored = host.run(
        f"/usr/bin/storescu -v {LIMITS} -aet {title} -aec NORTH_PACS {VIRTUAL_ADDRESS} {SERVICE_PORT} {path}"
    )
    assert "Received Store Response (Success)" in stored.stdout + stored.stderr, stored.stdout + stored.stderr

    moved = move_study(host, title, image.StudyInstanceUID)
    said = moved.stdout + moved.stderr
    assert "Received Final Move Response (Success)" in said, said
    other = next(each for each in WORKSTATIONS if each != title)
    assert list_inbox(hospital, title) == {image.SOPInstanceUID}
    assert list_inbox(hospital, other) == set()
