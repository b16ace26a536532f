"""The story: a change is applied and proven, then two workstations get one title.

Every step is the real one (`fleet.workflow`), over real SSH and real associations; what the story says of it is
looked at before it is said.
"""

import difflib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count

from fleet.audit.tables import parse_admissions
from fleet.demo.archive_tables import parse_archive_tables
from fleet.demo.boxes import Caller, is_success, make_image
from fleet.demo.engines import start_archive
from fleet.demo.opening import OpenHospital
from fleet.demo.premises import Hospital, edit_title
from fleet.demo.scp import Place
from fleet.demo.telling import Teller
from fleet.errors import FleetError, InvalidInventory
from fleet.inventory.model import Inventory
from fleet.push.pool import ConnectionPool
from fleet.push.ssh import SshConnector
from fleet.push.transport import Connector
from fleet.report.history import open_history
from fleet.report.summary import DiffLine, Folded, RunReport
from fleet.report.text import format_hosts, format_plan, format_problem_counts, format_problems, format_sweep
from fleet.workflow.asking import CONTROLLER, HOSTS, Asking
from fleet.workflow.changing import Batching
from fleet.workflow.context import Context
from fleet.workflow.ledger import Ledger
from fleet.workflow.reading import Reading, read_all, read_valid
from fleet.workflow.rendering import render_hosts
from fleet.workflow.story import Story

ARCHIVE, ARCHIVE_HOST, ARCHIVE_FILE = "MAIN_PACS", "pacs-1", "/etc/fleet/dcmqrscp-MAIN_PACS.cfg"
FIRST, SECOND = "WS_1", "WS_2"
PRIVATE_ADDRESS = "127.0.20.99"  # where the archive of the unvalidated file listens: no host of the inventory


@dataclass(frozen=True)
class Stage:
    """Where it is played."""

    hospital: Hospital
    opened: OpenHospital
    reading: Reading
    teller: Teller

    def place(self, ae_title: str) -> Place:
        """Where an entity of the inventory listens."""
        entity = self.reading.inventory.by_title[ae_title]
        if entity.instances:
            return Place(entity.instances[0].address, entity.instances[0].port)
        return Place(entity.address or "", entity.port or 0)

    def caller(self, ae_title: str) -> Caller:
        """An entity of the inventory as one who asks."""
        return Caller(ae_title, self.reading.inventory.by_title[ae_title].address or "")


@contextmanager
def _connect(inventory: Inventory) -> Iterator[Connector]:
    with ConnectionPool(SshConnector(inventory.hosts)) as pool:
        yield pool


def make_context(hospital: Hospital, run_id: str) -> Context:
    """A run of the demo."""
    return Context(hospital.inventory, hospital.history, who="demo", where="127.0.0.1", run_id=run_id)


def play(stage: Stage) -> None:
    """All acts; what was not as told is in the teller's `failures`."""
    runs = _Runs(stage, count(1))
    _validate_and_render(stage)
    _plan_and_apply(stage, runs)
    _verify(stage, runs)
    _move_to_the_asker(stage)
    _give_one_title_twice(stage, runs)
    _show_what_would_have_happened(stage)
    _take_it_back(stage, runs)


@dataclass(frozen=True)
class _Runs:
    """Each command of the story is a run of its own, recorded in the hospital's history."""

    stage: Stage
    numbers: Iterator[int]
    errors: list[FleetError] = field(default_factory=list)

    def run(self, verb: str, act: Callable[[Story], object]) -> RunReport:
        """What came of it, whatever it was."""
        context = make_context(self.stage.hospital, f"demo-{next(self.numbers)}-{verb}")
        with open_history(context.history_file) as history:
            ledger = Ledger(context, history, verb, argv=("fleet", verb))
            error: FleetError | None = None
            with ledger, Story(context, ledger, history, _connect) as story:
                try:
                    act(story)
                except FleetError as raised:
                    error = raised
                    self.errors.append(raised)
                    if isinstance(raised, InvalidInventory):
                        ledger.problems(raised.problems)
                return ledger.finish(error)


def _show_report(teller: Teller, report: RunReport) -> None:
    """What went wrong that no other line tells."""
    if report.failure:
        teller.show(report.failure)


# 1: validate, render --------------------------------------------------------------------------------------


def _validate_and_render(stage: Stage) -> None:
    teller, inventory = stage.teller, stage.reading.inventory
    teller.head("1. The inventory is the one truth")
    teller.command("fleet validate")
    counts = format_problem_counts(stage.reading.problems)
    known = f"{len(inventory.entities)} entities, {len(inventory.hosts)} hosts"
    teller.show(f"{inventory.name} is valid: {counts} ({known})")
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


# 2: plan, apply, plan -------------------------------------------------------------------------------------


