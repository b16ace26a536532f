"""What nobody confirmed undoes itself, on real hosts with a real systemd: bad files that pass their checks, a
host that restarts inside the window, a full disk, and sixteen who apply at once."""

import time
from collections.abc import Callable, Iterator

import pytest

from tests.lab.controller import REPOSITORY
from tests.lab.hospital import PACS_FILE, PACS_UNIT, UNITS, Hospital, wait_until
from tests.lab.hosts import LabHost

KEEPALIVED_FILE = "/etc/keepalived/keepalived.conf"
STORE_FILE = "/etc/systemd/system/fleet-storescp-SOUTH_STORE.service"
WINDOW = ("--confirm-within", "15s")


def is_settled(host: LabHost) -> bool:
    """No window is open, and nobody is at work."""
    lease = host.run("cat /run/fleet/lease.* 2>/dev/null").stdout.split()[:1]
    return not host.has_file("/var/lib/fleet/revert") and lease in ([], ["free"])


def wait_until_settled(hospital: Hospital, within_s: float = 60) -> float:
    return wait_until(lambda: all(is_settled(host) for host in hospital.hosts.values()), within_s)


def digest(host: LabHost, path: str) -> str:
    return host.run(["sha256sum", path]).stdout.split(" ")[0]


@pytest.fixture
def quick(hospital: Hospital) -> Iterator[Hospital]:
    """Nothing of an earlier test is still waiting to be confirmed, before or after."""
    wait_until_settled(hospital)
    yield hospital
    wait_until_settled(hospital)


def line_of(text: str, host: str) -> str:
    found = [line for line in text.splitlines() if line.split()[1:2] == [host]]
    assert found, text
    return found[0]


KEEPALIVED_ENTRY = """files:
  - template: templates/keepalived.j2
    path: /etc/keepalived/keepalived.conf
    where: south-store-1
    check: "keepalived -t -f {}"
    handler: "systemctl restart keepalived"
"""
SOUND = """vrrp_instance quiet {
  state BACKUP
  interface eth0
  virtual_router_id 77
  priority 10
  virtual_ipaddress {
    10.30.0.99/32
  }
}
"""
# The controller's own address becomes one of the host's, so that no answer leaves it any more.
CUT_OFF = SOUND + "static_ipaddress {\n  10.0.0.5/32 dev lo\n}\n"


def test_a_keepalived_file_that_cuts_the_host_off_reverts_by_itself(  # T33
    quick: Hospital, remark: Callable[[str], None]
) -> None:
    host = quick.lab["south-store-1"]
    quick.add("templates/keepalived.j2", SOUND)
    quick.add("notice.yml", KEEPALIVED_ENTRY)
    done = quick.apply("--adopt", "-l", "south-store-1")
    assert done.returncode == 0, done.stdout + done.stderr
    before = digest(host, KEEPALIVED_FILE)
    quick.add("templates/keepalived.j2", CUT_OFF)
    started_at = time.monotonic()
    process = quick.start("apply", "--yes", "--hold-down", "500ms", "-l", "south-store-1", *WINDOW)
    wait_until(lambda: " 10.0.0.5/" in host.run("ip -4 address show lo").stdout, 30)
    told, errors = process.communicate(timeout=120)
    remark(f"a host that cut itself off was put back and proven within {time.monotonic() - started_at:.1f} s")
    assert process.returncode == 2, told + errors
    assert line_of(told, "south-store-1").startswith("rolled_back"), told + errors
    assert digest(host, KEEPALIVED_FILE) == before
    assert " 10.0.0.5/" not in host.run("ip -4 address show lo").stdout
    assert not host.has_file("/etc/systemd/system/fleet-revert.service")
    quick.add("templates/keepalived.j2", SOUND)
    assert quick.plan("-l", "south-store-1")[0] == 0


