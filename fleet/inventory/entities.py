"""Application Entities with everything that they inherit."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fleet.dicom.ae_title import normalize_ae_title
from fleet.documents.values import Document
from fleet.inventory import model as m
from fleet.inventory.layers import Layers
from fleet.inventory.places import check_place
from fleet.inventory.settings import Layer, labels_of, merge
from fleet.inventory.sites import Sites
from fleet.inventory.typed import Typed, below
from fleet.inventory.verification import make_verify_settings


@dataclass(frozen=True, slots=True)
class _Draft:
    """An entity while it is made: what it says itself, what it inherits, and both merged."""

    value: Mapping[str, Any]
    base: Mapping[str, Any]
    merged: Mapping[str, Any]
    kind: str
    site: str
    origin: m.Origin

    def layer(self) -> Layer:
        return Layer("entity", self.value, self.origin)


class EntityLoader:
    """Makes entities of what was typed."""

    def __init__(self, typed: Typed, sites: Sites, layers: Layers, hosts: Mapping[str, m.Host]) -> None:
        self._typed = typed
        self._sites = sites
        self._layers = layers
        self._hosts = hosts
        self._inherited: dict[tuple[str, str], m.VerifySettings] = {}

    def load(self) -> tuple[m.Entity, ...]:
        """Every whole entity, in path and file order."""
        typed = self._typed
        return tuple(
            self._load_entity(document, value, origin)
            for document in typed.documents.documents
            for value, origin in typed.listed(document, "entities")
        )

    def _load_entity(self, document: Document, value: dict[str, Any], origin: m.Origin) -> m.Entity:
        kind = value["kind"]
        site = self._sites.name_for(document, value, origin, f"entity {value['ae_title']}")
        base = self._layers.base(kind, site)
        draft = _Draft(value, base, merge(base, value), kind, site, origin)
        entity = self._make(draft)
        check_place(self._typed, entity, value)
        return entity

    def _make(self, draft: _Draft) -> m.Entity:
        value, merged, origin = draft.value, draft.merged, draft.origin
        title = normalize_ae_title(value["ae_title"])
        listens = value.get("listens", True)
        tls = self._tls(draft) if "tls" in merged else None
        port = _port(value, tls, merged) if listens else None
        return m.Entity(
            ae_title=title,
            name=value.get("name", title),
            kind=draft.kind,
            site=draft.site,
            address=value.get("address"),
            port=port,
            instances=self._instances(draft, port) if "instances" in value else (),
            listens=listens,
            provides=tuple(merged.get("provides", ())) if listens else (),
            sop_classes=tuple(merged.get("sop_classes", ())),
            modality=value.get("modality"),
            description=value.get("description") or "",
            contact=merged.get("contact") or "",
            comment=value.get("comment") or "",
            labels=labels_of(merged["labels"]) if "labels" in value else draft.base.get("labels", m.EMPTY),
            vars=merged.get("vars", m.EMPTY),
            also=_also_titles(value, origin) if "also" in value else (),
            seen_as=value.get("seen_as", m.EMPTY),
            tls=tls,
            run=_run(merged, value, origin),
            verify=self._verify(draft),
            shared_title=_shared_title(value["shared_title"]) if "shared_title" in value else None,
            origin=origin,
        )

    def _verify(self, draft: _Draft) -> m.VerifySettings:
        """Merged verify settings; those that are inherited whole are made once."""
        merged = draft.merged.get("verify")
        if "verify" in draft.value:
            layers = (*self._layers.below_entity(draft.kind, draft.site), draft.layer())
            return make_verify_settings(merged, layers)
        key = (draft.kind, draft.site)
        if key not in self._inherited:
            self._inherited[key] = make_verify_settings(merged, self._layers.below_entity(*key))
        return self._inherited[key]

    def _instances(self, draft: _Draft, port: int | None) -> tuple[m.Instance, ...]:
        """Its processes; each with settings and variables as its own host colours them."""
        found = []
        for index, item in enumerate(draft.value["instances"]):
            at = below(draft.origin, "instances", index)
            name = item["host"]
            own_port = item.get("port", port)
            if own_port is None:
                self._lacks_port(draft, name, at)
                continue
            host = self._hosts.get(name)
            merged = merge(self._layers.base(draft.kind, draft.site, name), draft.value)
            layers = (*self._layers.below_entity(draft.kind, draft.site, name), draft.layer())
            found.append(
                m.Instance(
                    host=name,
                    port=own_port,
                    address=item.get("address") or (host.address if host else ""),
                    vars=merged.get("vars", m.EMPTY),
                    verify=make_verify_settings(merged.get("verify"), layers),
                    origin=at,
                )
            )
        return tuple(found)

    def _lacks_port(self, draft: _Draft, host: str, at: m.Origin) -> None:
        """Nobody could call it; an SCU's instances are refused elsewhere, a broken default was told already."""
        if draft.value.get("listens", True) and not self._typed.inheritance_is_broken:
            title = draft.value["ae_title"]
            text = f"{title} on {host} has no port and inherits none, so nobody could call it; give the instance a port"
            self._typed.error("entity-place", text, at, subjects=(title,))

    def _tls(self, draft: _Draft) -> m.Tls:
        """Its TLS settings: how it is verified, and what we present to it."""
        value = draft.merged["tls"]
        verify = value.get("verify", m.EMPTY)
        return m.Tls(value.get("port"), verify.get("ca"), verify.get("name"), value.get("present"))


def _shared_title(value: Mapping[str, Any]) -> m.SharedTitle:
    return m.SharedTitle(value["reason"], value["until"], value.get("move_destination", False))


def _port(value: Mapping[str, Any], tls: m.Tls | None, merged: Mapping[str, Any]) -> int | None:
    """Its own port, else the TLS port, which may stand for it, else an inherited one."""
    port: int | None = value.get("port") or (tls.port if tls else None) or merged.get("port")
    return port


def _also_titles(value: Mapping[str, Any], origin: m.Origin) -> tuple[m.AlsoTitle, ...]:
    """Further titles of the same machine."""
    return tuple(
        m.AlsoTitle(
            ae_title=normalize_ae_title(item["ae_title"]),
            port=item.get("port"),
            listens=item.get("listens", value.get("listens", True)),
            services=tuple(item.get("for", ())),
            origin=below(origin, "also", index),
        )
        for index, item in enumerate(value["also"])
    )


def _run(merged: Mapping[str, Any], value: Mapping[str, Any], origin: m.Origin) -> m.Run | None:
    """The engine and its settings; inherited settings alone run nothing."""
    if "run" not in value:
        return None
    settings = {key: setting for key, setting in merged["run"].items() if key != "engine"}
    return m.Run(merged["run"]["engine"], settings, below(origin, "run"))
