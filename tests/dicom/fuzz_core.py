"""Bytes nobody thought of, for everything in `fleet.dicom` that reads: coverage-guided by atheris where it is there.

    python -m tests.dicom.fuzz_core RUNS [SEED]

A run hands one input to one of the readers, cut into pieces. Anything but a typed error is a crash, and so is memory
that grows: what is read must not be kept. Without atheris (the extra `fuzz`) the inputs are mutations of captured
bytes, blind but many.
"""

import contextlib
import importlib
import importlib.util
import random
import resource
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.dicom.samples import DCMTK_AC, DCMTK_ECHO_RQ, DCMTK_ECHO_RSP, DCMTK_RQ, RELEASE_RP, RELEASE_RQ

IS_GUIDED = __name__ == "__main__" and importlib.util.find_spec("atheris") is not None
atheris: Any = importlib.import_module("atheris") if IS_GUIDED else None

with atheris.instrument_imports(include=["fleet.dicom", "fleet.verify"]) if IS_GUIDED else contextlib.nullcontext():
    from fleet.dicom.association import Acceptor, Association, Requestor
    from fleet.dicom.dimse import CommandAssembler, decode_command
    from fleet.dicom.errors import PeerError
    from fleet.dicom.pdu import DataTF, PduReader, decode_pdu
    from fleet.verify.dialogue import EchoDialogue
    from fleet.verify.prepare import Preparer, Question, make_associate_rq
    from fleet.verify.values import Timeouts

SAMPLES = (
    DCMTK_AC + DCMTK_ECHO_RSP + RELEASE_RP,
    DCMTK_RQ + DCMTK_ECHO_RQ + RELEASE_RQ,
    DCMTK_AC,
    DCMTK_ECHO_RSP[12:],
    bytes.fromhex("03000000000400010107"),
    bytes.fromhex("07000000000400000201"),
)
QUESTION = Question("CALLED", "CALLING")
REQUEST = make_associate_rq(QUESTION).encode()
MEMORY = Preparer()
for _known in (DCMTK_AC, DCMTK_ECHO_RSP, RELEASE_RP, RELEASE_RQ, *SAMPLES[4:]):
    MEMORY.decode(_known)
MOST_GROWTH_BYTES = 64 * 1024 * 1024


def read_somehow(data: bytes) -> None:
    """One input through one reader; the first two bytes say which, and how it is cut. Raises only for a fault."""
    if len(data) < 3:
        return
    READERS[data[0] % len(READERS)](data[2:], 1 + data[1] % 64)


def _read_pdus(data: bytes, _step: int) -> None:
    reader, assembler = PduReader(16_384), CommandAssembler(decode_command)
    with contextlib.suppress(PeerError):
        reader.feed(data)
        while (whole := reader.next_pdu()) is not None:
            pdu = decode_pdu(whole)
            with contextlib.suppress(ValueError):  # titles and UIDs are read as they come, and never written so
                again = pdu.encode()
                assert decode_pdu(again) == pdu, "what was decoded is not what is encoded again"
            if isinstance(pdu, DataTF):
                for value in pdu.values:
                    assembler.add(value)


def _read_command(data: bytes, _step: int) -> None:
    with contextlib.suppress(PeerError):
        decode_command(data)


def _hear_as_requestor(data: bytes, step: int) -> None:
    requestor = Requestor()
    requestor.associate(REQUEST)
    requestor.transport_confirmed()
    _hear(requestor, data, step)


def _hear_as_acceptor(data: bytes, step: int) -> None:
    acceptor = Acceptor()
    acceptor.transport_indicated()
    _hear(acceptor, data, step)


def _hear(association: Association, data: bytes, step: int) -> None:
    for start in range(0, len(data), step):
        association.receive(data[start : start + step])
        while association.next_event() is not None:
            pass
    association.data_to_send()
    association.artim_expired()
    association.transport_closed()


