"""Where an entity is must be said once, and wholly: a box, processes on our hosts, or nowhere to be called."""

from collections.abc import Mapping
from typing import Any

from fleet.inventory.model import Entity
from fleet.inventory.typed import Typed


def check_place(typed: Typed, entity: Entity, value: Mapping[str, Any]) -> None:
    """Note what is contradictory or missing in where an entity is."""
    found = _silent(entity, value) if not entity.listens else _listening(entity, value)
    if found is None or (found[0] == "port" and entity.listens and typed.inheritance_is_broken):
        return
    key, text = found
    typed.error("entity-place", text, entity.origin, *((key,) if key in value else ()), subjects=(entity.ae_title,))


def _silent(entity: Entity, value: Mapping[str, Any]) -> tuple[str, str] | None:
    title = entity.ae_title
    for key in ("port", "provides"):
        if key in value:
            return key, f"{title} says listens: false and {key}; nobody could tell whether it can be called; drop one"
    if "instances" in value:
        text = f"{title} says listens: false and instances; what only sends has an address, its source; drop one"
        return "instances", text
    for further in entity.also:
        if further.listens and further.port is None:
            text = f"{title} does not listen, its further title {further.ae_title} does, and on no port; give it one"
            return "also", text
    return None


def _listening(entity: Entity, value: Mapping[str, Any]) -> tuple[str, str] | None:
    title = entity.ae_title
    if "instances" in value:
        if not entity.address:
            return None
        text = f"{title} has both address and instances; a box has an address, what runs on our hosts has instances"
        return "address", text
    if not entity.address:
        return "place", f"{title} listens nowhere: give it address and port, or instances, or listens: false"
    if entity.port is None:
        return "port", f"{title} has no port and inherits none; give it one (104, or 11112 without privileges)"
    return None
