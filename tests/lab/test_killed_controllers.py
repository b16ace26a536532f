"""A controller that is killed at any moment of a change of six hosts leaves each of them wholly old or wholly new and
in service: no file is torn, none is of another release than its neighbours, every handler ran over what is there.

The windows are as short as they can be, so that many kills fit into the time of a test run: FLEET_KILLS says how many.
"""

import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass

import pytest

from tests.lab.dialogue import Caller, call
from tests.lab.hospital import UNITS, Hospital, wait_until
from tests.lab.hosts import LabHost

KILLS = int(os.environ.get("FLEET_KILLS", "1000" if os.environ.get("FLEET_SOAK") == "1" else "20"))
RESUME_EVERY = 5
PARTS = ("one", "two", "three")
PLAIN = {f"kept-{number}": f"10.30.0.2{number}" for number in range(1, 5)}  # only a team's own files are kept there
SERVERS = {
    "south-store-1": ("SOUTH_STORE", 11112, f"/etc/systemd/system/{UNITS['south-store-1'][0]}"),
    "south-mwl-1": ("SOUTH_MWL", 11113, f"/etc/systemd/system/{UNITS['south-mwl-1'][0]}"),
}
FIRST_PDU = 16384  # a release's number, as the servers' own units carry it: `-pdu N`
WINDOW = ("--hold-down", "0s", "--confirm-within", "2s", "--no-drain")
# The program as it is, but for the rule that a window leaves 5 s more than the hold-down.
QUICK = "import fleet.cli.apply, fleet.cli.main; fleet.cli.apply.check_window = lambda *_: None; fleet.cli.main.run()"
LOOK = r"""
for part in one two three; do
  echo "$part $(grep -c '^release [0-9]* on ' /etc/released/$part) $(sort -u /etc/released/$part | tr '\n' '|')"
done
echo "live $(sort -u /run/released-live | tr '\n' '|')"
echo "server $(sed -n -E 's/.*-pdu ([0-9]+).*/\1/p' "$1" 2>/dev/null)"
echo "unit $(systemctl is-active "$2")"
"""
# Nothing waits to be confirmed or is at work. A lease that waits for a controller's next word is told with the
# seconds that it has left; what a killed run had staged is the next run's to clean.
SETTLED = """
[ ! -e /var/lib/fleet/revert ] && [ ! -e /etc/systemd/system/fleet-revert.service ] || exit 1
read -r now rest </proc/uptime
for lease in /run/fleet/lease.*; do
  [ -f "$lease" ] && read -r id boot since renewed ttl owner holder began <"$lease" || continue
  [ "$id" != free ] || continue
  left=$((renewed + ttl - ${now%%.*}))
  if [ "${holder:--}" != - ]; then [ ! -e "/proc/$holder" ] || exit 1
  elif [ $left -ge 0 ]; then echo $left
  fi
done
"""
# How long a lease may outlive a script, while the host waits for fleet's next word: a minute behind the window, which
# is the 2 s of WINDOW and the second that a drain may take. That is seen just before a confirmation gives it back.
LEASE_S = 60 + 3


