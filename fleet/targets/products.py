"""Every product of an inventory asked what it cannot carry: only what is served, balanced or relayed is looked at."""

from collections.abc import Iterator

from fleet.errors import EmptySelection, Location, Problem
from fleet.inventory.model import Entity, Inventory, Relay
from fleet.inventory.peers import Peer, Peers, ResolvedFlow
from fleet.targets import dcmqrscp, haproxy, health_check, keepalived, relay, storescp, wlmscpfs
from fleet.targets.refusal import cannot_carry, cannot_do

DCMTK = frozenset({"dcmqrscp", "storescp", "wlmscpfs"})
FIRST_PLAIN_PORT = 1024  # ip(7): ports below need a privilege
RESERVED_FOLDERS = ("/etc/fleet", "/var/lib/fleet")
# A storage area is made for the service's user and written by it: in or above these that would give a service the
# machine's own files, or fleet's.
_STORAGE_SETTINGS = ("storage_area", "data_files", "spool")
_NO_STORAGE_IN = ("/etc", "/usr", "/bin", "/sbin", "/lib", "/boot", "/dev", "/proc", "/sys", "/root", "/var/lib/fleet")

_NO_FILES_IN = ("/dev", "/proc", "/sys")


def check_targets(inventory: Inventory, peers: Peers) -> Iterator[Problem]:
    """Everything that a product of this inventory cannot carry, each thing once."""
    seen: set[tuple[Location, str]] = set()
    for problem in _check_all(inventory, peers):
        key = (problem.location, problem.message)
        if key not in seen:
            seen.add(key)
            yield problem


def _check_all(inventory: Inventory, peers: Peers) -> Iterator[Problem]:
    texts = select_texts(inventory, peers)
    for entity in inventory.entities:
        if entity.run is not None and entity.instances:
            yield from _check_storage(entity)
            yield from _check_engine(entity, inventory, peers, texts)
    for service in inventory.virtual_services:
        served = inventory.find_entity(service.entity)
        if served is None:
            continue
        yield from keepalived.check_service(service, served)
        yield from haproxy.check_service(service, served, inventory)
        yield from health_check.check_service(service, served)
    yield from _check_deletions(peers)
    yield from _check_files(inventory, peers)


def select_texts(inventory: Inventory, peers: Peers) -> tuple[tuple[Relay, frozenset[str]], ...]:
    """Each relay text with the names of the entities that it selects."""
    found = []
    for text in inventory.relays:
        try:
            names = frozenset(entity.name for entity in peers.selectors.entities(text.entity))
        except EmptySelection:
            continue  # a rule's business
        found.append((text, names))
    return tuple(found)


def _check_storage(entity: Entity) -> Iterator[Problem]:
    """Folders that belong to a service must lie outside the machine's own, and fleet's."""
    assert entity.run is not None  # noqa: S101 - the caller looked
    for setting in _STORAGE_SETTINGS:
        folder = str(entity.run.settings.get(setting, "")).rstrip("/")
        for reserved in _NO_STORAGE_IN if setting in entity.run.settings else ():
            if _is_in(folder, reserved) or _is_in(reserved, folder):
                reason = (
                    f"the folder is given to the service's user, and {reserved} would be in its hands; "
                    "choose one of its own, such as below /var/lib/dcmtk"
                )
                yield cannot_carry(
                    entity.engine,
                    f"{setting} {folder or '/'} of {entity.ae_title}",
                    reason,
                    entity.run.at(setting),
                    subjects=(entity.ae_title,),
                )
                break


def _check_engine(
    entity: Entity, inventory: Inventory, peers: Peers, texts: tuple[tuple[Relay, frozenset[str]], ...]
) -> Iterator[Problem]:
    match entity.engine:
        case "dcmqrscp":
            callers = peers.callers_of(entity)
            yield from dcmqrscp.check_entity(entity, callers)
            yield from _check_services(entity, callers)
        case "storescp":
            yield from storescp.check_entity(entity)
        case "wlmscpfs":
            yield from wlmscpfs.check_entity(entity)
        case "relay":
            chosen = relay.select_relays(texts, entity)
            unsure = len(texts) < len(inventory.relays) or "relays" in inventory.broken_keys
            if chosen or not unsure:  # else the text that was meant for it is told, and it would only be told again
                yield from relay.check_entity(entity, chosen, inventory)
    if entity.engine in DCMTK:
        yield from _check_ports(entity)
    if entity.engine in DCMTK and entity.tls is not None:
        reason = (
            "fleet starts it without TLS (dcmqrscp has none before 3.7.0), and an entity with tls is never asked plain"
        )
        yield cannot_carry(
            entity.engine, f"tls of {entity.ae_title}", reason, entity.at("tls"), subjects=(entity.ae_title,)
        )


