"""How an entity may be asked: merged `verify` settings as values, made once where many share them."""

from collections.abc import Mapping
from typing import Any

from fleet.dicom.ae_title import normalize_ae_title
from fleet.inventory import model as m
from fleet.inventory.layers import find_speaker
from fleet.inventory.settings import Layer, parse_duration
from fleet.inventory.typed import below

_PLAIN = m.VerifySettings()


def make_verify_settings(value: Mapping[str, Any] | None, layers: tuple[Layer, ...]) -> m.VerifySettings:
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
        maintenance=_maintenance(value["maintenance"], layers) if "maintenance" in value else (),
        expect=_expectation(expect) if expect else None,
    )


def _expectation(value: Mapping[str, Any]) -> m.Expectation:
    lists = {key: tuple(value.get(key, ())) for key in ("sop_classes", "transfer_syntaxes")}
    return m.Expectation(**{**value, **lists})


def _maintenance(items: list[dict[str, Any]], layers: tuple[Layer, ...]) -> tuple[m.Maintenance, ...]:
    """As typed; a rule says which of them are no times."""
    origin = find_speaker(layers, ("verify", "maintenance"))
    return tuple(
        m.Maintenance(item["from"], item["until"], item["reason"], below(origin, index))
        for index, item in enumerate(items)
    )
