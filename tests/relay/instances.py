"""Instances to transform: small, whole, and with a name planted wherever one may stand."""

from io import BytesIO
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filewriter import dcmwrite
from pydicom.uid import ExplicitVRLittleEndian

from fleet.relay.values import Deidentify, Edit, Route, Target, When

KEY = bytes(range(32))
CT = "1.2.840.10008.5.1.4.1.1.2"
PIXELS = bytes(range(256)) * 8


def make_ct(**more: Any) -> Dataset:
    """A CT slice as scanners send it, with some of everything that a profile looks at."""
    dataset = Dataset()
    dataset.SOPClassUID = CT
    dataset.SOPInstanceUID = "1.2.3.4.5.6.7"
    dataset.StudyInstanceUID = "1.2.3.4.5"
    dataset.SeriesInstanceUID = "1.2.3.4.5.6"
    dataset.Modality = "CT"
    dataset.PatientName = "Planted^Name"
    dataset.PatientID = "PLANTED-77"
    dataset.PatientSex = "F"
    dataset.PatientAge = "061Y"
    dataset.StudyDate = "20261120"
    dataset.StudyTime = "101500.25"
    dataset.AcquisitionDateTime = "20261120101500.25+0000"
    dataset.AccessionNumber = "A-PLANTED-1"
    dataset.StudyDescription = "CT chest abdomen pelvis - 55F Dr. Planted"
    dataset.InstitutionName = "Planted General"
    dataset.Manufacturer = "Maker"
    dataset.SliceThickness = "5.0"
    dataset.Rows = dataset.Columns = 32
    dataset.BitsAllocated = 16
    dataset.PixelData = PIXELS
    for keyword, value in more.items():
        setattr(dataset, keyword, value)
    return dataset


def write(path: Path, dataset: Dataset, syntax: str = ExplicitVRLittleEndian) -> Path:
    """A Part 10 file as the relay keeps it."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    meta.TransferSyntaxUID = syntax
    meta.SourceApplicationEntityTitle = "PLANTED_AE"
    dataset.file_meta = meta
    dataset.preamble = b"PLANTED preamble".ljust(128, b"\0")
    buffer = BytesIO()
    dcmwrite(buffer, dataset, enforce_file_format=True)
    path.write_bytes(buffer.getvalue())
    return path


def make_route(
    *options: str,
    pseudonyms: tuple[str, ...] = (),
    edit: tuple[Edit, ...] = (),
    require: dict[str, str | None] | None = None,
    plain: bool = False,
) -> Route:
    """A route that de-identifies, unless it is plain."""
    wanted = None if plain else Deidentify("basic", frozenset(options), pseudonyms)
    return Route("r", When(), None, require or {}, wanted, edit, (Target("FAR"),), ())
