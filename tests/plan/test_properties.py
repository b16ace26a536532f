"""For any rendered and any observed state: carrying out the plan gives exactly the rendered state, and the
next plan is empty. Carried out on the dictionary here; on real files by a real shell in tests/push."""

from hypothesis import given, settings
from hypothesis import strategies as st

from fleet.plan.decide import make_host_plan
from fleet.plan.manifest import Manifest, ManifestFile
from fleet.plan.steps import HostPlan
from fleet.push.apply import ApplySettings, apply_host
from fleet.push.observe import observe_host
from fleet.push.outcome import Outcome
from fleet.render.artifacts import FolderNeed, Needs, RenderedFile, RenderedHost, RenderedService
from tests.push.fake_host import FakeFile, FakeHost, FakeUnit

PATHS = ("/etc/a.conf", "/etc/dcmtk/b.cfg", "/etc/dcmtk/deep/c.cfg", "/srv/d.txt", "/etc/keepalived/keepalived.conf")
UNITS = ("dcmqrscp.service", "keepalived.service", "haproxy.service")
COMMANDS = ("nagios-reload", "echo changed")
MODES = (0o644, 0o600, 0o750)
OWNERS = ("root:root", "dcmtk:dcmtk")
TEXTS = ("one\n", "two\n", "drei ü\n", "")

rendered_files = st.builds(
    RenderedFile,
    st.just("north-1"),
    st.sampled_from(PATHS),
    st.sampled_from(TEXTS),
    st.sampled_from(MODES),
    st.sampled_from(OWNERS),
    st.none(),
    st.lists(st.sampled_from(UNITS), max_size=2, unique=True).map(tuple),
    st.lists(st.sampled_from(UNITS), max_size=1).map(tuple),
    st.none() | st.sampled_from(COMMANDS),
)


@st.composite
def rendered_hosts(draw: st.DrawFn) -> RenderedHost:
    files = draw(st.lists(rendered_files, max_size=5, unique_by=lambda file: file.path))
    units = draw(st.lists(st.sampled_from(UNITS), max_size=3, unique=True))
    folders = draw(st.lists(st.sampled_from(("/srv/store", "/srv/x/y")), max_size=2, unique=True))
    return RenderedHost(
        "north-1",
        tuple(sorted(files, key=lambda file: file.path)),
        tuple(RenderedService(unit, ours=False) for unit in sorted(units)),
        Needs(folders=tuple(FolderNeed(path, "root:root") for path in folders)),
    )


@st.composite
def hosts(draw: st.DrawFn) -> FakeHost:
    found = draw(
        st.dictionaries(
            st.sampled_from(PATHS),
            st.builds(
                FakeFile,
                st.sampled_from([b"one\n", b"two\n", b"\xff\x00"]),
                st.sampled_from(MODES),
                st.sampled_from(OWNERS),
            ),
            max_size=5,
        )
    )
    host = FakeHost(files=found)
    host.units = {
        unit: FakeUnit(
            draw(st.sampled_from(["active", "inactive", "failed"])), draw(st.sampled_from(["enabled", "disabled"]))
        )
        for unit in UNITS
    }
    for path in found:
        parts = path.split("/")[1:-1]
        host.folders |= {"/" + "/".join(parts[: count + 1]) for count in range(len(parts))}
    ours = draw(st.lists(st.sampled_from(PATHS), max_size=5, unique=True))
    known = {path: ManifestFile("0" * 64, 0o644, "root:root") for path in ours}
    host.own(Manifest(known, tuple(sorted(draw(st.lists(st.sampled_from(UNITS), max_size=2, unique=True))))))
    return host


def plan_for(rendered: RenderedHost, host: FakeHost, *, adopt: bool = True) -> HostPlan:
    return make_host_plan(rendered, observe_host(rendered, host, deadline_s=1), adopt=adopt)


@given(rendered_hosts(), hosts())
@settings(max_examples=150, deadline=None)
def test_applying_a_plan_gives_what_was_rendered_and_the_next_plan_is_empty(
    rendered: RenderedHost, host: FakeHost
) -> None:
    foreign = {path: seen for path, seen in host.files.items() if path not in (host.manifest or "")}
    outcome = apply_host(plan_for(rendered, host), host, ApplySettings(hold_s=0, settle_s=0))
    assert outcome.outcome in {Outcome.CONVERGED, Outcome.UNCHANGED}, outcome
    wanted = {file.path: file for file in rendered.files}
    for path, file in wanted.items():
        seen = host.files[path]
        assert (seen.content, seen.mode, seen.owner) == (file.content.encode(), file.mode, file.owner)
    assert {path: seen for path, seen in host.files.items() if path not in wanted} == {
        path: seen for path, seen in foreign.items() if path not in wanted
    }
    for service in rendered.services:
        assert host.units[service.unit] == FakeUnit("active", "enabled")
    assert plan_for(rendered, host, adopt=False).is_empty


@given(rendered_hosts(), hosts())
@settings(max_examples=60, deadline=None)
def test_without_adopt_no_foreign_file_is_ever_changed(rendered: RenderedHost, host: FakeHost) -> None:
    foreign = {path: seen.content for path, seen in host.files.items() if path not in (host.manifest or "")}
    apply_host(plan_for(rendered, host, adopt=False), host, ApplySettings(hold_s=0, settle_s=0))
    assert {path: host.files[path].content for path in foreign} == foreign


@given(rendered_hosts(), hosts())
@settings(max_examples=40, deadline=None)
def test_the_same_two_states_give_the_same_plan(rendered: RenderedHost, host: FakeHost) -> None:
    assert plan_for(rendered, host) == plan_for(rendered, host)
