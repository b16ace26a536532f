"""The verbs that only read and show, each as a person types it, slips included."""

import csv
import hashlib
import json
import stat
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest

from fleet.documents.packaged import list_schemas
from fleet.push.host_keys import HostKey
from fleet.push.ssh import connector
from fleet.relay.archive.bundle import make_bundle
from tests.cli.conftest import box
from tests.cli.doors import Door, spawn
from tests.verify.peers import Peer, answer_well, serving
from tests.workflow.scenes import HEAD, host_rows

# init ----------------------------------------------------------------------------------------------------


def test_a_new_folder_is_valid_as_it_stands_and_its_playbooks_read(door: Door, tmp_path: Path) -> None:
    folder = tmp_path / "new"
    said = door.bare("init", str(folder))
    assert (said.status, "fleet validate" in said.out) == (0, True)
    valid = door.bare("validate", "--strict", "-i", str(folder / "inventory"))
    assert valid.status == 0, valid
    assert sorted(path.name for path in (folder / "playbooks").iterdir()) == [
        "apply.yml",
        "audit.yml",
        "nightly-verify.yml",
    ]
    for path in (folder / "inventory").iterdir():
        modeline = path.read_text(encoding="utf-8").splitlines()[0]
        assert (path.parent / modeline.rpartition("=")[2]).is_file()


def test_init_writes_over_nothing(door: Door, tmp_path: Path) -> None:
    folder = tmp_path / "new"
    door.bare("init", str(folder))
    mine = folder / "inventory" / "fleet.yml"
    mine.write_text("mine", encoding="utf-8")
    said = door.bare("init", str(folder))
    assert (said.status, mine.read_text(encoding="utf-8")) == (64, "mine")
    assert "is there already" in said.err


