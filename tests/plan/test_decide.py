import hashlib
from dataclasses import replace

import pytest

from fleet.plan.decide import make_host_plan, make_token
from fleet.plan.manifest import Manifest, ManifestFile
from fleet.plan.state import FileKind, HostFacts, Missing, ObservedFile, ObservedHost, ObservedService, Started
from fleet.plan.steps import (
    CleanLeftover,
    DaemonReload,
    EnableUnit,
    HostPlan,
    MakeFolder,
    OpenAssociations,
    Plan,
    RecordManifest,
    ReloadUnit,
    RestartUnit,
    RunCheck,
    RunHandler,
    StartUnit,
    StopUnit,
    UnitReason,
    WriteFile,
    WriteReason,
)
from fleet.render.artifacts import (
    FileCheck,
    FolderNeed,
    Needs,
    RenderedFile,
    RenderedHost,
    RenderedService,
    make_program,
)

CONF = RenderedFile("north-1", "/etc/dcmtk/dcmqrscp.cfg", "HostTable BEGIN\n", 0o640, "root:dcmtk")
UP = ObservedService("dcmqrscp.service", "loaded", "active", "enabled")


def render(
    *files: RenderedFile, services: tuple[RenderedService, ...] = (), needs: Needs | None = None
) -> RenderedHost:
    return RenderedHost("north-1", files, services, needs or Needs())


def see(
    file: RenderedFile, content: str | None = None, mode: int | None = None, owner: str | None = None
) -> ObservedFile:
    data = (file.content if content is None else content).encode()
    digest = hashlib.sha256(data).hexdigest()
    return ObservedFile(file.path, FileKind.FILE, digest, mode or file.mode, owner or file.owner, data)


def own(*files: RenderedFile, units: tuple[str, ...] = ()) -> Manifest:
    return Manifest({file.path: ManifestFile(file.digest, file.mode, file.owner) for file in files}, units)


def observe(*files: ObservedFile, manifest: Manifest | None = None, **more: object) -> ObservedHost:
    host = ObservedHost("north-1", {file.path: file for file in files}, manifest=manifest or Manifest())
    return replace(host, **more)  # type: ignore[arg-type] # a test's shorthand


def plan(rendered: RenderedHost, observed: ObservedHost, *, adopt: bool = False) -> HostPlan:
    return make_host_plan(rendered, observed, adopt=adopt)


def codes(of: HostPlan) -> list[str]:
    return [problem.code for problem in of.problems]


def kinds(of: HostPlan) -> list[str]:
    return [type(step).__name__ for step in of.steps]


def test_a_host_that_is_as_rendered_has_an_empty_plan() -> None:
    assert plan(render(CONF), observe(see(CONF), manifest=own(CONF))).is_empty


def test_an_absent_file_is_created_and_its_check_follows_it() -> None:
    checked = replace(CONF, check=FileCheck("a dry run", "true"))
    steps = plan(render(checked), observe()).steps
    assert [type(step) for step in steps] == [WriteFile, RunCheck]
    assert isinstance(steps[0], WriteFile)
    assert steps[0].reason is WriteReason.CREATE
    assert steps[0].before is None


def test_a_file_edited_by_hand_is_drift_and_is_changed_back() -> None:  # T43
    step = plan(render(CONF), observe(see(CONF, "edited\n"), manifest=own(CONF))).writes[0]
    assert step.reason is WriteReason.CHANGE
    assert step.before is not None
    assert step.before.content == b"edited\n"


@pytest.mark.parametrize("seen", [see(CONF, mode=0o666), see(CONF, owner="evil:evil")])
def test_mode_and_owner_alone_are_drift_too(seen: ObservedFile) -> None:
    assert plan(render(CONF), observe(seen, manifest=own(CONF))).writes[0].reason is WriteReason.MODE


def test_an_owner_that_the_host_cannot_tell_is_no_drift() -> None:
    seen = replace(see(CONF), owner=None)
    assert plan(render(CONF), observe(seen, manifest=own(CONF))).is_empty


def test_a_file_that_no_manifest_knows_is_shown_and_refused_without_adopt() -> None:  # T43
    observed = observe(see(CONF, "somebody's own\n"))
    refused = plan(render(CONF), observed)
    assert codes(refused) == ["adopt-needed"]
    assert refused.writes[0].reason is WriteReason.ADOPT
    assert "originals" in refused.problems[0].message
    assert codes(plan(render(CONF), observed, adopt=True)) == []


