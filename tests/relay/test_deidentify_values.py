"""Private elements, UIDs, pseudonyms, dates, descriptions and dummies, each by itself. # T74"""

import re
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.datadict import dictionary_VM, dictionary_VR
from pydicom.dataset import Dataset
from pydicom.tag import Tag
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from fleet.relay.transform.keys import Pseudonyms
from fleet.relay.transform.stand_ins import clean_text, shift_values
from fleet.relay.transform.table import read_safe_private
from tests.relay.deidentified import MODIFIED, ROWS, deidentified, reason, walk, with_samples
from tests.relay.instances import KEY, make_ct


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