def test_init_in_the_place_of_a_file_is_no_bug(door: Door, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("", encoding="utf-8")
    said = door.bare("init", str(tmp_path / "taken"))
    assert said.status in {1, 64}
    assert "taken" in said.err
    assert "Traceback" not in said.err


# history -------------------------------------------------------------------------------------------------


def test_a_run_of_an_inventory_with_errors_shows_them_again(hosts: Door) -> None:
    hosts.write(HEAD + host_rows(("north-1",)) + "entities:\n  - {ae_title: A, kind: nonsense}\n")
    told = hosts("plan")
    assert told.status == 2
    found = [line for line in (told.out + told.err).splitlines() if "error[" in line]
    shown = hosts("history", "last")
    assert (shown.status, bool(found)) == (0, True)
    assert [line for line in shown.out.splitlines() if "error[" in line] == found


# schema, inventory, explain-value, title -----------------------------------------------------------------


@pytest.mark.parametrize("name", list_schemas())
def test_every_schema_is_printed_and_is_one(door: Door, name: str) -> None:
    jsonschema.Draft202012Validator.check_schema(door.bare("schema", name).json)


def test_without_a_name_the_schemas_are_listed(door: Door) -> None:
    assert door.bare("schema").out.split() == list(list_schemas())


def test_ansible_gets_its_list_and_its_host(hosts: Door) -> None:
    listed = hosts("inventory", "--list").json
    assert sorted(listed["_meta"]["hostvars"]) == ["north-1", "north-2"]
    assert hosts("inventory", "--host", "north-1").json["ansible_host"] == "127.0.30.1"
    said = hosts("inventory", "--host", "north-9")
    assert (said.status, "north-9" in said.err) == (2, True)


def test_explain_value_says_which_layer_holds_and_where_it_stands(boxes: Door) -> None:
    said = boxes("explain-value", "GOOD.verify.calling")
    assert said.status == 0
    assert "fleet.yml:" in said.out
    assert said.out.splitlines()[-1].split() == ["value", '"FLEET_SCU"']
    assert boxes("explain-value", "GOOD.verify.calling", "-o", "json").json["value"] == "FLEET_SCU"


@pytest.mark.parametrize("question", ["GODO.port", "GOOD.prot", "GOOD", ".", "GOOD."])
def test_explain_value_of_nothing_is_2_and_names_it(boxes: Door, question: str) -> None:
    said = boxes("explain-value", question)
    assert (said.status, said.out) == (2, "")
    assert "Traceback" not in said.err


def test_title_proposes_free_titles_and_says_when_it_cannot(boxes: Door) -> None:
    said = boxes("title", "GOOD", "--pattern", "{site}_{kind}_{number:02}", "-n", "2")
    assert (said.status, len(said.out.split())) == (0, 2)
    assert boxes("title", "GOOD").status == 64
    assert boxes("title", "GODO", "--pattern", "X{number:02}").status == 2
    assert boxes("title", "GOOD", "--pattern", "{nothing}").status in {2, 64}


# sheet ---------------------------------------------------------------------------------------------------


def test_a_sheet_is_a_page_a_table_and_a_document(boxes: Door) -> None:
    assert "GOOD" in boxes("sheet", "GOOD").out
    assert boxes("sheet", "all", "-o", "html").out.lstrip().lower().startswith("<!doctype html>")
    rows = list(csv.reader(boxes("sheet", "all", "-o", "csv").out.splitlines()))
    assert len({len(row) for row in rows}) == 1
    assert boxes("sheet", "all", "--firewall").status == 0


def test_sheets_are_pages_to_a_printer_and_ruled_off_on_a_terminal(
    door: Door, good: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    door.write(
        HEAD + "entities:\n" + box("GOOD", good) + "  - {ae_title: MORE, kind: other, address: 10.0.0.9, port: 1}\n"
    )
    piped = door("sheet", "all").out
    assert piped.count("\f") == 1
    assert "\n\f" in piped
    with monkeypatch.context() as here:
        here.setattr("sys.stdout.isatty", lambda: True, raising=False)
        shown = door("sheet", "all", "--no-color").out
    assert shown == piped.replace("\f", "-" * 72 + "\n")


def test_a_sheet_is_open_until_somebody_says_done(boxes: Door) -> None:
    assert "unconfirmed" in boxes("sheet", "GOOD").out
    said = boxes("sheet", "GOOD", "--done")
    assert (said.status, said.out, "GOOD" in said.err) == (0, "", True)
    assert "done" in boxes("sheet", "GOOD").out
    assert "never confirmed" not in boxes("plan").out


def test_since_a_run_only_what_changed_is_told(boxes: Door, good: Peer) -> None:
    run_id = boxes("plan", "-o", "json").json["run_id"]
    assert "unchanged since" in boxes("sheet", "GOOD", "--since", run_id).out
    boxes.write(HEAD.replace("FLEET_SCU", "OTHER_SCU") + "entities:\n" + box("GOOD", good))
    said = boxes("sheet", "GOOD", "--since", run_id)
    assert "OTHER_SCU" in said.out
    assert f"since {run_id}" in said.out
    unknown = boxes("sheet", "GOOD", "--since", "yesterday")
    assert (unknown.status, "yesterday" in unknown.err) == (1, True)


def test_a_host_of_ours_has_no_sheet(hosts: Door) -> None:
    place = "instances: [{host: north-1, port: 11112}]"
    row = f"{{ae_title: OURS, kind: archive, provides: [verification, storage], {place},"
    run = " run: {engine: storescp, storage_area: /var/lib/dcmtk/OURS}}"
    hosts.write(f"site: north\nentities:\n  - {row}{run}\n", "e.yml")
    said = hosts("sheet", "OURS")
    assert (said.status, "is pushed, not typed" in said.err) == (2, True)


def test_a_limit_narrows_a_sheet(boxes: Door, good: Peer) -> None:
    boxes.write(HEAD + "entities:\n" + box("GOOD", good) + box("OTHER", good).replace("127.0.33.1", "127.0.33.2"))
    assert "OTHER" not in boxes("sheet", "all", "-l", "GOOD").out
    assert boxes("sheet", "OTHER", "-l", "GOOD").status == 2


# history, report, doctor, trust --------------------------------------------------------------------------


def test_history_lists_runs_the_newest_first_and_shows_one(boxes: Door) -> None:
    boxes("plan")
    boxes("verify")
    listed = boxes("history").out.splitlines()
    assert ["verify" in listed[0], "plan" in listed[1]] == [True, True]
    assert "GOOD" not in listed[0]
    shown = boxes("history", "last", "-v")
    assert (shown.status, "answered" in shown.out) == (0, True)
    assert len(boxes("history", "--verb", "plan").out.splitlines()) == 1
    assert boxes("history", "nonsense").status == 1


def test_report_tells_what_was_last_and_what_fails(boxes: Door, good: Peer) -> None:
    good.close()
    boxes("verify")
    said = boxes("report")
    assert said.status == 0
    assert "GOOD" in said.out
    assert "refused since" in said.out


def test_doctor_helps_before_there_is_an_inventory(door: Door, tmp_path: Path) -> None:
    done = spawn("doctor", folder=tmp_path)
    assert done.returncode == 0
    assert b"python" in done.stdout
    assert b"no host was looked at" in done.stdout
    assert door.bare("doctor", "-i", str(tmp_path / "inventroy")).status == 1


def test_doctor_contacts_nobody_while_the_inventory_is_invalid(door: Door) -> None:
    door.write("entities: [\n")
    said = door("doctor")
    assert said.status == 2
    assert "no host was contacted" in said.out


def test_doctor_names_a_history_that_is_torn(boxes: Door) -> None:  # T44
    boxes.history.write_bytes(b"SQLite format 3\x00")
    said = boxes("doctor")
    assert (said.status, "BAD history" in said.out) == (2, True)


def test_doctor_prints_the_sudo_rule_of_a_host(hosts: Door) -> None:
    hosts.write(HEAD + host_rows(("north-1", "north-2"), north_1=", ssh: {become: sudo}"))
    assert "NOPASSWD" in hosts("doctor", "--sudoers", "north-1").out
    said = hosts("doctor", "--sudoers", "nroth-1")
    assert (said.status, "did you mean 'north-1'?" in said.err) == (2, True)


KEY = HostKey("ssh-ed25519", b"\x00\x00\x00\x0bssh-ed25519\x00\x00\x00\x20" + bytes(32))


def test_trust_shows_what_to_pin(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    door.write(HEAD + "hosts:\n  north-1: {address: 127.0.30.1}\n")
    monkeypatch.setattr(connector, "fetch_host_keys", lambda *_, **__: (KEY,))
    said = door("trust", "north-1")
    assert said.status == 0
    assert KEY.fingerprint in said.out
    assert f'- "{KEY.line}"' in said.out


def test_trust_says_when_a_host_shows_none_of_its_pinned_keys(
    hosts: Door, monkeypatch: pytest.MonkeyPatch
) -> None:  # T21
    monkeypatch.setattr(connector, "fetch_host_keys", lambda *_, **__: (KEY,))
    said = hosts("trust", "north-1")
    assert said.status == 2
    assert "none of its pinned keys" in said.err


def test_trust_of_a_host_that_is_not_there_is_2_and_of_none_of_ours_too(door: Door) -> None:
    door.write(HEAD + "hosts:\n  north-1: {address: 127.0.30.1, ssh: {port: 1}}\n")
    said = door("trust", "north-1", "--timeout", "2")
    assert said.status == 2
    assert "north-1" in said.err
    assert "Traceback" not in said.err
    assert door("trust", "nroth-1").status == 2


# render --------------------------------------------------------------------------------------------------


def test_render_writes_every_file_with_its_mode_below_its_host(hosts: Door, tmp_path: Path) -> None:
    hosts.write(HEAD + host_rows(("north-1", "north-2")) + NOTE_640)
    out = tmp_path / "out"
    said = hosts("render", "-d", str(out))
    assert (said.status, "2 files of 2 hosts" in said.err) == (0, True)
    path = out / "north-1" / "etc" / "note"
    assert path.read_text(encoding="utf-8") == "hello\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    first = {each: each.read_bytes() for each in out.rglob("*") if each.is_file()}
    hosts("render", "-d", str(out))
    assert first == {each: each.read_bytes() for each in out.rglob("*") if each.is_file()}


NOTE_640 = 'files:\n  - {template: note.j2, path: /etc/note, mode: "0640", owner: root, where: all}\n'


def test_render_follows_no_link_out_of_its_folder(hosts: Door, tmp_path: Path) -> None:  # T12
    out, outside = tmp_path / "out", tmp_path / "outside"
    out.mkdir()
    outside.mkdir()
    (out / "north-1").symlink_to(outside)
    said = hosts("render", "-d", str(out))
    assert said.status != 0
    assert list(outside.rglob("*")) == []
    assert "leads out of" in said.err


def test_render_replaces_a_link_at_a_files_place_and_never_writes_through_it(
    hosts: Door, tmp_path: Path
) -> None:  # T12
    out, outside = tmp_path / "out", tmp_path / "secret"
    outside.write_text("untouched", encoding="utf-8")
    (out / "north-1" / "etc").mkdir(parents=True)
    (out / "north-1" / "etc" / "note").symlink_to(outside)
    hosts("render", "-d", str(out))
    assert outside.read_text(encoding="utf-8") == "untouched"


@pytest.mark.parametrize("template", ["../note.j2", "/etc/passwd", "templates/../../note.j2"])
def test_a_template_outside_the_inventory_is_refused(hosts: Door, template: str) -> None:  # T12
    (hosts.root / "note.j2").write_text("outside", encoding="utf-8")
    hosts.write(HEAD + host_rows(("north-1",)) + NOTE_640.replace("note.j2", template))
    said = hosts("render")
    assert said.status == 2
    assert "outside" not in said.out
    assert "root:" not in said.out


def test_render_shows_one_hosts_files_as_text_and_as_json(hosts: Door) -> None:
    assert hosts("render", "-l", "north-1").out == "==> north-1:/etc/note (0644 root:root) <==\nhello\n\n"
    assert [each["host"] for each in hosts("render", "-o", "json").json["files"]] == ["north-1", "north-2"]


def test_render_writes_a_relay_s_program_and_shows_it_by_what_it_is_known_by(hosts: Door, tmp_path: Path) -> None:
    hosts.write(
        HEAD
        + host_rows(("north-1",))
        + """
entities:
  - {ae_title: R, kind: relay, provides: [storage], instances: [{host: north-1, port: 11112}], run: {engine: relay}}
  - {ae_title: A, kind: archive, address: 127.0.0.2, port: 104, provides: [storage]}
flows: [{from: R, to: A, services: [storage]}]
relays: [{entity: R, timezone: Europe/Lisbon, routes: [{name: all, to: {primary: [{ae_title: A}]}}]}]
"""
    )
    program = make_bundle()
    digest, path = hashlib.sha256(program).hexdigest(), "usr/local/lib/dicom-fleet/fleet-relay.pyz"
    shown = hosts("render")
    assert shown.status == 0, shown.err
    assert f"==> north-1:/{path} (0644 root:root) <==\n(binary, {len(program)} bytes, sha256 {digest})" in shown.out
    (row,) = (each for each in hosts("render", "-o", "json").json["files"] if each["path"] == f"/{path}")
    assert (row["content"], row["sha256"], row["size_bytes"]) == (None, digest, len(program))
    assert hosts("render", "-d", str(tmp_path / "out")).status == 0
    assert (tmp_path / "out/north-1" / path).read_bytes() == program


# verify --targets ----------------------------------------------------------------------------------------


def test_a_list_of_targets_needs_no_inventory(door: Door, tmp_path: Path) -> None:
    path = tmp_path / "targets.csv"
    with serving(answer_well, "127.0.33.5") as peer:
        line = f"GOOD,{peer.address},{peer.port}"
        path.write_text(f"ae_title,address,port,calling\n# ours\n\n{line}\n{line},OTHER\n", encoding="utf-8")
        done = spawn("verify", "--targets", str(path), "-o", "json", folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, b"")
    rows = json.loads(done.stdout)["results"]
    assert sorted(row["calling"] for row in rows) == ["FLEET_SCU", "OTHER"]
    assert not (tmp_path / "inventory").exists()


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("GOOD,127.0.0.1", "2 fields"),
        ("GOOD,127.0.0.1,1o4", "'1o4'"),
        ("GOOD,127.0.0.1,0", "'0'"),
        ("GOOD,127.0.0.1,99999", "'99999'"),
        ("SEVENTEEN_LETTERS,127.0.0.1,104", "17 characters"),
        (",127.0.0.1,104", "empty"),
        ("GOOD,,104", "address is empty"),
        ("GOOD;127.0.0.1;104", "1 field; "),
    ],
)
def test_a_bad_line_is_2_with_its_number_and_nobody_is_asked(door: Door, tmp_path: Path, line: str, says: str) -> None:
    path = tmp_path / "targets.csv"
    with serving(answer_well, "127.0.33.5") as peer:
        path.write_text(f"GOOD,{peer.address},{peer.port}\n{line}\n", encoding="utf-8")
        said = door("verify", "--targets", str(path))
        assert peer.connections == 0
    assert said.status == 2
    assert f"{path}:2:1" in said.out
    assert says in said.out


def test_a_list_that_is_not_there_is_1_and_an_empty_one_2(door: Door, tmp_path: Path) -> None:
    assert door("verify", "--targets", str(tmp_path / "none.csv")).status == 1
    (tmp_path / "empty.csv").write_text("ae_title,address,port\n", encoding="utf-8")
    assert door("verify", "--targets", str(tmp_path / "empty.csv")).status == 2
    (tmp_path / "latin.csv").write_bytes(b"GOOD,127.0.0.1,104\nM\xfcNCHEN,127.0.0.1,104\n")
    assert door("verify", "--targets", str(tmp_path / "latin.csv")).status == 2


def test_of_a_list_the_failed_ones_are_asked_again(door: Door, tmp_path: Path) -> None:
    path = tmp_path / "targets.csv"
    with serving(answer_well, "127.0.33.5") as good, serving(answer_well, "127.0.33.6") as bad:
        bad.close()
        path.write_text(f"GOOD,{good.address},{good.port}\nBAD,{bad.address},{bad.port}\n", encoding="utf-8")
        assert door("verify", "--targets", str(path)).status == 2
        again = door("verify", "--targets", str(path), "-l", "@failed", "-o", "json")
    assert [row["ae_title"] for row in again.json["results"]] == ["BAD"]


def test_of_a_title_at_two_places_the_one_that_failed_is_asked_again(door: Door, tmp_path: Path) -> None:
    path = tmp_path / "targets.csv"
    with serving(answer_well, "127.0.33.5") as good, serving(answer_well, "127.0.33.6") as bad:
        bad.close()
        path.write_text(f"TWIN,{good.address},{good.port}\nTWIN,{bad.address},{bad.port}\n", encoding="utf-8")
        assert door("verify", "--targets", str(path)).status == 2
        again = door("verify", "--targets", str(path), "-l", "@failed", "-o", "json")
    assert [row["address"] for row in again.json["results"]] == [bad.address]


@pytest.mark.parametrize("port", ["0", "65536", "0000019999999", "-1", "1e3", "\u0661\u0660\u0664"])
def test_a_port_of_a_list_that_is_none_is_told_and_nobody_is_asked(door: Door, tmp_path: Path, port: str) -> None:
    (tmp_path / "targets.csv").write_text(f"GOOD,127.0.0.1,{port}\n", encoding="utf-8")
    assert door("verify", "--targets", str(tmp_path / "targets.csv")).status == 2


@pytest.mark.parametrize(("closed", "said"), [(">&-", False), ("2>&-", True)])
def test_a_stream_that_the_shell_closed_is_no_bug_and_mixes_nothing(tmp_path: Path, closed: str, said: bool) -> None:
    with serving(answer_well) as peer:
        (tmp_path / "targets.csv").write_text(f"A,{peer.address},{peer.port}\n", encoding="utf-8")
        words = f"verify --targets {tmp_path}/targets.csv --history {tmp_path}/h.sqlite -o json {closed}"
        program = "import sys; from fleet.cli.main import run; sys.argv[0] = 'fleet'; run()"
        ended = subprocess.run(
            ["sh", "-c", f'"$0" -c "$1" {words}', sys.executable, program], capture_output=True, text=True, check=False
        )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert bool(ended.stdout) is said
    assert not said or json.loads(ended.stdout)["summary"] == {"total": 1, "answered": 1}


def test_what_changed_since_the_last_sweep_is_told(boxes: Door, good: Peer) -> None:
    boxes("verify")
    good.close()
    said = boxes("verify", "--compare", "last")
    assert "newly failing: GOOD" in said.out
    assert boxes("verify", "--compare", "nonsense").status == 1
