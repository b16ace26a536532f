"""From documents to the inventory: layers merged, defaults applied, everything frozen.

The schema has spoken before: what it found broken is left out here (and remembered in `left_out`, so that no
rule then calls it unknown), the rest is loaded. What cannot be said by a schema but is about one value alone
is said here; what is about two values is a rule in `validate.rules`.
"""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from fleet.dicom.ae_title import normalize_ae_title
from fleet.documents import Document, Documents, read_beside
from fleet.errors import Problem, Severity
from fleet.inventory import model as m
from fleet.inventory.settings import (
    Layer,
    labels_of,
    merge,
    merge_layers,
    optional_duration,
    parse_duration,
)

Pointer = tuple[str | int, ...]
Broken = Mapping[str, frozenset[Pointer]]  # by document path


@dataclass(frozen=True, slots=True)
class Loaded:
    """The inventory, the layers of each entity and host for `explain-value`, and what is wrong."""

    inventory: m.Inventory
    problems: tuple[Problem, ...]
    layers: Mapping[str, tuple[Layer, ...]] = field(repr=False, default_factory=m.empty)


def load_inventory(documents: Documents, broken: Broken) -> Loaded:
    """The inventory of these documents, without the values that `broken` points to."""
    return _Loader(documents, broken).load()


class _Loader:
    """One pass over the documents: first what others refer to (fleet, sites, hosts), then the rest."""

    def __init__(self, documents: Documents, broken: Broken) -> None:
        self.documents = documents
        self.broken = broken
        self.problems: list[Problem] = []
        self.left_out: set[str] = set()
        self.fleet: dict[str, Any] = {}
        self.fleet_origin = m.NO_ORIGIN
        self.sites: dict[str, m.Site] = {}
        self.site_layers: dict[str, list[Layer]] = {}
        self.hosts: dict[str, m.Host] = {}
        self.host_layers: dict[str, Layer] = {}
        self.layers: dict[str, tuple[Layer, ...]] = {}
        self.attachments: list[tuple[str, str]] = []
        self.base_cache: dict[tuple[str, str, str | None], dict[str, Any]] = {}
        self.verify_cache: dict[int, m.VerifySettings] = {}

    def load(self) -> Loaded:
        """Everything, in the order of dependence."""
        self.load_fleet()
        for document in self.documents.documents:
            self.load_site(document)
        for document in self.documents.documents:
            for name, value, origin in self.named(document, "hosts"):
                self.load_host(document, name, value, origin)
        entities = tuple(
            self.load_entity(document, value, origin)
            for document in self.documents.documents
            for value, origin in self.listed(document, "entities")
        )
        inventory = self.assemble(entities)
        return Loaded(inventory, tuple(self.problems), self.layers)

    def error(self, code: str, message: str, origin: m.Origin, *below: str | int, **more: Any) -> None:
        """Note a problem at `origin` (below it)."""
        self.problems.append(Problem(code, Severity.ERROR, message, origin.at(*below), **more))

    # What the schema left standing -------------------------------------------------------------------

    def is_broken(self, document: Document, *steps: str | int) -> bool:
        """Whether the schema found something wrong at or below these steps."""
        return any(pointer[: len(steps)] == steps for pointer in self.broken.get(document.path, ()))

    def listed(self, document: Document, key: str) -> Iterator[tuple[dict[str, Any], m.Origin]]:
        """The whole items of a list."""
        items = document.value.get(key) if isinstance(document.value, dict) else None
        checked = bool(self.broken.get(document.path))
        for index, value in enumerate(items if isinstance(items, list) else ()):
            if checked and self.is_broken(document, key, index):
                self.remember(value)
                continue
            yield value, m.Origin(document, (key, index))

    def named(self, document: Document, key: str) -> Iterator[tuple[str, Any, m.Origin]]:
        """The whole items of a mapping by name."""
        items = document.value.get(key) if isinstance(document.value, dict) else None
        for name, value in (items if isinstance(items, dict) else {}).items():
            if self.is_broken(document, key, name) or (key,) in self.broken.get(document.path, ()):
                self.left_out.add(str(name))
                continue
            yield name, value, m.Origin(document, (key, name))

    def remember(self, value: Any) -> None:
        """Keep the names of what is left out, so that nobody calls them unknown."""
        if isinstance(value, dict):
            self.left_out.update(str(value[key]) for key in ("ae_title", "name") if isinstance(value.get(key), str))

    def all_named(self, key: str) -> Iterator[tuple[str, Any, m.Origin]]:
        """Items of a mapping over all documents; a name given twice is a problem with both places."""
        first: dict[str, m.Origin] = {}
        for document in self.documents.documents:
            for name, value, origin in self.named(document, key):
                if name in first:
                    self.twice(key, name, origin, first[name])
                    continue
                first[name] = origin
                yield name, value, origin

    def all_listed(self, key: str) -> Iterator[tuple[dict[str, Any], m.Origin]]:
        """Items of a list over all documents."""
        for document in self.documents.documents:
            yield from self.listed(document, key)

    def twice(self, what: str, name: str, origin: m.Origin, first: m.Origin) -> None:
        """Two definitions of one name: neither may win in silence."""
        text = f"{what}: {name!r} is defined twice (first at {first.at()}); one of them would be lost; keep one"
        self.error("name-duplicate", text, origin, also=(first.at(),), subjects=(name,))

    # Fleet, sites, hosts -------------------------------------------------------------------------------

    def load_fleet(self) -> None:
        """The one `fleet:` of the inventory."""
        found = False
        for document in self.documents.documents:
            value = document.value.get("fleet") if isinstance(document.value, dict) else None
            if not isinstance(value, dict):
                continue
            origin = m.Origin(document, ("fleet",))
            if found:
                self.twice("fleet", "fleet", origin, self.fleet_origin)
                continue
            found = True
            self.fleet_origin = origin
            if not self.is_broken(document, "fleet"):
                self.fleet = value
        if not found and self.documents.documents:
            text = "no file has `fleet:`; it stands once, with at least a name: `fleet: {name: my-hospital}`"
            self.error("fleet-missing", text, m.Origin(self.documents.documents[0]))

    def load_site(self, document: Document) -> None:
        """A file's site, with what it shares; two files may speak of one site, each key once."""
        value = document.value if isinstance(document.value, dict) else {}
        name = value.get("site")
        if not isinstance(name, str) or self.is_broken(document, "site"):
            return
        origin = m.Origin(document, ())
        known = self.sites.get(name)
        shared = {
            key: value[key]
            for key in ("external", "labels", "vars")
            if key in value and not self.is_broken(document, key)
        }
        if known is None:
            self.sites[name] = m.Site(
                name,
                shared.get("external", False),
                labels_of(shared.get("labels", {})),
                shared.get("vars", {}),
                m.Origin(document, ("site",)),
            )
        elif shared:
            self.join_site(known, shared, origin)
        if "defaults" in value and not self.is_broken(document, "defaults"):
            layer = Layer("site", value["defaults"], m.Origin(document, ("defaults",)))
            self.site_layers.setdefault(name, []).append(layer)

    def join_site(self, known: m.Site, shared: dict[str, Any], origin: m.Origin) -> None:
        """A second file of the same site adds to the first; what both say must not differ."""
        external = shared.get("external", known.external)
        labels, variables = labels_of(shared.get("labels", {})), shared.get("vars", {})
        for kind, mine, theirs in (("labels", known.labels, labels), ("vars", known.vars, variables)):
            for key in sorted(set(mine) & set(theirs)):
                if mine[key] != theirs[key]:
                    text = f"{kind}.{key} of site {known.name} is {theirs[key]!r} here and {mine[key]!r} at {known.location}; keep one"
                    self.error("site-contradiction", text, origin, kind, key, also=(known.location,))
        self.sites[known.name] = m.Site(
            known.name,
            known.external or external,
            {**labels, **known.labels},
            {**variables, **known.vars},
            known.origin,
        )

    def site_name(self, document: Document, value: dict[str, Any], origin: m.Origin, what: str) -> str:
        """The site of something: its own, or its file's."""
        own, shared = value.get("site"), document.value.get("site")
        if own and shared and own != shared:
            self.error(
                "site-contradiction",
                f"{what} says site {own!r} in a file of site {shared!r}; move it",
                origin,
                "site",
            )
        name = own or shared
        if not isinstance(name, str):
            text = f"{what} has no site; give the file `site: NAME` at its top, or this one a `site`"
            self.error("site-missing", text, origin)
            return ""
        if name not in self.sites:
            self.sites[name] = m.Site(name, origin=m.Origin(document, (*origin.steps, "site")))
        return name

    def load_host(self, document: Document, name: str, value: dict[str, Any], origin: m.Origin) -> None:
        """One machine."""
        if name in self.hosts:
            self.twice("hosts", name, origin, self.hosts[name].origin)
            return
        site = self.site_name(document, value, origin, f"host {name}")
        layer = Layer("host", {key: value[key] for key in ("ssh", "verify", "vars") if key in value}, origin)
        self.host_layers[name] = layer
        layers = (*self.lower_layers(None, site), layer)
        self.layers[name] = layers
        merged = merge_layers(layers)
        ssh = merged.get("ssh", {})
        self.hosts[name] = m.Host(
            name=name,
            address=value["address"],
            site=site,
            ssh=m.SshSettings(**ssh),
            host_keys=tuple(value.get("host_keys", ())),
            redundancy_group=value.get("redundancy_group"),
            labels=labels_of(self.site_labels(site), value.get("labels", {})),
            vars=merged.get("vars", {}),
            retired=value.get("retired", False),
            origin=origin,
        )

    def site_labels(self, site: str) -> Mapping[str, str]:
        known = self.sites.get(site)
        return known.labels if known else m.EMPTY

    def lower_layers(self, kind: str | None, site: str) -> tuple[Layer, ...]:
        """Fleet, kind and site, in this order."""
        defaults = self.fleet.get("defaults", {})
        layers = [
            Layer(
                "fleet",
                {key: value for key, value in defaults.items() if key != "kinds"},
                self.below("defaults"),
            )
        ]
        if "vars" in self.fleet:
            layers.append(Layer("fleet", {"vars": self.fleet["vars"]}, self.below()))
        of_kind = defaults.get("kinds", {}).get(kind, {}) if kind else {}
        if of_kind:
            layers.append(Layer("kind", of_kind, self.below("defaults", "kinds", kind or "")))
        layers += self.site_layers.get(site, ())
        known = self.sites.get(site)
        if known and known.vars:
            layers.append(Layer("site", {"vars": known.vars}, m.Origin(known.origin.document, ())))
        return tuple(layers)

    def below(self, *steps: str) -> m.Origin:
        """A place in the fleet's own mapping."""
        return m.Origin(self.fleet_origin.document, (*self.fleet_origin.steps, *steps))

    # Entities ------------------------------------------------------------------------------------------

    def base(self, kind: str, site: str, host: str | None) -> dict[str, Any]:
        """The layers below an entity, merged once for each (kind, site, host)."""
        key = (kind, site, host)
        found = self.base_cache.get(key)
        if found is None:
            layers = self.lower_layers(kind, site)
            if host is not None and host in self.host_layers:
                layers = (*layers, self.host_layers[host])
            found = self.base_cache[key] = merge_layers(layers)
        return found

    def load_entity(self, document: Document, value: dict[str, Any], origin: m.Origin) -> m.Entity:
        """One Application Entity with everything that it inherits."""
        title = normalize_ae_title(value["ae_title"])
        kind = value["kind"]
        site = self.site_name(document, value, origin, f"entity {title}")
        merged = merge(self.base(kind, site, None), value)
        listens = value.get("listens", True)
        name = value.get("name", title)
        tls = self.tls(merged.get("tls"))
        port = (
            (value.get("port") or (tls.port if tls and "tls" in value else None) or merged.get("port"))
            if listens
            else None
        )
        if tls and tls.port and listens and "port" not in value:
            port = tls.port
        entity = m.Entity(
            ae_title=title,
            name=name,
            kind=kind,
            site=site,
            address=value.get("address"),
            port=port,
            instances=self.instances(value, kind, site, port, origin) if "instances" in value else (),
            listens=listens,
            provides=tuple(merged.get("provides", ())) if listens else (),
            sop_classes=tuple(merged.get("sop_classes", ())),
            modality=value.get("modality"),
            description=value.get("description") or "",
            contact=merged.get("contact") or "",
            comment=value.get("comment") or "",
            labels=self.entity_labels(kind, site, value),
            vars=merged.get("vars", m.EMPTY),
            also=self.also_titles(value, origin) if "also" in value else (),
            seen_as=value.get("seen_as", m.EMPTY),
            tls=tls,
            run=self.run(merged, value, origin),
            verify=self.verify(merged.get("verify"), origin, "verify" in value),
            shared_title=self.shared_title(value.get("shared_title")),
            origin=origin,
        )
        self.check_place(entity, value, origin)
        return entity

    def layers_of(self, entity: m.Entity, host: str | None = None) -> tuple[Layer, ...]:
        """Every layer of an entity, the lowest first."""
        raw: Any = entity.origin.document.value if entity.origin.document else {}
        for step in entity.origin.steps:
            raw = raw[step]
        between = (self.host_layers[host],) if host in self.host_layers else ()
        return (*self.lower_layers(entity.kind, entity.site), *between, Layer("entity", raw, entity.origin))

    def check_place(self, entity: m.Entity, value: dict[str, Any], origin: m.Origin) -> None:
        """Where an entity is must be said once, and wholly."""
        title = entity.ae_title
        if entity.instances and entity.address:
            text = f"{title} has both address and instances; a box has an address, what runs on our hosts has instances"
            self.error("entity-place", text, origin, "address", subjects=(title,))
        elif not entity.listens and "port" in value:
            text = f"{title} says listens: false and a port; nobody could tell whether it can be reached; drop one"
            self.error("entity-place", text, origin, "port", subjects=(title,))
        elif entity.listens and not entity.instances and not entity.address:
            text = f"{title} listens nowhere: give it address and port, or instances, or listens: false"
            self.error("entity-place", text, origin, subjects=(title,))
        elif entity.listens and not entity.instances and entity.port is None:
            text = f"{title} has no port, and none is inherited; give it one (104, or 11112 without privileges)"
            self.error("entity-place", text, origin, subjects=(title,))

    def entity_labels(self, kind: str, site: str, value: dict[str, Any]) -> Mapping[str, str]:
        """Labels of kind, site and entity."""
        of_kind = self.base(kind, site, None).get("labels", m.EMPTY)
        own = value.get("labels", m.EMPTY)
        site_labels = self.site_labels(site)
        if not of_kind and not own:
            return site_labels
        return labels_of(of_kind, site_labels, own)

    def instances(
        self, value: dict[str, Any], kind: str, site: str, port: int | None, origin: m.Origin
    ) -> tuple[m.Instance, ...]:
        """Its processes; each with settings and variables as its own host colours them."""
        found = []
        for index, item in enumerate(value["instances"]):
            at = m.Origin(origin.document, (*origin.steps, "instances", index))
            name = item["host"]
            host = self.hosts.get(name)
            instance_port = item.get("port", port)
            if instance_port is None:
                self.error("entity-place", f"{value['ae_title']} on {name} has no port, and none is inherited", at)
                continue
            merged = merge(self.base(kind, site, name), value)
            found.append(
                m.Instance(
                    host=name,
                    port=instance_port,
                    address=item.get("address") or (host.address if host else ""),
                    vars=merged.get("vars", m.EMPTY),
                    verify=self.verify(merged.get("verify"), origin, True),
                    origin=at,
                )
            )
        return tuple(found)

    def also_titles(self, value: dict[str, Any], origin: m.Origin) -> tuple[m.AlsoTitle, ...]:
        """Further titles of the same machine."""
        return tuple(
            m.AlsoTitle(
                ae_title=normalize_ae_title(item["ae_title"]),
                port=item.get("port"),
                listens=item.get("listens", value.get("listens", True)),
                services=tuple(item.get("for", ())),
                origin=m.Origin(origin.document, (*origin.steps, "also", index)),
            )
            for index, item in enumerate(value["also"])
        )

    @staticmethod
    def tls(value: dict[str, Any] | None) -> m.Tls | None:
        if value is None:
            return None
        verify = value.get("verify", {})
        return m.Tls(value.get("port"), verify.get("ca"), verify.get("name"), value.get("present"))

    @staticmethod
    def run(merged: dict[str, Any], value: dict[str, Any], origin: m.Origin) -> m.Run | None:
        """The engine and its settings; inherited settings alone run nothing."""
        if "run" not in value or "engine" not in merged["run"]:
            return None
        settings = {key: setting for key, setting in merged["run"].items() if key != "engine"}
        return m.Run(merged["run"]["engine"], settings, m.Origin(origin.document, (*origin.steps, "run")))

    @staticmethod
    def shared_title(value: dict[str, Any] | None) -> m.SharedTitle | None:
        return (
            None
            if value is None
            else m.SharedTitle(value["reason"], value["until"], value.get("move_destination", False))
        )

    def verify(self, value: dict[str, Any] | None, origin: m.Origin, own: bool) -> m.VerifySettings:
        """Merged verify settings; shared ones are made once."""
        if value is None:
            return _PLAIN_VERIFY
        if not own:
            known = self.verify_cache.get(id(value))
            if known is None:
                known = self.verify_cache[id(value)] = _verify_settings(value, origin)
            return known
        return _verify_settings(value, origin)

    # Everything else -----------------------------------------------------------------------------------

    def assemble(self, entities: tuple[m.Entity, ...]) -> m.Inventory:
        """The whole, with a digest over every file that was read."""
        groups = {name: (value, origin) for name, value, origin in self.all_named("groups")}
        if "all" in groups:
            self.error(
                "name-reserved",
                "the group name `all` is reserved: it always means everything",
                groups["all"][1],
            )
        certificates = {
            name: self.certificate(name, value, origin) for name, value, origin in self.all_named("certificates")
        }
        schedules = {name: _schedule(name, value, origin) for name, value, origin in self.all_named("schedules")}
        files = tuple(self.team_file(value, origin) for value, origin in self.all_listed("files"))
        naming = self.fleet.get("naming")
        return m.Inventory(
            name=self.fleet.get("name", ""),
            sites=self.sites,
            hosts=self.hosts,
            entities=entities,
            groups={name: value for name, (value, _) in groups.items()},
            group_origins={name: origin for name, (_, origin) in groups.items()},
            flows=tuple(_flow(value, origin) for value, origin in self.all_listed("flows")),
            probers=tuple(
                m.Prober(normalize_ae_title(value["ae_title"]), tuple(value["addresses"]), origin)
                for value, origin in self.all_listed("probers")
            ),
            schedules=schedules,
            relays=tuple(_relay(value, origin) for value, origin in self.all_listed("relays")),
            virtual_services=tuple(self.virtual_services()),
            certificates=certificates,
            files=files,
            waivers=tuple(
                m.Waiver(value["code"], value["where"], value["reason"], value["until"], origin)
                for value, origin in self.all_listed("waivers")
            ),
            retired_titles=tuple(
                m.RetiredTitle(normalize_ae_title(value["ae_title"]), value["until"], origin)
                for value, origin in self.all_listed("retired_titles")
            ),
            naming=m.Naming(naming["pattern"], naming.get("codes", {})) if naming else None,
            controllers=tuple(self.fleet.get("controllers", ())),
            left_out=frozenset(self.left_out),
            digest=self.digest(),
        )

    def digest(self) -> str:
        """SHA-256 over every file's path and digest, files beside the inventory included."""
        lines = sorted({*self.documents.digests, *self.attachments})
        return hashlib.sha256("".join(f"{path}\0{digest}\n" for path, digest in lines).encode()).hexdigest()

    def beside(self, name: str, origin: m.Origin, key: str) -> str | None:
        """The text of a file that the inventory names; None and a problem where it cannot be had."""
        try:
            data = read_beside(self.documents.root, name)
            text = data.decode("utf-8")
        except UnicodeDecodeError:
            self.error("file-beside", f"{name!r} is not UTF-8 text", origin, key)
            return None
        except ValueError as error:
            self.error("file-beside", f"{error}; nothing that needs it can be rendered", origin, key)
            return None
        self.attachments.append((name, hashlib.sha256(data).hexdigest()))
        return text

    def certificate(self, name: str, value: dict[str, Any], origin: m.Origin) -> m.Certificate:
        """A certificate's public parts."""
        if "key" in value:
            text = (
                f"certificates.{name}.key is not built yet: private keys are refused until secrets are kept as secrets"
            )
            self.error("not-built-yet", text, origin, "key")
        ca_file, cert_file = value.get("ca_file"), value.get("cert_file")
        return m.Certificate(
            name=name,
            ca_file=ca_file,
            cert_file=cert_file,
            ca_pem=self.beside(ca_file, origin, "ca_file") if ca_file else None,
            cert_pem=self.beside(cert_file, origin, "cert_file") if cert_file else None,
            origin=origin,
        )

    def team_file(self, value: dict[str, Any], origin: m.Origin) -> m.TeamFile:
        """A file of the team's own, its template read beside the inventory."""
        owner = value.get("owner", "root")
        return m.TeamFile(
            template=value["template"],
            path=value["path"],
            where=value["where"],
            mode=int(value.get("mode", "0644"), 8),
            owner=owner if ":" in owner else f"{owner}:{owner}",
            check=value.get("check"),
            handler=value.get("handler"),
            source=self.beside(value["template"], origin, "template") or "",
            origin=origin,
        )

    def virtual_services(self) -> Iterator[m.VirtualService]:
        """Virtual services of all documents."""
        for document in self.documents.documents:
            for value, origin in self.listed(document, "virtual_services"):
                site = self.site_name(document, value, origin, f"virtual service {value['name']}")
                yield _virtual_service(value, site, origin)


