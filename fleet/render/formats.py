"""The formats that we render: what may stand in each raw, how the rest is quoted, how long a line may be.

A template outputs a value through one of its format's filters, or not at all: what a filter returns carries the
format's name, and the engine refuses everything else (T15). Team files of a format that we do not know are
plain text: there only what would begin another line is refused.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import Final

from fleet.targets import dcmqrscp, haproxy, keepalived, shell, systemd
from fleet.targets.refusal import unfit
from fleet.targets.text import explain_control


class Quoted(str):
    """Text that a format's filter has made fit; joining it to anything makes it plain text again."""

    __slots__ = ("format_name",)
    format_name: str


def quoted(text: str, format_name: str) -> Quoted:
    """`text` as fit for a format."""
    value = Quoted(text)
    value.format_name = format_name
    return value


Quote = Callable[[object], str]


@dataclass(frozen=True, slots=True)
class Format:
    """One format: its filters by name, and what its reader reads. `raw_text`: plain text may pass unquoted."""

    name: str
    filters: Mapping[str, Quote]
    max_line_bytes: int | None = None
    ascii_only: bool = True
    raw_text: bool = False


def quote_json(value: object) -> str:
    """A value as JSON (RFC 8259), ASCII, keys sorted."""
    return json.dumps(value, ensure_ascii=True, sort_keys=True, indent=2, allow_nan=False)


def quote_line(value: object) -> str:
    """Free text that stays on its line: for comments and plain text files."""
    text = str(value)
    reason = explain_control(text)
    if reason:
        raise unfit("a line of text", f"the value {text!r}", reason)
    return text


def _words(name: str, word: Quote, max_line_bytes: int) -> Format:
    return Format(name, MappingProxyType({"word": word}), max_line_bytes)


FORMATS: Final[Mapping[str, Format]] = MappingProxyType(
    {
        "dcmqrscp": _words("dcmqrscp", dcmqrscp.quote, dcmqrscp.MAX_LINE_BYTES),
        "keepalived": _words("keepalived", keepalived.quote, keepalived.MAX_LINE_BYTES),
        "haproxy": _words("haproxy", haproxy.quote, haproxy.MAX_LINE_BYTES),
        "systemd": Format(
            "systemd",
            MappingProxyType({"argument": systemd.quote_argument, "text": systemd.quote_text}),
            systemd.MAX_LINE_BYTES,
        ),
        "sh": Format("sh", MappingProxyType({"sh": shell.quote})),
        "json": Format("json", MappingProxyType({"json": quote_json})),
        "text": Format(
            "text",
            MappingProxyType({"line": quote_line, "json": quote_json, "sh": shell.quote}),
            ascii_only=False,
            raw_text=True,
        ),
    }
)

# By the name of one of our templates, which a team may lay its own over.
_BY_TEMPLATE: Final[Mapping[str, str]] = MappingProxyType(
    {
        "dcmqrscp.cfg.j2": "dcmqrscp",
        "keepalived.conf.j2": "keepalived",
        "haproxy.cfg.j2": "haproxy",
        "dcmqrscp.service.j2": "systemd",
        "storescp.service.j2": "systemd",
        "wlmscpfs.service.j2": "systemd",
        "relay.service.j2": "systemd",
        "health-check.sh.j2": "sh",
        "check-listens.sh.j2": "sh",
        "await-free-port.sh.j2": "sh",
        "drain-associations.sh.j2": "sh",
        "relay.json.j2": "json",
    }
)
_UNIT_SUFFIXES = frozenset({".service", ".socket", ".timer", ".path", ".mount", ".target"})


def format_of_template(name: str) -> Format:
    """The format of one of our templates."""
    return FORMATS[_BY_TEMPLATE[name]]


def template_names() -> tuple[str, ...]:
    """Our templates, which a team may lay its own over."""
    return tuple(sorted(_BY_TEMPLATE))


def format_of_path(path: str) -> Format:
    """The format of a team's file, by where it is kept."""
    where = PurePosixPath(path)
    if where.suffix in _UNIT_SUFFIXES or (
        where.suffix == ".conf" and where.parent.suffix == ".d" and "systemd" in path
    ):
        return FORMATS["systemd"]
    if path.startswith("/etc/keepalived/"):
        return FORMATS["keepalived"]
    if path.startswith("/etc/haproxy/") and where.suffix == ".cfg":
        return FORMATS["haproxy"]
    if where.suffix == ".json":
        return FORMATS["json"]
    if where.suffix == ".sh":
        return FORMATS["sh"]
    return FORMATS["text"]
