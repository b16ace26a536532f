"""What stops an instance, since it cannot be cleaned. # T74"""

from pathlib import Path

import pytest
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.tag import Tag

from fleet.relay.transform.steps import transform
from fleet.relay.values import Quarantine
from tests.relay.deidentified import deidentified, reason
from tests.relay.instances import KEY, make_ct, make_route, write


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
