"""De-identification against PS3.15 table E.1-1, element by element, and against planted names. # T74"""

import os
import re
from collections.abc import Iterator, Mapping
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.datadict import DicomDictionary, dictionary_VM, dictionary_VR, keyword_for_tag
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.sr.codedict import codes
from pydicom.tag import Tag
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from fleet.relay.transform.deidentify import check_deidentify
from fleet.relay.transform.keys import Pseudonyms
from fleet.relay.transform.stand_ins import clean_text, shift_values
from fleet.relay.transform.steps import transform
from fleet.relay.transform.table import COLUMNS, OPTION_CODES, PROFILE_CODE, Row, read_safe_private, read_table
from fleet.relay.values import Deidentify, Quarantine, Transformed
from tests.relay.instances import KEY, PIXELS, make_ct, make_route, write

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


# The table, element by element -----------------------------------------------------------------------------

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


def expected_letters(row: Row, columns: frozenset[str]) -> str:
    """The table's own words: what an option keeps, then what it cleans, then the profile."""
    letters = {row.options[column] for column in columns & set(row.options)}
    return "K" if "K" in letters else "C" if "C" in letters else row.basic


def assert_row(found: Dataset, row: Row, letters: str) -> None:
    tag, vr = Tag(row.tag), dictionary_VR(row.tag)
    before = sample(row.tag)
    present = tag in found
    value = found[tag].value if present else None
    text = str(value).casefold()
    if letters == "K":
        assert present
        if vr != "SQ":
            assert value == before or str(value) == str(before)
        return
    assert not [each for each in ("zyxomma", "brobdingnag", "number-") if each in text], row
    if vr == "TM" and letters == "C":
        assert value == before, "whole days are shifted, so a time of day is what it was"
    elif vr not in {"SQ", "OB", "UN", "AS"} and present:
        assert str(value) != str(before), row
    if letters == "X":
        assert not present
    elif letters == "Z":
        assert present
    elif letters == "D":
        assert present
        assert value not in (None, "", b"")
    elif letters == "U":
        assert re.fullmatch(r"2\.25\.[1-9][0-9]{10,38}", str(value))
    elif letters != "C":
        assert set(letters.split("/")) & {"Z", "D", "U*"}, letters
        assert present, "a compound action may remove, but what stays valid for every type is to keep it without sense"


def test_the_table_has_the_rows_and_actions_that_the_standard_has() -> None:
    """Counts of 2024e: 617 tags beside four rules for groups; what later editions added has no options."""
    table = read_table()
    assert len(table) == 652
    assert {row.basic for row in table.values()} == {"X", "Z", "D", "U", "X/Z", "X/D", "Z/D", "X/Z/D", "X/Z/U*"}
    assert {letter for row in table.values() for letter in row.options.values()} == {"K", "C"}
    assert {column for row in table.values() for column in row.options} <= set(COLUMNS.values())
    assert sum("full" in row.options for row in table.values()) == 165
    assert sum("descriptors" in row.options for row in table.values()) == 125
    for row in IN_DICTIONARY:
        assert keyword_for_tag(row.tag) == row.keyword


def test_a_second_transcription_of_the_table_has_the_same_actions() -> None:
    """Made from another reading of the standard (2026c); the four rules for groups are no rows here."""
    text = (Path(__file__).parents[1] / "cases" / "relay" / "basic-profile.txt").read_text(encoding="ascii")
    other = dict(line.split() for line in text.splitlines() if not line.startswith("#"))
    assert other == {f"{row.tag:08X}": row.basic for row in read_table().values()}


@pytest.mark.parametrize("option", ["", *OPTIONS])
def test_every_attribute_of_the_table_is_treated_as_its_row_says(option: str, tmp_path: Path) -> None:
    """All of them in one instance, for the profile alone and for each option."""
    columns = frozenset({COLUMNS[option]} if option else ())
    found = deidentified(tmp_path, with_samples(*ROWS), *([option] if option else []))
    for row in ROWS:
        letters = expected_letters(row, columns)
        assert_row(found, row, letters)
        if letters == "C" and dictionary_VR(row.tag) in {"DA", "DT"}:
            assert "19" < str(found[Tag(row.tag)].value) < "2026112", "shifted, not lost"


