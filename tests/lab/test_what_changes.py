"""A change of the inventory or of a host changes what follows from it, and nothing else."""

from tests.lab.hospital import PACS_FILE, PACS_UNIT, Hospital, changed_paths

PAIR = ("north-pacs-1", "north-pacs-2")
HAPROXY_FILE = "/etc/haproxy/haproxy.cfg"
WS03 = (
    "  - {ae_title: NORTH_WS03, kind: workstation, address: 10.20.4.43, port: 104, provides: [verification, storage]}\n"
)
MWL_FILES = (
    "/etc/systemd/system/fleet-wlmscpfs-SOUTH_MWL.service",
    "/etc/fleet/drain-associations",
    "/etc/fleet/await-free-port",
)


def changed_files(before: dict[str, dict[str, str]], after: dict[str, dict[str, str]]) -> dict[str, set[str]]:
    """Contents that differ outside fleet's own book-keeping."""
    found = {}
    for host, old in before.items():
        keys = {key for key in {*old, *after[host]} if key.startswith("sum:") and "/var/lib/fleet/" not in key}
        paths = {key.removeprefix("sum:") for key in keys if old.get(key) != after[host].get(key)}
        if paths:
            found[host] = paths
    return found


def test_a_new_workstation_changes_exactly_the_files_that_mention_it(hospital: Hospital) -> None:
    north = hospital.folder / "north.yml"
    north.write_text(north.read_text(encoding="utf-8") + WS03, encoding="utf-8")
    expected = {name: {PACS_FILE, HAPROXY_FILE} for name in PAIR}
    before, started = hospital.digests(), hospital.unit_starts()

    status, plan = hospital.plan()
    assert status == 3
    assert changed_paths(plan) == expected
    assert hospital.digests() == before

    done = hospital.apply()
    assert done.returncode == 0, done.stdout + done.stderr
    assert changed_files(before, hospital.digests()) == expected
    for name in PAIR:
        assert "NORTH_WS03, 10.20.4.43" in hospital.lab[name].read_file(PACS_FILE)
    now = hospital.unit_starts()
    assert {name for name in now if now[name] != started[name]} == set(PAIR)
    for name in PAIR:
        assert now[name]["keepalived.service"] == started[name]["keepalived.service"]
        assert now[name][PACS_UNIT] != started[name][PACS_UNIT]
    assert hospital.plan()[0] == 0


def test_a_changed_port_changes_only_the_archive_s_table(hospital: Hospital) -> None:
    hospital.replace("north.yml", "NORTH_WS02, kind: workstation, address: 10.20.4.42, port: 11112",
                     "NORTH_WS02, kind: workstation, address: 10.20.4.42, port: 11119")  # fmt: skip
    status, plan = hospital.plan()
    assert (status, changed_paths(plan)) == (3, {name: {PACS_FILE} for name in PAIR})
    (diff,) = (each for each in plan["plan"]["changes"] if each["lines"][1:2] == [f"--- {PACS_FILE}"])
    assert set(diff["hosts"]) == set(PAIR), "equal diffs are folded"
    assert [line for line in diff["lines"] if line[:1] in "+-" and line[:3] not in ("+++", "---")] == [
        "-ae_NORTH_WS02/1 = (NORTH_WS02, 10.20.4.42, 11112)",
        "+ae_NORTH_WS02/1 = (NORTH_WS02, 10.20.4.42, 11119)",
    ]


def test_a_file_edited_by_hand_is_found_by_drift_and_restored_by_apply(hospital: Hospital) -> None:
    host = hospital.lab["north-pacs-2"]
    good = host.read_file(PACS_FILE)
    host.run(f"sed -i s/NORTH_CT01,/NORTH_CT99,/ {PACS_FILE}", check=True)

    status, document = hospital.verify("--drift")
    assert status == 3, document
    assert {row["outcome"] for row in document["results"]} == {"answered"}
    said = hospital.fleet("verify", "--drift")
    assert said.returncode == 3
    assert "pending    north-pacs-2" in said.stdout or "pending  north-pacs-2" in said.stdout, said.stdout
    assert "-ae_NORTH_CT01/1 = (NORTH_CT99, 10.20.3.21, 1)" in said.stdout

    done = hospital.apply()
    assert done.returncode == 0, done.stdout + done.stderr
    assert host.read_file(PACS_FILE) == good
    assert hospital.fleet("verify", "--drift").returncode == 0


def test_a_removed_entity_s_files_and_unit_go_and_nobody_else_s(hospital: Hospital) -> None:
    host = hospital.lab["south-mwl-1"]
    unit = "fleet-wlmscpfs-SOUTH_MWL.service"
    foreign = ("/etc/fleet/notes-of-the-team", "/etc/systemd/system/theirs.service",
               "/var/lib/dcmtk/worklist/SOUTH_MWL/item.wl")  # fmt: skip
    for path in foreign:
        host.write_file(path, "# not fleet's\n")
    south = hospital.folder / "south.yml"
    text = south.read_text(encoding="utf-8")
    south.write_text(text[: text.index("  - ae_title: SOUTH_MWL")], encoding="utf-8")
    hospital.replace("fleet.yml", '  - {from: "kind=modality", to: SOUTH_MWL, services: [worklist]}\n', "")
    others = hospital.digests("north-pacs-1", "north-pacs-2", "south-store-1")

    status, plan = hospital.plan()
    assert (status, set(changed_paths(plan))) == (3, {"south-mwl-1"})
    done = hospital.apply()
    assert done.returncode == 0, done.stdout + done.stderr

    assert host.run(["systemctl", "is-active", unit]).stdout == "inactive\n"
    assert host.run(["systemctl", "is-enabled", unit]).returncode != 0
    assert not [path for path in MWL_FILES if host.has_file(path)]
    assert not host.has_file("/etc/systemd/system/multi-user.target.wants/" + unit)
    assert [path for path in foreign if host.has_file(path)] == list(foreign)
    assert host.run("stat -c %U /var/lib/dcmtk/worklist/SOUTH_MWL").stdout == "dcmtk\n"
    assert host.run("ss -Hltn 'sport = :11113'").stdout == ""
    assert hospital.digests("north-pacs-1", "north-pacs-2", "south-store-1") == others
    assert hospital.plan()[0] == 0


def test_a_file_that_no_manifest_knows_is_taken_only_with_adopt_and_kept(hospital: Hospital) -> None:
    path, theirs = "/etc/motd.d/20-dicom", "written by the ward's own administrator\n"
    host = hospital.lab["south-store-1"]
    host.write_file(path, theirs, mode=0o644)  # of what others may not read a diff shows nothing
    hospital.add("templates/notice.j2", "DICOM at {{ host.name }} is run by fleet\n")
    hospital.add("files.yml", f"files:\n  - {{template: templates/notice.j2, path: {path}, where: south-store-1}}\n")
    before = hospital.digests()

    for done in (hospital.fleet("plan"), hospital.apply()):
        assert done.returncode == 2, done.stdout + done.stderr
        assert f"{path} is there, differs, and no manifest knows it: --adopt takes it over" in done.stdout
    assert hospital.digests() == before

    shown = hospital.fleet("plan", "--adopt")
    assert shown.returncode == 3
    assert f"-{theirs.strip()}" in shown.stdout
    done = hospital.apply("--adopt")
    assert done.returncode == 0, done.stdout + done.stderr
    assert host.read_file(path) == "DICOM at south-store-1 is run by fleet\n"
    assert host.read_file(f"/var/lib/fleet/originals{path}") == theirs
    assert hospital.plan()[0] == 0
