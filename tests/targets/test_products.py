"""What a product cannot carry is told at validation time, with target, field and reason, in the user's file."""

import string
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.dicom.ae_title import check_ae_title
from fleet.errors import Problem, Severity, UnfitValue
from fleet.targets import dcmqrscp, haproxy, keepalived, shell, systemd, wlmscpfs
from fleet.targets.engine_settings import ENGINE_SETTINGS, missing_settings, unknown_settings
from fleet.targets.text import encode_path_part, explain_control
from tests.render.building import (
    ARCHIVE,
    FLOW,
    RECEIVER,
    archive_with_callers,
    build,
    quote_yaml,
    read_inventory,
)
from tests.render.building import EXAMPLE as EXAMPLE_FOLDER

LEGAL = "".join(character for character in map(chr, range(0x20, 0x7F)) if character != "\\")
titles = st.text(LEGAL, min_size=1, max_size=16).map(str.strip).filter(bool)


def errors(folder: Path, text: str) -> list[Problem]:
    """The errors that the products of an inventory have."""
    return [problem for problem in build(folder, text).target_problems() if problem.severity is Severity.ERROR]


@pytest.mark.parametrize(
    "title", ["A B", "A,B", "A=B", 'A"B', "A'B", "(A)", "A(", "ANY", "END", "HostTable", "RW", "$(id) x"]
)
def test_a_caller_that_dcmqrscp_cannot_carry_is_named_where_it_was_typed(title: str, tmp_path: Path) -> None:
    # T02, T03
    (problem,) = errors(tmp_path, archive_with_callers({title: "10.0.0.1"}))
    assert problem.code == "target-cannot-carry"
    assert "dcmqrscp cannot carry" in problem.message
    assert repr(title) in problem.message
    assert "HostTable of ARCHIVE" in problem.message
    assert problem.location.pointer == "/entities/1/ae_title"
    assert problem.also[0].pointer == "/entities/0"


@pytest.mark.parametrize("character", sorted(set(LEGAL) - set(string.ascii_letters + string.digits)))
def test_every_legal_character_loads_and_is_refused_only_by_who_cannot_carry_it(character: str, tmp_path: Path) -> None:
    # T02
    title = f"A{character}B"
    assert check_ae_title(title) is None
    refused = bool(errors(tmp_path / "archive", archive_with_callers({title: "10.0.0.1"})))
    assert refused == (character in " ,=\"'()")
    receiver = RECEIVER.replace("kind: archive", "kind: workstation").replace("RECEIVER", "X", 1)
    text = receiver.replace("ae_title: X", f"ae_title: {quote_yaml(title)}").replace("/RECEIVER", "/area")
    assert errors(tmp_path / "receiver", text) == []


@pytest.mark.parametrize("code", [*range(0x20), 0x5C, *range(0x7F, 0x100), 0x2028, 0x2029, 0xFEFF, 0x202E])
@pytest.mark.parametrize("quote", [dcmqrscp.quote, keepalived.quote, haproxy.quote, systemd.quote_text, shell.quote])
def test_no_quoting_lets_a_line_end_within_a_value(code: int, quote: object) -> None:
    # T01: for every target, wherever the character stands.
    assert callable(quote)
    for text in (f"{chr(code)}A", f"A{chr(code)}", f"A{chr(code)}B"):
        if explain_control(text) is not None:
            with pytest.raises(UnfitValue):
                quote(text)


@given(titles)
def test_a_title_s_file_name_is_a_plain_path_part_and_its_own(title: str) -> None:
    part = encode_path_part(title)
    assert set(part) <= set(string.ascii_letters + string.digits + "_-.:")
    assert not part.startswith(".")
    decoded, rest = "", part
    while rest:
        if rest[0] == ":":
            decoded, rest = decoded + chr(int(rest[1:3], 16)), rest[3:]
        else:
            decoded, rest = decoded + rest[0], rest[1:]
    assert decoded == title


@given(st.lists(st.text(string.ascii_uppercase, min_size=1, max_size=16), min_size=1, max_size=2000))
def test_chained_groups_hold_every_row_in_order_and_no_line_is_cut(names: list[str]) -> None:
    # T16
    symbols = [dcmqrscp.make_symbol(name, number) for number, name in enumerate(names)]
    groups = dcmqrscp.chain_groups("callers", symbols)
    known = {group.symbol: group.members for group in groups}
    assert len(known) == len(groups)
    seen: set[str] = set()
    for group in groups:
        assert len(f"{group.symbol} = {', '.join(group.members)}") <= dcmqrscp.MAX_LINE_BYTES
        assert all(member in seen or member not in known for member in group.members), "used before it is defined"
        seen.add(group.symbol)

    def expand(symbol: str) -> list[str]:
        return [row for member in known[symbol] for row in expand(member)] if symbol in known else [symbol]

    assert expand(groups[-1].symbol) == symbols