def test_of_two_options_the_one_that_keeps_wins_over_the_one_that_cleans(tmp_path: Path) -> None:
    options = ("clean-descriptors", "retain-patient-characteristics", "retain-device-identity", "retain-uids")
    found = deidentified(tmp_path, with_samples(*ROWS), *options)
    for row in ROWS:
        assert_row(found, row, expected_letters(row, frozenset(COLUMNS[option] for option in options)))


@pytest.mark.parametrize("tag", [0x00420011])
def test_a_whole_document_inside_the_object_stops_it(tag: int, tmp_path: Path) -> None:
    assert reason(tmp_path, with_samples(read_table()[tag])) == (
        "EncapsulatedDocument holds a whole document, which cannot be cleaned"
    )


@pytest.mark.parametrize("tag", [0xFFFCFFFC])
def test_padding_behind_the_pixels_goes(tag: int, tmp_path: Path) -> None:
    found = deidentified(tmp_path, make_ct(DataSetTrailingPadding=b"ZYXOMMA\0"))
    assert Tag(tag) not in found
    assert b"ZYXOMMA" not in (tmp_path / "out.dcm").read_bytes()


@pytest.mark.parametrize("option", ["", *OPTIONS])
def test_what_was_done_is_written_into_the_instance(option: str, tmp_path: Path) -> None:
    found = deidentified(tmp_path, make_ct(), *([option] if option else []))
    wanted = [PROFILE_CODE, *([OPTION_CODES[option]] if option else [])]
    assert found.PatientIdentityRemoved == "YES"
    assert "PS3.15" in str(found.DeidentificationMethod)
    assert [(code.CodeValue, code.CodeMeaning) for code in found.DeidentificationMethodCodeSequence] == wanted
    kinds = {"retain-longitudinal-full-dates": "UNMODIFIED", MODIFIED: "MODIFIED"}
    assert found.LongitudinalTemporalInformationModified == kinds.get(option, "REMOVED")


def test_the_codes_of_profile_and_options_are_those_of_context_group_7050() -> None:
    known = {code.value: code.meaning for code in codes.cid7050.concepts.values()}
    for value, meaning in (PROFILE_CODE, *OPTION_CODES.values()):
        assert known[value] == meaning


# What the configuration may ask ----------------------------------------------------------------------------


def said(*options: str, pseudonyms: tuple[str, ...] = (), profile: str = "basic") -> list[str]:
    return list(check_deidentify(Deidentify(profile, frozenset(options), pseudonyms)))


@pytest.mark.parametrize("option", ["clean-pixel-data", "clean-recognizable-visual-features", "retain-all"])
def test_an_option_that_cannot_be_done_right_is_refused_with_its_word(option: str) -> None:
    [sentence] = said(option)
    assert option in sentence


def test_options_that_exclude_one_another_and_pseudonyms_of_what_is_no_text_are_refused() -> None:
    assert "exclude" in said("retain-longitudinal-full-dates", MODIFIED)[0]
    assert "Rows" in said(pseudonyms=("Rows",))[0]
    assert "NoSuchThing" in said(pseudonyms=("NoSuchThing",))[0]
    assert "hard" in said(profile="hard")[0]
    assert said(*(set(OPTIONS) - {MODIFIED}), pseudonyms=("PatientName", "PatientID", "AccessionNumber")) == []


# Planted names ---------------------------------------------------------------------------------------------

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


# Each thing by itself --------------------------------------------------------------------------------------


def test_private_elements_go_at_every_depth_unless_they_are_safe_numbers(tmp_path: Path) -> None:
    dataset = make_ct()
    block = dataset.private_block(0x7053, "Philips PET Private Group", create=True)
    block.add_new(0x00, "DS", "0.5")
    block.add_new(0x03, "ST", "Zyxomma")
    other = dataset.private_block(0x0019, "SIEMENS MR HEADER", create=True)
    other.add_new(0x0C, "IS", "1000")
    other.add_new(0x0E, "FD", [1.0, 0.0, 0.0])
    other.add_new(0x0F, "SH", "Zyxomma")
    inner, outer = Dataset(), Dataset()
    inner.private_block(0x0019, "SIEMENS MR HEADER", create=True).add_new(0x0F, "SH", "Zyxomma")
    outer.private_block(0x0009, "Zyxomma", create=True).add_new(0x00, "SH", "Zyxomma")
    outer.AnatomicRegionSequence = [inner]
    dataset.ViewCodeSequence = [outer]
    plain = deidentified(tmp_path, dataset)
    assert "AnatomicRegionSequence" in plain.ViewCodeSequence[0]
    assert not [element for element in walk(plain) if element.tag.is_private]
    for syntax in (ExplicitVRLittleEndian, ImplicitVRLittleEndian):
        found = deidentified(tmp_path, dataset, "retain-safe-private", syntax=syntax)
        kept = {element.tag for element in found if element.tag.is_private}
        assert kept == {0x70530010, 0x70531000, 0x00190010, 0x0019100C, 0x0019100E}


