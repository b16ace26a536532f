"""The lab must be what the other tests take it for: real hosts, cut off from the machine, gone afterwards."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.lab.control_group import find_control_groups
from tests.lab.controller import REPOSITORY, is_echo_answered
from tests.lab.dialogue import ECHO_REQUEST, encode_association_request
from tests.lab.hosts import LabHost
from tests.lab.laboratory import Lab
from tests.lab.network import NAMESPACE_FOLDER
from tests.lab.sweepup import find_mounts_below, sweep_up_leftovers
from tests.lab.vendor import OrthancSettings, start_orthanc

VIRTUAL_ADDRESS = "10.20.0.100"


def wait_until(is_true: Callable[[], bool], within_s: float) -> float | None:
    """Seconds that it took, or None."""
    started_at = time.monotonic()
    while time.monotonic() - started_at < within_s:
        if is_true():
            return time.monotonic() - started_at
        time.sleep(0.1)
    return None


def holds_address(host: LabHost, address: str) -> bool:
    return f" {address}/" in host.run("ip -4 address show eth0").stdout


def start_archive(host: LabHost, port: int = 11112) -> None:
    """dcmqrscp as a unit; the load balancer's own title and address are its only caller."""
    host.write_file(
        "/etc/lab-archive.cfg",
        f"NetworkTCPPort = {port}\nMaxPDUSize = 16384\nMaxAssociations = 16\n"
        f"HostTable BEGIN\nlb = (LOADBALANCER, {host.address}, 104)\nprober = (FLEET_SCU, 10.0.0.5, 104)\n"
        "all_of_them = lb, prober\nHostTable END\nVendorTable BEGIN\nVendorTable END\n"
        "AETable BEGIN\nNORTH_PACS /var/lib/lab-archive RW (10, 100mb) all_of_them\nAETable END\n",
    )
    host.run("mkdir -p /var/lib/lab-archive", check=True)
    command = "systemd-run --collect --unit=lab-archive /usr/bin/dcmqrscp -dhl -c /etc/lab-archive.cfg"
    host.run(command, check=True)


def test_every_host_runs_without_a_failed_unit(lab: Lab) -> None:
    states = {name: host.run("systemctl is-system-running").stdout.strip() for name, host in lab.hosts.items()}
    assert states == dict.fromkeys(lab.hosts, "running")


def test_at_least_five_hosts_boot_within_fifteen_seconds(lab: Lab) -> None:
    assert len(lab.hosts) >= 5
    assert lab.boot_s < 15


def test_no_product_runs_before_somebody_starts_it(fresh_lab: Lab) -> None:
    for name in ("north-pacs-1", "south-store-1"):
        listening = fresh_lab[name].run("ss -Hltn | awk '{print $4}'").stdout.split()
        assert [place for place in listening if not place.endswith(":22")] == []


def test_hosts_have_no_python_and_none_of_the_machine_s_sources(lab: Lab) -> None:
    for host in lab.hosts.values():
        assert host.run("command -v python3 || ls /usr/bin/python* /etc/apt/sources.list.d/*").stdout == ""


def test_the_plain_user_logs_in_with_the_pinned_key_and_may_sudo(lab: Lab) -> None:
    for name, host in lab.hosts.items():
        done = lab.controller.ssh(host, "id -un; sudo -n id -un; hostname")
        assert done.stdout.split() == ["fleet", "root", name], done.stderr


def test_another_host_s_key_is_refused(lab: Lab) -> None:
    wrong = lab["north-pacs-2"].host_key
    done = lab.controller.ssh(lab["north-pacs-1"], "id", host_key=wrong)
    assert done.returncode == 255
    assert "Host key verification failed" in done.stderr


def test_the_controller_s_home_and_address_are_the_lab_s_own(lab: Lab) -> None:
    seen = lab.controller.python("-c", "from pathlib import Path; print(Path.home())").stdout.strip()
    assert Path(seen) == lab.controller.home
    assert lab.controller.ssh(lab["south-mwl-1"], "echo $SSH_CONNECTION").stdout.split()[0] == "10.0.0.5"


def test_the_machine_itself_cannot_reach_a_host(lab: Lab) -> None:
    routes = subprocess.run(["ip", "-4", "address"], capture_output=True, text=True, timeout=10, check=True)
    assert not any(host.address in routes.stdout for host in lab.hosts.values())
    links = subprocess.run(["ip", "-o", "link"], capture_output=True, text=True, timeout=10, check=True).stdout
    assert "br0" not in links


def test_a_dropped_host_is_silent_and_comes_back(lab: Lab) -> None:
    host = lab["south-store-1"]
    host.iptables_drop()
    started_at = time.monotonic()
    assert lab.controller.read_banner(host.address, timeout_s=1) == b""
    assert time.monotonic() - started_at > 0.9, "it was refused, not dropped"
    assert lab.controller.read_banner(lab["south-mwl-1"].address) != b""
    host.iptables_clear()
    assert lab.controller.read_banner(host.address).startswith(b"SSH-2.0-")