def _plan_and_apply(stage: Stage, runs: _Runs) -> None:
    teller = stage.teller
    teller.head("2. The hosts become what it says")
    teller.command("fleet plan")
    report = runs.run("plan", lambda story: story.plan())
    shown = _shorten(report.diffs)
    teller.show(format_plan(shown, {}))
    teller.show(f"... and {len(report.diffs) - len(shown)} more changes, on the other hosts or on all")
    teller.show(format_plan((), report.plan_counts))
    _show_report(teller, report)
    teller.claim(report.exit_status == 3, "exit status 3: changes are pending, nothing was written")
    teller.command("fleet apply --yes --hold-down 1s")
    report = runs.run("apply", lambda story: story.apply(Batching(hold_s=1.0)))
    teller.show(format_hosts(report.all_hosts, all_hosts=True))
    _show_report(teller, report)
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


# 3: verify ------------------------------------------------------------------------------------------------


def _verify(stage: Stage, runs: _Runs) -> None:
    teller = stage.teller
    teller.head("3. Does it answer, from here and from where the images start?")
    teller.command("fleet verify --from controller --from hosts -v")
    report = runs.run("verify", lambda story: story.verify(Asking(sources=(CONTROLLER, HOSTS))))
    teller.show(format_sweep(report, all_results=True))
    _show_report(teller, report)
    teller.claim(report.exit_status == 0, "every AE answers C-ECHO with status 0000H")
    stranger = Caller("STRANGER", stage.caller(FIRST).address)
    teller.claim(
        stranger.echo(ARCHIVE, stage.place(ARCHIVE)) is None,
        "a title that no flow names is rejected by the archive",
    )


# 4: images ------------------------------------------------------------------------------------------------


def _move_to_the_asker(stage: Stage) -> None:
    teller, image = stage.teller, make_image()
    teller.head("4. Images go where they should")
    stored = stage.caller("CT_1").store(ARCHIVE, stage.place(ARCHIVE), image)
    teller.say(f"CT_1 sends an image to {ARCHIVE} (C-STORE): status {_status(stored)}")
    before = stage.opened.shown
    moved = stage.caller(FIRST).move(ARCHIVE, stage.place(ARCHIVE), image.StudyInstanceUID, FIRST)
    teller.say(f"{FIRST} on floor 1 asks for it (C-MOVE to {FIRST}): status {_status(moved)}")
    gained = _gained(stage, before)
    teller.claim(
        is_success(stored) and is_success(moved) and gained == {"floor-1": 1},
        f"it is on the screen that asked ({_describe(gained)})",
    )


def _status(status: int | None) -> str:
    return "none" if status is None else f"{status:04X}H"


def _gained(stage: Stage, before: Mapping[str, int]) -> dict[str, int]:
    """How many images came to each box since."""
    return {name: number - before[name] for name, number in stage.opened.shown.items() if number != before[name]}


def _describe(gained: dict[str, int]) -> str:
    return ", ".join(f"{name.replace('-', ' ')}: {gained.get(name, 0)}" for name in ("floor-1", "floor-2"))


# 5: one title twice ---------------------------------------------------------------------------------------


def _give_one_title_twice(stage: Stage, runs: _Runs) -> None:
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


# 6: what would have happened ------------------------------------------------------------------------------


def _show_what_would_have_happened(stage: Stage) -> None:
    teller, hospital = stage.teller, stage.hospital
    teller.head("6. What would have happened")
    teller.say("A tool that does not look would have written this into the archive's table:")
    pushed = (hospital.root(ARCHIVE_HOST) / ARCHIVE_FILE.lstrip("/")).read_text("ascii")
    unvalidated = pushed.replace(f"({SECOND},", f"({FIRST},")
    teller.show(line for line in unvalidated.splitlines() if f"({FIRST}," in line)
    second = stage.opened.boxes["floor-2"]
    second.rename(FIRST)
    archive = start_archive(parse_archive_tables(unvalidated), Place(PRIVATE_ADDRESS, 0), hospital.root(ARCHIVE_HOST))
    try:
        _ask_from_floor_2(stage, Place(PRIVATE_ADDRESS, archive.port))
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
    gained = _gained(stage, before)
    teller.say(f"An emergency on floor 2: its workstation asks for the image (C-MOVE): status {_status(moved)}")
    teller.show(f"images that came to the screens: {_describe(gained)}")
    teller.claim(
        is_success(stored) and is_success(moved) and gained == {"floor-1": 1},
        "success was reported, and the image is on the other floor's screen",
    )


# 7: back --------------------------------------------------------------------------------------------------


def _take_it_back(stage: Stage, runs: _Runs) -> None:
    teller = stage.teller
    teller.head("7. The colleague gives floor 2 a title of its own")
    edit_title(stage.hospital, "floor-2", SECOND)
    teller.command("fleet verify --drift")
    report = runs.run("verify", lambda story: story.verify(Asking(), drift=True))
    teller.show(format_plan(report.diffs, report.plan_counts) + format_sweep(report))
    _show_report(teller, report)
    teller.claim(report.exit_status == 0, "all is as the inventory says")


def read_stage(hospital: Hospital) -> Reading:
    """The hospital's inventory, valid."""
    return read_valid(make_context(hospital, "demo-read"))
