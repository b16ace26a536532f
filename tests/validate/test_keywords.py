"""The data of PS3.6 and PS3.3 that rules judge by: one table for the inventory and for the relay."""

from fleet.dicom.keywords import find_tag, read_keywords
from fleet.dicom.modality import MODALITIES, RETIRED_MODALITIES
from fleet.relay.keywords import tag_of


def test_the_relay_and_validate_know_the_same_keywords() -> None:
    known = read_keywords()
    assert len(known) > 5000
    assert all(tag_of(keyword) == tag for keyword, tag in known.items())
    assert find_tag("PatientNam") is None
    assert tag_of("PatientNam") is None


def test_a_modality_is_current_or_retired_and_not_both() -> None:
    assert not MODALITIES & RETIRED_MODALITIES
    assert {"CT", "RTSTRUCT", "XC"} <= MODALITIES