def test_a_text_in_the_place_of_a_safe_number_is_not_safe(tmp_path: Path) -> None:
    dataset = make_ct()
    dataset.private_block(0x7053, "Philips PET Private Group", create=True).add_new(0x00, "LO", "Zyxomma")
    found = deidentified(tmp_path, dataset, "retain-safe-private")
    assert not [element for element in found if element.tag.is_private]


def test_the_table_of_safe_private_elements_holds_numbers_only() -> None:
    assert {row.vr for row in read_safe_private().values()} == {"DS", "IS", "FL", "FD", "SS", "US", "SL"}
    assert len(read_safe_private()) == 71


def test_uids_are_the_same_over_a_study_and_over_restarts_and_others_under_another_key(tmp_path: Path) -> None:
    first = make_ct(FrameOfReferenceUID="1.2.3.9", SOPInstanceUID="1.2.3.4.5.6.7")
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = first.SOPClassUID, "1.2.3.4.5.6.7"
    second = make_ct(FrameOfReferenceUID="1.2.3.9", SOPInstanceUID="1.2.3.4.5.6.8", ReferencedImageSequence=[item])
    one, two = deidentified(tmp_path, first), deidentified(tmp_path, second)
    assert one.StudyInstanceUID == two.StudyInstanceUID != first.StudyInstanceUID
    assert one.FrameOfReferenceUID == two.FrameOfReferenceUID
    assert two.ReferencedImageSequence[0].ReferencedSOPInstanceUID == one.SOPInstanceUID != two.SOPInstanceUID
    assert two.ReferencedImageSequence[0].ReferencedSOPClassUID == first.SOPClassUID
    assert one.StudyInstanceUID == Pseudonyms(KEY).uid("1.2.3.4.5"), "nothing is remembered: the key is the memory"
    assert one.StudyInstanceUID != Pseudonyms(bytes(32)).uid("1.2.3.4.5")


@given(st.text(max_size=64), st.binary(min_size=16, max_size=64))
def test_every_uid_that_is_made_is_one(uid: str, key: bytes) -> None:
    made = Pseudonyms(key).uid(uid)
    assert re.fullmatch(r"2\.25\.[1-9][0-9]*", made)
    assert len(made) <= 64
    assert made == Pseudonyms(key).uid(uid + "\0"), "padding is no part of a UID"
    assert repr(key) not in repr(Pseudonyms(key))


def test_a_well_known_uid_names_no_instance_and_stays(tmp_path: Path) -> None:
    atlas = "1.2.840.10008.1.4.1.1"
    assert deidentified(tmp_path, make_ct(FrameOfReferenceUID=atlas)).FrameOfReferenceUID == atlas


def test_pseudonyms_are_the_same_for_a_patient_and_differ_between_patients_and_elements(tmp_path: Path) -> None:
    keywords = ("PatientName", "PatientID", "AccessionNumber")
    one = deidentified(tmp_path, make_ct(), pseudonyms=keywords)
    again = deidentified(tmp_path, make_ct(SOPInstanceUID="1.2.9"), pseudonyms=keywords)
    other = deidentified(tmp_path, make_ct(PatientID="PLANTED-78"), pseudonyms=keywords)
    values = [str(one[keyword].value) for keyword in keywords]
    assert [str(again[keyword].value) for keyword in keywords] == values
    assert other.PatientID != one.PatientID
    assert other.PatientName == one.PatientName
    assert len(set(values)) == 3
    assert all(re.fullmatch("[A-Z2-7]{16}", value) for value in values)


def test_two_patients_do_not_become_one_at_the_destination_without_pseudonyms_either(tmp_path: Path) -> None:
    one = deidentified(tmp_path, make_ct(PatientID="PLANTED-77"))
    other = deidentified(tmp_path, make_ct(PatientID="PLANTED-78"))
    assert one.PatientID != other.PatientID


