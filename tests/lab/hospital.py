"""The lab's hospital: an inventory of the lab's hosts, fleet as a person in the controller runs it, and the
boxes beside the hosts that nobody pushes to."""

import json
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from subprocess import CompletedProcess, Popen
from typing import Any

from tests.lab.controller import REPOSITORY
from tests.lab.hosts import LabHost
from tests.lab.laboratory import Lab

FLEET = Path(sys.executable).with_name("fleet")
INVENTORY = Path(__file__).with_name("inventory")
VIRTUAL_ADDRESS = "10.20.0.100"
SERVICE_PORT = 104
ARCHIVE_PORT = 11112
WORKSTATIONS = {"NORTH_WS01": "10.20.4.41", "NORTH_WS02": "10.20.4.42"}
PACS_FILE = "/etc/fleet/dcmqrscp-NORTH_PACS.cfg"
PACS_UNIT = "fleet-dcmqrscp-NORTH_PACS.service"
INBOX = "/srv/inbox"
UNITS = {
    "north-pacs-1": (PACS_UNIT, "haproxy.service", "keepalived.service"),
    "north-pacs-2": (PACS_UNIT, "haproxy.service", "keepalived.service"),
    "south-store-1": ("fleet-storescp-SOUTH_STORE.service",),
    "south-mwl-1": ("fleet-wlmscpfs-SOUTH_MWL.service",),
}
# What fleet may never have touched when it says that it wrote nothing; journals and run-time state move by
# themselves, and keepalived and HAProxy keep theirs there.
WATCHED = "/etc /usr /opt /srv /home /root /var/lib/fleet /var/lib/dcmtk /var/spool"


@dataclass(frozen=True)
class Hospital:
    """An inventory folder, a history, and the lab that they are about."""

    lab: Lab
    folder: Path
    history: Path

    # -- fleet ---------------------------------------------------------------------------------------------

    def fleet(self, verb: str, *arguments: str, timeout_s: float = 150) -> CompletedProcess[str]:
        """The command as typed in the controller, with this inventory and this history."""
        return self.lab.controller.run(self._words(verb, arguments), timeout_s=timeout_s)

    def start(self, verb: str, *arguments: str) -> Popen[str]:
        """The same, going on meanwhile."""
        return self.lab.controller.start(self._words(verb, arguments))

    def playbook(self, name: str, *arguments: str) -> CompletedProcess[str]:
        """`fleet run playbooks/NAME.yml`, the file that the project ships."""
        return self.fleet("run", str(REPOSITORY / f"playbooks/{name}.yml"), *arguments)

    def apply(self, *arguments: str) -> CompletedProcess[str]:
        """Without the long watch over services, and the moves of addresses, that tests of something else need not
        wait for."""
        return self.fleet("apply", "--yes", "--hold-down", "500ms", "--no-drain", *arguments)

    def read(self, done: CompletedProcess[str]) -> dict[str, Any]:
        """The one JSON document that a command gave."""
        return read_json(done)

    def converge(self) -> None:
        """Hosts and inventory are one, and everything answers."""
        done = self.apply("--adopt")
        assert done.returncode == 0, done.stdout + done.stderr
        wait_until(lambda: self.fleet("verify", "-q").returncode == 0, within_s=20)

    def plan(self, *arguments: str) -> tuple[int, dict[str, Any]]:
        """Exit status and the one JSON document."""
        done = self.fleet("plan", "-o", "json", *arguments)
        return done.returncode, read_json(done)

    def verify(self, *arguments: str) -> tuple[int, dict[str, Any]]:
        """Exit status and the one JSON document."""
        done = self.fleet("verify", "-o", "json", *arguments)
        return done.returncode, read_json(done)

    def _words(self, verb: str, arguments: Iterable[str]) -> list[str]:
        return [str(FLEET), verb, "-i", str(self.folder), "--history", str(self.history), *arguments]

    # -- the inventory -------------------------------------------------------------------------------------

    def replace(self, name: str, old: str, new: str) -> None:
        """Edits a file of the inventory; what is to be replaced must stand there once."""
        path = self.folder / name
        text = path.read_text(encoding="utf-8")
        assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times in {name}"
        path.write_text(text.replace(old, new), encoding="utf-8")

    def add(self, name: str, text: str) -> None:
        """One more file of the inventory."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def factory_new(self) -> None:
        """The inventory as it is in the repository, and no history."""
        shutil.rmtree(self.folder.parent, ignore_errors=True)
        self.folder.mkdir(parents=True)
        for source in sorted(INVENTORY.glob("*.yml")):
            text = source.read_text(encoding="utf-8")
            for host in self.lab.hosts.values():
                text = text.replace(f'"@{host.name}"', f'"{host.host_key}"')
            (self.folder / source.name).write_text(text, encoding="utf-8")

    # -- the hosts -----------------------------------------------------------------------------------------

    @property
    def hosts(self) -> Mapping[str, LabHost]:
        """Those that fleet pushes to."""
        return {name: self.lab[name] for name in UNITS}

    def digests(self, *names: str) -> dict[str, dict[str, str]]:
        """Every file of the hosts with its digest, mode, owner and inode: what was rewritten shows too."""
        return {name: list_files(self.lab[name]) for name in names or UNITS}

    @contextmanager
    def counting_connections(self) -> Iterator[dict[str, int]]:
        """How many connections the controller begins to each host meanwhile; filled in at the end.

        Only first segments count: a connection of before may still be saying goodbye.
        """
        rule = f"INPUT -p tcp --syn -s {self.lab.controller.address} -m comment --comment counting -j RETURN"
        for host in self.hosts.values():
            host.run(f"iptables -w 5 -I {rule}", check=True)
        counts: dict[str, int] = {}
        try:
            yield counts
            for name, host in self.hosts.items():
                listing = host.run("iptables -w 5 -nvxL INPUT | grep counting", check=True).stdout
                counts[name] = int(listing.split()[0])
        finally:
            for host in self.hosts.values():
                host.run(f"iptables -w 5 -D {rule}")

    def unit_starts(self) -> dict[str, dict[str, str]]:
        """When each unit was last started, and how often it was reloaded or restarted since."""
        return {name: {unit: _started(host, unit) for unit in UNITS[name]} for name, host in self.hosts.items()}

    def holder(self, address: str = VIRTUAL_ADDRESS) -> str | None:
        """Which of the pair has the virtual address now."""
        names = [name for name in ("north-pacs-1", "north-pacs-2") if self.lab[name].is_running]
        found = [name for name in names if f" {address}/" in self.lab[name].run("ip -4 address show eth0").stdout]
        return found[0] if len(found) == 1 else None


def open_hospital(lab: Lab) -> Hospital:
    """A factory-new inventory and history in the controller's home, and the workstations running."""
    folder = lab.controller.home / "hospital"
    hospital = Hospital(lab, folder / "inventory", folder / "history.sqlite")
    hospital.factory_new()
    start_workstations(lab)
    return hospital