_PLAIN_VERIFY = m.VerifySettings()


def _below(origin: m.Origin, *steps: str | int) -> m.Origin:
    return m.Origin(origin.document, (*origin.steps, *steps))


def _verify_settings(value: dict[str, Any], origin: m.Origin) -> m.VerifySettings:
    timeouts = {f"{key}_s": parse_duration(text) for key, text in value.get("timeouts", {}).items()}
    expect = value.get("expect")
    return m.VerifySettings(
        calling=normalize_ae_title(value.get("calling", _PLAIN_VERIFY.calling)),
        timeouts=m.Timeouts(**timeouts),
        max_associations_per_host=value.get("max_associations_per_host", 1),
        probe=value.get("probe", "always"),
        reason=value.get("reason", ""),
        probe_from=value.get("from"),
        accept=tuple(value.get("accept", ())),
        importance=value.get("importance", "page"),
        maintenance=tuple(
            m.Maintenance(item["from"], item["until"], item["reason"], _below(origin, "verify", "maintenance", index))
            for index, item in enumerate(value.get("maintenance", ()))
        ),
        expect=_expectation(expect) if expect else None,
    )


def _expectation(value: dict[str, Any]) -> m.Expectation:
    lists = {key: tuple(value.get(key, ())) for key in ("sop_classes", "transfer_syntaxes")}
    return m.Expectation(**{**value, **lists})


