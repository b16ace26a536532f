"""The relay's own file: read, checked key by key, and made into values (`fleet.relay/1`).

The relay trusts nobody with this, not even the fleet that rendered it: an unknown key, or one whose feature is not
built, is a reason not to start, because a relay that overlooks `deidentify` would send names abroad.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from fleet.errors import FleetError, did_you_mean
from fleet.relay.shape import (
    above,
    any_of,
    find_halves,
    many,
    mapping,
    nullable,
    one_of,
    record,
    seconds,
    text,
    together,
    truth,
    whole,
)
from fleet.relay.values import (
    Caller,
    Config,
    CopyEdit,
    Deidentify,
    Destination,
    Edit,
    Element,
    Endpoint,
    Rate,
    ReceiveTls,
    RemoveEdit,
    Retention,
    Route,
    Schedule,
    SetEdit,
    Target,
    Text,
    Tls,
    When,
)

MAX_CONFIG_BYTES: Final = 16 * 1024 * 1024
MOST_S: Final = 1_000_000_000  # what select(2) and its kin take in seconds ends not far above
_OPTIONS: Final = (
    "clean-pixel-data",
    "clean-recognizable-visual-features",
    "clean-graphics",
    "clean-structured-content",
    "clean-descriptors",
    "retain-longitudinal-full-dates",
    "retain-longitudinal-modified-dates",
    "retain-patient-characteristics",
    "retain-device-identity",
    "retain-institution-identity",
    "retain-uids",
    "retain-safe-private",
)
_SERVICES: Final = (
    "verification",
    "storage",
    "query-retrieve",
    "worklist",
    "storage-commitment",
    "mpps",
    "print",
)

_TITLE = text(r"(?=[^ ])[ -\[\]-~]{0,15}[!-\[\]-~]", 1, 16)
_PATH = text(r"/[^\x00-\x1f]{1,1023}")
_KEYWORD = text(r"[A-Z][A-Za-z0-9]{0,63}")
_NAME = text(at_least=1)
_PATTERNS = many(_NAME, at_least=1)
_ENDPOINT = record({"address": _NAME, "port": whole(1, 65535)})
_HOLIDAYS = record(
    {
        "as": one_of("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"),
        "dates": many(text(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")),
    }
)
_SCHEDULE = record(
    {
        "timezone": text(r"[A-Za-z0-9_+/-]{1,64}"),
        "open": many(text(at_least=11, at_most=40), at_least=1),
        "holidays": nullable(_HOLIDAYS),
    }
)
_CALLER = record(
    {
        "ae_title": _TITLE,
        "addresses": many(_NAME),
        "services": many(one_of(*_SERVICES)),
        "role": one_of("entity", "prober", "health-check"),
    }
)
_RATE = record(
    {
        "during": nullable(_SCHEDULE),
        "bytes_per_s": nullable(whole(16_384, 10**12)),
        "instances_per_s": nullable(above(1000)),
    }
)
_RETENTION = record({"keep_s": seconds(), "max_bytes": nullable(whole(0, 10**18))})
_OWN = {"cert_file": _PATH, "key_file": _PATH}
_TLS = together(record({"ca_file": nullable(_PATH), "server_name": nullable(_NAME)}, _OWN), *_OWN)
_RECEIVE = record({"tls": nullable(record({**_OWN, "ca_file": nullable(_PATH)}, {"port": whole(1, 65535)}))})
_DESTINATION = record(
    {
        "ae_title": _TITLE,
        "calling": _TITLE,
        "addresses": many(_ENDPOINT, at_least=1),
        "external": truth(),
        "tls": nullable(_TLS),
        "timeouts_s": record({"connect": seconds(), "acse": seconds()}),
        "max_associations": whole(1, 1000),
        "rates": many(_RATE),
        "commitment": truth(),
    }
)
_WHEN = together(
    record(
        {},
        {
            "calling": _PATTERNS,
            "called": _PATTERNS,
            "modality": _PATTERNS,
            "sop_class": _PATTERNS,
            "elements": mapping(_KEYWORD, _PATTERNS),
            "study_has": mapping(_KEYWORD, _PATTERNS),
            "wait_for_study_s": seconds(),
            "during": _SCHEDULE,
        },
    ),
    "study_has",
    "wait_for_study_s",
)
_PART = any_of(record({"text": text()}), record({"element": _KEYWORD}))
_EDIT = any_of(
    record({"set": _KEYWORD, "value": many(_PART)}),
    record({"remove": _KEYWORD}),
    record({"copy": _KEYWORD, "to": _KEYWORD}),
)
_TARGET = record(
    {"ae_title": _TITLE, "during": nullable(_SCHEDULE), "backup_after_s": nullable(seconds())},
)
_DEIDENTIFY = record(
    {
        "profile": one_of("basic"),
        "options": many(one_of(*_OPTIONS), unique=True),
        "pseudonyms": many(_KEYWORD, unique=True),
    }
)
_ROUTE = record(
    {
        "name": text(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}"),
        "when": _WHEN,
        "otherwise": nullable(one_of("skip", "hold")),
        "require": mapping(_KEYWORD, record({"matches": nullable(text(at_least=1, at_most=500))})),
        "deidentify": nullable(_DEIDENTIFY),
        "edit": many(_EDIT),
        "primary": many(_TARGET, at_least=1),
        "optional": many(_TARGET),
    }
)
_CONFIG = record(
    {
        "schema": one_of("fleet.relay/1"),
        "ae_title": _TITLE,
        "further_titles": many(_TITLE, unique=True),
        "listen": _ENDPOINT,
        "receive": _RECEIVE,
        "spool": _PATH,
        "max_pdu_bytes": whole(4096, 131072),
        "max_associations": whole(1, 512),
        "drain_timeout_s": seconds(),
        "retention": _RETENTION,
        "callers": many(_CALLER),
        "match": one_of("all", "first"),
        "routes": many(_ROUTE, at_least=1),
        "destinations": mapping(text(at_least=1, at_most=16), _DESTINATION),
    }
)


class ConfigError(FleetError):
    """The relay's file cannot be worked from; `problems` says where, all of them."""

    found_wrong = True

    def __init__(self, path: str, problems: tuple[str, ...]) -> None:
        told = "".join(f"\n  {problem}" for problem in problems)
        super().__init__(f"{path} cannot be worked from:{told}\nNothing was changed; render it again with this fleet.")
        self.problems = problems


