"""Settings and variables through their layers: fleet < kind < site < host < entity. Nothing else.

Mappings merge key by key, anything else is replaced. `probe` and its `reason` travel together: a layer that
says when to probe drops the reason that a lower layer gave for its own answer.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fleet.inventory.model import EMPTY, Origin

SETTINGS = ("ssh", "verify", "port", "provides", "sop_classes", "contact", "tls", "run")


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer's say: `values` by setting, and where its mapping was typed."""

    name: str  # fleet, kind, site, host, entity
    values: Mapping[str, Any]
    origin: Origin


def merge(lower: Mapping[str, Any], upper: Mapping[str, Any]) -> dict[str, Any]:
    """`upper` over `lower`; neither is changed."""
    result = dict(lower)
    for key, value in upper.items():
        below = result.get(key)
        if isinstance(value, dict) and isinstance(below, dict):
            result[key] = merge(_without_reason(below) if key == "verify" and "probe" in value else below, value)
        else:
            result[key] = value
    return result


def _without_reason(verify: Mapping[str, Any]) -> dict[str, Any]:
    """The reason that was given for another answer to `probe`."""
    return {key: value for key, value in verify.items() if key != "reason"}


def merge_layers(layers: tuple[Layer, ...]) -> dict[str, Any]:
    """All layers, the lowest first."""
    result: dict[str, Any] = {}
    for layer in layers:
        if layer.values:
            result = merge(result, layer.values)
    return result


@dataclass(frozen=True, slots=True)
class Explanation:
    """Where a value came from: each layer that said something, the lowest first.

    The last one won, save where `note` says why none of them holds.
    """

    value: Any
    said: tuple[tuple[str, Any, Origin], ...]
    note: str = ""


def explain(layers: tuple[Layer, ...], path: tuple[str, ...]) -> Explanation | None:
    """What each layer said about the value at `path`; None where no layer says anything."""
    said = []
    for layer in layers:
        value: Any = layer.values
        for key in path:
            value = value.get(key, _ABSENT) if isinstance(value, Mapping) else _ABSENT
            if value is _ABSENT:
                break
        if value is not _ABSENT:
            said.append((layer.name, value, Origin(layer.origin.document, (*layer.origin.steps, *path))))
    if not said:
        return None
    merged: Any = merge_layers(layers)
    for key in path:
        merged = merged.get(key) if isinstance(merged, Mapping) else None
    return Explanation(merged, tuple(said))


_ABSENT = object()


def parse_duration(text: str) -> float:
    """Seconds of `500ms`, `3s`, `2m`, `1h`, `1d`; the schema has checked the form."""
    for unit, factor in (("ms", 0.001), ("s", 1.0), ("m", 60.0), ("h", 3600.0), ("d", 86400.0)):
        if text.endswith(unit):
            return float(text[: -len(unit)]) * factor
    raise ValueError(text)


def optional_duration(text: str | None) -> float | None:
    """Seconds, or None where nothing was typed."""
    return None if text is None else parse_duration(text)


def labels_of(*layers: Mapping[str, Any]) -> Mapping[str, str]:
    """Labels of all layers as text, exactly as typed (canonical integers and booleans print as typed)."""
    merged = {key: _as_text(value) for layer in layers for key, value in layer.items()}
    return merged or EMPTY


def _as_text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)