def test_a_foreign_file_that_is_already_right_is_only_written_down() -> None:
    steps = plan(render(CONF), observe(see(CONF))).steps
    assert steps == (RecordManifest((CONF.path,), ()),)


def test_only_files_of_the_manifest_are_removed() -> None:
    other = replace(CONF, path="/etc/dcmtk/not-ours.cfg")
    result = plan(render(), observe(see(CONF), see(other), manifest=own(CONF)))
    assert [step.path for step in result.removals] == [CONF.path]
    assert result.after == Manifest({}, ())


def test_a_file_of_ours_that_is_gone_already_is_only_struck_from_the_manifest() -> None:
    assert plan(render(), observe(manifest=own(CONF))).steps == (RecordManifest((), (CONF.path,)),)


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (FileKind.SYMLINK, "symlink-in-the-way"),
        (FileKind.FOLDER, "folder-in-the-way"),
        (FileKind.OTHER, "special-in-the-way"),
        (FileKind.UNSAFE, "unsafe-folder"),
    ],
)
def test_what_is_no_file_is_never_written_over(kind: FileKind, code: str) -> None:  # T28
    for rendered in (render(CONF), render()):
        result = plan(rendered, observe(ObservedFile(CONF.path, kind), manifest=own(CONF)), adopt=True)
        assert codes(result) == [code]
        assert not result.writes
        assert not result.removals


def test_of_a_file_that_may_not_be_read_the_manifest_is_compared() -> None:
    hidden = ObservedFile(CONF.path, FileKind.UNREADABLE)
    same = plan(render(CONF), observe(hidden, manifest=own(CONF)))
    assert (same.is_empty, same.unseen) == (True, (CONF.path,))
    older = replace(CONF, content="written before\n")
    changed = plan(render(CONF), observe(hidden, manifest=own(older)))
    assert [write.path for write in changed.writes] == [CONF.path]
    assert [step.path for step in plan(render(), observe(hidden, manifest=own(CONF))).removals] == [CONF.path]


def test_a_file_that_may_not_be_read_and_that_no_manifest_knows_is_refused() -> None:
    result = plan(render(CONF), observe(ObservedFile(CONF.path, FileKind.UNREADABLE), manifest=own()), adopt=True)
    assert codes(result) == ["unreadable"]
    assert not result.writes


def test_a_broken_manifest_is_never_taken_for_an_empty_one() -> None:
    broken = replace(observe(see(CONF)), manifest=None, manifest_problem="is torn")
    result = plan(render(), broken, adopt=True)
    assert codes(result) == ["manifest-broken"]
    assert result.steps == ()


def test_missing_folders_are_made_outermost_first() -> None:
    need = FolderNeed("/srv/pacs/store", "dcmtk:dcmtk", 0o700)
    observed = observe(
        folders={"/srv": FileKind.FOLDER, "/srv/pacs": FileKind.ABSENT, "/srv/pacs/store": FileKind.ABSENT}
    )
    assert plan(render(needs=Needs(folders=(need,))), observed).steps == (
        MakeFolder("/srv/pacs", 0o755, "root:root"),
        MakeFolder("/srv/pacs/store", 0o700, "dcmtk:dcmtk"),
    )


def test_what_the_host_lacks_is_named_thing_by_thing() -> None:
    result = plan(render(CONF), observe(missing=Missing(("dcmqrscp",), ("dcmtk",), ("dcmtk",))))
    assert codes(result) == ["program-missing", "user-missing", "group-missing"]


SERVICE = RenderedService("dcmqrscp.service", ours=True, drain_s=5.0)
UNIT = RenderedFile("north-1", "/etc/systemd/system/dcmqrscp.service", "[Unit]\n", restarts=("dcmqrscp.service",))
READ = replace(CONF, restarts=("dcmqrscp.service",))


def tokens(*files: RenderedFile) -> Started:
    return Started(make_token([file for file in files if file.restarts]), make_token([f for f in files if f.reloads]))


def test_a_new_service_is_written_enabled_and_started_in_this_order() -> None:
    result = plan(render(READ, UNIT, services=(SERVICE,)), observe())
    assert kinds(result) == ["WriteFile", "WriteFile", "DaemonReload", "EnableUnit", "StartUnit"]


