"""Plans that are kept, a run that is gone on with, and the journal, on real hosts."""

import signal
import time
from collections.abc import Callable
from pathlib import Path

from tests.lab.hospital import UNITS, Hospital, wait_until
from tests.lab.hosts import LabHost

SOUTH = ("south-store-1", "south-mwl-1")
QUICK = ("--yes", "--hold-down", "500ms")


def change(hospital: Hospital, seconds: int) -> None:
    """Every unit of the south differs from what is there."""
    path = hospital.folder / "south.yml"
    path.write_text(path.read_text(encoding="utf-8").replace("drain_timeout: 2s", f"drain_timeout: {seconds}s"))


def unit_file(name: str) -> str:
    return f"/etc/systemd/system/{UNITS[name][0]}"


def read(host: LabHost, name: str) -> str:
    return host.read_file(unit_file(name))


def line_of(text: str, host: str) -> str:
    (found,) = (line for line in text.splitlines() if line.split()[1:2] == [host])
    return found


def test_a_kept_plan_changes_what_did_not_move_on_and_is_used_once(hospital: Hospital) -> None:
    hosts = {name: hospital.lab[name] for name in SOUTH}
    change(hospital, 3)
    kept = Path(hospital.folder).parent / "change.plan"
    planned = hospital.fleet("plan", "--out", str(kept))
    assert planned.returncode == 3, planned.stdout + planned.stderr
    shown = hospital.fleet("plan", "--show", str(kept))
    assert (shown.returncode, shown.stdout) == (0, planned.stdout)
    hosts["south-mwl-1"].run(f"echo '# by hand' >>{unit_file('south-mwl-1')}", check=True)
    by_hand, before = read(hosts["south-mwl-1"], "south-mwl-1"), read(hosts["south-store-1"], "south-store-1")

    done = hospital.fleet("apply", str(kept), *QUICK, "--max-fail", "1", "--reason", "CHG-4711")
    assert done.returncode == 2, done.stdout + done.stderr
    stale = line_of(done.stdout, "south-mwl-1")
    assert stale.startswith("stale"), done.stdout
    assert f"{unit_file('south-mwl-1')} has another content" in stale
    assert read(hosts["south-mwl-1"], "south-mwl-1") == by_hand
    assert not hosts["south-mwl-1"].has_file("/var/lib/fleet/staging")
    assert "converged" in done.stdout
    assert read(hosts["south-store-1"], "south-store-1") != before

    again = hospital.fleet("apply", str(kept), *QUICK)
    assert (again.returncode, "was applied already" in again.stderr) == (2, True), again.stdout + again.stderr
    journal = Path(f"{hospital.history}.journal.jsonl")
    whole = hospital.fleet("history", "verify")
    assert whole.returncode == 0, whole.stdout
    sound = journal.read_bytes()
    journal.write_bytes(sound.replace(b"CHG-4711", b"CHG-4712"))
    found = hospital.fleet("history", "verify")
    assert (found.returncode, "was edited" in found.stdout) == (2, True), found.stdout
    journal.write_bytes(sound)


def test_a_run_whose_controller_was_killed_is_gone_on_with(  # T29, T32, T33
    hospital: Hospital, remark: Callable[[str], None]
) -> None:
    """Killed while one host waits to be confirmed, with two minutes of window and of lock left, and one not begun."""
    hosts = {name: hospital.lab[name] for name in SOUTH}
    before = {name: read(host, name) for name, host in hosts.items()}
    change(hospital, 4)
    process = hospital.start("apply", "--yes", "--hold-down", "60s", "--serial", "1", "-l", "site=south")
    wait_until(lambda: any(host.has_file("/var/lib/fleet/revert/units") for host in hosts.values()), 30)
    wait_until(lambda: sum(read(host, name) != before[name] for name, host in hosts.items()) == 1, 30)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=10)

    started_at = time.monotonic()
    done = hospital.fleet("apply", "--resume", "last", *QUICK)
    took_s = time.monotonic() - started_at
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 of its 2 hosts have no final outcome" in done.stdout
    assert "its change was never confirmed, and was put back" in done.stdout
    remark(f"a run of two hosts whose controller was killed in the window of the first was finished in {took_s:.1f} s")
    for name, host in hosts.items():
        assert read(host, name) != before[name]
        assert host.run(["systemctl", "is-active", UNITS[name][0]]).stdout.strip() == "active"
        assert not host.has_file("/var/lib/fleet/revert")
        assert not host.has_file("/etc/systemd/system/fleet-revert.service")
    assert hospital.plan()[0] == 0
    verified = hospital.fleet("history", "verify")
    assert verified.returncode == 0, verified.stdout
