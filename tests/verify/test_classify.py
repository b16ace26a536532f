"""The words: every row of tables 9-21, 9-26 and 9-18, and the strangers we can name."""

import pytest

from fleet.dicom.items import PresentationContextAC
from fleet.dicom.pdu import Abort, AssociateRJ
from fleet.verify.classify import (
    Parties,
    classify_connect_error,
    describe_abort,
    describe_context,
    describe_lost,
    describe_rejection,
    describe_status,
    describe_stranger,
    guess_protocol,
    is_busy,
)
from fleet.verify.values import Outcome

PARTIES = Parties("CALLED", "CALLING", "10.1.2.3")


@pytest.mark.parametrize(
    ("source", "reason", "words"),
    [
        (1, 1, ("no reason given", "CALLING", "10.1.2.3")),
        (1, 2, ("application context name not supported", "vendor")),
        (1, 3, ("calling AE title not recognized", "CALLING", "add")),
        (1, 7, ("called AE title not recognized", "CALLED", "CALLING", "10.1.2.3")),
        (2, 1, ("no reason given", "log")),
        (2, 2, ("protocol version not supported",)),
        (3, 1, ("temporary congestion", "later")),
        (3, 2, ("local limit exceeded", "fewer")),
    ],
)
@pytest.mark.parametrize(("result", "kind"), [(1, "permanent"), (2, "transient"), (0, "reserved")])
def test_each_row_of_table_9_21_has_its_words(
    source: int, reason: int, words: tuple[str, ...], result: int, kind: str
) -> None:
    text = describe_rejection(AssociateRJ(result, source, reason), PARTIES)
    assert f"{result}/{source}/{reason}" in text
    assert all(word in text for word in (kind, *words))


def test_no_numbers_of_a_rejection_or_an_abort_are_too_strange() -> None:
    for first in range(256):
        for second in range(256):
            assert str(second) in describe_rejection(AssociateRJ(first, first, second), PARTIES)
            assert describe_abort(Abort(first, second), "the C-ECHO")


def test_busy_is_source_3_whatever_the_result_says() -> None:
    busy = {(r, s, n) for r in range(4) for s in range(5) for n in range(9) if is_busy(AssociateRJ(r, s, n))}
    assert busy == {(r, 3, n) for r in range(4) for n in (1, 2)}


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        (0, "not specified"),
        (1, "unrecognized PDU"),
        (2, "unexpected PDU"),
        (4, "unrecognized PDU parameter"),
        (5, "unexpected PDU parameter"),
        (6, "invalid PDU parameter value"),
    ],
)
def test_each_reason_of_table_9_26_has_its_words(reason: int, words: str) -> None:
    assert words in describe_abort(Abort(2, reason), "the C-ECHO")


def test_an_unrecognized_pdu_hints_at_tls() -> None:
    assert "TLS" in describe_abort(Abort(2, 1), "the association request")


@pytest.mark.parametrize("result", range(6))
def test_each_result_of_a_context_has_its_words(result: int) -> None:
    assert f"({result})" in describe_context(PresentationContextAC(1, result), 1, [1])


@pytest.mark.parametrize(
    ("head", "name"),
    [
        (b"HTTP/1.1 400", "web server"),
        (b"SSH-2.0-", "SSH"),
        (b"\x15\x03\x01", "TLS"),
        (b"\x0bMSH|", "HL7"),
        (b"RFB 003.008", "VNC"),
        (b"220 mail ESMTP", "mail"),
        (b"\x03\x00\x00\x13\x0e\xd0", "RDP"),
    ],
)
def test_strangers_are_named(head: bytes, name: str) -> None:
    assert name in str(guess_protocol(head))
    assert name in describe_stranger(head)


def test_a_stranger_without_a_name_is_shown_as_hex_and_never_as_text() -> None:  # T53
    assert describe_stranger(b"\x1b[2J<script>") == (
        "the answer is not DICOM (it begins 1b 5b 32 4a 3c 73 63 72 69 70 74 3e); check the port"
    )


def test_every_errno_gives_an_outcome() -> None:
    for number in range(200):
        outcome, words = classify_connect_error(number)
        assert outcome in Outcome
        assert words


def test_a_lost_connection_on_a_tls_port_hints_at_tls() -> None:
    assert "TLS" in describe_lost(None, "while …", 0, 2762)
    assert "TLS" not in describe_lost(None, "while …", 0, 104)


def test_a_status_is_told_with_its_name_and_comment() -> None:
    assert describe_status(0x0122, "no") == (
        "C-ECHO ended with status 0x0122 (SOP class not supported); the peer says 'no'"
    )


def test_a_comment_full_of_escapes_is_harmless_in_a_detail() -> None:  # T53
    text = describe_status(0x0110, "\x1b[2J\u202e\n" + "x" * 200)
    assert text.isascii()
    assert text.isprintable()
    assert len(text) < 200