def test_a_changed_file_restarts_its_unit_once_however_many_changed() -> None:
    observed = observe(see(READ, "x\n"), see(UNIT, "y\n"), manifest=own(READ, UNIT, units=("dcmqrscp.service",)))
    observed = replace(observed, services={"dcmqrscp.service": UP})
    steps = [
        step for step in plan(render(READ, UNIT, services=(SERVICE,)), observed).steps if isinstance(step, RestartUnit)
    ]
    assert [(step.unit, step.reason, step.drain_s) for step in steps] == [("dcmqrscp.service", UnitReason.CHANGED, 5.0)]


def test_a_restart_says_how_many_associations_were_open_when_the_host_was_read() -> None:
    service = replace(SERVICE, port=11112)
    rendered = render(READ, services=(service,))
    manifest = own(READ, units=(service.unit,))
    untold = observe(see(READ, "x\n"), manifest=manifest, services={service.unit: UP})
    told = replace(untold, facts=HostFacts(connections={11112: 3}))
    assert plan(rendered, told).open == (OpenAssociations(service.unit, 11112, 3, 5.0),)
    assert [each.count for each in plan(rendered, untold).open] == [None]
    settled = replace(told, files=observe(see(READ)).files, started={service.unit: tokens(READ)})
    assert plan(rendered, settled).open == (), "nothing is restarted, so nothing is cut"


def test_a_unit_that_was_last_started_with_other_files_owes_its_restart() -> None:  # T29
    observed = observe(see(READ), manifest=own(READ, units=("dcmqrscp.service",)), services={"dcmqrscp.service": UP})
    rendered = render(READ, services=(SERVICE,))
    owed = plan(rendered, observed).steps
    assert [type(step) for step in owed] == [RestartUnit]
    assert isinstance(owed[0], RestartUnit)
    assert owed[0].reason is UnitReason.OWED
    settled = replace(observed, started={"dcmqrscp.service": tokens(READ)})
    assert plan(rendered, settled).is_empty


def test_a_file_that_only_reloads_does_not_restart() -> None:
    conf = replace(CONF, reloads=("dcmqrscp.service",))
    observed = observe(
        see(conf, "x\n"), manifest=own(conf, units=("dcmqrscp.service",)), services={"dcmqrscp.service": UP}
    )
    steps = plan(render(conf, services=(SERVICE,)), observed).steps
    assert [type(step) for step in steps] == [WriteFile, ReloadUnit]


def test_a_service_that_does_not_run_is_started_and_one_that_loops_is_restarted() -> None:
    manifest = own(units=("dcmqrscp.service",))
    for active, wanted in (("failed", StartUnit), ("inactive", StartUnit), ("activating", RestartUnit)):
        seen = replace(UP, active=active)
        observed = observe(manifest=manifest, services={"dcmqrscp.service": seen})
        assert [type(step) for step in plan(render(services=(SERVICE,)), observed).steps] == [wanted]


def test_a_disabled_service_is_enabled() -> None:
    observed = observe(manifest=own(units=("dcmqrscp.service",)), services={UP.unit: replace(UP, enabled="disabled")})
    assert plan(render(services=(SERVICE,)), observed).steps == (EnableUnit("dcmqrscp.service"),)


def test_a_unit_that_is_no_longer_wanted_is_stopped_before_its_file_goes() -> None:
    observed = observe(see(UNIT), manifest=own(UNIT, units=("dcmqrscp.service",)), services={"dcmqrscp.service": UP})
    result = plan(render(), observed)
    assert kinds(result) == ["StopUnit", "RemoveFile", "DaemonReload"]
    assert isinstance(result.steps[0], StopUnit)


def test_units_of_others_must_exist_and_masked_ones_stay_masked() -> None:
    foreign = RenderedService("keepalived.service", ours=False)
    assert codes(plan(render(services=(foreign,)), observe())) == ["unit-missing"]
    masked = ObservedService("keepalived.service", "masked", "inactive", "masked")
    assert codes(plan(render(services=(foreign,)), observe(services={masked.unit: masked}))) == ["unit-masked"]


def test_a_host_without_systemctl_is_told_so_when_it_has_services() -> None:
    observed = observe(facts=HostFacts(has_systemctl=False))
    assert codes(plan(render(services=(SERVICE,)), observed)) == ["no-systemctl"]
    assert codes(plan(render(CONF), observed)) == []


def test_a_handler_runs_once_for_all_its_files_and_is_owed_until_it_ran() -> None:
    files = [replace(CONF, path=f"/etc/nagios/{name}.cfg", handler="nagios-reload") for name in "ab"]
    steps = plan(render(*files), observe()).steps
    assert [step.command for step in steps if isinstance(step, RunHandler)] == ["nagios-reload"]
    written = observe(*(see(file) for file in files), manifest=own(*files))
    owed = [step for step in plan(render(*files), written).steps if isinstance(step, RunHandler)]
    assert [step.reason for step in owed] == [UnitReason.OWED]


