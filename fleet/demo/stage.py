"""Where the story is played: the open hospital, who stands where in it, and fleet's commands as runs."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count

from fleet.demo.boxes import Caller
from fleet.demo.opening import OpenHospital
from fleet.demo.premises import Hospital
from fleet.demo.scp import Place
from fleet.demo.telling import Teller
from fleet.errors import FleetError, InvalidInventory
from fleet.inventory.model import Inventory
from fleet.push.pool import ConnectionPool
from fleet.push.ssh.connector import SshConnector
from fleet.push.transport import Connector
from fleet.report.history.opening import open_history
from fleet.report.summary import RunReport
from fleet.report.text import format_findings
from fleet.workflow.context import Context
from fleet.workflow.ledger import Ledger
from fleet.workflow.reading import Reading, read_valid
from fleet.workflow.story import Story

ARCHIVE, ARCHIVE_HOST, ARCHIVE_FILE = "MAIN_PACS", "pacs-1", "/etc/fleet/dcmqrscp-MAIN_PACS.cfg"
FIRST, SECOND = "WS_1", "WS_2"


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


def read_stage(hospital: Hospital) -> Reading:
    """The hospital's inventory, valid."""
    return read_valid(make_context(hospital, "demo-read"))


@dataclass(frozen=True)
class Runs:
    """Each command of the story is a run of its own, recorded in the hospital's history."""

    stage: Stage
    numbers: Iterator[int] = field(default_factory=lambda: count(1))
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


def show_failure(teller: Teller, report: RunReport) -> None:
    """What a report says of a run that ended before its time."""
    teller.show(format_findings(report.findings))
    teller.show(report.failure)


def format_status(status: int | None) -> str:
    """A DIMSE status as the standard writes it (PS3.7 Annex C)."""
    return "none" if status is None else f"{status:04X}H"


def count_gained(stage: Stage, before: Mapping[str, int]) -> dict[str, int]:
    """How many images came to each box since."""
    return {name: number - before[name] for name, number in stage.opened.shown.items() if number != before[name]}


def describe_gained(gained: dict[str, int]) -> str:
    """How many images came to which floor."""
    return ", ".join(f"{name.replace('-', ' ')}: {gained.get(name, 0)}" for name in ("floor-1", "floor-2"))