def test_a_resetting_firewall_answers_at_once(lab: Lab) -> None:
    host = lab["south-store-1"]
    host.iptables_reset(port=22, source="10.0.0.5")
    started_at = time.monotonic()
    assert lab.controller.read_banner(host.address, timeout_s=5) == b""
    assert time.monotonic() - started_at < 1
    host.iptables_clear()


def test_a_transient_timer_fires_on_time(lab: Lab) -> None:
    host = lab["south-mwl-1"]
    host.run("systemd-run --on-active=1 --timer-property=AccuracySec=100ms touch /run/lab-timer-fired", check=True)
    assert wait_until(lambda: host.has_file("/run/lab-timer-fired"), within_s=5) is not None


def test_a_disk_outlives_a_power_cut_and_not_a_reinstallation(lab: Lab) -> None:
    host = lab["south-mwl-1"]
    key = host.host_key
    host.write_file("/etc/lab-note", "kept\n", mode=0o600, owner="fleet:fleet")
    host.cut_power()
    assert lab.controller.read_banner(host.address) == b""
    host.boot()
    lab.wait_until_ready([host])
    assert host.read_file("/etc/lab-note") == "kept\n"
    assert host.run("stat -c '%a %U' /etc/lab-note").stdout.split() == ["600", "fleet"]
    lab.reinstall(host.name)
    assert not host.has_file("/etc/lab-note")
    assert host.host_key == key
    assert lab.controller.ssh(host, "true").returncode == 0


def test_killing_a_service_on_one_host_leaves_the_same_service_elsewhere(lab: Lab) -> None:
    for name in ("north-pacs-1", "north-pacs-2"):
        lab[name].run("systemd-run --collect --unit=lab-twin sleep 600", check=True)
    lab["north-pacs-1"].kill_service("lab-twin")
    gone = wait_until(lambda: lab["north-pacs-1"].run("systemctl is-active lab-twin").returncode != 0, within_s=5)
    assert gone is not None
    assert lab["north-pacs-2"].run("systemctl is-active lab-twin").stdout.strip() == "active"
    lab["north-pacs-2"].systemctl("stop", "lab-twin")


def test_a_narrow_sudo_rule_allows_itself_and_nothing_else(lab: Lab) -> None:
    host = lab["south-store-1"]
    host.write_sudo_rule("fleet ALL=(root) NOPASSWD: /usr/bin/id -un")
    assert lab.controller.ssh(host, "sudo -n id -un").stdout == "root\n"
    refused = lab.controller.ssh(host, "sudo -n id -u")
    assert refused.returncode == 1
    assert "password is required" in refused.stderr
    host.write_sudo_rule("fleet ALL=(root) NOPASSWD: ALL")


def test_a_small_disk_is_soon_full(lab: Lab) -> None:
    host = lab["south-store-1"]
    host.mount_small_disk("/srv/small", size_bytes=65536, inodes=20)
    done = host.run("head -c 200000 /dev/zero > /srv/small/file")
    assert "No space left on device" in done.stderr
    host.run("rm /srv/small/file", check=True)
    assert "No space left on device" in host.run("for i in $(seq 30); do : > /srv/small/$i; done").stderr
    host.unmount("/srv/small")


def test_a_host_that_joins_later_is_like_the_others(lab: Lab) -> None:
    host = lab.add_host("north-relay-1", "10.20.0.21")
    done = lab.controller.ssh(host, "sudo -n hostname")
    assert (done.stdout, done.stderr) == ("north-relay-1\n", "")
    lab.remove_host("north-relay-1")
    assert lab.controller.read_banner("10.20.0.21") == b""


def test_the_vendor_s_box_answers_echo_from_the_controller(lab: Lab) -> None:
    box = lab["vendor-box"]
    assert is_echo_answered(lab.controller.echo("FLEET_SCU", "VENDOR_BOX", box.address, 4242))


def test_the_vendor_s_box_checks_titles_when_told_so(lab: Lab) -> None:
    box = lab["vendor-box"]
    peers = {"fleet": ("FLEET_SCU", lab.controller.address, 104)}
    start_orthanc(
        box,
        lab.controller,
        OrthancSettings(checks_called_title=True, answers_unknown_callers=False, modalities=peers),
    )
    assert lab.controller.request("GET", f"http://{box.address}:8042/modalities")[1].split() == [
        "[", '"fleet"', "]",
    ]  # fmt: skip
    assert is_echo_answered(lab.controller.echo("FLEET_SCU", "VENDOR_BOX", box.address, 4242))
    assert not is_echo_answered(lab.controller.echo("FLEET_SCU", "SOMEBODY", box.address, 4242))
    assert not is_echo_answered(lab.controller.echo("STRANGER", "VENDOR_BOX", box.address, 4242))
    start_orthanc(box, lab.controller)


