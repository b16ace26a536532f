"""doctor: what is installed, what wins, can we reach and log in."""

import os
import shutil
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from fleet.errors import FleetError
from fleet.inventory.model import Host, Inventory
from fleet.plan.state import ObservedHost
from fleet.push.observe import observe_host
from fleet.push.ping import ping_host
from fleet.push.transport import Connector
from fleet.render.artifacts import Needs, RenderedFile, RenderedHost
from fleet.targets import relay
from fleet.workflow.context import Context

LIBRARIES = ("click", "jinja2", "jsonschema", "jsonschema-rs", "paramiko", "pynetdicom", "PyYAML", "rich")
# pip's pynetdicom installs programs of dcmtk's names, which shadow dcmtk's in an active environment.
SHADOWED = ("echoscu", "storescu", "findscu", "movescu", "storescp")


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at: `good` is None where it is merely a fact."""

    what: str
    says: str
    good: bool | None = None


def examine_here(path: str) -> list[Finding]:
    """This machine: Python, libraries, and which of dcmtk's programs win on `path`."""
    findings = [Finding("python", sys.version.split()[0], sys.version_info >= (3, 11))]
    for library in LIBRARIES:
        try:
            findings.append(Finding(library, version(library)))
        except PackageNotFoundError:
            findings.append(Finding(library, "is missing; reinstall dicom-fleet", False))
    findings += [finding for name in SHADOWED if (finding := _examine_program(name, path))]
    return findings


def _examine_program(name: str, path: str) -> Finding | None:
    first = shutil.which(name, path=path)
    if first is None:
        return None
    folders = [folder for folder in path.split(os.pathsep) if folder and (Path(folder) / name).is_file()]
    try:
        script = Path(first).read_bytes()[:2] == b"#!"
    except OSError:
        script = False
    if script:
        others = ", ".join(str(Path(folder) / name) for folder in folders[1:]) or "no other"
        return Finding(name, f"{first} wins and is not dcmtk's (behind it: {others}); call dcmtk by absolute path")
    return Finding(name, first)


def examine_hosts(
    context: Context, hosts: Sequence[Host], connector: Connector, inventory: Inventory | None = None
) -> list[Finding]:
    """Each host: can we log in, and become root where the inventory says so; and what the relays of an inventory
    run on. Changes nothing."""
    wanted = list_relay_needs(inventory, hosts) if inventory is not None else {}

    def examine(host: Host) -> list[Finding]:
        if not host.host_keys:
            return [Finding(host.name, f"no pinned key; `fleet trust {host.name}` shows what to pin", False)]
        try:
            transport = connector.open_(host, deadline_s=context.connect_deadline_s)
            number = ping_host(transport, deadline_s=context.observe_deadline_s)
            seen = [
                _judge_relay(need, observe_host(need, transport, deadline_s=context.observe_deadline_s))
                for need in (wanted.get(host.name),)
                if need is not None
            ]
        except FleetError as error:
            phase = getattr(error, "phase", "")
            return [Finding(host.name, f"{phase}: {error}" if phase else str(error), False)]
        return [Finding(host.name, f"logged in as {host.ssh.user}; scripts run as user number {number}", True), *seen]

    if not hosts:
        return []
    with ThreadPoolExecutor(max_workers=min(context.forks, len(hosts))) as pool:
        return [finding for found in pool.map(examine, hosts) for finding in found]


def list_relay_needs(inventory: Inventory, hosts: Sequence[Host]) -> dict[str, RenderedHost]:
    """What the relays of these hosts run on, by host: this fleet's program, and a Python."""
    from fleet.workflow.rendering import read_programs  # where there is no relay, nothing is read

    pythons: dict[str, set[str]] = {}
    for host in hosts:
        for entity, _ in inventory.instances_by_host.get(host.name, ()):
            if entity.engine == "relay" and entity.run is not None:
                python: str = entity.run.settings.get("python") or relay.PYTHON
                pythons.setdefault(host.name, set()).add(python)
    if not pythons:
        return {}
    program = read_programs(inventory)[relay.PROGRAM_NAME]
    return {
        name: RenderedHost(
            name,
            (RenderedFile(name, relay.PROGRAM, "", program=program),),
            needs=Needs(pythons=tuple(sorted(found))),
        )
        for name, found in pythons.items()
    }


def _judge_relay(need: RenderedHost, seen: ObservedHost) -> Finding:
    """Whether the host has this fleet's relay, and what runs it; another version is a remark, for apply mends it."""
    (file,) = need.files
    if seen.missing.pythons:
        path, version = seen.missing.pythons[0]
        said = f"is Python {version}" if version else "is not there"
        return Finding(need.host, f"{path} {said}, and the relay needs 3.11 or newer (run.python names another)", False)
    digest = seen.files[file.path].digest
    if digest == file.digest:
        return Finding(need.host, f"{file.path} is this fleet's", True)
    said = f"is not this fleet's (sha256 {digest[:12]}…)" if digest else "is not there yet"
    return Finding(need.host, f"{file.path} {said}; `fleet apply` puts it there")
