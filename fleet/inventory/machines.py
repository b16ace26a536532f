"""Hosts: the machines that fleet logs in to."""

from typing import Any

from fleet.documents.values import Document
from fleet.inventory import model as m
from fleet.inventory.layers import Layers
from fleet.inventory.settings import Layer, labels_of, merge_layers
from fleet.inventory.sites import Sites
from fleet.inventory.typed import Typed

_LAYERED = ("ssh", "verify", "labels", "vars")


def load_hosts(typed: Typed, sites: Sites, layers: Layers) -> dict[str, m.Host]:
    """Every host by name, in file order."""
    hosts: dict[str, m.Host] = {}
    for document in typed.documents.documents:
        for name, value, origin in typed.named(document, "hosts"):
            if name in hosts:
                typed.twice("hosts", name, origin, hosts[name].origin)
            else:
                hosts[name] = _load_host(document, name, value, origin, (sites, layers))
    return hosts


def _load_host(
    document: Document, name: str, value: dict[str, Any], origin: m.Origin, rooms: tuple[Sites, Layers]
) -> m.Host:
    sites, layers = rooms
    site = sites.name_for(document, value, origin, f"host {name}")
    layers.add_host(name, site, Layer("host", {key: value[key] for key in _LAYERED if key in value}, origin))
    merged = merge_layers(layers.of_host(name))
    return m.Host(
        name=name,
        address=value["address"],
        site=site,
        ssh=m.SshSettings(**merged.get("ssh", {}), given=frozenset(merged.get("ssh", {}))),
        host_keys=tuple(value.get("host_keys", ())),
        redundancy_group=value.get("redundancy_group"),
        labels=labels_of(merged.get("labels", m.EMPTY)),
        vars=merged.get("vars", m.EMPTY),
        retired=value.get("retired", False),
        origin=origin,
    )