def _flow(value: dict[str, Any], origin: m.Origin) -> m.Flow:
    return m.Flow(
        source=value["from"],
        destination=value["to"],
        services=tuple(value["services"]),
        within_site=value.get("within") == "site",
        except_sites=tuple(value.get("except", ())),
        origin=origin,
    )


def _schedule(name: str, value: dict[str, Any], origin: m.Origin) -> m.Schedule:
    holidays = value.get("holidays", {})
    return m.Schedule(
        name,
        value["timezone"],
        tuple(value["open"]),
        holidays.get("as"),
        tuple(holidays.get("dates", ())),
        origin,
    )


def _relay(value: dict[str, Any], origin: m.Origin) -> m.Relay:
    routes = tuple(_route(item, _below(origin, "routes", index)) for index, item in enumerate(value["routes"]))
    return m.Relay(value["entity"], value["timezone"], value.get("match", "all"), routes, origin)


def _route(value: dict[str, Any], origin: m.Origin) -> m.Route:
    def destinations(kind: str) -> tuple[m.RouteDestination, ...]:
        return tuple(
            m.RouteDestination(
                item["ae_title"],
                item.get("during"),
                optional_duration(item.get("backup_after")),
                _below(origin, "to", kind, index),
            )
            for index, item in enumerate(value["to"].get(kind, ()))
        )

    require = value.get("require", ())
    return m.Route(
        name=value["name"],
        when=value.get("when", m.EMPTY),
        otherwise=value.get("otherwise"),
        require=require if isinstance(require, dict) else tuple(require),
        deidentify=value.get("deidentify"),
        edit=tuple(value.get("edit", ())),
        primary=destinations("primary"),
        optional=destinations("optional"),
        origin=origin,
    )


