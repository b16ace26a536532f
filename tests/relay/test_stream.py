"""Bytes into association PDUs and pieces of messages."""

import hypothesis.strategies as st
import pytest
from hypothesis import given

from fleet.dicom.errors import InvalidValueError, PduTooLongError, PeerError, UnrecognizedPduError
from fleet.dicom.pdu import DataTF, PresentationDataValue, ReleaseRQ, encode_pdu
from fleet.relay.receive.stream import Fragment, PduStream

Told = list[bytes | tuple[int, bool, bytes, bool]]


def feed(stream: PduStream, data: bytes, sizes: list[int]) -> Told:
    """What comes out, with the pieces of one value joined."""
    told: Told = []
    at = 0
    whole = b""
    for size in [*sizes, len(data)]:
        for event in stream.feed(memoryview(data[at : at + size])):
            if isinstance(event, bytes):
                told.append(event)
                continue
            assert isinstance(event, Fragment)
            whole += bytes(event.data)
            if event.ends:
                told.append((event.context_id, event.is_command, whole, True))
                whole = b""
        at += size
    return told


def message(*pieces: bytes) -> bytes:
    values = [
        PresentationDataValue(3, piece, is_command=False, is_last=index == len(pieces) - 1)
        for index, piece in enumerate(pieces)
    ]
    return DataTF(tuple(values)).encode()


@given(st.lists(st.binary(max_size=40), min_size=1, max_size=4), st.lists(st.integers(1, 50), max_size=30))
def test_a_message_is_the_same_however_it_is_cut(pieces: list[bytes], sizes: list[int]) -> None:
    data = message(*pieces) + ReleaseRQ().encode() + message(*pieces)
    stream = PduStream(4096)
    expected = (3, False, b"".join(pieces), True)
    assert feed(stream, data, sizes) == [expected, ReleaseRQ().encode(), expected]
    assert not stream.is_inside


def test_a_pdu_of_four_gigabytes_is_refused_by_its_header() -> None:
    """T68: nothing is allocated."""
    with pytest.raises(PduTooLongError):
        feed(PduStream(131072), b"\4\0\xff\xff\xff\xff", [])


def test_a_first_byte_that_is_no_type_is_refused_at_once() -> None:
    with pytest.raises(UnrecognizedPduError):
        feed(PduStream(4096), b"G", [])


@pytest.mark.parametrize(
    "body",
    [b"", b"\0\0\0\2\1", b"\0\0\0\1\1\0", b"\0\0\0\3\1\0", b"\xff\xff\xff\xff\1\0", b"\0\0\0\2\1\0\0\0"],
    ids=["none", "short", "length 1", "over the end", "overflow", "tail"],
)
def test_a_value_that_leads_outside_its_pdu_is_refused(body: bytes) -> None:
    """T68."""
    with pytest.raises(InvalidValueError):
        feed(PduStream(4096), encode_pdu(4, body) + b"\0" * 8, [])


@given(st.binary(max_size=300), st.lists(st.integers(1, 20), max_size=20))
def test_whatever_comes_ends_in_a_peer_error_or_in_waiting(data: bytes, sizes: list[int]) -> None:
    stream = PduStream(4096)
    try:
        feed(stream, b"\4" + data, sizes)
    except PeerError:
        return
    assert stream.is_inside or not data[:0]
