"""A storage area belongs to the service's user: it may be neither in nor above the machine's own folders."""

from pathlib import Path

import pytest

from fleet.inventory.peers import Peers
from fleet.targets.products import check_targets
from fleet.targets.text import explain_form
from fleet.validate.reading import read_inventory

INVENTORY = """\
fleet: {{name: test}}
site: north
hosts: {{h1: {{address: 127.0.0.1}}}}
probers: [{{ae_title: FLEET_SCU, addresses: [127.0.0.5]}}]
entities:
  - ae_title: ARCHIVE
    kind: archive
    provides: [verification]
    instances: [{{host: h1, port: 11112}}]
    run: {{engine: dcmqrscp, storage_area: {folder}, access: RW, max_studies: 100, max_bytes_per_study: 512mb,
          deletes_oldest: accepted}}
"""


def refusals(tmp_path: Path, folder: str) -> list[str]:
    (tmp_path / "fleet.yml").write_text(INVENTORY.format(folder=folder), encoding="ascii")
    inventory = read_inventory(tmp_path).loaded.inventory
    problems = check_targets(inventory, Peers(inventory))
    return [problem.message for problem in problems if problem.code == "target-cannot-carry"]


@pytest.mark.parametrize(
    "folder", ["/etc", "/etc/fleet", "/etc/systemd/system", "/var/lib", "/var/lib/fleet/originals", "/usr/bin", "/var"]
)
def test_a_folder_of_the_machine_is_no_storage_area(tmp_path: Path, folder: str) -> None:
    (message,) = refusals(tmp_path, folder)
    assert f"storage_area {folder} of ARCHIVE" in message


@pytest.mark.parametrize("folder", ["/var/lib/dcmtk/ARCHIVE", "/srv/images", "/etcetera", "/data"])
def test_a_folder_of_its_own_is_one(tmp_path: Path, folder: str) -> None:
    assert refusals(tmp_path, folder) == []


FILES = """\
fleet: {{name: test}}
site: north
hosts: {{h1: {{address: 127.0.0.1}}}}
files:
  - {{template: plain.j2, path: {first}, where: h1}}
  - {{template: plain.j2, path: {second}, where: h1}}
"""


@pytest.mark.parametrize(
    ("first", "second", "refused"),
    [
        ("/etc/motd.d/x", "/etc/motd.d/x/y", 1),
        ("/etc/motd.d/x/y", "/etc/motd.d/x", 1),
        ("/etc/motd.d/x", "/etc/motd.d/xy", 0),
        ("/etc/motd.d/x", "/var/lib", 1),
    ],
)
def test_nothing_lies_below_a_file_and_no_file_stands_where_fleet_has_a_folder(
    tmp_path: Path, first: str, second: str, refused: int
) -> None:
    (tmp_path / "plain.j2").write_text("text\n", encoding="ascii")
    (tmp_path / "fleet.yml").write_text(FILES.format(first=first, second=second), encoding="ascii")
    inventory = read_inventory(tmp_path).loaded.inventory
    found = [each for each in check_targets(inventory, Peers(inventory)) if each.code == "target-cannot-carry"]
    assert len(found) == refused


@pytest.mark.parametrize("ascii_only", [True, False])
def test_half_a_character_is_refused_before_anything_is_written(ascii_only: bool) -> None:
    (reason,) = explain_form("fine\n\ud800\n", ascii_only=ascii_only)
    assert reason == "line 2 holds '\\ud800', half a character that no file can hold"


TEAM_FILE = """\
files:
  - {{template: plain.j2, path: {path}, where: h1}}
"""


@pytest.mark.parametrize(
    ("path", "refused"),
    [("/srv/images/index.dat", 1), ("/srv/images2/x", 0), ("/dev/sda", 1), ("/proc/1/x", 1), ("/etc/motd.d/x", 0)],
)
def test_a_file_of_the_team_is_kept_out_of_storage_and_of_the_kernel_s_folders(
    tmp_path: Path, path: str, refused: int
) -> None:
    (tmp_path / "plain.j2").write_text("text\n", encoding="ascii")
    text = INVENTORY.format(folder="/srv/images") + TEAM_FILE.format(path=path)
    (tmp_path / "fleet.yml").write_text(text, encoding="ascii")
    inventory = read_inventory(tmp_path).loaded.inventory
    found = [each for each in check_targets(inventory, Peers(inventory)) if each.code == "target-cannot-carry"]
    assert len(found) == refused
