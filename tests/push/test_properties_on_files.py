"""The properties of tests/plan once more, on real files by a real shell."""

import tempfile
from dataclasses import replace
from pathlib import Path

from hypothesis import HealthCheck, given, settings

from fleet.plan.decide import make_host_plan
from fleet.push.apply import ApplySettings, apply_host
from fleet.push.observe import observe_host
from fleet.push.outcome import Outcome
from fleet.render.artifacts import RenderedHost
from tests.plan.test_properties import UNITS, hosts, rendered_hosts
from tests.push.fake_host import FakeHost
from tests.push.local_host import LocalTransport, make_root
from tests.push.scenes import list_leftovers


def build(host: FakeHost, folder: Path) -> LocalTransport:
    root = make_root(folder)
    for path, file in host.files.items():
        (root / path[1:]).parent.mkdir(parents=True, exist_ok=True)
        (root / path[1:]).write_bytes(file.content)
        (root / path[1:]).chmod(file.mode)
    (root / "units").mkdir()
    for unit in UNITS:
        (root / "lib/systemd/system" / unit).touch()
        for word in (host.units[unit].active, host.units[unit].enabled):
            (root / "units" / f"{unit}.{word}").touch()
    (root / "var/lib/fleet").mkdir(mode=0o755)
    (root / "var/lib/fleet/manifest").write_text(host.manifest or "")
    return LocalTransport(root)


@given(rendered_hosts(), hosts())
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_applying_a_plan_on_files_gives_what_was_rendered(rendered: RenderedHost, host: FakeHost) -> None:
    # Owners need users, which a folder has not; the dictionary has them.
    rendered = replace(rendered, files=tuple(replace(file, owner="root:root") for file in rendered.files))
    with tempfile.TemporaryDirectory() as folder:
        transport = build(host, Path(folder))
        plan = make_host_plan(rendered, observe_host(rendered, transport, deadline_s=30), adopt=True)
        commands = {file.handler for file in rendered.files if file.handler}
        outcome = apply_host(plan, transport, ApplySettings(hold_s=0, settle_s=0))
        if commands - {"echo changed"}:
            assert outcome.phase in {"", "handler"}  # there is no such program here
        else:
            assert outcome.outcome in {Outcome.CONVERGED, Outcome.UNCHANGED}
        for file in rendered.files:
            path = Path(folder) / file.path[1:]
            assert (path.read_bytes(), path.stat().st_mode & 0o7777) == (file.content.encode(), file.mode)
        assert list_leftovers(Path(folder)) == []
        again = make_host_plan(rendered, observe_host(rendered, transport, deadline_s=30), adopt=False)
        assert again.is_empty or outcome.phase == "handler"
