"""What is wrong with the operator's files is said clearly, costs status 2, and no host is contacted."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.lab.controller import REPOSITORY
from tests.lab.hospital import Hospital

WORKSTATION = (
    "site: west\nentities:\n"
    "  - {{ae_title: {}, kind: workstation, address: 10.40.4.1, port: 104, provides: [verification, storage]}}\n"
)
CONTACTING = (["plan"], ["apply", "--yes"], ["verify"], ["run", str(REPOSITORY / "playbooks/apply.yml")])


def spoil_title(title: str) -> Callable[[Hospital], None]:
    def spoil(hospital: Hospital) -> None:
        hospital.add("west.yml", WORKSTATION.format(title))

    return spoil


def spoil_template(template: str, name: str = "templates/notice.j2") -> Callable[[Hospital], None]:
    def spoil(hospital: Hospital) -> None:
        if template:
            hospital.add("templates/notice.j2", template)
        hospital.add("files.yml", f"files:\n  - {{template: {name}, path: /etc/notice, where: all}}\n")

    return spoil


def spoil_by_link(hospital: Hospital) -> None:
    spoil_template("{% include 'templates/out.j2' %}\n")(hospital)
    Path(hospital.folder / "templates/out.j2").symlink_to("/etc/passwd")


# Claim → (what is spoilt, words that must be said); T01 T02 T03 T04 T05 T12 T13 T18
SPOILT: dict[str, tuple[Callable[[Hospital], None], tuple[str, ...]]] = {
    "a title with a newline": (spoil_title('"WS\\nX"'), ("west.yml:3:", "ae-title")),
    "a title with a quote": (spoil_title("'WS\"1'"), ("west.yml:3:", "dcmqrscp", "target-cannot-carry")),
    "a title with a comma": (spoil_title("'WS,1'"), ("west.yml:3:", "dcmqrscp", "target-cannot-carry")),
    "a title with a command": (spoil_title("'$(id)'"), ("west.yml:3:", "dcmqrscp", "target-cannot-carry")),
    "a title that opens to all": (spoil_title("ANY"), ("west.yml:3:", "ANY")),
    "a title of 17 characters": (spoil_title("WORKSTATION_00017"), ("west.yml:3:", "ae-title")),
    "a title that exists": (spoil_title("NORTH_WS01"), ("west.yml:3:", "ae-title-duplicate", "north.yml")),
    "a title in other case": (spoil_title("North_ws01"), ("west.yml:3:", "north.yml")),
    "an undefined name": (spoil_template("{{ nobody.knows }}\n"), ("template-failed", "nobody", "notice.j2")),
    "a template's way out": (spoil_template("{% include '../fleet.yml' %}\n"), ("template-failed", "fleet.yml")),
    "a template's link out": (spoil_by_link, ("template-failed", "out.j2")),
    "a template elsewhere": (spoil_template("", "../../../../etc/passwd"), ("files.yml:2:",)),
    "an absolute template": (spoil_template("", "/etc/passwd"), ("files.yml:2:",)),
    "a way out of the sandbox": (
        spoil_template("{{ ().__class__.__base__.__subclasses__() }}\n"),
        ("template-failed", "notice.j2"),
    ),
    "a template without an end": (
        spoil_template("{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}\n"),
        ("template-failed",),
    ),
    "a flow to nobody": (
        lambda hospital: hospital.add("flows.yml", "flows:\n  - {from: NORTH_PACS, to: NOBODY, services: [storage]}\n"),
        ("flows.yml:2:", "NOBODY"),
    ),
}


def test_bad_inputs_cost_status_2_and_no_host_is_contacted(hospital: Hospital) -> None:
    before = hospital.digests()
    wrong = []
    with hospital.counting_connections() as connections:
        for number, (claim, (spoil, words)) in enumerate(SPOILT.items()):
            hospital.factory_new()
            spoil(hospital)
            rendered = claim.startswith(("a template", "an undefined", "an absolute", "a way"))
            verbs = [verb for verb in CONTACTING if not rendered or verb != ["verify"]]  # which renders nothing
            for verb in [verbs[number % len(verbs)]]:
                done = hospital.fleet(*verb)
                said = done.stdout + done.stderr
                if done.returncode != 2 or [word for word in words if word not in said] or "Traceback" in said:
                    wrong.append(f"{claim}: {verb}: status {done.returncode}: {said}")
    assert not wrong, "\n\n".join(wrong)
    assert connections == dict.fromkeys(connections, 0)
    assert hospital.digests() == before


def test_a_plan_takes_one_connection_a_host(hospital: Hospital) -> None:
    with hospital.counting_connections() as connections:
        assert hospital.plan()[0] == 0
    assert connections == dict.fromkeys(connections, 1), "one SSH connection a host"


@pytest.mark.parametrize("verb", [["plan"], ["apply", "--yes"], ["verify"], ["verify", "--drift"]])
def test_a_limit_that_matches_nothing_is_an_error_and_never_an_empty_run(hospital: Hospital, verb: list[str]) -> None:
    with hospital.counting_connections() as connections:
        done = hospital.fleet(*verb, "-l", "site=nowhere")
    assert done.returncode == 2
    assert "site=nowhere" in done.stderr
    assert connections == dict.fromkeys(connections, 0)


def test_a_playbook_s_selector_that_matches_nothing_is_an_error(hospital: Hospital) -> None:
    playbook = hospital.folder.parent / "nobody.yml"
    playbook.write_text("- name: Nobody\n  hosts: NOBODY_AT_ALL\n  steps: [validate, plan, apply, verify]\n")
    with hospital.counting_connections() as connections:
        done = hospital.fleet("run", str(playbook))
    assert done.returncode == 2
    assert "NOBODY_AT_ALL" in done.stderr
    assert connections == dict.fromkeys(connections, 0)