def test_a_lost_daemon_reload_is_made_up_for() -> None:
    observed = observe(
        manifest=own(units=("dcmqrscp.service",)), services={UP.unit: replace(UP, needs_daemon_reload=True)}
    )
    assert plan(render(services=(SERVICE,)), observed).steps == (DaemonReload(),)


def test_what_an_interrupted_run_left_is_cleaned_up() -> None:
    assert plan(render(), observe(leftover=True)).steps == (CleanLeftover(),)


@pytest.mark.parametrize(
    "path",
    ["etc/x", "/etc/../x", "/etc//x", "/etc/x/", "/etc/x y", "/etc/$(reboot)", "/etc/x\n", "/etc/`id`", "/", "",
     "/var/lib/fleet/manifest", "/etc/.fleet-stage/x", "/etc/;id", "/etc/" + "x" * 300],
)  # fmt: skip
def test_paths_that_may_not_reach_a_script_are_refused(path: str) -> None:  # T22
    assert codes(plan(render(replace(CONF, path=path)), observe())) == ["path-unfit"]


@pytest.mark.parametrize("unit", ["x", "-f.service", "a b.service", "x;id.service", "$(id).service", "../x.service"])
def test_units_that_may_not_reach_a_script_are_refused(unit: str) -> None:  # T22
    assert codes(plan(render(replace(CONF, restarts=(unit,))), observe())) == ["unit-unfit"]


@pytest.mark.parametrize("owner", ["root", "root:", ":root", "root:root:root", "a b:c", "$(id):root", "-R:root"])
def test_owners_that_may_not_reach_a_script_are_refused(owner: str) -> None:  # T22
    assert codes(plan(render(replace(CONF, owner=owner)), observe())) == ["owner-unfit"]


def test_the_manifest_during_the_switch_knows_old_and_new_files() -> None:
    new = replace(CONF, path="/etc/new.cfg")
    result = plan(render(new), observe(see(CONF), manifest=own(CONF)))
    assert set(result.during.files) == {CONF.path, new.path}
    assert set(result.after.files) == {new.path}


def test_a_plan_counts_what_it_would_do() -> None:
    changing = plan(render(READ, UNIT, services=(SERVICE,)), observe())
    blocked = plan(render(CONF), observe(see(CONF, "x\n")))
    counts = Plan((changing, blocked, plan(render(), observe()))).counts
    assert (counts.hosts, counts.changing, counts.blocked, counts.writes, counts.units) == (3, 2, 1, 3, 2)


def test_a_program_is_written_as_it_is_and_not_again() -> None:
    file = RenderedFile("north-1", "/usr/local/lib/x", "", program=make_program(b"PK\0\xff"))
    (write,) = plan(render(file), observe()).writes
    assert (write.after.content, write.after.digest) == (b"PK\0\xff", hashlib.sha256(b"PK\0\xff").hexdigest())
    there = ObservedFile(file.path, FileKind.FILE, file.digest, 0o644, "root:root", managed=True)
    assert plan(render(file), observe(there, manifest=own(file))).is_empty


@pytest.mark.parametrize(("version", "words"), [("3.9.2", "is Python 3.9.2, and"), ("", "is not on the host")])
def test_a_host_whose_python_cannot_run_the_relay_is_refused(version: str, words: str) -> None:
    observed = observe(missing=Missing(pythons=(("/usr/bin/python3", version),)))
    (problem,) = plan(render(), observed).problems
    assert problem.code == "python-unfit"
    assert words in problem.message
    assert "run.python" in problem.message


def test_a_relay_is_not_removed_while_its_spool_holds_something() -> None:
    unit = "fleet-relay-R.service"
    observed = observe(manifest=own(units=(unit,)), services={unit: replace(UP, unit=unit)})
    assert codes(plan(render(), observed)) == []
    held = replace(observed, undelivered={unit: "3 queued left in /var/spool/fleet/relay-R"})
    (problem,) = plan(render(), held).problems
    assert problem.code == "spool-not-empty"
    assert "3 queued left in" in problem.message
    wanted = render(services=(RenderedService(unit, True),))  # it stays: what waits in its spool is its business
    assert codes(plan(wanted, held)) == []