def check_shape(document: Any) -> tuple[str, ...]:
    """What is wrong with the document's shape: the verdict of `relay.schema.json`, in this file's words."""
    return tuple(_CONFIG(document, ""))


def check_sense(config: Config) -> tuple[str, ...]:
    """What no schema says: names that lead nowhere, and two of a name."""
    return tuple(_sense(config))


def _sense(config: Config) -> Iterator[str]:
    for index, route in enumerate(config.routes):
        for target in (*route.primary, *route.optional):
            if target.ae_title not in config.destinations:
                hint = did_you_mean(target.ae_title, config.destinations)
                yield f"/routes/{index}: {target.ae_title!r} is no key of /destinations{hint}"
        if [each.name for each in config.routes].count(route.name) > 1:
            yield f"/routes/{index}/name: two routes are named {route.name!r}; their queues could not be told apart"
    if config.receive_tls is not None and config.receive_tls.port == config.listen.port:
        yield "/receive/tls/port: it is that of /listen; leave it out where nothing but TLS is to be spoken there"
    for place, value in _durations(config):
        if value > MOST_S:
            yield f"{place}: it is more than {MOST_S} seconds, which no clock here counts to"
    for name, destination in config.destinations.items():
        if min(destination.connect_s, destination.acse_s) <= 0:
            yield f"/destinations/{name}/timeouts_s: with no time at all nothing would ever be delivered"
        if name != destination.ae_title:
            yield f"/destinations/{name}/ae_title: says {destination.ae_title!r}"


def _durations(config: Config) -> Iterator[tuple[str, float]]:
    yield "/drain_timeout_s", config.drain_timeout_s
    yield "/retention/keep_s", config.retention.keep_s
    for name, destination in config.destinations.items():
        yield f"/destinations/{name}/timeouts_s", max(destination.connect_s, destination.acse_s)
    for index, route in enumerate(config.routes):
        yield f"/routes/{index}/when/wait_for_study_s", route.when.wait_for_study_s
        yield f"/routes/{index}/primary", max(target.backup_after_s or 0 for target in route.primary)


def read_config(path: Path) -> Config:
    """Read, check and make; raises `ConfigError` with every problem, or `FleetError` when it cannot be read."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_CONFIG_BYTES + 1)
    except OSError as error:
        raise FleetError(f"{path} cannot be read: {error.strerror}") from error
    if len(data) > MAX_CONFIG_BYTES:
        raise ConfigError(str(path), (f"it is longer than {MAX_CONFIG_BYTES} bytes",))
    return parse_config(data, str(path))


def parse_config(data: bytes, name: str) -> Config:
    """A document's bytes as a value."""
    try:
        document = json.loads(data, object_pairs_hook=_no_twins)
        halves = tuple(find_halves(document, ""))
    except (ValueError, RecursionError) as error:
        raise ConfigError(name, (f"it is not JSON: {error}",)) from error
    problems = halves or check_shape(document)
    if problems:
        raise ConfigError(name, problems)
    config = make_config(document)
    problems = check_sense(config)
    if problems:
        raise ConfigError(name, problems)
    return config


