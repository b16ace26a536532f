"""What lies beside the inventory and belongs to it: certificates and the team's own templates."""

import hashlib
from collections.abc import Mapping
from typing import Any

from fleet.documents.files import is_shared, read_beside
from fleet.inventory import model as m
from fleet.inventory.typed import Typed
from fleet.secrets.secret import Secret
from fleet.secrets.vault_format import VaultError, WrongPassword, is_vault_text

_IN_CLEAR = "-----BEGIN"


class Attachments:
    """Reads the files that the inventory names, and remembers their digests."""

    def __init__(self, typed: Typed) -> None:
        self._typed = typed
        self.digests: set[tuple[str, str]] = set()

    def certificate(self, name: str, value: Mapping[str, Any], origin: m.Origin) -> m.Certificate:
        """A CA's certificates, or a certificate and its private key."""
        key_file, key, is_shared = self._read_key(name, value.get("key"), origin)
        return m.Certificate(
            name=name,
            ca_file=value.get("ca_file"),
            cert_file=value.get("cert_file"),
            ca_pem=self._read_text(value, "ca_file", origin),
            cert_pem=self._read_text(value, "cert_file", origin),
            key=key,
            key_file=key_file,
            key_is_shared=is_shared,
            origin=origin,
        )

    def _read_key(self, name: str, typed: Any, origin: m.Origin) -> tuple[str | None, Secret | None, bool]:
        """The file that a key came from, the key, and whether others on this machine may read that file in clear."""
        if typed is None or isinstance(typed, Secret):
            return None, typed, False
        root, at = self._typed.documents.root, origin.at("key")
        if _IN_CLEAR in typed or "\n" in typed:
            text = (
                f"certificates.{name}.key stands in clear in the inventory, where everybody who reads the inventory has"
                " it; encrypt it with `ansible-vault encrypt_string` as a !vault value, or name a file beside the"
                " inventory that is encrypted with `ansible-vault encrypt`; this key is spent, make a new one"
            )
            self._typed.error("secret-in-clear", text, origin, "key")
            return None, None, False
        try:
            data = read_beside(root, typed)
            self.digests.add((typed, hashlib.sha256(data).hexdigest()))
            if is_vault_text(data):
                return typed, self._open_file(data, typed, origin), False
            key = self._typed.documents.vault.keep(Secret(data.decode("utf-8").replace("\r\n", "\n"), at))
            return typed, key, is_shared(root, typed)
        except UnicodeDecodeError:
            reason = f"{typed!r} is not UTF-8 text; a key is a PEM file"
        except ValueError as error:
            reason = str(error)
        self._typed.error("file-beside", f"{reason}; nothing that needs it can be rendered", origin, "key")
        return typed, None, False

    def _open_file(self, data: bytes, name: str, origin: m.Origin) -> Secret:
        """A file that `ansible-vault encrypt` made."""
        try:
            return self._typed.documents.vault.open_text(data.decode("ascii", "replace"), origin.at("key"))
        except VaultError as error:
            code = "vault-password" if isinstance(error, WrongPassword) else "vault-damaged"
            self._typed.error(code, f"the file {name!r}: {error}", origin, "key")
            return Secret(None, origin.at("key"))

    def team_file(self, value: Mapping[str, Any], origin: m.Origin) -> m.TeamFile:
        """A file of the team's own, its template read beside the inventory."""
        owner = value.get("owner", "root")
        return m.TeamFile(
            template=value["template"],
            path=value["path"],
            where=value["where"],
            mode=int(value.get("mode", "0644"), 8),
            owner=owner if ":" in owner else f"{owner}:{owner}",
            check=value.get("check"),
            handler=value.get("handler"),
            source=self._read_text(value, "template", origin) or "",
            origin=origin,
        )

    def _read_text(self, value: Mapping[str, Any], key: str, origin: m.Origin) -> str | None:
        """The text of a file that the inventory names; None where it names none, or a problem says why not."""
        if key not in value:
            return None
        name = value[key]
        try:
            data = read_beside(self._typed.documents.root, name)
            text = data.decode("utf-8")
        except UnicodeDecodeError:
            reason = f"{name!r} is not UTF-8 text"
        except ValueError as error:
            reason = str(error)
        else:
            self.digests.add((name, hashlib.sha256(data).hexdigest()))
            return text
        self._typed.error("file-beside", f"{reason}; nothing that needs it can be rendered", origin, key)
        return None
