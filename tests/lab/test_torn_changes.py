"""A change that is cut off on a real host leaves the live files whole, says so, and the next run ends it."""

import time

from tests.lab.hospital import PACS_FILE, PACS_UNIT, Hospital, wait_until
from tests.lab.test_many_peers import PEERS, write_inventory

FIRST = "north-pacs-2"  # of the pair the backup is changed first
OTHERS = ("north-pacs-1", "south-store-1", "south-mwl-1")
STAGE = "/etc/fleet/.fleet-stage"
SLOW_SUM = "/usr/local/bin/sha256sum"  # found before the real one


def test_a_full_disk_is_named_and_no_live_file_is_touched(hospital: Hospital) -> None:  # T26
    host = hospital.lab[FIRST]
    host.run("cp -a /etc/fleet /root/kept", check=True)
    host.mount_small_disk("/etc/fleet", size_bytes=65536)
    host.run("cp -a /root/kept/. /etc/fleet/ && rm -rf /root/kept", check=True)
    before, started = host.read_file(PACS_FILE), hospital.unit_starts()
    others = hospital.digests(*OTHERS)
    write_inventory(hospital, PEERS)
    try:
        done = hospital.apply()
        assert done.returncode == 2, done.stdout[-2000:] + done.stderr
        (line,) = (line for line in done.stdout.splitlines() if line.startswith("failed ") and FIRST in line)
        assert "No space left on device" in line or "disk is full" in line, line
        assert host.read_file(PACS_FILE) == before
        assert not host.has_file(STAGE)
        assert hospital.unit_starts() == started
        assert hospital.digests(*OTHERS) == others, "with no failures allowed the others were not begun"
    finally:
        host.run("umount --lazy /etc/fleet", check=True)  # keepalived runs a script from there every second


def test_a_link_that_is_cut_while_staging_changes_nothing_and_is_cleaned_up(hospital: Hospital) -> None:  # T25
    host = hospital.lab[FIRST]
    before, started = host.read_file(PACS_FILE), hospital.unit_starts()
    write_inventory(hospital, PEERS)
    host.write_file(SLOW_SUM, '#!/bin/sh\nsleep 2\nexec /usr/bin/sha256sum "$@"\n', mode=0o755)  # time for the cut
    with hospital.start("apply", "--yes", "--hold-down", "500ms", "--no-drain") as running:
        try:
            wait_until(lambda: host.has_file(f"{STAGE}/new"), within_s=20)
            host.iptables_reset(port=22, source=hospital.lab.controller.address)
            cut_at = time.monotonic()
            said, _ = running.communicate(timeout=120)
            took_s = time.monotonic() - cut_at
        finally:
            running.kill()
    assert running.returncode == 2, said[-2000:]
    (line,) = (line for line in said.splitlines() if FIRST in line and " stage: " in line)
    assert line.split()[0] in ("failed", "unreachable"), line
    assert took_s < 20, took_s
    host.iptables_clear()
    assert host.read_file(PACS_FILE) == before
    assert hospital.unit_starts() == started

    # The host cannot know that nobody comes back; the history knows that the run is over, and so takes its lock.
    host.run(["rm", SLOW_SUM], check=True)
    done = hospital.apply()
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr
    assert not host.has_file(STAGE)
    assert "PEER_499" in host.read_file(PACS_FILE)
    assert host.run(["systemctl", "is-active", PACS_UNIT]).stdout == "active\n"