def test_keepalived_moves_an_address_when_its_host_loses_power(fresh_lab: Lab) -> None:
    pair = {"north-pacs-1": 110, "north-pacs-2": 100}
    for name, priority in pair.items():
        fresh_lab[name].write_file(
            "/etc/keepalived/keepalived.conf",
            "vrrp_instance lab {\n  state BACKUP\n  interface eth0\n  virtual_router_id 51\n"
            f"  priority {priority}\n  advert_int 1\n"
            f"  virtual_ipaddress {{\n    {VIRTUAL_ADDRESS}/24\n  }}\n}}\n",
        )
        fresh_lab[name].systemctl("start", "keepalived")
    first, second = (fresh_lab[name] for name in pair)
    assert wait_until(lambda: holds_address(first, VIRTUAL_ADDRESS), within_s=10) is not None
    assert not holds_address(second, VIRTUAL_ADDRESS)
    assert fresh_lab.controller.read_banner(VIRTUAL_ADDRESS).startswith(b"SSH-2.0-")
    first.cut_power()
    moved_s = wait_until(lambda: fresh_lab.controller.read_banner(VIRTUAL_ADDRESS).startswith(b"SSH-2.0-"), within_s=10)
    assert moved_s is not None
    assert moved_s < 6
    assert holds_address(second, VIRTUAL_ADDRESS)


def test_haproxy_s_native_check_knows_a_dicom_server_from_a_web_server(fresh_lab: Lab) -> None:
    host = fresh_lab["north-pacs-1"]
    start_archive(host)
    request = encode_association_request("LOADBALANCER", "NORTH_PACS").hex()
    host.write_file(
        "/etc/haproxy/haproxy.cfg",
        f"""defaults
  mode tcp
  timeout connect 3s
  timeout client 30s
  timeout server 30s
frontend pages
  mode http
  bind :8404
  stats enable
  stats uri /
backend archive
  option tcp-check
  tcp-check connect
  tcp-check send-binary {request}
  tcp-check expect rbinary ^02
  tcp-check send-binary {ECHO_REQUEST.hex()}
  tcp-check expect binary 00000009020000000000
  tcp-check send-binary 05000000000400000000
  tcp-check expect rbinary ^06
  default-server check inter 500 fall 2 rise 1
  server dicom {host.address}:11112 source {host.address}
  server web {host.address}:8404 source {host.address}
""",
    )
    host.systemctl("start", "haproxy")

    def read_states() -> dict[str, list[str]]:
        page = fresh_lab.controller.request("GET", f"http://{host.address}:8404/;csv")[1].splitlines()
        columns = page[0].removeprefix("# ").split(",")
        rows = [dict(zip(columns, line.split(","), strict=False)) for line in page[1:] if line]
        return {row["svname"]: [row["status"], row["check_status"]] for row in rows}

    settled = wait_until(
        lambda: read_states()["dicom"] == ["UP", "L7OK"] and read_states()["web"][0] == "DOWN", within_s=10
    )
    assert settled is not None, read_states()
    assert is_echo_answered(fresh_lab.controller.echo("FLEET_SCU", "NORTH_PACS", host.address, 11112))
    host.kill_service("lab-archive")
    assert wait_until(lambda: read_states()["dicom"][0] == "DOWN", within_s=10) is not None, read_states()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_killed_owner_leaves_nothing_behind(lab_needs: None, number: signal.Signals) -> None:
    script = (
        "import time; from tests.lab.laboratory import Lab\n"
        "with Lab({'only': '10.20.0.11'}) as lab: print(lab.run_folder, flush=True); time.sleep(60)"
    )
    owner = subprocess.Popen(
        [sys.executable, "-c", script],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ.copy(),
    )
    assert owner.stdout is not None
    run_folder = Path(owner.stdout.readline().strip())
    try:
        assert find_mounts_below(run_folder), "the second lab did not stand beside the first"
        assert len(find_control_groups(run_folder.name)) == 1
    finally:
        owner.send_signal(number)
        owner.communicate(timeout=20)
    assert wait_until(lambda: not run_folder.exists(), within_s=20) is not None
    assert find_mounts_below(run_folder) == []
    assert list(NAMESPACE_FOLDER.glob(f"{run_folder.name}*")) == []
    assert find_control_groups(run_folder.name) == []


@pytest.mark.parametrize(("required", "verdict"), [("0", "1 skipped"), ("1", "1 error")])
def test_a_lab_that_cannot_stand_is_named_and_fails_where_it_is_required(required: str, verdict: str) -> None:
    """A machine without the programs is played by an empty search path."""
    one = f"{Path(__file__).relative_to(REPOSITORY)}::{test_every_host_runs_without_a_failed_unit.__name__}"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:xdist", one],
        env={"PATH": "/nonexistent", "FLEET_REQUIRE_LAB": required},
        cwd=REPOSITORY, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert verdict in done.stdout
    assert "the lab needs" in done.stdout


def test_sweeping_up_spares_the_runs_whose_owners_live(lab: Lab) -> None:
    assert lab.run_folder.name not in sweep_up_leftovers(lab.run_folder.parent)
    assert all(host.is_running for host in lab.hosts.values())
