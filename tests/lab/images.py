"""Instances of many SOP classes and transfer syntaxes, of real sizes, and what tells whether one arrived as it left."""

import hashlib
import random
from array import array
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.filewriter import dcmwrite
from pydicom.uid import UID

# PS3.5 annex A and PS3.6 annex A.
IMPLICIT, LITTLE, BIG = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"
RLE, BASELINE, LOSSLESS = "1.2.840.10008.1.2.5", "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.70"
JPEG_LS, JPEG_2000 = "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.90"
# Planted where patients' names stand, to be looked for where they must not be.
PLANTED = ("PLANTEDSON", "ELIZAVETA", "MRN-4711-PLANTED", "19390423")


@dataclass(frozen=True)
class Kind:
    """One kind of instance; `frames` are of `rows` by `columns` and `bytes_per_pixel`, or opaque when encapsulated."""

    modality: str
    sop_class: str
    transfer_syntax: str
    rows: int = 0
    columns: int = 0
    bytes_per_pixel: int = 2
    frames: int = 1

    @property
    def is_encapsulated(self) -> bool:
        return bool(UID(self.transfer_syntax).is_encapsulated)


_CLASS = "1.2.840.10008.5.1.4.1.1."
KINDS = (
    Kind("CT", _CLASS + "2", LITTLE, 512, 512),
    Kind("CT", _CLASS + "2", IMPLICIT, 512, 512),
    Kind("CT", _CLASS + "2", RLE, 512, 512),
    Kind("MR", _CLASS + "4", LITTLE, 256, 256),
    Kind("MR", _CLASS + "4", IMPLICIT, 256, 256),
    Kind("MR", _CLASS + "4", JPEG_LS, 256, 256),
    Kind("US", _CLASS + "3.1", LITTLE, 160, 120, 3, 4),
    Kind("US", _CLASS + "3.1", BASELINE, 160, 120, 3, 4),
    Kind("OT", _CLASS + "7", LITTLE, 128, 128, 3),
    Kind("CR", _CLASS + "1", LITTLE, 640, 512),
    Kind("CR", _CLASS + "1", BIG, 640, 512),
    Kind("DX", _CLASS + "1.1", LOSSLESS, 640, 512),
    Kind("MG", _CLASS + "1.2", JPEG_2000, 640, 512),
    Kind("SR", _CLASS + "88.67", LITTLE),  # X-Ray Radiation Dose SR
    Kind("DOC", _CLASS + "104.1", LITTLE),  # Encapsulated PDF
)


def write_studies(folder: Path, studies: int, seed: int, kinds: tuple[Kind, ...] = KINDS) -> list[Path]:
    """Files of `studies` studies with one instance of each kind, every one with pixels of its own."""
    chance = random.Random(seed)
    return [
        _write(folder, kind, f"1.2.826.0.1.3680043.10.{seed}.{study}", number, chance)
        for study in range(1, studies + 1)
        for number, kind in enumerate(kinds, start=1)
    ]


def _write(folder: Path, kind: Kind, study: str, number: int, chance: random.Random) -> Path:
    image = Dataset()
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = kind.transfer_syntax
    image.SOPClassUID, image.SOPInstanceUID = kind.sop_class, f"{study}.{number}.1"
    image.StudyInstanceUID, image.SeriesInstanceUID = study, f"{study}.{number}"
    image.PatientName, image.PatientID = f"{PLANTED[0]}^{PLANTED[1]}", PLANTED[2]
    image.PatientBirthDate, image.PatientSex = PLANTED[3], "F"
    image.StudyDate, image.StudyTime, image.StudyID, image.AccessionNumber = "20261120", "101500", "1", "A1"
    image.Modality, image.SeriesNumber, image.InstanceNumber = kind.modality, number, 1
    if kind.rows:
        _add_pixels(image, kind, chance)
    elif kind.modality == "SR":
        _add_content(image, chance)
    else:
        image.MIMETypeOfEncapsulatedDocument = "application/pdf"
        image.EncapsulatedDocument = b"%PDF-1.4\n" + chance.randbytes(40_000) + b"\0"
        image.EncapsulatedDocumentLength = 40_009
    path = folder / f"{image.SOPInstanceUID}.dcm"
    with path.open("wb") as file:
        dcmwrite(file, image, enforce_file_format=True)
    return path


def _add_pixels(image: Dataset, kind: Kind, chance: random.Random) -> None:
    is_colour = kind.bytes_per_pixel == 3
    image.Rows, image.Columns = kind.rows, kind.columns
    image.SamplesPerPixel, image.PhotometricInterpretation = (3, "RGB") if is_colour else (1, "MONOCHROME2")
    if is_colour:
        image.PlanarConfiguration = 0
    image.BitsAllocated = image.BitsStored = 8 if is_colour else 16
    image.HighBit, image.PixelRepresentation = image.BitsStored - 1, 0
    if kind.frames > 1:
        image.NumberOfFrames = kind.frames
    size = kind.rows * kind.columns * kind.bytes_per_pixel
    if kind.is_encapsulated:  # opaque: nobody on the way has a reason to look into a fragment
        image.PixelData = encapsulate([chance.randbytes(size // 3 & ~1) for _ in range(kind.frames)])
        image["PixelData"].VR = "OB"
    else:
        image.PixelData = chance.randbytes(size * kind.frames)
        image["PixelData"].VR = "OB" if is_colour else "OW"


def _add_content(image: Dataset, chance: random.Random) -> None:
    name = Dataset()
    name.CodeValue, name.CodingSchemeDesignator, name.CodeMeaning = "113701", "DCM", "X-Ray Radiation Dose Report"
    item = Dataset()
    item.RelationshipType, item.ValueType, item.TextValue = "CONTAINS", "TEXT", chance.randbytes(400).hex()
    image.ValueType, image.ContinuityOfContent = "CONTAINER", "SEPARATE"
    image.ConceptNameCodeSequence, image.ContentSequence = [name], [item]
    image.CompletionFlag, image.VerificationFlag = "COMPLETE", "UNVERIFIED"


Digests = Mapping[str, tuple[str, str]]


def read_digests(files: Iterable[Path]) -> Digests:
    """By SOP Instance UID: the transfer syntax, and a hash of the bytes that the instance is there for."""
    found = {}
    for path in files:
        image = dcmread(path, force=True)
        found[str(image.SOPInstanceUID)] = (str(image.file_meta.TransferSyntaxUID), _hash(_read_payload(image)))
    return found


def read_values(files: Iterable[Path]) -> Digests:
    """The same of values: in which of the uncompressed transfer syntaxes they came does not count."""
    found = {}
    for path in files:
        image = dcmread(path, force=True)
        syntax, payload = str(image.file_meta.TransferSyntaxUID), _read_payload(image)
        if syntax == BIG and image.get("BitsAllocated") == 16:
            words = array("H", payload)
            words.byteswap()
            payload = words.tobytes()
        found[str(image.SOPInstanceUID)] = ("" if syntax in {IMPLICIT, LITTLE, BIG} else syntax, _hash(payload))
    return found


def _hash(payload: bytes) -> str:
    return hashlib.sha256(payload).hexdigest()


def _read_payload(image: Dataset) -> bytes:
    payload: bytes = image.get("PixelData") or image.get("EncapsulatedDocument") or _describe(image)
    return payload


def _describe(image: Dataset) -> bytes:
    return str(image.ContentSequence[0].TextValue).encode()


def find_files(folder: Path) -> list[Path]:
    """Every Part 10 file below a folder."""
    return [path for path in folder.rglob("*") if path.is_file() and _is_part_10(path)]


def _is_part_10(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"
