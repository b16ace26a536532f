"""The second half: two workstations get one title. fleet refuses; what it refused is then looked at live."""

import difflib

from fleet.demo.archive_tables import parse_archive_tables
from fleet.demo.boxes import Caller, is_success, make_image
from fleet.demo.engines import start_archive
from fleet.demo.premises import edit_title
from fleet.demo.scp import Place
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
from fleet.report.text import format_plan, format_problems, format_sweep
from fleet.workflow.changing import Batching
from fleet.workflow.reading import read_all
from fleet.workflow.sweeping import Asking

SCRATCH_ADDRESS = "127.0.20.99"  # where the archive of the unvalidated file listens: no host of the inventory


def play_twins(stage: Stage, runs: Runs) -> None:
    """A colleague's edit, its refusal, what would have happened, and the way back."""
    _give_one_title_twice(stage, runs)
    _show_what_would_have_happened(stage)
    _take_it_back(stage, runs)


def _give_one_title_twice(stage: Stage, runs: Runs) -> None:
    teller = stage.teller
    teller.head("5. Floor 2 gets a new workstation, installed from floor 1's disk image")
    teller.say("So it bears floor 1's title. A colleague writes down what the box says:")
    name, before, after = edit_title(stage.hospital, "floor-2", FIRST)
    diff = list(difflib.unified_diff(before.splitlines(), after.splitlines(), name, name, lineterm="", n=1))
    teller.show(diff)
    contacts = stage.opened.contacts
    teller.command("fleet validate")
    errors = read_all(make_context(stage.hospital, "demo-validate")).errors
    teller.show(format_problems(errors))
    teller.claim(
        [problem.code for problem in errors] == ["ae-title-duplicate"] and bool(errors[0].also),
        "the one error, with both places and what it would do",
    )
    teller.command("fleet apply --yes")
    report = runs.run("apply", lambda story: story.apply(Batching()))
    teller.show(f"fleet: {error}; nothing was contacted" for error in runs.errors)
    teller.claim(report.exit_status == 2 and stage.opened.contacts == contacts, "exit status 2, nobody was contacted")


def _show_what_would_have_happened(stage: Stage) -> None:
    teller, hospital = stage.teller, stage.hospital
    teller.head("6. What would have happened")
    teller.say("A tool that does not look would have written this into the archive's table:")
    pushed = (hospital.root(ARCHIVE_HOST) / ARCHIVE_FILE.lstrip("/")).read_text("ascii")
    unvalidated = pushed.replace(f"({SECOND},", f"({FIRST},")
    teller.show(line for line in unvalidated.splitlines() if f"({FIRST}," in line)
    second = stage.opened.boxes["floor-2"]
    second.rename(FIRST)
    archive = start_archive(parse_archive_tables(unvalidated), Place(SCRATCH_ADDRESS, 0), hospital.root(ARCHIVE_HOST))
    try:
        _ask_from_floor_2(stage, Place(SCRATCH_ADDRESS, archive.port))
    finally:
        archive.close()
        second.rename(SECOND)


def _ask_from_floor_2(stage: Stage, archive: Place) -> None:
    teller, image = stage.teller, make_image("Demo^Emergency")
    floor_1, floor_2 = stage.place(FIRST), stage.place(SECOND)
    asker = Caller(FIRST, floor_2.address)
    teller.say("The archive starts without a word, and both screens answer C-ECHO as WS_1:")
    echoes = [asker.echo(FIRST, floor_1), asker.echo(FIRST, floor_2)]
    teller.claim(all(map(is_success, echoes)), "monitoring by C-ECHO would see nothing wrong")
    stored = stage.caller("CT_1").store(ARCHIVE, archive, image)
    before = stage.opened.shown
    moved = asker.move(ARCHIVE, archive, image.StudyInstanceUID, FIRST)
    gained = count_gained(stage, before)
    teller.say(f"An emergency on floor 2: its workstation asks for the image (C-MOVE): status {format_status(moved)}")
    teller.show(f"images that came to the screens: {describe_gained(gained)}")
    teller.claim(
        is_success(stored) and is_success(moved) and gained == {"floor-1": 1},
        "success was reported, and the image is on the other floor's screen",
    )


def _take_it_back(stage: Stage, runs: Runs) -> None:
    teller = stage.teller
    teller.head("7. The colleague gives floor 2 a title of its own")
    edit_title(stage.hospital, "floor-2", SECOND)
    teller.command("fleet verify --drift")
    report = runs.run("verify", lambda story: story.verify(Asking(), drift=True))
    teller.show(format_plan(report.diffs, report.plan_counts) + format_sweep(report))
    show_failure(teller, report)
    teller.claim(report.exit_status == 0, "all is as the inventory says")
