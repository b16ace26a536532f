"""Slips of a newcomer: each is told once, in words that lead on, and never passes for all being well."""

import json
from pathlib import Path

import pytest

from fleet.dicom.pdu import AssociateRJ
from fleet.errors import HostError
from tests.cli.conftest import box
from tests.cli.doors import Door
from tests.verify.peers import Peer, replies, serving
from tests.workflow.scenes import HEAD, NOTE, host_rows

NORTH = HEAD + host_rows(("north-1",)) + NOTE
WORKSTATION = "entities:\n  - {ae_title: WS_1, kind: workstation, address: 127.0.30.9, port: 104}\n"


@pytest.mark.parametrize(
    "verb",
    [
        ["validate"],
        ["history"],
        ["report"],
        ["title", "CT_1"],
        ["explain-value", "CT_1.port"],
        ["inventory", "--list"],
        ["unlock", "H"],
    ],
)
def test_a_limit_is_not_offered_where_it_would_be_ignored(boxes: Door, verb: list[str]) -> None:
    assert boxes.bare(*verb, "-l", "GOOD").status == 64
    assert "--limit" not in boxes.bare(verb[0], "--help").out


@pytest.mark.parametrize("verb", ["render", "plan", "apply", "verify", "run", "sheet", "doctor"])
def test_a_limit_is_offered_where_it_holds(boxes: Door, verb: str) -> None:
    assert "--limit" in boxes.bare(verb, "--help").out


def test_a_misspelt_failed_is_told_its_neighbour(boxes: Door) -> None:
    said = boxes("verify", "-l", "@faild")
    assert (said.status, "did you mean '@failed'?" in said.err) == (64, True)


def test_strict_says_that_warnings_count(door: Door) -> None:
    door.write(HEAD + WORKSTATION.replace("kind: workstation", "kind: modality, modality: CTT"))
    assert "is valid: 0 errors" in door("validate").out
    said = door("validate", "--strict")
    assert said.status == 2
    assert "is valid:" not in said.out
    assert "test is not valid: 0 errors, 1 warning (--strict: warnings count)" in said.out


def test_a_refusal_stands_once(boxes: Door) -> None:
    said = boxes("verify", "-l", "NOBODY")
    assert said.status == 2
    assert said.out == "verify: something is wrong\n"
    assert said.err.startswith("fleet: 'NOBODY' in the selector")


def test_what_fleet_could_not_do_stands_once_too(boxes: Door) -> None:
    boxes.history.write_bytes(b"")
    said = boxes("verify")
    assert said.status == 1
    assert (said.out + said.err).count("torn") == 1


def test_a_refusal_is_in_the_document_of_a_machine(boxes: Door) -> None:
    said = boxes("verify", "-l", "NOBODY", "-o", "junit")
    assert "NOBODY" in said.out


def test_runs_of_a_verb_that_is_none_are_not_just_missing(boxes: Door) -> None:
    boxes("plan")
    boxes("run", "nightly-verify")
    said = boxes("history", "--verb", "pln")
    assert (said.status, said.out) == (2, "")
    assert "no run of verb 'pln'; there are runs of plan, run; did you mean 'plan'?" in said.err
    assert len(boxes("history", "--verb", "run").out.splitlines()) == 1


def test_a_page_of_an_invalid_inventory_says_so_and_makes_no_work_orders_of_its_errors(door: Door) -> None:
    door.write(HEAD + WORKSTATION)
    door("plan")
    door.write(HEAD + WORKSTATION.replace("104", "70000").replace("WS_1", "WS_2"))
    said = door("report")
    assert said.status == 2
    assert "the inventory is not valid (1 error; `fleet validate` shows them)" in said.out
    assert "those of the last valid one" in said.out
    assert "WS_2" not in said.out


def test_a_page_without_any_valid_inventory_leaves_the_boxes_out(door: Door) -> None:
    door.write(HEAD + WORKSTATION.replace("104", "70000"))
    door("plan")
    said = door("report")
    assert (said.status, "boxes and waivers are left out" in said.out) == (2, True)
    assert "WS_1" not in said.out
    assert "no box is open" not in said.out


def test_a_page_is_of_the_fleet_of_its_inventory(boxes: Door, good: Peer) -> None:
    good.close()
    boxes("verify")
    boxes.write(HEAD.replace("name: test", "name: other") + WORKSTATION)
    said = boxes("report")
    assert said.status == 0
    assert "GOOD" not in said.out
    assert said.out.count("never\n") == 3


def test_an_apply_that_was_refused_before_any_contact_is_not_the_last_apply(hosts: Door) -> None:
    assert hosts("apply", "--yes", "--hold-down", "0s").status == 0
    hosts.write(NORTH)
    assert hosts("apply", "--yes").status == 2
    line = next(line for line in hosts("report").out.splitlines() if line.startswith("last apply"))
    assert "exit status 0" in line


def test_the_hosts_that_a_limit_means_are_told_before_anything_happens(hosts: Door) -> None:
    hosts.machines["north-1"].failures["observe"] = HostError("it fell over", phase="observe")
    for verb in (("plan",), ("apply", "--yes", "--hold-down", "0s"), ("run", "apply")):
        said = hosts(*verb, "-l", "north-1, site=north !north-2")
        assert said.err.startswith("--limit north-1, site=north !north-2 means 1 host: north-1\n"), verb
        assert json.loads(hosts(*verb, "-l", "site=north", "-o", "json").out), "stdout stays one document"
    assert "means 2 hosts: north-1, north-2" in hosts("plan", "-l", "site=north").err
    assert "means" not in hosts("plan").err + hosts("plan", "-q", "-l", "site=north").err