def test_a_server_that_starts_and_rejects_everybody_reverts(quick: Hospital) -> None:  # T33
    host = quick.lab["north-pacs-2"]
    before = digest(host, PACS_FILE)
    shipped = (REPOSITORY / "fleet/render/templates/dcmqrscp.cfg.j2").read_text(encoding="utf-8")
    # Good grammar, and the server starts; but nobody calls it by that title.
    row = "{{ title | word }} {{ storage_area"
    assert shipped.count(row) == 1
    quick.add("templates/dcmqrscp.cfg.j2", shipped.replace(row, "NOBODY {{ storage_area"))
    done = quick.apply("-l", "north-pacs-2", *WINDOW)
    line = line_of(done.stdout + done.stderr, "north-pacs-2")
    assert (done.returncode, line.split()[0]) == (2, "rolled_back"), done.stdout + done.stderr
    assert "after the change NORTH_PACS" in line
    assert digest(host, PACS_FILE) == before
    assert host.run(["systemctl", "is-active", PACS_UNIT]).stdout.strip() == "active"


def test_a_host_that_restarts_inside_the_window_goes_back_at_boot(quick: Hospital) -> None:  # T33
    name, unit = "south-store-1", UNITS["south-store-1"][0]
    host = quick.lab[name]
    before = digest(host, STORE_FILE)
    path = quick.folder / "south.yml"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("drain_timeout: 2s", "drain_timeout: 4s", 1), encoding="utf-8")
    process = quick.start("apply", "--yes", "--hold-down", "60s", "--confirm-within", "120s", "-l", name)
    wait_until(lambda: host.has_file("/var/lib/fleet/revert") and digest(host, STORE_FILE) != before, 20)
    host.cut_power()
    process.kill()
    process.communicate(timeout=10)
    host.boot()
    quick.lab.wait_until_ready([host])
    wait_until(lambda: is_settled(host), 30)
    assert digest(host, STORE_FILE) == before
    assert host.run(["systemctl", "is-active", unit]).stdout.strip() == "active"
    assert not host.has_file("/etc/systemd/system/fleet-revert.service")
    assert host.run(["systemctl", "is-system-running"]).stdout.strip() == "running"


def test_a_full_disk_of_the_hosts_own_records_changes_nothing(quick: Hospital) -> None:  # T26
    host = quick.lab["south-store-1"]
    before = digest(host, STORE_FILE)
    path = quick.folder / "south.yml"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("drain_timeout: 2s", "drain_timeout: 5s", 1), encoding="utf-8")
    host.run("mkdir -p /root/kept && cp -a /var/lib/fleet/. /root/kept/", check=True)
    host.mount_small_disk("/var/lib/fleet", 65_536, inodes=200)
    host.run("cp -a /root/kept/. /var/lib/fleet/; dd if=/dev/zero of=/var/lib/fleet/filler bs=4k 2>/dev/null; true")
    try:
        done = quick.apply("-l", "south-store-1", *WINDOW)
    finally:
        host.unmount("/var/lib/fleet")
    assert done.returncode == 2, done.stdout + done.stderr
    assert "disk is full" in done.stdout, done.stdout
    assert digest(host, STORE_FILE) == before
    assert host.run("systemctl list-timers --all --no-legend 'fleet-revert-*'").stdout == ""


def test_of_sixteen_who_apply_at_once_one_wins(quick: Hospital, remark: Callable[[str], None]) -> None:  # T32
    path = quick.folder / "south.yml"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("drain_timeout: 2s", "drain_timeout: 6s", 1), encoding="utf-8")
    limit = ("-l", "south-store-1")
    processes = [quick.start("apply", "--yes", "--hold-down", "500ms", *limit) for _ in range(16)]
    ends = ["".join(process.communicate(timeout=150)) for process in processes]
    words = ["unchanged" if "1 unchanged" in told else line_of(told, "south-store-1").split()[0] for told in ends]
    remark(
        f"of sixteen who applied at once {words.count('converged')} converged, {words.count('locked')} were locked out"
    )
    assert words.count("converged") == 1, words
    # Who came when all was done found nothing to do; the others were told.
    assert set(words) <= {"converged", "locked", "stale", "unchanged"}, words
    assert is_settled(quick.lab["south-store-1"])
    assert quick.plan(*limit)[0] == 0
