"""The data of PS3.6 and PS3.3 that rules judge by: one table for the inventory and for the relay."""

from fleet.dicom.keywords import find_tag, read_keywords
from fleet.dicom.modality import MODALITIES, RETIRED_MODALITIES


def test_every_current_keyword_is_known_and_a_slip_is_not() -> None:
    assert len(read_keywords()) > 5000
    assert find_tag("PatientName") == 0x00100010
    assert find_tag("PatientNam") is None


def test_a_modality_is_current_or_retired_and_not_both() -> None:
    assert not MODALITIES & RETIRED_MODALITIES
    assert {"CT", "RTSTRUCT", "XC"} <= MODALITIES
