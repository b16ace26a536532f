"""The layers of every host and entity: fleet < kind < site < host < entity, merged once where many share them."""

from collections.abc import Mapping
from typing import Any

from fleet.inventory.model import EMPTY, NO_ORIGIN, Entity, Origin
from fleet.inventory.settings import Layer, labels_of, merge_layers
from fleet.inventory.typed import below

# What a host says of the entities that run on it; how fleet logs in, and the host's labels, are its own.
_HOST_FOR_ENTITIES = ("verify", "vars")


class Layers:
    """Who says what; filled while loading, then only asked."""

    def __init__(self, fleet: Mapping[str, Any], fleet_origin: Origin) -> None:
        self._fleet = fleet
        self._fleet_origin = fleet_origin
        self._sites: dict[str, list[Layer]] = {}
        self._hosts: dict[str, tuple[str, Layer]] = {}
        self._bases: dict[tuple[str, str, str | None], dict[str, Any]] = {}

    def add_site(self, site: str, layer: Layer) -> None:
        """A file's say about its site; of two files the later stands above."""
        self._sites.setdefault(site, []).append(layer)

    def add_host(self, name: str, site: str, layer: Layer) -> None:
        """A host's own say."""
        self._hosts[name] = (site, layer)

    def of_host(self, name: str) -> tuple[Layer, ...]:
        """Every layer of a host, the lowest first."""
        site, layer = self._hosts[name]
        return (*self.below_entity(None, site), layer)

    def of_entity(self, entity: Entity, host: str | None = None) -> tuple[Layer, ...]:
        """Every layer of an entity (of its instance on `host`), the lowest first."""
        raw: Any = entity.origin.document.value if entity.origin.document else {}
        for step in entity.origin.steps:
            raw = raw[step]
        return (*self.below_entity(entity.kind, entity.site, host), Layer("entity", raw, entity.origin))

    def below_entity(self, kind: str | None, site: str, host: str | None = None) -> tuple[Layer, ...]:
        """What an entity of this kind, site and host inherits, the lowest first."""
        layers = [*self._of_fleet(kind), *self._sites.get(site, ())]
        if host in self._hosts:
            name, values, origin = "host", self._hosts[host][1].values, self._hosts[host][1].origin
            layers.append(Layer(name, {key: values[key] for key in _HOST_FOR_ENTITIES if key in values}, origin))
        return tuple(layers)

    def _of_fleet(self, kind: str | None) -> list[Layer]:
        defaults = self._fleet.get("defaults", EMPTY)
        shared = {key: value for key, value in defaults.items() if key != "kinds"}
        layers = [Layer("fleet", shared, below(self._fleet_origin, "defaults"))] if shared else []
        if "vars" in self._fleet:
            layers.append(Layer("fleet", {"vars": self._fleet["vars"]}, self._fleet_origin))
        of_kind = defaults.get("kinds", EMPTY).get(kind) if kind else None
        if of_kind:
            layers.append(Layer("kind", of_kind, below(self._fleet_origin, "defaults", "kinds", kind or "")))
        return layers

    def base(self, kind: str, site: str, host: str | None = None) -> dict[str, Any]:
        """The layers below an entity, merged once for each (kind, site, host); its labels are text."""
        key = (kind, site, host)
        found = self._bases.get(key)
        if found is None:
            found = merge_layers(self.below_entity(kind, site, host))
            if "labels" in found:
                found["labels"] = dict(labels_of(found["labels"]))
            self._bases[key] = found
        return found


def find_speaker(layers: tuple[Layer, ...], path: tuple[str, ...]) -> Origin:
    """Where the value at `path` was typed that won: in the uppermost layer that says it."""
    for layer in reversed(layers):
        value: Any = layer.values
        for key in path:
            value = value.get(key) if isinstance(value, Mapping) else None
        if value is not None:
            return below(layer.origin, *path)
    return NO_ORIGIN