def test_modified_dates_keep_their_distances_for_a_patient_over_studies(tmp_path: Path) -> None:
    one = deidentified(tmp_path, make_ct(StudyDate="20260228"), MODIFIED)
    two = deidentified(tmp_path, make_ct(StudyDate="20260301", StudyInstanceUID="1.2.99"), MODIFIED)
    other = deidentified(tmp_path, make_ct(StudyDate="20260228", PatientID="PLANTED-78"), MODIFIED)
    assert int(two.StudyDate != one.StudyDate)
    assert _day(two.StudyDate) - _day(one.StudyDate) == 1
    assert other.StudyDate != one.StudyDate
    assert one.StudyTime == "101500.25"
    assert one.AcquisitionDateTime[8:] == "101500.25+0000"
    assert _day("20261120") - _day(one.AcquisitionDateTime[:8]) == _day("20260228") - _day(one.StudyDate)


def _day(text: str) -> int:
    return date(int(text[:4]), int(text[4:6]), int(text[6:8])).toordinal()


def test_without_a_patient_id_dates_are_not_shifted_at_random_but_the_instance_stops(tmp_path: Path) -> None:
    assert reason(tmp_path, make_ct(PatientID=""), MODIFIED).startswith("PatientID is missing")


@pytest.mark.parametrize("text", ["20261340", "yesterday", "2026112", "00010101"])
def test_a_date_that_cannot_be_shifted_falls_back_to_the_profile(text: str) -> None:
    assert shift_values("DA", [text], 400) is None


def test_a_description_keeps_what_is_known_to_be_safe() -> None:
    text = "CT chest abdomen pelvis - 55F Dr. Smith 5mm axial"
    assert clean_text(text, frozenset(), "LO") == "CT chest abdomen pelvis 5mm axial"
    assert clean_text("Hand of Hand", frozenset({"hand"}), "LO") == "of", "Dr. Hand is a name here"
    assert clean_text("T1_TSE_COR_Quillfeather", frozenset(), "SH") == "T1 TSE COR"


def test_cleaned_descriptors_stay_and_a_description_without_a_safe_word_goes(tmp_path: Path) -> None:
    found = deidentified(tmp_path, make_ct(SeriesDescription="Zyxomma"), "clean-descriptors")
    assert found.StudyDescription == "CT chest abdomen pelvis"
    assert "SeriesDescription" not in found


# What stops an instance ------------------------------------------------------------------------------------


def test_burned_in_annotation_stops_the_instance(tmp_path: Path) -> None:
    assert "BurnedInAnnotation" in reason(tmp_path, make_ct(BurnedInAnnotation="YES"))
    assert deidentified(tmp_path, make_ct(BurnedInAnnotation="NO"))


@pytest.mark.parametrize("number", ["7", "7.4", "6.1", "6.2", "3.1"])
def test_a_screen_or_an_ultrasound_has_to_say_that_nothing_is_burned_in(number: str, tmp_path: Path) -> None:
    sop_class = f"1.2.840.10008.5.1.4.1.1.{number}"
    assert "does not say BurnedInAnnotation NO" in reason(tmp_path, make_ct(SOPClassUID=sop_class))
    assert deidentified(tmp_path, make_ct(SOPClassUID=sop_class, BurnedInAnnotation="NO"))


@pytest.mark.parametrize("number", ["2", "4", "77.1.1", "66", "30"])
def test_other_images_need_not_say_so(number: str, tmp_path: Path) -> None:
    assert deidentified(tmp_path, make_ct(SOPClassUID=f"1.2.840.10008.5.1.4.1.1.{number}"))


def test_an_element_that_nobody_knows_stops_the_instance(tmp_path: Path) -> None:
    dataset = make_ct()
    dataset[Tag(0x00280FF8)] = DataElement(Tag(0x00280FF8), "LO", "Zyxomma")
    assert reason(tmp_path, dataset) == "(0028,0FF8) is no element of PS3.6 that is known here"


def test_an_overlay_hidden_in_the_pixels_stops_the_instance(tmp_path: Path) -> None:
    dataset = make_ct()
    dataset[Tag(0x60000010)] = DataElement(Tag(0x60000010), "US", 32)
    assert "overlay" in reason(tmp_path, dataset)