def test_a_misspelt_forget_host_is_told_already_by_plan(hosts: Door) -> None:
    assert hosts("apply", "--yes", "--hold-down", "0s").status == 0
    said = hosts("plan", "--forget-host", "nroth-1")
    assert "--forget-host nroth-1: history knows no such host" in said.out
    assert "did you mean 'north-1'?" in said.out


def test_who_types_an_address_is_not_sent_to_an_inventory(door: Door) -> None:
    with serving(replies(AssociateRJ(1, 1, 7).encode()), "127.0.33.9") as peer:
        said = door.bare("echo", "-aec", "WRONG", peer.address, str(peer.port))
    assert said.status == 2
    assert "rejected" in said.out
    assert "inventory" not in said.out


def test_run_says_that_nothing_is_asked(door: Door) -> None:
    assert "Nothing is asked before a step writes" in " ".join(door.bare("run", "--help").out.split())


def test_a_pending_host_says_how_much_waits(hosts: Door) -> None:
    assert "pending  north-1  plan: 1 step would be taken" in hosts("plan").out


def test_failed_of_a_shown_file_means_this_fleets_failures(hosts: Door) -> None:
    del hosts.machines["north-2"]
    assert hosts("apply", "--yes", "--max-fail", "1", "--hold-down", "0s").status == 2
    assert "north-1" not in hosts("render", "-l", "@failed").out
    hosts.write((HEAD + host_rows(("north-1", "north-2")) + NOTE).replace("name: test", "name: other"))
    said = hosts("render", "-l", "@failed")
    assert (said.status, said.out) == (1, "")
    assert "@failed means nothing" in said.err


@pytest.mark.parametrize("word", ["-h", "--help"])
def test_help_on_a_bundle_is_help_and_no_file_of_that_name(boxes: Door, word: str) -> None:
    said = boxes.bare("relay", "bundle", word)
    assert (said.status, "Usage: fleet relay bundle FILE" in said.out) == (0, True)
    assert not Path(word).exists()


def test_a_bundle_is_not_written_to_what_looks_like_an_option(boxes: Door) -> None:
    said = boxes.bare("relay", "bundle", "--out")
    assert (said.status, "name the one file to write" in said.err, Path("--out").exists()) == (64, True, False)


def test_the_relay_s_help_tells_of_its_bundle(boxes: Door) -> None:
    assert "fleet relay bundle FILE" in " ".join(boxes.bare("relay", "--help").out.split())


def test_a_misspelt_state_of_the_queue_is_no_empty_queue(boxes: Door) -> None:
    said = boxes.bare("relay", "list", "CONFIG", "--state", "quarantine")
    assert (said.status, "'quarantined'" in said.err) == (64, True)


def test_a_list_with_semicolons_is_told_that_commas_part_it(boxes: Door, tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    path.write_text("PACS;127.0.0.1;104\n")
    said = boxes.bare("verify", "--targets", str(path))
    assert (said.status, "1 field; a line is ae_title,address,port[,calling]; commas part them" in said.out) == (
        2,
        True,
    )


def test_the_folder_above_the_inventory_is_told_as_such(door: Door, tmp_path: Path) -> None:
    assert door.bare("init", str(tmp_path / "hospital")).status == 0
    said = door.bare("validate", "-i", str(tmp_path / "hospital"))
    assert said.status == 1
    assert f"or name {tmp_path / 'hospital' / 'inventory'}" in said.err
    assert "schema-type" not in said.out + said.err


def test_init_into_a_file_says_what_to_name(door: Door, tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("A,127.0.0.1,104\n")
    said = door.bare("init", str(tmp_path / "list.csv"))
    assert (said.status, "cannot be written: Not a directory; name a folder of yours" in said.err) == (1, True)


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["aply"], "Did you mean 'apply'?"),
        (["schema", "inventry"], "did you mean 'inventory'?"),
        (["echo", "-i", "INVENTORY", "--as", "FLEET_SC", "GOOD"], "did you mean 'FLEET_SCU'?"),
        (["echo", "-i", "INVENTORY", "--as", "FLEET_SCU", "GOD"], "did you mean 'GOOD'?"),
        (["explain-value", "GOD.port"], "did you mean 'GOOD'?"),
        (["explain-value", "GOOD.verify.probes"], "did you mean verify.probe?"),
        (["trust", "gaet-1"], "did you mean 'gate-1'?"),
        (["unlock", "gaet-1"], "did you mean 'gate-1'?"),
        (["inventory", "--host", "gaet-1"], "did you mean 'gate-1'?"),
    ],
)
def test_a_misspelt_word_is_told_its_neighbour(boxes: Door, good: Peer, words: list[str], hint: str) -> None:
    boxes.write(HEAD + host_rows(("gate-1",)) + "entities:\n" + box("GOOD", good))
    words = [str(boxes.inventory) if word == "INVENTORY" else word for word in words]
    said = boxes.bare(*words) if words[0] in {"aply", "schema", "echo"} else boxes(*words)
    assert (said.status in {2, 64}, hint in said.err) == (True, True), said
    assert good.connections == 0


def test_a_misspelt_word_in_a_run_s_place_is_told_its_neighbour(boxes: Door) -> None:
    boxes("plan")
    said = boxes("history", "verfy")
    assert (said.status, "did you mean 'verify'?" in said.err) == (1, True)
    assert "did you mean" not in boxes("history", "20261120T").err