def start_workstations(lab: Lab) -> None:
    """dcmtk's storescp, started by hand: nobody of ours pushes to a workstation."""
    if "workstation-2" not in lab.hosts:
        lab.add_host("workstation-2", WORKSTATIONS["NORTH_WS02"])
    for title, name in (("NORTH_WS01", "workstation-1"), ("NORTH_WS02", "workstation-2")):
        host = lab[name]
        if host.run("systemctl is-active storescp").returncode == 0:
            continue
        host.run(f"mkdir -p {INBOX}", check=True)
        server = f"/usr/bin/storescp --fork -aet {title} -od {INBOX} -ta 5 -td 5 {ARCHIVE_PORT}"
        host.run(f"systemd-run --quiet --collect --unit=storescp {server}", check=True)


def list_files(host: LabHost) -> dict[str, str]:
    """Every file, folder and link in the watched places."""
    listing = host.run(
        f"find {WATCHED} -xdev -printf '%p\\t%y %m %u:%g %i %s %l\\n' 2>/dev/null; "
        "find /etc /var/lib/fleet -xdev -type f -exec sha256sum {} + 2>/dev/null | "
        "sed 's/^\\([0-9a-f]*\\)  \\(.*\\)/sum:\\2\\t\\1/'",
        timeout_s=60,
    ).stdout
    return dict(line.split("\t", 1) for line in listing.splitlines())


def wait_until(is_true: Callable[[], bool], within_s: float) -> float:
    """Seconds that it took."""
    started_at = time.monotonic()
    while not is_true():
        assert time.monotonic() - started_at < within_s, f"not within {within_s:g} s"
        time.sleep(0.1)
    return time.monotonic() - started_at


def changed_paths(document: Mapping[str, Any]) -> dict[str, set[str]]:
    """Which files a plan would write or remove, by host; from the diffs that people are shown."""
    found: dict[str, set[str]] = {}
    for diff in document["plan"]["changes"]:
        if diff["lines"][1:2] and diff["lines"][1].startswith("--- "):
            for host in diff["hosts"]:
                found.setdefault(host, set()).add(diff["lines"][0].split()[-1])
    return found


def read_json(done: CompletedProcess[str]) -> dict[str, Any]:
    """The one document on stdout; anything else there is a failure."""
    try:
        document = json.loads(done.stdout)
    except json.JSONDecodeError:
        raise AssertionError(f"status {done.returncode}: {done.stdout}\n{done.stderr}") from None
    assert isinstance(document, dict)
    return document


def _started(host: LabHost, unit: str) -> str:
    words = "ActiveState,MainPID,NRestarts,ActiveEnterTimestampMonotonic,StateChangeTimestampMonotonic"
    return " ".join(host.run(["systemctl", "show", f"--property={words}", unit]).stdout.split())
