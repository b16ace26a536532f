"""audit.yml from a machine that may not write to any host, and yet sees what is wrong there."""

from collections.abc import Iterator

import pytest

from tests.lab.hospital import PACS_FILE, PACS_UNIT, WATCHED, Hospital

HAPROXY_FILE = "/etc/haproxy/haproxy.cfg"


@pytest.fixture
def auditor(hospital: Hospital) -> Iterator[Hospital]:
    """The same login without any right: no sudo rule on any host, and an inventory that asks for none."""
    hospital.replace("fleet.yml", "become: sudo", "become: none")
    for host in hospital.hosts.values():
        host.run("mv /etc/sudoers.d/fleet /root/sudo-rule", check=True)
    yield hospital
    for host in hospital.hosts.values():
        host.run("mv /root/sudo-rule /etc/sudoers.d/fleet", check=True)


def list_writable(hospital: Hospital) -> dict[str, str]:
    """Everything watched that fleet's own login could write to; its home is its own."""
    search = f"sudo -n true && echo root; find {WATCHED} -xdev ! -type l -writable ! -path '/home/fleet*' 2>/dev/null"
    return {name: hospital.lab.controller.ssh(host, search).stdout for name, host in hospital.hosts.items()}


def test_an_audit_that_can_write_nowhere_passes_a_sound_fleet(auditor: Hospital) -> None:
    assert list_writable(auditor) == dict.fromkeys(auditor.hosts, "")
    before = auditor.digests()
    done = auditor.playbook("audit")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "4 hosts: 4 unchanged" in done.stdout
    assert "/etc/keepalived/keepalived.conf on north-pacs-1, north-pacs-2 cannot be read by this login" in done.stdout
    assert auditor.digests() == before


def test_an_audit_that_can_write_nowhere_finds_drift_and_a_wrong_caller(auditor: Hospital) -> None:
    drifted, invaded = auditor.lab["north-pacs-1"], auditor.lab["north-pacs-2"]
    drifted.run(f"sed -i 's/timeout connect 5s/timeout connect 50s/' {HAPROXY_FILE}", check=True)
    invaded.run(
        f"sed -i -e 's/^HostTable BEGIN$/&\\nae_guest = (INTRUDER, 10.20.9.9, 104)/' "
        f"-e 's/^NORTH_PACS .*/&, ae_guest/' {PACS_FILE} && systemctl restart {PACS_UNIT}",
        check=True,
    )
    assert list_writable(auditor) == dict.fromkeys(auditor.hosts, "")
    before = auditor.digests()

    done = auditor.playbook("audit", "-o", "json")
    assert done.returncode == 2, done.stdout + done.stderr
    document = auditor.read(done)
    found = {(each["host"], each["path"], each["code"]) for each in document["findings"]}
    assert found == {
        ("north-pacs-1", HAPROXY_FILE, "drift"),
        ("north-pacs-2", PACS_FILE, "drift"),
        ("north-pacs-2", PACS_FILE, "caller-not-in-inventory"),
    }
    (message,) = (each["message"] for each in document["findings"] if each["code"].startswith("caller"))
    assert "NORTH_PACS admits INTRUDER at 10.20.9.9" in message
    assert auditor.digests() == before


def test_an_audit_finds_a_server_that_answers_anybody(auditor: Hospital) -> None:
    host = auditor.lab["north-pacs-2"]
    host.run(
        f"sed -i 's/^\\(NORTH_PACS .*)\\) .*/\\1 ANY/' {PACS_FILE} && systemctl restart {PACS_UNIT}",
        check=True,
    )
    done = auditor.playbook("audit", "-o", "json")
    assert done.returncode == 2, done.stdout + done.stderr
    codes = {each["code"] for each in auditor.read(done)["findings"]}
    assert codes >= {"drift", "caller-not-in-inventory", "caller-not-refused"}
