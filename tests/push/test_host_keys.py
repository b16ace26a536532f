import base64
import hashlib
import hmac

import pytest

from fleet.push.host_keys import HostKey, check_host_key, find_known_keys, parse_host_key

KEY = parse_host_key("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEk4VKVF7mczN4gPebuaDuCZRzrxfaXjINdsXwqvu2xv comment")
OTHER = parse_host_key("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJe7cGS2jSCmE/Sglm8wvCbwHmsE5q6Pwy2X+A3/RK5k")


def test_a_key_is_read_back_from_its_line() -> None:
    assert parse_host_key(KEY.line) == KEY
    assert KEY.fingerprint.startswith("SHA256:")


@pytest.mark.parametrize("text", ["", "ssh-ed25519", "ssh-ed25519 !", "ssh-dss AAAA", "ssh-rsa " + KEY.line.split()[1]])
def test_what_is_no_key_is_said_so(text: str) -> None:
    with pytest.raises(ValueError, match="no host key"):
        parse_host_key(text)


def hashed(name: str) -> str:
    salt = b"0123456789abcdef0123"
    digest = hmac.new(salt, name.encode(), hashlib.sha1).digest()
    return f"|1|{base64.b64encode(salt).decode()}|{base64.b64encode(digest).decode()}"


@pytest.mark.parametrize(
    ("patterns", "port", "found"),
    [
        ("10.0.0.1", 22, True),
        ("10.0.0.1", 2222, False),
        ("[10.0.0.1]:2222", 2222, True),
        ("pacs,10.0.0.*", 22, True),
        ("10.0.0.*,!10.0.0.1", 22, False),
        ("10.0.0.?", 22, True),
        (hashed("10.0.0.1"), 22, True),
        (hashed("10.0.0.2"), 22, False),
        ("|1|broken", 22, False),
    ],
)
def test_known_hosts_patterns_are_those_of_openssh(patterns: str, port: int, *, found: bool) -> None:
    known = find_known_keys((), f"{patterns} {KEY.line}\n", ("10.0.0.1" if port == 22 else f"[10.0.0.1]:{port}",))
    assert (KEY in known.trusted) is found


def test_a_pinned_key_outweighs_a_known_one() -> None:
    known = find_known_keys((KEY.line,), f"* {OTHER.line}\n", ("10.0.0.1",))
    assert check_host_key(KEY, known, "h") is None
    assert "changed" in (check_host_key(OTHER, known, "h") or "")


def test_a_certificate_authority_vouches_for_nothing_here() -> None:
    known = find_known_keys((), f"@cert-authority * {KEY.line}\n", ("10.0.0.1",))
    assert "unknown" in (check_host_key(KEY, known, "h") or "")


def test_a_key_of_another_kind_is_another_key() -> None:
    known = find_known_keys((KEY.line,), "", ("10.0.0.1",))
    assert check_host_key(HostKey("ecdsa-sha2-nistp256", KEY.blob), known, "h") is not None


def test_a_revoked_key_is_told_beside_the_one_that_is_expected() -> None:  # T21
    known = find_known_keys((OTHER.line,), f"@revoked * {KEY.line}\n", ("10.0.0.1",))
    said = check_host_key(KEY, known, "h") or ""
    assert KEY.fingerprint in said
    assert OTHER.fingerprint in said
    assert "revoked" in said
