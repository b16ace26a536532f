"""The run's vault: its one password, asked for when the first value needs it, and what was opened with it.

Nothing here is global: the door makes one and hands it down with the run's other parameters. It remembers every
secret of the run, so that what programs print about them can be masked.
"""

import os
from collections.abc import Callable, Iterable

from fleet.errors import Location
from fleet.secrets.fingerprint import Fingerprint, list_forms, make_fingerprint, make_key, mask_forms
from fleet.secrets.secret import NOWHERE, Secret
from fleet.secrets.vault_format import VaultError, open_envelope, parse_envelope

ReadPassword = Callable[[], bytes]


class Vault:
    """Opens what a password opens; without one, secrets stay closed and are counted."""

    def __init__(self, read_password: ReadPassword | None = None) -> None:
        self._read_password = read_password
        self._password: bytes | None = None
        self._known: dict[Secret, None] = {}
        self._fingerprint: Fingerprint | None = None
        self._forms: tuple[str, ...] | None = None
        self.unopened = 0

    @property
    def password(self) -> bytes | None:
        """The password, read once; None where none was given."""
        if self._password is None and self._read_password is not None:
            self._password = self._read_password()
        return self._password

    @property
    def known(self) -> Iterable[Secret]:
        """Every secret of this run that is open."""
        return tuple(self._known)

    @property
    def fingerprint(self) -> Fingerprint:
        """How this run shows that a secret is another one."""
        if self._fingerprint is None:
            key = os.urandom(32) if self._password is None else make_key(self._password)
            self._fingerprint = make_fingerprint(key)
        return self._fingerprint

    def mask(self, text: str) -> str:
        """A text without any secret of this run: for what programs, hosts and errors say."""
        if self._forms is None:
            self._forms = list_forms(self._known)
        return mask_forms(text, self._forms)

    def open_text(self, text: str, location: Location = NOWHERE) -> Secret:
        """The secret in a vault's text; closed where there is no password. Raises `VaultError`."""
        envelope = parse_envelope(text)
        password = self.password
        if password is None:
            self.unopened += 1
            return Secret(None, location, text)
        try:
            clear = open_envelope(envelope, password).decode("utf-8")
        except UnicodeDecodeError:
            raise VaultError("what is in it is not UTF-8 text; fleet has use for text only") from None
        return self.keep(Secret(clear, location, text))

    def keep(self, secret: Secret) -> Secret:
        """Remember a secret that needed no opening: a key in a file of its own, a password typed in clear."""
        if secret.is_open:
            self._known[secret] = None
            self._forms = None
        return secret
