"""What lies beside the inventory and belongs to it: certificates and the team's own templates."""

import hashlib
from collections.abc import Mapping
from typing import Any

from fleet.documents import read_beside
from fleet.inventory import model as m
from fleet.inventory.typed import Typed


class Attachments:
    """Reads the files that the inventory names, and remembers their digests."""

    def __init__(self, typed: Typed) -> None:
        self._typed = typed
        self.digests: set[tuple[str, str]] = set()

    def certificate(self, name: str, value: Mapping[str, Any], origin: m.Origin) -> m.Certificate:
        """A certificate's public parts."""
        if "key" in value:
            text = (
                f"certificates.{name}.key is not built yet: private keys are refused until secrets are kept as"
                " secrets; leave it out"
            )
            self._typed.error("not-built-yet", text, origin, "key")
        return m.Certificate(
            name=name,
            ca_file=value.get("ca_file"),
            cert_file=value.get("cert_file"),
            ca_pem=self._read_text(value, "ca_file", origin),
            cert_pem=self._read_text(value, "cert_file", origin),
            origin=origin,
        )

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