def _hear_both_ways(data: bytes, step: int) -> None:
    """By memory and by reading: equal events, equal answers, equal state."""
    one, other = Requestor(16_384, MEMORY.decode, MEMORY.recall), Requestor(16_384, Preparer().decode)
    for association in (one, other):
        association.associate(REQUEST)
        association.transport_confirmed()
    # Cut as PDUs are: what is whole in a segment is what memory can know.
    for segment in _segments(data, step):
        heard = [one.hear(segment)]
        while heard[-1] is not None:
            heard.append(one.next_event())
        other.receive(segment)
        read = [other.next_event()]
        while read[-1] is not None:
            read.append(other.next_event())
        assert str(heard) == str(read), "memory tells something else than the bytes"
        assert (one.data_to_send(), one.state) == (other.data_to_send(), other.state), "memory leads elsewhere"


def _segments(data: bytes, step: int) -> Iterator[bytes]:
    at = 0
    while at < len(data):
        size = 6 + int.from_bytes(data[at + 2 : at + 6], "big") if step % 4 else step
        yield data[at : at + size]
        at += size


def _hold_dialogue(data: bytes, step: int) -> None:
    dialogue = EchoDialogue(QUESTION, Timeouts(), Preparer(), port=104)
    dialogue.start(0.0, 10.0)
    dialogue.connected(0.1)
    for start in range(0, len(data), step):
        if not dialogue.over:
            dialogue.receive(data[start : start + step], 0.2)
    if not dialogue.over:
        dialogue.peer_closed(0.3)
    assert dialogue.over, "a dialogue whose connection is closed goes on"
    assert dialogue.outcome is not None, "a dialogue ended without an outcome"


READERS = (_read_pdus, _read_command, _hear_as_requestor, _hear_as_acceptor, _hold_dialogue, _hear_both_ways)


def mutate(chance: random.Random) -> bytes:
    """A captured stream with a few bytes changed, dropped, doubled or cut."""
    data = bytearray(chance.choice(SAMPLES))
    for _ in range(chance.randrange(6)):
        place = chance.randrange(len(data) + 1)
        kind = chance.randrange(4)
        if kind == 0 and place < len(data):
            data[place] = chance.choice((0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256)))
        elif kind == 1:
            del data[place : place + chance.randrange(1, 9)]
        elif kind == 2:
            data[place:place] = data[place : place + chance.randrange(1, 40)]
        else:
            del data[place:]
    return bytes((chance.randrange(256), chance.randrange(256))) + bytes(data)


class Runs:
    """Counts the runs and looks at the memory after a tenth of them and after the last."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._done = 0
        self._warm_bytes = 0

    def __call__(self, data: bytes) -> None:
        read_somehow(data)
        self._done += 1
        if self._done == self._count // 10:
            self._warm_bytes = resident_bytes()
        elif self._done == self._count:
            grown_bytes = resident_bytes() - self._warm_bytes
            assert grown_bytes < MOST_GROWTH_BYTES, f"memory grew by {grown_bytes} bytes"
            sys.stderr.write(f"{self._done} runs, {grown_bytes / 1e6:.1f} MB more than after a tenth of them\n")
            sys.stderr.flush()


def resident_bytes() -> int:
    """The memory that this process has now (proc_pid_statm(5))."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * resource.getpagesize()


def run_blindly(runs: Callable[[bytes], None], count: int, seed: int) -> None:
    """Without atheris."""
    chance = random.Random(seed)
    for _ in range(count):
        runs(mutate(chance))


def run_guided(runs: Callable[[bytes], None], count: int, seed: int) -> None:
    """With atheris, which ends the process."""

    def vary(data: bytes, max_size: int, new_seed: int) -> bytes:
        """Now and then a mutated capture: no chance finds a whole association by itself."""
        if new_seed % 8 == 0 or not data:
            return mutate(random.Random(new_seed))[:max_size]
        mutated: bytes = atheris.Mutate(data, max_size)
        return mutated

    words = [sys.argv[0], f"-runs={count}", f"-seed={seed}", "-max_len=1024", "-timeout=5", "-rss_limit_mb=512"]
    words.append(f"-artifact_prefix={tempfile.gettempdir()}/")
    atheris.Setup(words, runs, custom_mutator=vary)
    atheris.Fuzz()


def main() -> None:
    """Hand so many inputs to the readers."""
    count, seed = int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 1
    (run_guided if IS_GUIDED else run_blindly)(Runs(count), count, seed)


if __name__ == "__main__":
    main()
