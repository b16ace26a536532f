"""Whole runs over hosts that are dictionaries and AEs that are scripts on loopback."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

from fleet.errors import FleetError, InvalidInventory
from fleet.events import Event
from fleet.inventory.model import Host, Inventory
from fleet.plan.batches import FailureBudget
from fleet.push.transport import Connector, Transport
from fleet.report.history.opening import History, open_history
from fleet.report.summary import RunReport
from fleet.workflow.changing import Batching
from fleet.workflow.context import Context
from fleet.workflow.ledger import Ledger
from fleet.workflow.reading import Reading, read_valid
from fleet.workflow.story import Story
from tests.push.fake_host import FakeConnector, FakeHost

NOW = datetime(2026, 11, 20, 14, 0, tzinfo=UTC)  # a Friday afternoon

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f"
HEAD = """\
fleet:
  name: test
  defaults:
    verify: {calling: FLEET_SCU, timeouts: {connect: 1s, acse: 1s, dimse: 1s, total: 2s}}
site: north
probers:
  - {ae_title: FLEET_SCU, addresses: [127.0.0.1]}
"""


def host_rows(names: Sequence[str], **more: str) -> str:
    """Hosts of ours; `more` says what else stands in a host's row."""
    rows = ""
    for number, name in enumerate(names, start=1):
        rest = more.get(name.replace("-", "_"), "")
        rows += f'  {name}: {{address: 127.0.30.{number}, host_keys: ["{KEY}"]{rest}}}\n'
    return f"hosts:\n{rows}"


VIRTUAL = "127.0.30.100"


def virtual_pair(front: str) -> str:
    """An archive on two of the hosts, and one address before them; `front` says what serves that address."""
    return f"""\
entities:
  - ae_title: PACS
    kind: archive
    provides: [verification, storage]
    instances: [{{host: north-1, port: 11112}}, {{host: north-2, port: 11112}}]
virtual_services:
  - name: pacs
    entity: PACS
    addresses: [{VIRTUAL}/8]
    port: 104
{front}"""


NOTE = """\
files:
  - {template: note.j2, path: /etc/note, mode: "0644", owner: root, where: all}
"""


@dataclass
class Scene:
    """An inventory's folder, its hosts as dictionaries, and a history; every run is one of its own."""

    root: Path
    machines: dict[str, FakeHost] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    now: datetime = NOW
    numbers: Iterator[int] = field(default_factory=lambda: count(1))
    contacted: list[str] = field(default_factory=list)
    forks: int = 20

    @property
    def history_file(self) -> Path:
        return self.root / "history.sqlite"

    def write(self, text: str, name: str = "fleet.yml") -> None:
        path = self.root / "inventory" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def note(self, content: str) -> None:
        """What the file that every host holds should say."""
        self.write(f"{content}\n", "note.j2")

    def context(self, *, limit: str | None = None) -> Context:
        return Context(
            inventory_root=self.root / "inventory",
            history_file=self.history_file,
            limit=limit,
            forks=self.forks,
            run_id=f"run-{next(self.numbers)}",
            who="tester",
            clock=lambda: self.now,
            observer=self.events.append,
        )

    def reading(self) -> Reading:
        return read_valid(self.context())

    def run(self, act: Callable[[Story], object], verb: str = "apply", *, limit: str | None = None) -> RunReport:
        """What a door does with a verb, without the printing."""
        context = self.context(limit=limit)
        with open_history(context.history_file) as history:
            ledger = Ledger(context, history, verb)
            error: BaseException | None = None
            with ledger, Story(context, ledger, history, self.connect) as story:
                try:
                    act(story)
                except (FleetError, KeyboardInterrupt) as raised:
                    error = raised
                    if isinstance(raised, InvalidInventory):
                        ledger.problems(raised.problems)
                return ledger.finish(error)

    @contextmanager
    def connect(self, _inventory: Inventory) -> Iterator[Connector]:
        yield Counting(self)

    @contextmanager
    def history(self) -> Iterator[History]:
        with open_history(self.history_file) as history:
            yield history


@dataclass
class Counting:
    """The fake connector, remembering who was contacted."""

    scene: Scene

    def open_(self, host: Host, *, deadline_s: float) -> Transport:
        self.scene.contacted.append(host.name)
        return FakeConnector(self.scene.machines).open_(host, deadline_s=deadline_s)


def outcomes(report: RunReport) -> Mapping[str, str]:
    """Host → how it ended."""
    return {line.host: line.outcome for line in report.all_hosts}


def details(report: RunReport) -> Mapping[str, str]:
    return {line.host: line.detail for line in report.all_hosts}


def in_ones(max_fail: int = 0) -> Batching:
    """One host after the other, without watching services."""
    return Batching(1, FailureBudget(max_fail), 0.0)


def at_once(max_fail: int = 0) -> Batching:
    return Batching(None, FailureBudget(max_fail), 0.0)
