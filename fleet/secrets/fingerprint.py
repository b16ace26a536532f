"""What shows that a secret changes, and nothing else of it: a keyed fingerprint (HMAC, RFC 2104).

A plain digest of eight characters is those characters for whoever lets a computer try. The key is made of the vault
password, so that colleagues see the same fingerprint on different days; where there is none, of chance, and then
fingerprints of one run can be compared with each other alone.
"""

import hashlib
import hmac
import re
from collections.abc import Callable, Iterable
from typing import Final

from fleet.secrets.secret import MASK, Secret

Fingerprint = Callable[[str], str]

_SALT: Final = b"fleet fingerprint 1"
_ITERATIONS: Final = 200_000  # dearer to try than the vault's own 10,000, so that nothing is given away
_DIGITS: Final = 12
_BASE64_DIGITS: Final = 5  # fewer stand in any word
_OF_URLS: Final = str.maketrans("+/", "-_")
_LINE_CHARACTERS: Final = 12  # a line of a longer secret that names it: a part of a key's base64, not `}`


def make_key(password: bytes) -> bytes:
    """The key of a vault password's fingerprints."""
    return hashlib.pbkdf2_hmac("sha256", password, _SALT, _ITERATIONS)


def make_fingerprint(key: bytes) -> Fingerprint:
    """Texts as `<secret 0123456789ab>`."""

    def fingerprint(text: str) -> str:
        return f"<secret {hmac.digest(key, text.encode('utf-8', 'surrogatepass'), 'sha256').hex()[:_DIGITS]}>"

    return fingerprint


def hide_unknown(_text: str) -> str:
    """The fingerprint of whoever has no key."""
    return f"<secret {MASK}>"


def list_forms(secrets: Iterable[Secret]) -> tuple[str, ...]:
    """Secrets as they are, and as shells, JSON, URLs, markup, base64 and hexadecimal digits write them; the longest
    first."""
    forms = {form for secret in secrets if secret.is_open for form in _forms(secret.reveal())}
    return tuple(sorted(forms, key=lambda each: (-len(each), each)))


def mask_forms(text: str, forms: Iterable[str]) -> str:
    """A text without any of them."""
    for form in forms:
        text = text.replace(form, MASK)
    return text


def _forms(clear: str) -> Iterable[str]:
    from html import escape
    from json import dumps
    from urllib.parse import quote, quote_plus

    stripped = clear.strip()
    if not stripped:
        return
    yield stripped
    yield repr(stripped)[1:-1]
    yield dumps(stripped)[1:-1]
    yield stripped.replace("'", "'\"'\"'")
    yield from (escape(stripped), escape(stripped, quote=False))
    for quoted in (quote(stripped, safe=""), quote(stripped), quote_plus(stripped)):
        yield from (quoted, re.sub("%[0-9A-F]{2}", lambda found: found[0].lower(), quoted))
    yield from (stripped.encode().hex(), stripped.encode().hex().upper())
    yield from _base64_forms(clear.encode())
    yield from _base64_forms(stripped.encode())
    yield from (line for line in stripped.splitlines() if len(line) >= _LINE_CHARACTERS and "-----" not in line)


def _base64_forms(clear: bytes) -> Iterable[str]:
    """As it stands in the base64 of a longer text, `user:password` say: at each of three alignments, without the digits
    that its neighbours decide (RFC 4648 section 4), and in the alphabet of URLs (section 5)."""
    from base64 import b64encode

    yield b64encode(clear).decode().rstrip("=")
    for skipped in range(3):
        whole = b64encode(b"\0" * skipped + clear).decode()
        core = whole[-(-8 * skipped // 6) : 8 * (skipped + len(clear)) // 6]
        if len(core) >= _BASE64_DIGITS:
            yield from (core, core.translate(_OF_URLS))
