"""Storage commitment by bytes: what is asked, what is answered, and what a peer may get wrong."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.dicom.commitment import (
    EXPLICIT_LITTLE,
    IMPLICIT_LITTLE,
    MAX_DEPTH,
    Report,
    decode_report,
    encode_action_rq,
    encode_event_report_rq,
    encode_report,
    encode_request,
)
from fleet.dicom.errors import InvalidValueError

UIDS = st.from_regex(r"[0-9]{1,5}(\.[0-9]{1,5}){1,9}", fullmatch=True)
REPORTS = st.builds(
    Report,
    UIDS,
    st.lists(st.tuples(UIDS, UIDS), max_size=5).map(tuple),
    st.lists(st.tuples(UIDS, UIDS, st.integers(0, 0xFFFF)), max_size=5).map(tuple),
)


def test_the_action_is_the_standards_bytes() -> None:
    """PS3.7 table 10.3-7: requested class and instance, field 0130H, action 1."""
    data = encode_action_rq(7)
    assert data.startswith(bytes.fromhex("00000000 04000000") + struct.pack("<I", len(data) - 12))
    assert bytes.fromhex("0000 0001 02000000 3001") in data
    assert bytes.fromhex("0000 1001 02000000 0700") in data
    assert bytes.fromhex("0000 0810 02000000 0100") in data
    assert b"\0\0\x03\0\x14\0\0\0001.2.840.10008.1.20.1" in data
    assert b"\0\0\x01\x10\x16\0\0\0001.2.840.10008.1.20.1.1" in data


@pytest.mark.parametrize(("has_failures", "event"), [(False, 1), (True, 2)])
def test_the_event_says_whether_there_are_failures(has_failures: bool, event: int) -> None:
    assert struct.pack("<HHIH", 0, 0x1002, 2, event) in encode_event_report_rq(3, has_failures)


def test_a_request_is_the_standards_bytes() -> None:
    data = encode_request("1.2", [("1.3", "1.4")])
    item = bytes.fromhex("08005011 04000000") + b"1.3\0" + bytes.fromhex("08005511 04000000") + b"1.4\0"
    sequence = bytes.fromhex("feff00e0") + struct.pack("<I", len(item)) + item
    expected = bytes.fromhex("08009511 04000000") + b"1.2\0"
    assert data == expected + bytes.fromhex("08009911") + struct.pack("<I", len(sequence)) + sequence


@given(REPORTS)
def test_a_report_comes_back_as_it_was(report: Report) -> None:
    assert decode_report(encode_report(report), IMPLICIT_LITTLE) == report


def test_explicit_and_undefined_lengths_are_read() -> None:
    def ui(element: int, text: bytes) -> bytes:
        return struct.pack("<HH2sH", 8, element, b"UI", len(text)) + text

    item = ui(0x1150, b"1.2.4\0") + ui(0x1155, b"1.2.3\0") + struct.pack("<HH2sHH", 8, 0x1197, b"US", 2, 0x0112)
    failed = bytes.fromhex("feff00e0 ffffffff") + item + bytes.fromhex("feff0de0 00000000")
    data = ui(0x1195, b"1.9\0")
    data += struct.pack("<HH2sxxI", 8, 0x1198, b"SQ", 0xFFFFFFFF) + failed + bytes.fromhex("feffdde0 00000000")
    data += struct.pack("<HH2sxxI", 8, 0x1199, b"SQ", 0)
    assert decode_report(data, EXPLICIT_LITTLE) == Report("1.9", (), (("1.2.4", "1.2.3", 0x0112),))


@given(st.binary(max_size=300))
def test_whatever_comes_is_a_report_or_refused(data: bytes) -> None:
    for syntax in (IMPLICIT_LITTLE, EXPLICIT_LITTLE):
        try:
            decode_report(data, syntax)
        except InvalidValueError as error:
            assert error.words  # noqa: PT017  either way is right


@given(REPORTS, st.integers(0, 400))
def test_a_report_that_is_cut_off_is_never_longer_than_it_was(report: Report, cut: int) -> None:
    data = encode_report(report)[:cut]
    try:
        found = decode_report(data, IMPLICIT_LITTLE)
    except InvalidValueError:
        return
    assert set(found.committed) <= set(report.committed)


def test_deep_nesting_is_refused() -> None:
    """T68."""
    deep = bytes.fromhex("08004011 ffffffff feff00e0 ffffffff") * (MAX_DEPTH + 2)
    with pytest.raises(InvalidValueError, match="nested too deeply"):
        decode_report(deep, IMPLICIT_LITTLE)