def _virtual_service(value: dict[str, Any], site: str, origin: m.Origin) -> m.VirtualService:
    vrrp, check, script = value.get("vrrp"), value.get("check"), value.get("script")
    return m.VirtualService(
        name=value["name"],
        entity=value["entity"],
        site=site,
        addresses=tuple(
            _virtual_address(item, _below(origin, "addresses", index)) for index, item in enumerate(value["addresses"])
        ),
        port=value["port"],
        mode=value.get("mode", "failover"),
        via=value.get("via", "haproxy"),
        vrrp=m.Vrrp(
            vrrp["interface"],
            vrrp["virtual_router_id"],
            vrrp["priority"],
            vrrp.get("auth_pass"),
            _below(origin, "vrrp"),
        )
        if vrrp
        else None,
        check=_health_check(check, _below(origin, "check")) if check else m.HealthCheck("LOADBALANCER"),
        script=m.ExternalScript(script["path"], script.get("echoscu", "/usr/bin/echoscu"), script["where"])
        if script
        else None,
        shared_storage_reason=value.get("shared_storage", {}).get("reason"),
        origin=origin,
    )


def _virtual_address(item: Any, origin: m.Origin) -> m.VirtualAddress:
    text, until = (item, None) if isinstance(item, str) else (item["address"], item.get("until"))
    address, _, prefix = text.partition("/")
    return m.VirtualAddress(address, int(prefix) if prefix else None, until, origin)


def _health_check(value: dict[str, Any], origin: m.Origin) -> m.HealthCheck:
    plain = m.HealthCheck("LOADBALANCER")
    return m.HealthCheck(
        calling=normalize_ae_title(value["calling"]),
        interval_s=parse_duration(value["interval"]) if "interval" in value else plain.interval_s,
        timeout_s=parse_duration(value["timeout"]) if "timeout" in value else plain.timeout_s,
        fall=value.get("fall", plain.fall),
        rise=value.get("rise", plain.rise),
        origin=origin,
    )