def _check_ports(entity: Entity) -> Iterator[Problem]:
    """dcmtk's servers ask whether they are root before they open a low port; a capability does not help."""
    assert entity.run is not None  # noqa: S101 - the caller looked
    for instance in entity.instances:
        if instance.port < FIRST_PLAIN_PORT and entity.run.settings.get("user") != "root":
            reason = (
                "dcmtk's servers refuse ports below 1024 unless they run as root; give the instance another one "
                "(11112) and put a virtual service in front where callers expect 104"
            )
            yield cannot_carry(
                entity.engine,
                f"port {instance.port} of {entity.ae_title} on {instance.host}",
                reason,
                instance.at("port"),
                subjects=(entity.ae_title,),
            )


def _check_services(entity: Entity, callers: tuple[Peer, ...]) -> Iterator[Problem]:
    """dcmqrscp admits a caller to everything, whatever the flow says."""
    assert entity.run is not None  # noqa: S101 - the caller looked
    more = {"storage", "query-retrieve"} & set(entity.provides)
    limited = [
        peer.ae_title
        for peer in callers
        if peer.role == "entity" and not more <= {*peer.services, *_implied(peer.services)}
    ]
    if limited:
        names = ", ".join(limited[:3]) + (f" and {len(limited) - 3} more" if len(limited) > 3 else "")
        what = (
            f"cannot limit a caller to one service: in {entity.ae_title} {names} may do all of "
            f"{', '.join(sorted(more))}"
        )
        yield cannot_do(dcmqrscp.TARGET, what, entity.run.location, subjects=(entity.ae_title,))


def _check_deletions(peers: Peers) -> Iterator[Problem]:
    """dcmqrscp deletes at its quota: said where it is the only place that images of a flow go to."""
    for resolved in peers.flows:
        if "storage" not in resolved.flow.services:
            continue
        for entity in _sole_destinations(resolved):
            source = next(resolved.sources_for(entity), None)
            if entity.engine == "dcmqrscp" and entity.instances and source is not None:
                what = (
                    f"deletes the oldest study of {entity.ae_title} beyond its quota, and this flow gives the images "
                    f"of {source.ae_title} no other destination: what is deleted is lost unless it was stored elsewhere"
                )
                yield cannot_do(dcmqrscp.TARGET, what, resolved.flow.location, subjects=(entity.ae_title,))


def _sole_destinations(resolved: ResolvedFlow) -> Iterator[Entity]:
    """Destinations without a second one for the same sources."""
    by_site: dict[str, list[Entity]] = {}
    for entity in resolved.destinations:
        by_site.setdefault(entity.site if resolved.flow.within_site else "", []).append(entity)
    for entities in by_site.values():
        if len(entities) == 1:
            yield entities[0]


def _implied(services: tuple[str, ...]) -> tuple[str, ...]:
    return ("storage",) if "query-retrieve" in services else ()


def _check_files(inventory: Inventory, peers: Peers) -> Iterator[Problem]:
    """A team's files: none where fleet keeps its own, and no two at one path of one host."""
    taken: dict[tuple[str, str], Location] = {}
    for file in sorted(inventory.files, key=lambda each: each.path.count("/")):
        if any(_is_in(file.path, folder) or _is_in(folder, file.path) for folder in RESERVED_FOLDERS):
            reason = "fleet keeps its own files there; choose another folder"
            yield cannot_carry("files", f"the path {file.path}", reason, file.at("path"), subjects=(file.path,))
        try:
            hosts = peers.selectors.hosts(file.where)
        except EmptySelection:
            continue  # a rule's business
        if any(_is_in(file.path, folder) for folder in _NO_FILES_IN):
            reason = "what lies there is made by the kernel, not kept on a disk; choose another folder"
            yield cannot_carry("files", f"the path {file.path}", reason, file.at("path"), subjects=(file.path,))
        for host in hosts:
            owned = next((each for each in _storage_on(inventory, host.name) if _is_in(file.path, each)), None)
            if owned is not None:
                reason = f"{owned} is a service's own folder there, and its images or index could be written over"
                yield cannot_carry("files", f"the path {file.path}", reason, file.at("path"), subjects=(file.path,))
            first = taken.setdefault((host.name, file.path), file.location)
            if first is not file.location and first != file.location:
                yield cannot_carry(
                    "files",
                    f"a second file at {file.path} of {host.name}",
                    "one of them would be lost",
                    file.location,
                    also=(first,),
                    subjects=(file.path,),
                )
            above = next((path for path in _folders_above(file.path) if (host.name, path) in taken), None)
            if above is not None:
                yield cannot_carry(
                    "files",
                    f"{file.path} of {host.name}",
                    f"{above} is a file there too, and nothing can lie below a file",
                    file.at("path"),
                    also=(taken[host.name, above],),
                    subjects=(file.path,),
                )


def _storage_on(inventory: Inventory, host: str) -> Iterator[str]:
    """The folders that belong to the services of a host."""
    for entity, _ in inventory.instances_by_host.get(host, ()):
        settings = entity.run.settings if entity.run else {}
        yield from (str(settings[key]).rstrip("/") for key in _STORAGE_SETTINGS if key in settings)


def _is_in(path: str, folder: str) -> bool:
    return f"{path}/".startswith(f"{folder}/")


def _folders_above(path: str) -> Iterator[str]:
    """Every folder that a path lies in, the nearest first; the root left out."""
    while path := path.rpartition("/")[0]:
        yield path
