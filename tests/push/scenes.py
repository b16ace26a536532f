"""What the tests of this room render and do again and again."""

import os
from pathlib import Path

from fleet.plan.decide import make_host_plan
from fleet.plan.steps import HostPlan
from fleet.push.apply import ApplySettings, apply_host
from fleet.push.observe import observe_host
from fleet.push.outcome import HostOutcome
from fleet.push.transport import Transport
from fleet.render.artifacts import RenderedFile, RenderedHost, RenderedService

NOW = ApplySettings(hold_s=0, settle_s=0)
OWNER = "root:root"


def rendered_file(path: str = "/etc/dcmtk/dcmqrscp.cfg", content: str = "new\n", **more: object) -> RenderedFile:
    return RenderedFile("north-1", path, content, **more)  # type: ignore[arg-type] # a test's shorthand


def rendered_host(*files: RenderedFile, services: tuple[RenderedService, ...] = ()) -> RenderedHost:
    return RenderedHost("north-1", tuple(sorted(files, key=lambda file: file.path)), services)


def make_plan(rendered: RenderedHost, transport: Transport, *, adopt: bool = False) -> HostPlan:
    return make_host_plan(rendered, observe_host(rendered, transport, deadline_s=30), adopt=adopt)


def converge(rendered: RenderedHost, transport: Transport, *, adopt: bool = False) -> HostOutcome:
    return apply_host(make_plan(rendered, transport, adopt=adopt), transport, NOW)


def let_leases_expire(root: Path) -> None:
    """The host's own clock goes on by a day (T42: no other clock counts)."""
    clock = root / "proc/uptime"
    clock.parent.mkdir(exist_ok=True)
    source = clock if clock.exists() else Path("/proc/uptime")
    clock.write_text(f"{float(source.read_text().split()[0]) + 86_400:.2f} 0.00\n")


def list_leftovers(root: Path) -> list[str]:
    """Staged or temporary things that should not be there after a run."""
    found = []
    for folder, folders, files in os.walk(root):
        found += [f"{folder}/{name}" for name in folders if name == ".fleet-stage" or name.startswith("check.")]
        found += [
            f"{folder}/{name}" for name in files if name.endswith(".new") or name in {"staging", "manifest.before"}
        ]
    return found
