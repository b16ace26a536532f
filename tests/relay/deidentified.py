"""What comes out of a route that de-identifies, and a sample of every element of the table."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydicom import dcmread
from pydicom.datadict import DicomDictionary, dictionary_VR
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.tag import Tag
from pydicom.uid import ExplicitVRLittleEndian

from fleet.relay.transform.steps import transform
from fleet.relay.transform.table import COLUMNS, Row, read_table
from fleet.relay.values import Quarantine, Transformed
from tests.relay.instances import KEY, make_ct, make_route, write

NAMES = ("Quillfeather", "Zyxomma", "Brobdingnag")
OPTIONS = tuple(sorted(COLUMNS))
MODIFIED = "retain-longitudinal-modified-dates"


def walk(dataset: Dataset) -> Iterator[DataElement]:
    for element in dataset:
        yield element
        if element.VR == "SQ":
            for item in element.value:
                yield from walk(item)


def deidentified(folder: Path, dataset: Dataset, *options: str, **more: Any) -> Dataset:
    """What comes out, read back; the test fails where it was quarantined."""
    syntax = more.pop("syntax", ExplicitVRLittleEndian)
    source, target = write(folder / "in.dcm", dataset, syntax), folder / "out.dcm"
    target.unlink(missing_ok=True)
    result = transform(source, target, make_route(*options, **more), KEY)
    assert isinstance(result, Transformed), result
    found = dcmread(target)
    assert found.file_meta.MediaStorageSOPInstanceUID == found.SOPInstanceUID == result.sop_instance_uid
    return found


def reason(folder: Path, dataset: Dataset, *options: str) -> str:
    """Why it was quarantined; no file may be left."""
    source, target = write(folder / "in.dcm", dataset), folder / "out.dcm"
    target.unlink(missing_ok=True)
    result = transform(source, target, make_route(*options), KEY)
    assert isinstance(result, Quarantine)
    assert not target.exists(), "T74: what was not transformed leaves nothing to be forwarded"
    return result.reason


SAMPLES: Mapping[str, Any] = {
    **dict.fromkeys(("LO", "LT", "SH", "ST", "UC", "UT"), "Zyxomma"), "PN": "Brobdingnag",
    "AE": "ZYXOMMA", "CS": "ZYXOMMA", "AS": "061Y", "DA": "20261120", "DT": "20261120101500", "TM": "101500",
    "DS": "61.5", "IS": "61", "UI": "1.2.3.4.5.77", "UR": "http://zyxomma", "FD": 6.5, "FL": 6.5, "US": 6, "UL": 6,
    "SS": 6, "SL": 6, "OB": b"ZYXOMMA\0", "UN": b"ZYXOMMA\0", "OW": b"ZYXOMMA\0",
}  # fmt: skip
# Of a form of their own, and what is the patient's identity, which nothing else here repeats.
SPECIAL = {0x00080201: "+0100", 0x00100020: "NUMBER-5", 0x00101000: "NUMBER-6", 0x00080050: "NUMBER-7"}
# Rows that a data set does not hold (command and directory groups) or for which the whole instance stops.
ELSEWHERE = {row.tag for row in read_table().values() if row.tag >> 16 in {0x0000, 0x0002, 0x0004}}
STOPS = {0x00420011: "EncapsulatedDocument", 0xFFFCFFFC: "", 0xFFFAFFFA: ""}
IN_DICTIONARY = [row for row in read_table().values() if row.tag in DicomDictionary]
ROWS = [row for row in IN_DICTIONARY if row.tag not in ELSEWHERE and row.tag not in STOPS]


def sample(tag: int) -> Any:
    vr = dictionary_VR(tag)
    if vr == "SQ":
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = "1.2.840.10008.5.1.4.1.1.2", "1.2.3.77"
        item.PatientName, item.PatientID = "Brobdingnag", "NUMBER-5"
        return Sequence([item])
    return SPECIAL.get(tag, SAMPLES[vr])


def with_samples(*rows: Row) -> Dataset:
    dataset = make_ct(PatientID="SOMEBODY", PatientName="Some^Body", StudyDescription="CT")
    for row in rows:
        dataset[Tag(row.tag)] = DataElement(Tag(row.tag), dictionary_VR(row.tag), sample(row.tag))
    return dataset
