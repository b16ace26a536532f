"""One bad host: named with the phase, costs its deadline and no more; with a budget of none nobody is touched."""

import time
from collections.abc import Callable

from tests.lab.hospital import PACS_FILE, Hospital

CONNECT_DEADLINE_S = 10
MARGIN_S = 8  # everything else that an apply does on two cores


def test_a_host_with_a_drop_rule_costs_its_deadline_and_the_others_are_done(
    hospital: Hospital, remark: Callable[[str], None]
) -> None:
    silent, drifted = hospital.lab["south-store-1"], hospital.lab["north-pacs-2"]
    good = drifted.read_file(PACS_FILE)
    drifted.run(f"sed -i s/NORTH_CT01,/NORTH_CT99,/ {PACS_FILE}", check=True)
    silent.iptables_drop()

    started_at = time.monotonic()
    done = hospital.apply("--max-fail", "1")
    took_s = time.monotonic() - started_at
    assert done.returncode == 2, done.stdout + done.stderr
    (line,) = (line for line in done.stdout.splitlines() if line.startswith("unreachable"))
    assert line.split()[1:3] == ["south-store-1", "connect:"], line
    assert drifted.read_file(PACS_FILE) == good
    assert CONNECT_DEADLINE_S <= took_s < CONNECT_DEADLINE_S + MARGIN_S, took_s
    remark(f"an apply beside a silent host took {took_s:.1f} s; its deadline is {CONNECT_DEADLINE_S} s")


def test_a_silent_host_is_unknown_where_it_should_ask_and_a_timeout_where_it_is_asked(hospital: Hospital) -> None:
    hospital.lab["north-pacs-2"].iptables_drop(source="10.0.0.5")
    started_at = time.monotonic()
    status, document = hospital.verify("--from", "controller", "--from", "hosts", "--timeout", "3s")
    took_s = time.monotonic() - started_at
    assert status == 2
    bad = {
        (row["ae_title"], row["from"], row["outcome"]) for row in document["results"] if row["outcome"] != "answered"
    }
    assert bad == {
        ("NORTH_PACS", "controller", "connect_timeout"),
        ("SOUTH_STORE", "north-pacs-2", "unknown"),
        ("NORTH_WS01", "north-pacs-2", "unknown"),
        ("NORTH_WS02", "north-pacs-2", "unknown"),
    }
    assert took_s < 15 + MARGIN_S


def test_with_no_failures_allowed_what_any_host_lacks_is_named_and_nothing_is_written(hospital: Hospital) -> None:
    pacs, store = hospital.lab["north-pacs-2"], hospital.lab["south-store-1"]
    pacs.run("mv /usr/sbin/keepalived /usr/sbin/keepalived.away", check=True)
    store.run("mv /usr/bin/storescp /usr/bin/storescp.away && sed -i.bak /^dcmtk:/d /etc/passwd", check=True)
    hospital.lab["north-pacs-1"].run(f"sed -i s/NORTH_CT01,/NORTH_CT99,/ {PACS_FILE}", check=True)
    before = hospital.digests()
    try:
        for done in (hospital.apply(), hospital.playbook("apply")):
            assert done.returncode == 2, done.stdout + done.stderr
            refused = {line.split()[1]: line for line in done.stdout.splitlines() if line.startswith("refused ")}
            assert set(refused) >= {"north-pacs-2", "south-store-1"}, done.stdout
            assert "keepalived" in refused["north-pacs-2"]
            assert "storescp" in refused["south-store-1"]
            assert "user dcmtk" in refused["south-store-1"]
            assert any(line.split()[:2] == ["not_reached", "north-pacs-1"] for line in done.stdout.splitlines())
        assert hospital.digests() == before
    finally:
        pacs.run("mv /usr/sbin/keepalived.away /usr/sbin/keepalived", check=True)
        store.run("mv /usr/bin/storescp.away /usr/bin/storescp && mv /etc/passwd.bak /etc/passwd", check=True)