@dataclass
class Releases:
    """The hospital with files of a numbered release on six hosts."""

    hospital: Hospital
    number: int = 0
    slowest_s: float = 0.0
    leases: int = 0

    @property
    def hosts(self) -> dict[str, LabHost]:
        return {name: self.hospital.lab[name] for name in (*SERVERS, *PLAIN)}

    def write(self, number: int) -> None:
        """The inventory of this release: every file of every host differs from the one before."""
        self.number = number
        for part in PARTS:
            self.hospital.add(f"templates/{part}.j2", f"release {number} on {{{{ host.name }}}}\n" * 400)
        path = self.hospital.folder / "south.yml"
        text = path.read_text(encoding="utf-8")
        path.write_text(re.sub(r"max_pdu: \d+", f"max_pdu: {FIRST_PDU + 2 * number}", text), encoding="utf-8")

    def start(self, *more: str) -> subprocess.Popen[str]:
        folder, history = str(self.hospital.folder), str(self.hospital.history)
        words = ["apply", "--yes", *WINDOW, "-i", folder, "--history", history]
        words += more or ("-l", "site=kept, site=south")
        return self.hospital.lab.controller.start([sys.executable, "-c", QUICK, *words])

    def wait_until_settled(self) -> None:
        """No window is open and nobody is at work, on any host at one look. A lock that waits runs out within its
        time: that is looked at, and not waited for a thousand times. What a dying connection still brought may begin
        between two looks, so that only a whole one counts."""
        looks: dict[str, str] = {}

        def is_settled() -> bool:
            looks.clear()
            for name, host in self.hosts.items():
                seen = host.run(SETTLED)
                if seen.returncode:
                    return False
                looks[name] = seen.stdout
            return True

        self.slowest_s = max(self.slowest_s, wait_until(is_settled, within_s=60))
        for name, left in looks.items():
            for seconds in left.split():
                assert int(seconds) <= LEASE_S, (name, seconds)
                self.hosts[name].run("rm -r /run/fleet", check=True)
                self.leases += 1

    def read(self, name: str) -> int:
        """The one release that everything on a host is of; fails where there are two, or half of one."""
        _, port, path = SERVERS.get(name, ("", 0, "/dev/null"))
        unit = UNITS[name][0] if name in UNITS else "ssh.service"
        lines = self.hosts[name].run(["sh", "-c", LOOK, "look", path, unit], check=True).stdout.splitlines()
        seen = {line.split(" ", 1)[0]: line.split(" ", 1)[1] for line in lines}
        whole = re.fullmatch(rf"400 (release (\d+) on {name}\|)", seen["one"])
        assert whole, (name, seen)
        assert {seen[part] for part in PARTS} == {seen["one"]}, (name, seen)
        assert seen["live"] == whole[1], ("the handler did not run over what is there", name, seen)
        number = int(whole[2])
        assert seen["server"] == (str(FIRST_PDU + 2 * number) if port else ""), (name, seen)
        assert seen["unit"] == "active", (name, seen)
        return number

    def ask(self) -> dict[str, str]:
        """What every server says to a caller."""
        controller = self.hospital.lab.controller
        told = {}
        with controller.namespace.entered():
            for name, (title, port, _) in SERVERS.items():
                caller = Caller("FLEET_SCU", controller.address, title)
                told[name] = call(caller, self.hospital.lab[name].address, port)
        return told

    def resume(self) -> bool:
        """Go on at once with what the killed run left; False where it had begun nothing."""
        process = self.start("--resume", "last")
        said = "".join(process.communicate(timeout=120))
        if process.returncode == 0:
            assert {self.read(name) for name in self.hosts} == {self.number}, said
            return True
        assert "inventory" in said or "nothing was done" in said, said
        return False

    def converge(self) -> None:
        """What a following apply makes of it."""
        process = self.start()
        said = "".join(process.communicate(timeout=120))
        assert process.returncode == 0, said
        assert {self.read(name) for name in self.hosts} == {self.number}, said
        assert not any(host.has_file("/var/lib/fleet/staging") for host in self.hosts.values())


@pytest.fixture
def releases(hospital: Hospital) -> Iterator[Releases]:
    lab = hospital.lab
    rows = ""
    for name, address in PLAIN.items():
        if name not in lab.hosts:
            lab.add_host(name, address)
        rows += f'  {name}: {{address: {address}, host_keys: ["{lab[name].host_key}"]}}\n'
    where = '"site=kept, SOUTH_STORE, SOUTH_MWL"'
    handler = "cat /etc/released/one /etc/released/two /etc/released/three >/run/released-live"
    files = "".join(
        f"  - {{template: templates/{part}.j2, path: /etc/released/{part}, where: {where}, handler: '{handler}'}}\n"
        for part in PARTS
    )
    hospital.add("kept.yml", f"site: kept\nhosts:\n{rows}files:\n{files}")
    south = hospital.folder / "south.yml"
    text = south.read_text(encoding="utf-8")
    south.write_text(text.replace("drain_timeout: 2s}", "drain_timeout: 1s, max_pdu: 16384}"), encoding="utf-8")
    made = Releases(hospital)
    made.write(0)
    made.converge()
    yield made
    made.wait_until_settled()


def test_a_controller_killed_at_any_moment_leaves_every_host_whole_and_in_service(  # T29, T31, T33
    releases: Releases, remark: Callable[[str], None]
) -> None:
    releases.write(1)
    started_at = time.monotonic()
    releases.converge()
    whole_s = time.monotonic() - started_at
    seed = int(os.environ.get("FLEET_SEED", random.randrange(1 << 30)))
    chance = random.Random(seed)
    old = dict.fromkeys(releases.hosts, 1)
    moments, mixed, resumed = 0, 0, 0
    for number in range(2, KILLS + 2):
        releases.write(number)
        process = releases.start()
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=chance.uniform(0.8, whole_s))
        moments += process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=10)
        if number % RESUME_EVERY == 0 and releases.resume():
            resumed += 1
            old = dict.fromkeys(releases.hosts, number)
            continue
        releases.wait_until_settled()
        now = {name: releases.read(name) for name in releases.hosts}
        for name, release in now.items():
            assert release in {old[name], number}, (seed, number, name, release, old[name])
        assert set(releases.ask().values()) == {"answered"}, (seed, number)
        mixed += len(set(now.values())) > 1
        old = now
    took_s = (time.monotonic() - started_at) / (KILLS + 1)
    releases.converge()
    assert releases.hospital.fleet("verify", "-q").returncode == 0
    assert releases.hospital.plan()[0] == 0
    remark(
        f"{moments} of {KILLS} controllers were killed within {whole_s:.1f} s of a change of six hosts (seed {seed}), "
        f"{resumed} were gone on with at once and all was new, "
        f"{mixed} left some hosts new and some old, {releases.leases} locks waited for their end; settled after "
        f"{releases.slowest_s:.1f} s at the latest, {took_s:.1f} s a kill"
    )