def _no_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """RFC 8259 section 4 leaves two members of one name to the reader; here the second would win in silence."""
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("a key stands twice in one object")
    return made


def make_config(document: dict[str, Any]) -> Config:
    """A document of the right shape as values."""
    return Config(
        ae_title=document["ae_title"],
        further_titles=tuple(document["further_titles"]),
        listen=_endpoint(document["listen"]),
        receive_tls=_receive_tls(document["receive"]["tls"]),
        spool=Path(document["spool"]),
        max_pdu_bytes=int(document["max_pdu_bytes"]),
        max_associations=int(document["max_associations"]),
        drain_timeout_s=document["drain_timeout_s"],
        retention=_retention(document["retention"]),
        callers=tuple(
            Caller(each["ae_title"], tuple(each["addresses"]), frozenset(each["services"]), each["role"])
            for each in document["callers"]
        ),
        match=document["match"],
        routes=tuple(_route(each) for each in document["routes"]),
        destinations={name: _destination(each) for name, each in document["destinations"].items()},
    )


def _endpoint(document: dict[str, Any]) -> Endpoint:
    return Endpoint(document["address"], int(document["port"]))


def _retention(document: dict[str, Any]) -> Retention:
    most = document["max_bytes"]
    return Retention(document["keep_s"], None if most is None else int(most))


def _rate(document: dict[str, Any]) -> Rate:
    most = document["bytes_per_s"]
    return Rate(_schedule(document["during"]), None if most is None else int(most), document["instances_per_s"])


def _receive_tls(document: dict[str, Any] | None) -> ReceiveTls | None:
    if document is None:
        return None
    port = document.get("port")
    return ReceiveTls(
        document["cert_file"], document["key_file"], document["ca_file"], None if port is None else int(port)
    )


def _destination(document: dict[str, Any]) -> Destination:
    tls = document["tls"]
    return Destination(
        ae_title=document["ae_title"],
        calling=document["calling"],
        addresses=tuple(_endpoint(each) for each in document["addresses"]),
        external=document["external"],
        tls=None if tls is None else Tls(tls["ca_file"], tls["server_name"], tls.get("cert_file"), tls.get("key_file")),
        connect_s=document["timeouts_s"]["connect"],
        acse_s=document["timeouts_s"]["acse"],
        max_associations=int(document["max_associations"]),
        rates=tuple(_rate(each) for each in document["rates"]),
        commitment=document["commitment"],
    )


def _route(document: dict[str, Any]) -> Route:
    deidentify = document["deidentify"]
    return Route(
        name=document["name"],
        when=_when(document["when"]),
        otherwise=document["otherwise"],
        require={keyword: rule["matches"] for keyword, rule in document["require"].items()},
        deidentify=None
        if deidentify is None
        else Deidentify(deidentify["profile"], frozenset(deidentify["options"]), tuple(deidentify["pseudonyms"])),
        edit=tuple(_edit(each) for each in document["edit"]),
        primary=tuple(_target(each) for each in document["primary"]),
        optional=tuple(_target(each) for each in document["optional"]),
    )


def _when(document: dict[str, Any]) -> When:
    def patterns(key: str) -> tuple[str, ...] | None:
        return tuple(document[key]) if key in document else None

    def by_keyword(key: str) -> dict[str, tuple[str, ...]]:
        return {keyword: tuple(each) for keyword, each in document.get(key, {}).items()}

    return When(
        calling=patterns("calling"),
        called=patterns("called"),
        modality=patterns("modality"),
        sop_class=patterns("sop_class"),
        elements=by_keyword("elements"),
        study_has=by_keyword("study_has"),
        wait_for_study_s=document.get("wait_for_study_s", 0.0),
        during=_schedule(document.get("during")),
    )


def _schedule(document: dict[str, Any] | None) -> Schedule | None:
    if document is None:
        return None
    holidays = document["holidays"] or {"as": None, "dates": ()}
    return Schedule(document["timezone"], tuple(document["open"]), holidays["as"], tuple(holidays["dates"]))


def _target(document: dict[str, Any]) -> Target:
    return Target(document["ae_title"], _schedule(document["during"]), document["backup_after_s"])


def _edit(document: dict[str, Any]) -> Edit:
    if "set" in document:
        parts = (Text(part["text"]) if "text" in part else Element(part["element"]) for part in document["value"])
        return SetEdit(document["set"], tuple(parts))
    if "remove" in document:
        return RemoveEdit(document["remove"])
    return CopyEdit(document["copy"], document["to"])
