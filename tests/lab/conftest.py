"""The lab as fixtures. Everything below this folder is a lab test and shares one lab, so it stays in one
worker: run it by itself (`pytest -m lab`), or with `-n N --dist loadgroup`."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.lab.hospital import Hospital, open_hospital
from tests.lab.laboratory import Lab
from tests.lab.needs import find_missing_needs
from tests.lab.vendor import start_orthanc

HERE = Path(__file__).parent
# The example hospital's addresses where it has them, so that its inventory can be pointed at the lab.
ADDRESSES = {
    "north-pacs-1": "10.20.0.11",
    "north-pacs-2": "10.20.0.12",
    "workstation-1": "10.20.4.41",
    "vendor-box": "10.20.6.10",
    "south-store-1": "10.30.0.11",
    "south-mwl-1": "10.30.0.12",
}
REMARKS = pytest.StashKey[list[str]]()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.lab)
            if config.pluginmanager.hasplugin("xdist"):
                item.add_marker(pytest.mark.xdist_group(name="lab"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for remark in config.stash.get(REMARKS, []):
        terminalreporter.write_line(f"lab: {remark}")


@pytest.fixture(scope="session")
def lab_needs() -> None:
    """Skips with the reason; where the lab is required, the same reason is a failure."""
    missing = find_missing_needs()
    if not missing:
        return
    reason = f"the lab needs {'; '.join(missing)} (see tests/debian-packages.txt)"
    if os.environ.get("FLEET_REQUIRE_LAB") == "1":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def remark(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Measured times, for the reader of the summary."""
    remarks = request.config.stash.setdefault(REMARKS, [])
    return remarks.append


@pytest.fixture(scope="session")
def lab_for_all(lab_needs: None, remark: Callable[[str], None]) -> Iterator[Lab]:
    with Lab(ADDRESSES) as lab:
        remark(f"{len(lab.hosts)} hosts were ready after {lab.boot_s:.1f} s")
        start_orthanc(lab["vendor-box"], lab.controller)
        yield lab


@pytest.fixture
def lab(lab_for_all: Lab) -> Lab:
    """The hosts as the test before left them, every one of them running and none cut off."""
    stopped = [host for host in lab_for_all.hosts.values() if not host.is_running]
    for host in stopped:
        host.boot()
    if stopped:
        lab_for_all.wait_until_ready(stopped)
    for host in lab_for_all.hosts.values():
        host.iptables_clear()
    return lab_for_all


@pytest.fixture
def fresh_lab(lab_for_all: Lab) -> Lab:
    """The same hosts with factory-new disks, about a second later."""
    lab_for_all.reinstall()
    start_orthanc(lab_for_all["vendor-box"], lab_for_all.controller)
    return lab_for_all


@pytest.fixture
def new_hospital(fresh_lab: Lab) -> Hospital:
    """Hosts with nothing on them but a login, and the inventory that they shall become."""
    return open_hospital(fresh_lab)


@pytest.fixture
def hospital(lab: Lab) -> Hospital:
    """The same, applied: whatever the test before did to inventory or hosts is mended."""
    hospital = open_hospital(lab)
    hospital.converge()
    return hospital
