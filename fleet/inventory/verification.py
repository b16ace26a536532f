"""How an entity may be asked: merged `verify` settings as values, made once where many share them."""

import datetime
from collections.abc import Mapping
from typing import Any

from fleet.dicom.ae_title import normalize_ae_title
from fleet.inventory import model as m
from fleet.inventory.layers import find_speaker
from fleet.inventory.settings import Layer, parse_duration
from fleet.inventory.typed import Typed, below

_PLAIN = m.VerifySettings()


def make_verify_settings(value: Mapping[str, Any] | None, layers: tuple[Layer, ...], typed: Typed) -> m.VerifySettings:
    """The merged mapping as a value; `layers` say where each part was typed."""
    if not value:
        return _PLAIN
    timeouts = {f"{key}_s": parse_duration(text) for key, text in value.get("timeouts", {}).items()}
    expect = value.get("expect")
    return m.VerifySettings(
        calling=normalize_ae_title(value.get("calling", _PLAIN.calling)),
        timeouts=m.Timeouts(**timeouts),
        max_associations_per_host=value.get("max_associations_per_host", _PLAIN.max_associations_per_host),
        probe=value.get("probe", _PLAIN.probe),
        reason=value.get("reason", _PLAIN.reason),
        probe_from=value.get("from"),
        accept=tuple(value.get("accept", ())),
        importance=value.get("importance", _PLAIN.importance),
        maintenance=_maintenance(value["maintenance"], layers, typed) if "maintenance" in value else (),
        expect=_expectation(expect) if expect else None,
    )


def _expectation(value: Mapping[str, Any]) -> m.Expectation:
    lists = {key: tuple(value.get(key, ())) for key in ("sop_classes", "transfer_syntaxes")}
    return m.Expectation(**{**value, **lists})


def _maintenance(items: list[dict[str, Any]], layers: tuple[Layer, ...], typed: Typed) -> tuple[m.Maintenance, ...]:
    origin = find_speaker(layers, ("verify", "maintenance"))
    found = []
    for index, item in enumerate(items):
        at = below(origin, index)
        starts_at, ends_at = (_check_moment(item[key], typed, at, key) for key in ("from", "until"))
        if starts_at is not None and ends_at is not None and ends_at <= starts_at:
            text = (
                f"maintenance ends ({item['until']}) before it begins ({item['from']}), so it would never be; swap them"
            )
            typed.error("maintenance-order", text, at, "until")
        found.append(m.Maintenance(item["from"], item["until"], item["reason"], at))
    return tuple(found)


def _check_moment(text: str, typed: Typed, origin: m.Origin, key: str) -> datetime.datetime | None:
    """A moment names its offset: `22:00` alone is another moment in winter, and on another controller."""
    try:
        moment = datetime.datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        hint = "type date, time and offset (ISO 8601), such as 2026-11-30T18:00:00+00:00"
        typed.error("maintenance-moment", f"{key}: {text!r} is no moment; {hint}", origin, key)
        return None
    return moment