@pytest.mark.parametrize("count", [1, 2, 19, 20, 21, 400, 2000])
def test_one_to_two_thousand_peers_keep_every_line_short(count: int, tmp_path: Path) -> None:
    # T16
    titles_of = {f"WORKSTATION_{number:04}": f"10.{number // 250}.0.{number % 250 + 1}" for number in range(count)}
    built = build(tmp_path, archive_with_callers(titles_of))
    lines = built.file("h1", "/etc/fleet/dcmqrscp-ARCHIVE.cfg").content.splitlines()
    assert max(map(len, lines)) <= dcmqrscp.MAX_LINE_BYTES
    assert sum(line.startswith("ae_WORKSTATION_") for line in lines) == count


def test_settings_of_each_engine_are_known_and_quotas_are_never_defaulted() -> None:
    assert unknown_settings("storescp", {"access": "RW", "storage_area": "/x", "quota": 1}) == ("access", "quota")
    assert missing_settings("dcmqrscp", {"storage_area": "/x"}) == (
        "access", "max_studies", "max_bytes_per_study", "deletes_oldest",
    )  # fmt: skip
    assert missing_settings("relay", {}) == ()
    assert set(ENGINE_SETTINGS) == {"dcmqrscp", "storescp", "wlmscpfs", "relay", "none"}


def test_a_quota_that_is_cut_in_silence_is_refused(tmp_path: Path) -> None:
    (problem,) = errors(tmp_path, ARCHIVE.replace("512mb", "2gb"))
    assert "max_bytes_per_study: 2gb" in problem.message
    assert errors(tmp_path, ARCHIVE.replace("512mb", "1gb")) == []


@pytest.mark.parametrize("option", ["--exec-on-reception", "-xcr", "-xcs"])
def test_options_that_run_commands_with_a_peer_s_words_are_refused(option: str, tmp_path: Path) -> None:
    # T80
    text = RECEIVER.replace("/RECEIVER}", f'/RECEIVER, options: ["{option}"]}}')
    (problem,) = errors(tmp_path, text)
    assert option in problem.message


def test_a_port_that_dcmtk_opens_for_root_alone_is_refused(tmp_path: Path) -> None:
    (problem,) = errors(tmp_path / "a", RECEIVER.replace("port: 11112", "port: 104"))
    assert "port 104 of RECEIVER on h1" in problem.message
    as_root = RECEIVER.replace("port: 11112", "port: 104").replace("/RECEIVER}", "/RECEIVER, user: root}")
    assert errors(tmp_path / "b", as_root) == []


def test_a_profile_without_its_file_is_refused(tmp_path: Path) -> None:
    (problem,) = errors(tmp_path, RECEIVER.replace("/RECEIVER}", "/RECEIVER, profile: Default}"))
    assert "profile" in problem.message


@pytest.mark.parametrize("title", ["A/B", ".", "..", "A B", "A:B"])
def test_a_worklist_s_title_must_be_a_folder_s_name(title: str, tmp_path: Path) -> None:
    assert wlmscpfs.explain_title(title) is not None
    text = RECEIVER.replace("engine: storescp, storage_area", "engine: wlmscpfs, data_files")
    (problem,) = errors(tmp_path, text.replace("ae_title: RECEIVER", f"ae_title: {quote_yaml(title)}"))
    assert "wlmscpfs cannot carry" in problem.message


def test_a_title_that_would_be_a_comment_cannot_be_an_archive_s_own(tmp_path: Path) -> None:
    (problem,) = errors(tmp_path, ARCHIVE.replace("ae_title: ARCHIVE", 'ae_title: "#ARCHIVE"'))
    assert "comment" in problem.message


def test_an_ipv6_peer_is_refused_by_dcmtk_of_debian_12(tmp_path: Path) -> None:
    (problem,) = errors(tmp_path, archive_with_callers({"WS1": '"2001:db8::1"'}))
    assert "IPv4 only" in problem.message


