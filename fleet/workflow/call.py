"""One association before it is asked: what `fleet echo` needs, whether typed or looked up."""

from dataclasses import dataclass

from fleet.verify.values import TlsSettings


@dataclass(frozen=True, slots=True)
class Call:
    """One association as the inventory would have it; `tls` is verified TLS, or None for plain."""

    address: str
    port: int
    called: str
    calling: str
    tls: TlsSettings | None = None