def test_pixels_in_a_sequence_that_stays_stop_the_instance_and_icons_just_go(tmp_path: Path) -> None:
    item = Dataset()
    item[Tag(0x7FE00010)] = DataElement(Tag(0x7FE00010), "OW", b"\0\0")
    assert "IconImageSequence" not in deidentified(tmp_path, make_ct(IconImageSequence=[item]))
    assert "pixels inside a sequence" in reason(tmp_path, make_ct(AnatomicRegionSequence=[item]))


def test_a_kept_text_with_the_patients_name_stops_the_instance_and_does_not_repeat_it(tmp_path: Path) -> None:
    said = reason(tmp_path, make_ct(Manufacturer="made for Mrs. PLANTED"))
    assert said == "Manufacturer is kept by the profile and holds a word of the patient's identity"
    item = Dataset()
    item.LossyImageCompressionMethod = "X"
    item.Manufacturer = "planted"
    assert "SegmentSequence > Manufacturer" in reason(tmp_path, make_ct(SegmentSequence=[item]))


@pytest.mark.parametrize(
    "keyword", ["SliceThickness", "InstanceNumber", "IrradiationEventUID", "TimezoneOffsetFromUTC"]
)
def test_a_text_where_a_number_is_kept_goes_or_stops_the_instance(keyword: str, tmp_path: Path) -> None:
    """PS3.15 E.3.5 note 3: strings of numbers may have been misused."""
    source, target = write(tmp_path / "in.dcm", make_ct(**{keyword: "0"})), tmp_path / "out.dcm"
    tag = Tag(keyword)
    head = tag.group.to_bytes(2, "little") + tag.element.to_bytes(2, "little") + dictionary_VR(tag).encode()
    old, new = head + b"\2\0" + (b"0\0" if keyword.endswith("UID") else b"0 "), head + b"\x08\0Zyxomma "
    content = source.read_bytes()
    assert old in content
    source.write_bytes(content.replace(old, new))
    result = transform(source, target, make_route("retain-uids", "retain-longitudinal-full-dates"), KEY)
    if isinstance(result, Quarantine):
        assert result.reason == f"{keyword} is kept by the profile and is no value of {dictionary_VR(tag)}"
        assert keyword in {"SliceThickness", "InstanceNumber"}
    else:
        assert b"Zyxomma" not in target.read_bytes()


def test_an_element_that_is_a_sequence_only_in_this_file_stops_the_instance(tmp_path: Path) -> None:
    dataset, item = make_ct(), Dataset()
    item.ImageComments = "Zyxomma"
    dataset[Tag("Manufacturer")] = DataElement(Tag("Manufacturer"), "SQ", Sequence([item]))
    assert reason(tmp_path, dataset) == "Manufacturer is not of the kind that PS3.6 says, LO"


# Graphics and structured content ---------------------------------------------------------------------------


def test_graphics_keep_their_shapes_and_lose_their_texts(tmp_path: Path) -> None:
    text, shape, annotation = Dataset(), Dataset(), Dataset()
    text.UnformattedTextValue = "Zyxomma"
    shape.GraphicAnnotationUnits, shape.GraphicDimensions, shape.NumberOfGraphicPoints = "PIXEL", 2, 1
    shape.GraphicData, shape.GraphicType = [3.0, 4.0], "POINT"
    annotation.GraphicLayer, annotation.TextObjectSequence, annotation.GraphicObjectSequence = "L", [text], [shape]
    only_text = Dataset()
    only_text.GraphicLayer, only_text.TextObjectSequence = "L", [text]
    dataset = make_ct(GraphicAnnotationSequence=[annotation, only_text])
    [kept] = deidentified(tmp_path, dataset, "clean-graphics").GraphicAnnotationSequence
    assert kept.GraphicObjectSequence[0].GraphicData == [3.0, 4.0]
    assert "TextObjectSequence" not in kept
    [dummy] = deidentified(tmp_path, dataset).GraphicAnnotationSequence
    assert dummy.GraphicObjectSequence[0].GraphicData == [1.0, 1.0]


def code(value: str, scheme: str, meaning: str) -> Dataset:
    made = Dataset()
    made.CodeValue, made.CodingSchemeDesignator, made.CodeMeaning = value, scheme, meaning
    return made


def content(kind: str, concept: Dataset, **more: Any) -> Dataset:
    item = Dataset()
    item.RelationshipType, item.ValueType, item.ConceptNameCodeSequence = "CONTAINS", kind, [concept]
    for keyword, value in more.items():
        setattr(item, keyword, value)
    return item