SERVICE = """\
virtual_services:
  - {name: v, entity: ARCHIVE, addresses: [10.0.0.100/24], port: 104, via: VIA, check: {calling: LB},
     vrrp: {interface: eth0, virtual_router_id: 1, priority: {h1: 100} MORE}}
"""


def service(via: str = "haproxy", more: str = "") -> str:
    return ARCHIVE + SERVICE.replace("VIA", via).replace(" MORE", more)


def test_a_sound_virtual_service_is_carried(tmp_path: Path) -> None:
    assert errors(tmp_path / "a", service()) == []
    assert errors(tmp_path / "b", service("keepalived")) == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (service("external"), "the appliance holds the address"),
        (service().replace("port: 104", "port: 11112"), "HAProxy could not bind"),
        (service("keepalived").replace("127.0.0.1}", "pacs.example}"), "real_server wants an IP address"),
        (service(more=", auth_pass: secret").replace("10.0.0.100/24", '"2001:db8::9/64"'), "RFC 5798"),
        (service().replace("calling: LB", 'calling: "@LB"'), "'@'"),
    ],
)
def test_what_the_balancers_cannot_carry_is_named(text: str, words: str, tmp_path: Path) -> None:
    assert any(words in problem.message for problem in errors(tmp_path, text))


def test_a_member_without_a_priority_is_left_to_the_rule_that_tells_it(tmp_path: Path) -> None:
    text = (
        service().replace("{h1: 100}", "{h2: 100}").replace("h1: {address", "h2: {address: 10.0.0.2}\n  h1: {address")
    )
    found = build(tmp_path, text).target_problems()
    assert not any("priority" in problem.message for problem in found)


def test_limits_of_the_products_are_warnings_that_say_who_is_concerned() -> None:
    found = read_inventory(EXAMPLE_FOLDER).target_problems()
    assert {problem.severity for problem in found} == {Severity.WARNING}
    text = "\n".join(problem.message for problem in found)
    assert "NORTH_RELAY may do all of" in text
    assert "wlmscpfs serves NORTH_MWL and cannot limit its callers" in text
    assert "deletes the oldest study of NORTH_PACS" in text


RELAY = """\
fleet: {name: test, vars: {archive: ARCHIVE, number: 5, list: [1], braces: "{PatientID} {{ x }}"}}
site: north
hosts: {h1: {address: 10.0.0.1}}
entities:
  - {ae_title: RELAY, kind: relay, provides: [storage], instances: [{host: h1, port: 104}], run: {engine: relay}}
  - {ae_title: ARCHIVE, kind: archive, address: 10.0.0.2, port: 104, provides: [storage]}
flows: [{from: RELAY, to: ARCHIVE, services: [storage]}]
relays:
  - entity: RELAY
    timezone: Europe/Lisbon
    routes:
      - {name: all, edit: [{set: InstitutionName, value: "VALUE"}], to: {primary: [{ae_title: "TARGET"}]}}
"""


def relay(value: str = "x", target: str = "{{ archive }}") -> str:
    return RELAY.replace("VALUE", value).replace("TARGET", target)


def test_a_relay_s_variables_are_checked_before_anything_is_rendered(tmp_path: Path) -> None:
    assert errors(tmp_path / "good", relay("{{ number }} {PatientID}")) == []
    for number, (text, words) in enumerate(
        [
            (relay(target="{{ archiv }}"), "'archiv' is not defined"),
            (relay("{{ list }}"), "is no text"),
            (relay("{{ archive | upper }}"), "without filters"),
            (relay("{% if 1 %}"), "without filters"),
        ]
    ):
        (problem,) = errors(tmp_path / str(number), text)
        assert words in problem.message
        assert problem.location.pointer.startswith("/relays/0/routes/0")


def test_a_relay_without_a_route_is_named(tmp_path: Path) -> None:
    text = relay().replace("entity: RELAY", "entity: ARCHIVE")
    (problem,) = errors(tmp_path, text)
    assert "RELAY without a route" in problem.message


def test_boxes_that_nobody_serves_are_not_looked_at(tmp_path: Path) -> None:
    rows = "".join(
        f"  - {{ae_title: B{number}, kind: other, address: 10.0.{number // 250}.{number % 250 + 1}, port: 104}}\n"
        for number in range(2000)
    )
    built = build(tmp_path, ARCHIVE + rows + FLOW.replace("kind=workstation", "B1"))
    assert [problem.code for problem in built.target_problems() if problem.severity is Severity.ERROR] == []
