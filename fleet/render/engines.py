"""What serves an entity on a host: configuration, unit, and what both need there."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

from fleet.errors import UnfitValue
from fleet.inventory.model import Entity, Host, Instance, Run
from fleet.inventory.settings import parse_duration
from fleet.render import certificates
from fleet.render.artifacts import RenderedFile, RenderedService
from fleet.render.collect import Collection
from fleet.render.relay_document import RELAY_DRAIN_S, Document, Shown, make_document
from fleet.render.session import Session
from fleet.render.views import make_entity_view, make_instance_view
from fleet.targets import dcmqrscp, relay, shell, storescp, systemd, wlmscpfs

FOLDER: Final = "/etc/fleet"
UNIT_FOLDER: Final = "/etc/systemd/system"
DRAIN_PATH: Final = f"{FOLDER}/drain-associations"
FREE_PORT_PATH: Final = f"{FOLDER}/await-free-port"
DEBIAN_USER: Final = "dcmtk"  # Debian's dcmtk package makes it
DEFAULT_DRAIN_S: Final = 60.0
DEFAULT_MAX_PDU: Final = 16384
DEFAULT_MAX_ASSOCIATIONS: Final = 16
_HOMES: Final = ("/home/", "/root/", "/run/user/")

Variables = dict[str, Any]


def render_engines(session: Session, host: Host, collection: Collection) -> None:
    """Everything that serves on this host."""
    pairs = session.inventory.instances_by_host.get(host.name, ())
    for entity, instance in pairs:
        renderer = _RENDERERS.get(entity.engine)
        if renderer is None or entity.run is None:
            continue
        several = sum(1 for other, _ in pairs if other is entity) > 1
        stem = systemd.make_stem(entity.ae_title, instance.port if several else None)
        renderer(_Process(session, host, collection, entity, instance, entity.run, stem))


class _Process:
    """One entity's process on one host, while it is rendered."""

    def __init__(  # noqa: PLR0917 - a value of the seven things that every renderer looks at
        self,
        session: Session,
        host: Host,
        collection: Collection,
        entity: Entity,
        instance: Instance,
        run: Run,
        stem: str,
    ) -> None:
        self.session, self.host, self.collection = session, host, collection
        self.entity, self.instance, self.run, self.stem = entity, instance, run, stem
        self.unit = f"fleet-{run.engine}-{stem}.service"
        text = run.settings.get("drain_timeout")
        unsaid_s = RELAY_DRAIN_S if run.engine == "relay" else DEFAULT_DRAIN_S
        self.drain_s = max(1, round(parse_duration(text) if text else unsaid_s))
        self.user: str = run.settings.get("user") or (relay.USER if run.engine == "relay" else DEBIAN_USER)

    def file(self, path: str, template: str, variables: Variables, **more: Any) -> None:
        """Render one file of the process."""
        shared: Variables = {
            "entity": make_entity_view(self.entity),
            "instance": make_instance_view(self.instance),
            "user": self.user,
            "drain_s": self.drain_s,
            "options": tuple(self.run.settings.get("options", ())),
        }
        content = self.session.render(template, self.host, path, {**shared, **variables})
        self.collection.add_file(RenderedFile(self.host.name, path, content.text, secrets=content.secrets, **more))

    def unit_file(self, template: str, variables: Variables, writable: tuple[str, ...]) -> None:
        """Render the unit, and want it running."""
        shared = {
            "writable": writable,
            "privileged_port": self.instance.port < 1024,
            "storage_in_home": any(f"{path}/".startswith(_HOMES) for path in writable),
        }
        self.file(f"{UNIT_FOLDER}/{self.unit}", template, {**shared, **variables}, restarts=(self.unit,))
        self.collection.add_service(RenderedService(self.unit, True, self.instance.port, float(self.drain_s)))
        self.collection.users.add(self.user)

    def need_dcmtk(self, program: str) -> None:
        """What every dcmtk server needs: itself, and the scripts that let its associations end and its port go."""
        self.collection.programs |= {program, "/bin/sh"}
        for path in (DRAIN_PATH, FREE_PORT_PATH):
            content = self.session.render(f"{path.rpartition('/')[2]}.sh.j2", self.host, path, {})
            made = RenderedFile(
                self.host.name, path, content.text, mode=0o755, check=shell.CHECK, secrets=content.secrets
            )
            self.collection.add_file(made)

    def need_folder(self, path: str, mode: int = 0o750) -> None:
        """A folder of the service's own."""
        self.collection.add_folder(path, f"{self.user}:{self.user}", mode)