def dose_report() -> Dataset:
    measured = Dataset()
    measured.NumericValue, measured.MeasurementUnitsCodeSequence = "345.6", [code("mGy.cm", "UCUM", "mGy.cm")]
    inner = content("TEXT", code("121106", "DCM", "Comment"), TextValue="Zyxomma was restless, head first")
    items = [
        content("NUM", code("113838", "DCM", "CT Dose Length Product Total"), MeasuredValueSequence=[measured]),
        content("PNAME", code("121008", "DCM", "Person Observer Name"), PersonName="Zyxomma"),
        content("TEXT", code("113877", "DCM", "Device Name"), TextValue="CT_ER"),
        content(
            "CODE", code("121058", "DCM", "Procedure reported"), ConceptCodeSequence=[code("P5-08000", "SRT", "CT")]
        ),
        content("NUM", code("121033", "DCM", "Subject Age"), MeasuredValueSequence=[measured]),
        content("TEXT", code("X1", "99LOCAL", "Zyxomma"), TextValue="Zyxomma"),
        content("UIDREF", code("113769", "DCM", "Irradiation Event UID"), UID="1.2.3.88"),
        content("CONTAINER", code("113819", "DCM", "CT Acquisition"), ContentSequence=[inner]),
    ]
    return make_ct(ContentSequence=items)


def test_structured_content_keeps_numbers_and_codes_and_no_free_text(tmp_path: Path) -> None:
    found = deidentified(tmp_path, dose_report(), "clean-structured-content")
    kinds = [(item.ValueType, item.ConceptNameCodeSequence[0].CodeValue) for item in found.ContentSequence]
    assert kinds == [("NUM", "113838"), ("PNAME", "121008"), ("TEXT", "113877"), ("CODE", "121058"),
                     ("UIDREF", "113769"), ("CONTAINER", "113819")]  # fmt: skip
    assert found.ContentSequence[0].MeasuredValueSequence[0].NumericValue == "345.6"
    assert b"zyxomma" not in (tmp_path / "out.dcm").read_bytes().lower()
    assert Pseudonyms(KEY).uid("1.2.3.88") == found.ContentSequence[4].UID
    assert found.ContentSequence[2].TextValue == "ANONYMIZED"


def test_structured_content_keeps_devices_and_age_where_their_options_say_so(tmp_path: Path) -> None:
    options = (
        "clean-structured-content",
        "retain-device-identity",
        "retain-patient-characteristics",
        "clean-descriptors",
    )
    found = deidentified(tmp_path, dose_report(), *options)
    assert found.ContentSequence[2].TextValue == "CT_ER"
    assert "121033" in [item.ConceptNameCodeSequence[0].CodeValue for item in found.ContentSequence]
    assert found.ContentSequence[-1].ContentSequence[0].TextValue == "head"


def test_without_the_option_structured_content_becomes_a_dummy(tmp_path: Path) -> None:
    [item] = deidentified(tmp_path, dose_report()).ContentSequence
    assert (item.ValueType, item.TextValue) == ("TEXT", "ANONYMIZED")


def test_content_that_refers_to_itself_by_number_stops_the_instance(tmp_path: Path) -> None:
    dataset = dose_report()
    dataset.ContentSequence[0].ReferencedContentItemIdentifier = [1, 2]
    assert "by number" in reason(tmp_path, dataset, "clean-structured-content")


def test_every_dummy_has_as_many_values_as_its_element_needs(tmp_path: Path) -> None:
    rows = [row for row in ROWS if row.basic == "D" and dictionary_VR(row.tag) != "SQ"]
    found = deidentified(tmp_path, with_samples(*rows))
    for row in rows:
        assert int(dictionary_VM(row.tag).partition("-")[0]) <= found[Tag(row.tag)].VM


def test_what_an_option_keeps_goes_where_it_holds_the_patients_name_but_places_may_be_named_so(tmp_path: Path) -> None:
    dataset = make_ct(EthnicGroup="planted", InstitutionName="Planted General", PatientState="well")
    found = deidentified(tmp_path, dataset, "retain-patient-characteristics", "retain-institution-identity")
    assert "EthnicGroup" not in found
    assert found.InstitutionName == "Planted General"
    assert found.PatientSex == "F"
    assert found.PatientAge == "061Y"


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
