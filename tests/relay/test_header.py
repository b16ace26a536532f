"""A few elements out of a data set's head, held to a DICOM library's writing."""

import io
import struct
import zlib
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.sequence import Sequence

from fleet.relay.header import MODALITY, SOP_INSTANCE_UID, STUDY_INSTANCE_UID, HeaderError, read_elements, read_texts

IMPLICIT, EXPLICIT, BIG, DEFLATED = (
    "1.2.840.10008.1.2",
    "1.2.840.10008.1.2.1",
    "1.2.840.10008.1.2.2",
    "1.2.840.10008.1.2.1.99",
)


def make_dataset(depth: int, undefined: bool) -> Dataset:
    dataset = Dataset()
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.SOPClassUID, dataset.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.2", "1.2.3"
    dataset.Modality = "CT"
    inner = dataset
    for _ in range(depth):
        item = Dataset()
        item.CodeValue, item.CodeMeaning = "T-1", "inside"
        inner.ProcedureCodeSequence = Sequence([item, Dataset()])
        inner["ProcedureCodeSequence"].is_undefined_length = undefined
        item.is_undefined_length_sequence_item = undefined
        inner = item
    dataset.PatientName = "Große^Ärztin"
    dataset.add_new(0x00091010, "UN", b"private")
    dataset.StudyInstanceUID = "1.2.3.9"
    dataset.PixelData = b"\0\1" * 8
    dataset["PixelData"].VR = "OW"
    return dataset


def encode(dataset: Dataset, syntax: str) -> bytes:
    file = DicomBytesIO()
    file.is_implicit_VR = syntax == IMPLICIT
    file.is_little_endian = syntax != BIG
    write_dataset(file, dataset)
    data: bytes = file.getvalue()
    if syntax != DEFLATED:
        return data
    deflater = zlib.compressobj(wbits=-15)
    return deflater.compress(data) + deflater.flush()


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT, BIG, DEFLATED])
@pytest.mark.parametrize("undefined", [False, True])
@pytest.mark.parametrize("depth", [0, 1, 5])
def test_what_a_library_wrote_is_read(syntax: str, undefined: bool, depth: int) -> None:
    file = io.BytesIO(encode(make_dataset(depth, undefined), syntax))
    texts, elements = read_texts(file, syntax, {"PatientName": 0x00100010, "StudyDate": 0x00080020})
    assert texts[SOP_INSTANCE_UID] == "1.2.3"
    assert texts[MODALITY] == "CT"
    assert texts[STUDY_INSTANCE_UID] == "1.2.3.9"
    assert elements == {"PatientName": "Große^Ärztin"}


def test_a_sequence_of_undefined_length_nested_too_deep_is_refused() -> None:
    """T68."""
    item = b"\xfe\xff\x00\xe0\xff\xff\xff\xff"
    sequence = b"\x08\x00\x32\x10SQ\0\0\xff\xff\xff\xff"
    with pytest.raises(HeaderError, match="nested"):
        read_elements(io.BytesIO((sequence + item) * 100_000), EXPLICIT, frozenset({STUDY_INSTANCE_UID}))


def test_a_deflate_bomb_is_inflated_to_a_bound_only() -> None:
    """T68: a gigabyte of zeros in a megabyte; zeros are no elements."""
    deflater = zlib.compressobj(9, wbits=-15)
    bomb = b"".join(deflater.compress(bytes(1 << 20)) for _ in range(64)) + deflater.flush()
    with pytest.raises(HeaderError):
        read_elements(io.BytesIO(bomb), DEFLATED, frozenset({STUDY_INSTANCE_UID}))


def test_a_million_elements_before_the_study_are_too_many() -> None:
    many = b"".join(struct.pack("<HHI", group, number, 0) for group in (0x0009, 0x000B) for number in range(1, 0xFFFF))
    with pytest.raises(HeaderError, match="more than"):
        read_elements(io.BytesIO(many), IMPLICIT, frozenset({STUDY_INSTANCE_UID}))


@given(st.binary(max_size=400), st.sampled_from([IMPLICIT, EXPLICIT, BIG, DEFLATED]))
def test_junk_is_refused_or_read_but_never_fails_otherwise(data: bytes, syntax: str) -> None:
    with suppress(HeaderError):
        assert read_texts(io.BytesIO(data), syntax, {})[1] == {}
