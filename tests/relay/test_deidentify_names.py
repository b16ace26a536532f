"""Planted names: in texts, private elements, overlays and items, and in kept elements of another VR. # T74"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.tag import Tag
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from fleet.relay.transform.steps import transform
from fleet.relay.values import Quarantine
from tests.relay.deidentified import NAMES, OPTIONS, ROWS, deidentified
from tests.relay.instances import KEY, PIXELS, make_ct, make_route, write

TEXT_TAGS = sorted(
    row.tag
    for row in ROWS
    if dictionary_VR(row.tag) in {"LO", "LT", "SH", "ST", "UC", "UT", "PN"} and not row.options.keys() & {"device"}
)
SQ_TAGS = sorted(row.tag for row in ROWS if dictionary_VR(row.tag) == "SQ")
# Sequences that the table does not know and that are therefore walked into.
OPEN_SQ_TAGS = (0x00082218, 0x00400260, 0x52009229, 0x00081111, 0x00081115, 0x00540016)


def plantings(depth: int) -> st.SearchStrategy[Dataset]:
    """A data set with names in texts of the table, private elements, overlays, curves and, deeper, in items."""
    name = st.sampled_from(NAMES)
    parts = {
        "texts": st.lists(st.tuples(st.sampled_from(TEXT_TAGS), name), max_size=6),
        "private": st.lists(st.tuples(st.sampled_from((0x0009, 0x0019, 0x2001, 0x7053, 0x7FE1)), name), max_size=3),
        "overlays": st.lists(st.tuples(st.integers(0, 15), name), max_size=2),
        "curves": st.lists(st.tuples(st.integers(0, 15), name), max_size=1),
        "items": st.lists(
            st.tuples(st.sampled_from(OPEN_SQ_TAGS) | st.sampled_from(SQ_TAGS), plantings(depth - 1)), max_size=3
        )
        if depth
        else st.just([]),
    }
    return st.fixed_dictionaries(parts).map(_plant)


def _plant(parts: Mapping[str, Any]) -> Dataset:
    dataset = Dataset()
    for tag, name in parts["texts"]:
        dataset[Tag(tag)] = DataElement(Tag(tag), dictionary_VR(tag), name[:16])
    for group, name in parts["private"]:
        block = dataset.private_block(group, f"{name} PRIVATE", create=True)
        for element, vr in ((0x00, "SH"), (0x09, "UN"), (0x21, "LO")):
            block.add_new(element, vr, name.encode() + b"\0" * (len(name) % 2) if vr == "UN" else name)
    for number, name in parts["overlays"]:
        group = 0x6000 + 2 * number
        for element, vr, value in (
            (0x0022, "LO", name),
            (0x1500, "LO", name),
            (0x3000, "OB", b"\0" * 4),
            (0x4000, "LT", name),
        ):
            dataset[Tag(group, element)] = DataElement(Tag(group, element), vr, value)
    for number, name in parts["curves"]:
        group = 0x5000 + 2 * number
        dataset[Tag(group, 0x2500)] = DataElement(Tag(group, 0x2500), "LO", name)
        dataset[Tag(group, 0x3000)] = DataElement(Tag(group, 0x3000), "OB", name.encode().ljust(14, b"\0"))
    for tag, item in parts["items"]:
        dataset[Tag(tag)] = DataElement(Tag(tag), "SQ", Sequence([item]))
    return dataset


HIDING = tuple(option for option in OPTIONS if option not in {"retain-institution-identity", "retain-device-identity"})
SYNTAXES = (ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian, "1.2.840.10008.1.2.1.99")


@settings(
    deadline=None,
    max_examples=4000 if os.environ.get("FLEET_SOAK") else 150,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    planted=plantings(2),
    options=st.lists(st.sampled_from(HIDING), unique=True, max_size=4).filter(
        lambda options: len({each for each in options if "dates" in each}) < 2
    ),
    syntax=st.sampled_from(SYNTAXES),
    patient=st.sampled_from((("^".join(NAMES[:2]), NAMES[2]), ("Some^Body", "NUMBER-5"))),
)
def test_no_planted_name_is_anywhere_in_the_bytes_of_the_output(
    planted: Dataset, options: list[str], syntax: str, patient: tuple[str, str], tmp_path: Path
) -> None:
    name, number = patient
    if NAMES[2] != number:  # nothing stops an instance for names that nobody in it bears, so they have to go by rule
        options = [option for option in options if option != "retain-patient-characteristics"]
    dataset = make_ct(PatientName=name, PatientID=number)
    for element in planted:
        dataset[element.tag] = element
    source, target = write(tmp_path / "in.dcm", dataset, syntax), tmp_path / "out.dcm"
    target.unlink(missing_ok=True)
    keywords = ("PatientName", "PatientID", "AccessionNumber")
    result = transform(source, target, make_route(*options, pseudonyms=keywords[: len(options)]), KEY)
    if isinstance(result, Quarantine):
        assert not target.exists()
        assert "failed" not in result.reason, result.reason
        written = result.reason.encode()
    else:
        written = target.read_bytes()
        assert dcmread(target).PixelData == PIXELS
    folded = written.lower()
    for name in NAMES:
        assert name.lower().encode() not in folded
    assert b"planted" not in folded


def test_overlays_and_curves_go_with_their_whole_groups(tmp_path: Path) -> None:
    dataset = make_ct()
    for group in (*range(0x6000, 0x6020, 2), *range(0x5000, 0x5020, 2)):
        dataset[Tag(group, 0x3000)] = DataElement(Tag(group, 0x3000), "OB", b"\0\0")
        dataset[Tag(group, 0x0022)] = DataElement(Tag(group, 0x0022), "LO", "Zyxomma")
    for options in ((), ("clean-graphics",)):
        found = deidentified(tmp_path, dataset, *options)
        assert not [element.tag for element in found if element.tag.group in range(0x5000, 0x6020)]


@pytest.mark.parametrize("keyword", ["Rows", "RescaleSlope", "RealWorldValueSlope", "ImageType"])
@pytest.mark.parametrize("vr", ["LO", "UN", "OB", "own"])
def test_a_name_that_stands_where_a_number_or_a_code_should_is_quarantined(
    tmp_path: Path, keyword: str, vr: str
) -> None:
    """T74: an element that the profile keeps is no hiding place, whatever VR it says that it is of."""
    said = dictionary_VR(keyword) if vr == "own" else vr
    assert leaks(tmp_path, int(Tag(keyword)), said) is None


@pytest.mark.parametrize("tag", [0x00000600, 0x00000901, 0x00020016, 0x00041130])
def test_elements_of_commands_files_and_directories_do_not_stay_in_a_data_set(tmp_path: Path, tag: int) -> None:
    """T74: tags of file meta; PS3.5 7.1 knows none of these groups in a data set."""
    assert leaks(tmp_path, tag, dictionary_VR(tag)) is False


def test_tables_and_profiles_with_a_comment_that_names_the_patient_are_quarantined(tmp_path: Path) -> None:
    """T74."""
    assert leaks(tmp_path, 0x00282000, "OB", bytes(3000) + b"made for Quillfeather" + bytes(300)) is None


def leaks(folder: Path, tag: int, vr: str, value: bytes = b"QUILLFEATHER^Q") -> bool | None:
    """Whether the patient's name, as the bytes of an element, is in what comes out; None where nothing comes out."""
    dataset = make_ct(PatientName="Quillfeather^Quentin")
    if tag in dataset:
        del dataset[tag]
    source, target = write(folder / "in.dcm", dataset), folder / "out.dcm"
    data, head = source.read_bytes(), tag.to_bytes(4, "big")
    element = head[1::-1] + head[3:1:-1] + vr.encode()
    element += (
        len(value).to_bytes(2, "little") if vr not in {"OB", "UN"} else b"\0\0" + len(value).to_bytes(4, "little")
    )
    at = find_place(data, tag)
    source.write_bytes(data[:at] + element + value + data[at:])
    result = transform(source, target, make_route(), KEY)
    if isinstance(result, Quarantine):
        assert "uillfeather" not in result.reason.casefold()
        return None
    return b"quillfeather" in target.read_bytes().lower()