def _render_dcmqrscp(process: _Process) -> None:
    settings, path = process.run.settings, f"{FOLDER}/dcmqrscp-{process.stem}.cfg"
    tables = process.session.tables_of(process.entity)
    area = _required(settings, "storage_area")
    own = [
        further for further in process.entity.also if further.listens and further.port in {None, process.instance.port}
    ]
    variables = {
        "max_pdu": settings.get("max_pdu", DEFAULT_MAX_PDU),
        "max_associations": settings.get("max_associations", DEFAULT_MAX_ASSOCIATIONS),
        "rows": tables.rows,
        "groups": tables.groups,
        "vendors": tables.vendors,
        "callers_symbol": tables.callers_symbol,
        "unlisted": tables.unlisted,
        "own_titles": (process.entity.ae_title, *(further.ae_title for further in own)),
        "storage_area": area,
        "access": _required(settings, "access"),
        "max_studies": _required(settings, "max_studies"),
        "max_bytes_per_study": _required(settings, "max_bytes_per_study"),
    }
    process.file(path, "dcmqrscp.cfg.j2", variables, check=dcmqrscp.CHECK, restarts=(process.unit,))
    process.unit_file("dcmqrscp.service.j2", {"config_path": path}, (area,))
    process.need_dcmtk(dcmqrscp.PROGRAM)
    process.need_folder(area)


def _render_storescp(process: _Process) -> None:
    settings = process.run.settings
    area = _required(settings, "storage_area")
    variables = {
        "storage_area": area,
        "max_pdu": settings.get("max_pdu"),
        "profile": settings.get("profile"),
        "profile_file": settings.get("profile_file"),
    }
    process.unit_file("storescp.service.j2", variables, (area,))
    process.need_dcmtk(storescp.PROGRAM)
    process.need_folder(area)


def _render_wlmscpfs(process: _Process) -> None:
    settings = process.run.settings
    folder = _required(settings, "data_files")
    variables = {
        "data_files": folder,
        "max_pdu": settings.get("max_pdu"),
        "max_associations": settings.get("max_associations"),
    }
    process.unit_file("wlmscpfs.service.j2", variables, (folder,))
    process.need_dcmtk(wlmscpfs.PROGRAM)
    process.need_folder(folder)
    for title in process.entity.titles:
        process.need_folder(f"{folder}/{title}")
        # A query locks this file; without it every query is refused.
        lock = RenderedFile(
            process.host.name,
            f"{folder}/{title}/{wlmscpfs.LOCK_FILE}",
            "\n",
            mode=0o640,
            owner=f"{process.user}:{process.user}",
        )
        process.collection.add_file(lock)


def _render_relay(process: _Process) -> None:
    path = f"{FOLDER}/relay-{process.stem}.json"
    spool = process.run.settings.get("spool") or f"/var/spool/fleet/relay-{process.stem}"
    service = f"relay-{process.stem}"
    document, shown = make_document(process.session, process.entity, process.instance, spool, service)
    python: str = process.run.settings.get("python") or relay.PYTHON
    _render_tls(process, service, shown)
    process.file(
        path,
        "relay.json.j2",
        {"document": document},
        mode=0o640,
        owner=f"root:{process.user}",
        check=relay.make_config_check(python),
        reloads=(process.unit,),
    )
    variables = {
        "config_path": path,
        "python": python,
        "program": relay.PROGRAM,
        # What a reload cannot change stands in the unit, which is restarted when it changes.
        "fixed": _describe_fixed(document),
        "cache": f"fleet-relay-{process.stem.replace(':', '=')}",  # a colon there would ask systemd for a link
    }
    process.unit_file("relay.service.j2", variables, (spool,))
    program = process.session.programs.get(relay.PROGRAM_NAME)
    if program is None:
        raise UnfitValue(f"{relay.PROGRAM_NAME} was not handed to the rendering, and a relay is nothing without it")
    process.collection.add_program(relay.PROGRAM, program, process.unit, relay.make_program_check(python))
    process.collection.pythons.add(python)
    process.need_folder(spool, 0o700)


def _render_tls(process: _Process, service: str, shown: Shown) -> None:
    """What it verifies with and shows to destinations is read again for each association; what callers meet is
    read on a reload.
    """
    inventory, host, add = process.session.inventory, process.host.name, process.collection.add_shared
    reader = (service, process.user)
    for name in sorted(shown.authorities):
        add(certificates.render_authority(inventory, host, name))
    for name in sorted(shown.own):
        for file in certificates.render_own(inventory, host, name, reader):
            add(file)
    tls = process.run.settings.get("tls")
    if tls is None:
        return
    units = (process.unit,)
    if "callers_ca" in tls:
        add(certificates.render_authority(inventory, host, tls["callers_ca"], units))
    for file in certificates.render_own(inventory, host, tls["certificate"], reader, units):
        add(file)


def _describe_fixed(document: Document) -> str:
    listen, tls = document["listen"], document["receive"]["tls"]
    secure = f", TLS on port {tls.get('port') or listen['port']}" if tls else ""
    return (
        f"{listen['address']} port {listen['port']}{secure}, spool {document['spool']},"
        f" PDUs of {document['max_pdu_bytes']} bytes"
    )


def _required(settings: Mapping[str, Any], name: str) -> Any:
    """A setting that a rule has asked for; rendering without it would be guessing."""
    if name not in settings:
        raise UnfitValue(f"the engine setting {name} is missing, and fleet never guesses it")
    return settings[name]


_RENDERERS: Final[Mapping[str, Callable[[_Process], None]]] = MappingProxyType(
    {
        "dcmqrscp": _render_dcmqrscp,
        "storescp": _render_storescp,
        "wlmscpfs": _render_wlmscpfs,
        "relay": _render_relay,
    }
)
