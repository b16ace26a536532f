"""Digests that tell whether something changed, and no more: keyed, so that nobody tries out what a short secret is.

A plain digest of a file whose one secret has eight characters is that secret for whoever has the rest of the file.
"""

import hashlib
import hmac
from dataclasses import dataclass, field
from typing import Final

MARK: Final = "keyed:"


@dataclass(frozen=True, slots=True)
class Concealer:
    """A key that stays where it was made."""

    key: bytes = field(repr=False)

    @property
    def key_id(self) -> str:
        """Which key it is, for whoever has it."""
        return hashlib.sha256(b"fleet key id" + self.key).hexdigest()[:16]

    def conceal(self, text: str) -> str:
        """The same for the same text, and of no use to anybody without the key (RFC 2104)."""
        return hmac.new(self.key, text.encode(), hashlib.sha256).hexdigest()

    def mark(self, digest: str) -> str:
        """A digest of a secret, as records may hold it."""
        return MARK + self.conceal(digest)
