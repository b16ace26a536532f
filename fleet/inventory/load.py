"""From documents to the inventory: layers merged, defaults applied, everything frozen.

The schema has spoken before: what it found broken is left out here (and remembered in `left_out`, so that no
rule then calls it unknown), the rest is loaded. What cannot be said by a schema but is about one value alone
is said here; what is about two values is a rule in `validate.rules`. Each room loads one subject; this one
puts them together, what others refer to first.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fleet.dicom.ae_title import normalize_ae_title
from fleet.documents.values import Documents
from fleet.errors import Problem
from fleet.inventory import model as m
from fleet.inventory import routes
from fleet.inventory.attachments import Attachments
from fleet.inventory.entities import EntityLoader
from fleet.inventory.layers import Layers
from fleet.inventory.machines import load_hosts
from fleet.inventory.services import load_virtual_services
from fleet.inventory.sites import Sites, load_fleet
from fleet.inventory.typed import Broken, Typed


@dataclass(frozen=True, slots=True)
class Loaded:
    """The inventory, the layers of each entity and host for `explain-value`, and what is wrong."""

    inventory: m.Inventory
    problems: tuple[Problem, ...]
    layers: Layers = field(repr=False)


def load_inventory(documents: Documents, broken: Broken) -> Loaded:
    """The inventory of these documents, without the values that `broken` points to."""
    typed = Typed(documents, broken)
    fleet, fleet_origin = load_fleet(typed)
    layers = Layers(fleet, fleet_origin)
    sites = Sites(typed, layers)
    hosts = load_hosts(typed, sites, layers)
    entities = EntityLoader(typed, sites, layers, hosts).load()
    services = load_virtual_services(typed, sites)
    inventory = _assemble(typed, (fleet, fleet_origin), (sites.by_name, hosts, entities, services))
    return Loaded(inventory, tuple(typed.problems), layers)


_Parts = tuple[Mapping[str, m.Site], Mapping[str, m.Host], tuple[m.Entity, ...], tuple[m.VirtualService, ...]]


def _assemble(typed: Typed, fleet: tuple[Mapping[str, Any], m.Origin], parts: _Parts) -> m.Inventory:
    """The whole, with a digest over every file that was read."""
    sites, hosts, entities, services = parts
    groups, group_origins = _groups(typed)
    attachments = Attachments(typed)
    certificates = {name: attachments.certificate(name, *found) for name, *found in typed.all_named("certificates")}
    files = tuple(attachments.team_file(*found) for found in typed.all_listed("files"))
    return m.Inventory(
        name=fleet[0].get("name", ""),
        sites=sites,
        hosts=hosts,
        entities=entities,
        groups=groups,
        group_origins=group_origins,
        flows=tuple(routes.make_flow(*found) for found in typed.all_listed("flows")),
        probers=tuple(routes.make_prober(*found) for found in typed.all_listed("probers")),
        schedules={name: routes.make_schedule(name, *found) for name, *found in typed.all_named("schedules")},
        relays=tuple(routes.make_relay(*found) for found in typed.all_listed("relays")),
        virtual_services=services,
        certificates=certificates,
        files=files,
        waivers=tuple(
            m.Waiver(value["code"], value["where"], value["reason"], value["until"], origin)
            for value, origin in typed.all_listed("waivers")
        ),
        retired_titles=_retired_titles(typed),
        naming=_naming(fleet[0]),
        controllers=tuple(fleet[0].get("controllers", ())),
        left_out=frozenset(typed.left_out),
        incomplete=typed.incomplete,
        unread=bool(typed.documents.unread),
        unread_files=typed.documents.unread,
        broken_keys=typed.broken_keys,
        fleet_origin=fleet[1],
        digest=_digest({*typed.documents.digests, *attachments.digests}),
        sources=tuple(sorted({*typed.documents.digests, *attachments.digests})),
    )


def _digest(files: set[tuple[str, str]]) -> str:
    """SHA-256 over every file's path and digest, files beside the inventory included."""
    text = "".join(f"{path}\0{digest}\n" for path, digest in sorted(files))
    return hashlib.sha256(text.encode()).hexdigest()


def _groups(typed: Typed) -> tuple[dict[str, str], dict[str, m.Origin]]:
    found = {name: (value, origin) for name, value, origin in typed.all_named("groups")}
    if "all" in found:
        text = "the group name `all` is reserved: it always means everything; give the group another name"
        typed.error("name-reserved", text, found.pop("all")[1])
    return {name: value for name, (value, _) in found.items()}, {name: at for name, (_, at) in found.items()}


def _retired_titles(typed: Typed) -> tuple[m.RetiredTitle, ...]:
    found = []
    for value, origin in typed.all_listed("retired_titles"):
        typed.check_date(value["until"], origin, "until")
        found.append(m.RetiredTitle(normalize_ae_title(value["ae_title"]), value["until"], origin))
    return tuple(found)


def _naming(fleet: Mapping[str, Any]) -> m.Naming | None:
    value = fleet.get("naming", m.EMPTY)
    return m.Naming(value["pattern"], value.get("codes", m.EMPTY)) if "pattern" in value else None
