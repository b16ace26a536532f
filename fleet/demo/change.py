"""The first half of the story: a change of the inventory is applied and proven, and an image finds its way.

Every step is the real one (`fleet.workflow`), over real SSH and real associations; what the story says of it is
looked at before it is said.
"""

from collections.abc import Sequence

from fleet.audit.tables import parse_admissions
from fleet.demo.boxes import Caller, is_success, make_image
from fleet.demo.stage import (
    ARCHIVE,
    ARCHIVE_FILE,
    ARCHIVE_HOST,
    FIRST,
    SECOND,
    Runs,
    Stage,
    count_gained,
    describe_gained,
    format_status,
    make_context,
    show_failure,
)
from fleet.report.summary import DiffLine, Folded
from fleet.report.text import format_hosts, format_plan, format_sweep
from fleet.report.validity import format_validity
from fleet.workflow.asking import HOSTS
from fleet.workflow.changing import Batching
from fleet.workflow.rendering import render_hosts
from fleet.workflow.sweeping import CONTROLLER, Asking


def play_change(stage: Stage, runs: Runs) -> None:
    """Validate, render, plan, apply, plan again, verify, and an image there and back."""
    _validate_and_render(stage)
    _plan_and_apply(stage, runs)
    _verify(stage, runs)
    _move_to_the_asker(stage)


def _validate_and_render(stage: Stage) -> None:
    teller, inventory = stage.teller, stage.reading.inventory
    teller.head("1. The inventory is the one truth")
    teller.command("fleet validate")
    teller.show(format_validity(inventory, stage.reading.problems))
    teller.say("(the warnings, left out here, tell what dcmtk's servers cannot do)")
    teller.claim(stage.opened.contacts == 0, "valid, and nobody was contacted")
    teller.command("fleet render")
    rendered = render_hosts(stage.reading, make_context(stage.hospital, "demo-render"))
    teller.show(f"{host.host}: {len(host.files)} files, {len(host.services)} service" for host in rendered.values())
    teller.say("(what is in them: below, where they are written)")
    files = [file for host in rendered.values() for file in host.files]
    table = next((file.content for file in files if file.path == ARCHIVE_FILE), "")
    admitted = {(row.calling, row.address) for row in parse_admissions(table)}
    teller.claim(
        bool(admitted) and admitted == _allowed_callers(stage, ARCHIVE),
        f"{ARCHIVE}'s table admits those whom the flows allow, and nobody else",
    )


def _allowed_callers(stage: Stage, ae_title: str) -> set[tuple[str, str]]:
    """Titles and addresses that may call an entity, as the inventory derives them."""
    callers = stage.reading.peers.callers_of(stage.reading.inventory.by_title[ae_title])
    return {(peer.ae_title, address) for peer in callers for address in peer.sources}


def _plan_and_apply(stage: Stage, runs: Runs) -> None:
    teller = stage.teller
    teller.head("2. The hosts become what it says")
    teller.command("fleet plan")
    report = runs.run("plan", lambda story: story.plan())
    shown = _shorten(report.diffs)
    teller.show(format_plan(shown, {}))
    teller.show(f"... and {len(report.diffs) - len(shown)} more changes, on the other hosts or on all")
    teller.show(format_plan((), report.plan_counts))
    show_failure(teller, report)
    teller.claim(report.exit_status == 3, "exit status 3: changes are pending, nothing was written")
    teller.command("fleet apply --yes --hold-down 1s")
    report = runs.run("apply", lambda story: story.apply(Batching(hold_s=1.0)))
    teller.show(format_hosts(report.all_hosts, all_hosts=True))
    show_failure(teller, report)
    teller.claim(
        report.exit_status == 0,
        "written beside, checked, renamed, started, looked at again, and answered C-ECHO",
    )
    teller.command("fleet plan")
    report = runs.run("plan", lambda story: story.plan())
    teller.show(format_plan(report.diffs, report.plan_counts))
    teller.claim(report.exit_status == 0 and not report.diffs, "a second plan is empty")


def _shorten(diffs: Sequence[Folded]) -> list[Folded]:
    """One host's changes, of their diffs only the table that says who may call its archive."""
    short: list[Folded] = []
    for diff in diffs:
        lines = list(diff.lines)
        kept: list[str] = []
        if ARCHIVE_FILE in lines[0] and "+HostTable BEGIN" in lines:
            kept = lines[lines.index("+HostTable BEGIN") : lines.index("+HostTable END") + 1]
        if tuple(diff.hosts) == (ARCHIVE_HOST,):
            short.append(DiffLine(tuple(diff.hosts), (lines[0], *kept)))
    return short


def _verify(stage: Stage, runs: Runs) -> None:
    teller = stage.teller
    teller.head("3. Does it answer, from here and from where the images start?")
    teller.command("fleet verify --from controller --from hosts -v")
    report = runs.run("verify", lambda story: story.verify(Asking(sources=(CONTROLLER, HOSTS))))
    teller.show(format_sweep(report, all_results=True))
    show_failure(teller, report)
    teller.claim(report.exit_status == 0, "every AE answers C-ECHO with status 0000H")
    stranger = Caller("STRANGER", stage.caller(FIRST).address)
    teller.claim(
        stranger.echo(ARCHIVE, stage.place(ARCHIVE)) is None,
        "a title that no flow names is rejected by the archive",
    )


def _move_to_the_asker(stage: Stage) -> None:
    teller, image = stage.teller, make_image()
    teller.head("4. Images go where they should")
    stored = stage.caller("CT_1").store(ARCHIVE, stage.place(ARCHIVE), image)
    teller.say(f"CT_1 sends an image to {ARCHIVE} (C-STORE): status {format_status(stored)}")
    for asker, box in ((FIRST, "floor-1"), (SECOND, "floor-2")):
        before = stage.opened.shown
        moved = stage.caller(asker).move(ARCHIVE, stage.place(ARCHIVE), image.StudyInstanceUID, asker)
        gained = count_gained(stage, before)
        teller.say(f"{asker} asks for it (C-MOVE to {asker}): status {format_status(moved)}")
        teller.claim(
            is_success(stored) and is_success(moved) and gained == {box: 1},
            f"it came to the screen that asked ({describe_gained(gained)})",
        )
