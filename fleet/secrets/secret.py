"""A secret as a type of its own: whatever prints, formats, logs, copies or stores it gets three asterisks.

The clear text is behind `reveal()` and nowhere else, so that its few callers can be found and counted; a test
lists them. A secret that was not opened (no vault password was given) is a value like any other until somebody
wants to know it.
"""

import hmac
from typing import Any, Final, NoReturn

from fleet.errors import Location, UnfitValue

MASK: Final = "***"
NOWHERE: Final = Location("")


class SealedSecret(UnfitValue):
    """A secret is needed in clear and no vault password was given (exit status 2, nothing is contacted)."""

    def __init__(self, message: str, location: Location = NOWHERE) -> None:
        super().__init__(message)
        self.location = location


class Secret:
    """A text that is never shown; `location` is where it was typed."""

    __slots__ = ("_location", "_sealed", "_text")

    def __init__(self, text: str | None, location: Location = NOWHERE, sealed: str | None = None) -> None:
        self._text = text
        self._location = location
        self._sealed = sealed

    @property
    def location(self) -> Location:
        """Where it was typed."""
        return self._location

    @property
    def sealed(self) -> str | None:
        """The vault's text that it came from, which anybody may read; None where it was typed in clear."""
        return self._sealed

    @property
    def is_open(self) -> bool:
        """Whether it can be revealed."""
        return self._text is not None

    def reveal(self) -> str:
        """The clear text. Raises `SealedSecret` where no vault password was given."""
        if self._text is None:
            raise SealedSecret(
                f"the secret at {self._location} is needed and was not opened; give --vault-password-file FILE or"
                " --vault-password-command CMD (or set FLEET_VAULT_PASSWORD_FILE)",
                self._location,
            )
        return self._text

    def __repr__(self) -> str:
        return MASK

    def __str__(self) -> str:
        return MASK

    def __format__(self, spec: str) -> str:
        return MASK

    def __eq__(self, other: object) -> bool:
        """In constant time; two that were not opened are equal where they were typed at one place."""
        if not isinstance(other, Secret):
            return NotImplemented
        if self._text is None or other._text is None:
            return self._text is other._text and self._location == other._location
        return hmac.compare_digest(self._text.encode(), other._text.encode())

    def __hash__(self) -> int:
        return hash((Secret, self._text))

    def __copy__(self) -> "Secret":
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> "Secret":
        return self

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a secret is never pickled: it would lie in clear wherever the pickle lies")