def find_place(data: bytes, tag: int) -> int:
    """Where an element belongs in a Part 10 file in Explicit VR Little Endian without sequences."""
    at = 144 + int.from_bytes(data[140:144], "little")
    while at < len(data):
        found = int.from_bytes(data[at : at + 2], "little") << 16 | int.from_bytes(data[at + 2 : at + 4], "little")
        if found > tag:
            return at
        is_long = data[at + 4 : at + 6] in {b"OB", b"OW", b"UT", b"UC", b"UR", b"UN", b"SQ"}
        length = data[at + 8 : at + 12] if is_long else data[at + 6 : at + 8]
        at += (12 if is_long else 8) + int.from_bytes(length, "little")
    return at


@pytest.mark.parametrize("value", [b"DCM\0Quillfeather", b"x\x01QUILLFEATHER\x02", b"Quillfeather2", b"_quillfeather_"])
def test_a_name_that_is_glued_to_something_is_found_in_a_kept_text(tmp_path: Path, value: bytes) -> None:
    """T74: as a length that lies makes it, which takes in the heads of the elements behind."""
    assert leaks(tmp_path, int(Tag("SoftwareVersions")), "LO", value) is not True
    assert leaks(tmp_path, int(Tag("CodingSchemeDesignator")), "SH", value) is None
