"""What stands for an identity: keyed hashes, so that the same input has the same stand-in on every day.

HMAC-SHA256 (RFC 2104), one domain for each use, so that a pseudonym of an ID tells nothing about its UID. Without the
key neither can be traced back by trying out all dates or all patient numbers.
"""

import base64
import hashlib
import hmac
from dataclasses import dataclass, field
from typing import Final

_PSEUDONYM_LENGTH: Final = 16  # the longest that SH holds (PS3.5 table 6.2-1); 80 bits in base 32
_SHIFT_DAYS: Final = 3650


@dataclass(frozen=True, slots=True)
class Pseudonyms:
    """Stand-ins under one key; the key never shows in its own text."""

    key: bytes = field(repr=False)

    def uid(self, uid: str) -> str:
        """A UID below 2.25 (PS3.5 B.2): a UUID of the kind that anybody may make as he likes (RFC 9562, version 8)."""
        digest = bytearray(self._digest("uid", uid)[:16])
        digest[6] = digest[6] & 0x0F | 0x80
        digest[8] = digest[8] & 0x3F | 0x80
        return f"2.25.{int.from_bytes(digest, 'big')}"

    def text(self, keyword: str, value: str) -> str:
        """What stands for a value of an element: 16 capital letters and digits."""
        digest = self._digest(f"pseudonym {keyword}", value)
        return base64.b32encode(digest).decode("ascii")[:_PSEUDONYM_LENGTH]

    def days(self, patient: str) -> int:
        """How many days all dates of a patient go back, a day at least and ten years at most."""
        return 1 + int.from_bytes(self._digest("dates", patient)[:8], "big") % _SHIFT_DAYS

    def _digest(self, domain: str, value: str) -> bytes:
        text = value.strip(" \0").encode("utf-8", "surrogatepass")
        return hmac.new(self.key, domain.encode() + b"\0" + text, hashlib.sha256).digest()
