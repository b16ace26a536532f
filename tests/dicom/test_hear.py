"""What an association hears by memory is what it would have read: equal events, equal state, equal answers.

`recall` skips the reader and the decoder for bytes that were met before. Here every case and its mutations go both
ways, through a memory that has met all of them, and through none.
"""

import itertools
import random
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleet.dicom.association import Acceptor, Association, Indication, PeerFault, Requestor
from fleet.dicom.errors import PeerError
from fleet.dicom.pdu import Pdu, decode_pdu
from fleet.verify.prepare import Preparer, Question, make_associate_rq
from tests.dicom.fuzz_core import mutate
from tests.dicom.samples import DCMTK_AC, DCMTK_ECHO_RQ, DCMTK_ECHO_RSP, DCMTK_RQ, RELEASE_RP, RELEASE_RQ

REQUEST = make_associate_rq(Question("CALLED", "CALLING")).encode()
REJECT = bytes.fromhex("03000000000400010107")
ABORT = bytes.fromhex("07000000000400000201")
WHOLE = (DCMTK_AC, DCMTK_ECHO_RSP, RELEASE_RP, RELEASE_RQ, REJECT, ABORT, DCMTK_RQ, DCMTK_ECHO_RQ)
Step = Callable[[Association, bytes], Iterator[Indication]]


def by_memory(association: Association, segment: bytes) -> Iterator[Indication]:
    event = association.hear(segment)
    while event is not None:
        yield event
        event = association.next_event()


def by_reading(association: Association, segment: bytes) -> Iterator[Indication]:
    association.receive(segment)
    while (event := association.next_event()) is not None:
        yield event


def remember(segments: tuple[bytes, ...]) -> Preparer:
    """A memory that has met all of these, whole or not: what cannot be decoded leaves nothing behind."""
    memory = Preparer()
    for segment in segments:
        try:
            memory.decode(segment)
        except (PeerError, IndexError):
            continue
    return memory


def requestor(memory: Preparer) -> Association:
    made = Requestor(16_384, memory.decode, memory.recall)
    made.associate(REQUEST)
    made.transport_confirmed()
    return made


def acceptor(memory: Preparer) -> Association:
    made = Acceptor(16_384, memory.decode, memory.recall)
    made.transport_indicated()
    return made


def tell(association: Association, segments: tuple[bytes, ...], step: Step) -> list[object]:
    """All that happens to an association: events, what it sends, where it stands."""
    seen: list[object] = []
    for segment in segments:
        seen += [_comparable(event) for event in step(association, segment)]
        seen.append((association.data_to_send(), association.state, association.wants_close, association.is_drained))
        seen.append(association.artim_running)
    association.transport_closed()
    return [*seen, *(_comparable(event) for event in by_reading(association, b"")), association.state]


def _comparable(event: Indication) -> object:
    if isinstance(event, PeerFault):
        return type(event.error), event.error.source, event.error.reason, event.error.words
    return event


def assert_equal_both_ways(segments: tuple[bytes, ...]) -> None:
    for make in (requestor, acceptor):
        full, empty = remember(segments), Preparer()
        assert tell(make(full), segments, by_memory) == tell(make(empty), segments, by_reading)


@pytest.mark.parametrize("first", WHOLE)
@pytest.mark.parametrize("second", WHOLE)
def test_whole_pdus_in_every_order_are_heard_as_they_are_read(first: bytes, second: bytes) -> None:
    for segments in ((first,), (first, second), (first + second,), (first[:7], first[7:], second), (first, second[:5])):
        assert_equal_both_ways(segments)
        assert_equal_both_ways((DCMTK_AC, *segments))
        assert_equal_both_ways((DCMTK_RQ, *segments))


@given(st.lists(st.sampled_from(WHOLE), max_size=5), st.integers(0, 2**32), st.lists(st.integers(1, 300), max_size=4))
@settings(max_examples=400, deadline=None)
def test_mutations_cut_anywhere_are_heard_as_they_are_read(whole: list[bytes], seed: int, cuts: list[int]) -> None:
    chance = random.Random(seed)
    stream = b"".join(whole) + mutate(chance)[2:] + b"".join(whole[:1])
    places = [0, *sorted({cut for cut in cuts if cut < len(stream)}), len(stream)]
    pieces = tuple(stream[start:end] for start, end in itertools.pairwise(places))
    assert_equal_both_ways(tuple(piece for piece in pieces if piece))
    assert_equal_both_ways((*whole, mutate(chance)[2:] or b"\0", *whole))


@given(st.sampled_from(WHOLE), st.integers(0, 2**32))
@settings(max_examples=300, deadline=None)
def test_memory_only_knows_what_decodes_and_says_the_same(whole: bytes, seed: int) -> None:
    chance = random.Random(seed)
    memory = remember(WHOLE)
    for data in (whole, mutate(chance)[2:], whole[:-1], whole + b"\0"):
        recalled = memory.recall(data)
        if recalled is not None:
            assert recalled == _without_reserved(decode_pdu(data), memory)
    assert memory.recall(b"") is None


def _without_reserved(pdu: Pdu, memory: Preparer) -> Pdu:
    """The reserved titles of an accept are not looked at, and not kept (PS3.8 9.3.3)."""
    return memory.decode(pdu.encode())
