"""Strict YAML with positions: what stays as typed, what is refused and where, and that nothing harms the reader."""

import json
import os
import subprocess
import sys
import textwrap
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.documents.files import find_files, read_beside, read_documents
from fleet.documents.packaged import list_schemas, read_schema
from fleet.documents.strict_yaml import MAX_DEPTH, parse_document
from fleet.errors import UnreadableFile

REFUSED = sorted((Path(__file__).parent.parent / "cases" / "yaml" / "refused").glob("*.yml"))
NOTHING: frozenset[str] = frozenset()
TEXT_KEYS = frozenset({"ae_title"})

# What PyYAML's safe loader makes of these is in faults.md; here each stays what was typed.
SCALARS = [
    *("NO", "no", "No", "off", "YES", "True", "TRUE", "Y", "y", "on", "0123", "007", "08", "0104", "0123456789"),
    *("0x1F", "0b101", "0o17", "1_000", "1_1", "1E3", "1e3", "1E5", "1.0e+3", "1.5", "12:30:45", "22:30", "11:11"),
    *("07:30", "190:20:30", "2026-01-01", "2026-01-01T00:00:00Z", "~", "Null", "NULL", ".inf", ".nan", "=", "+1", "-0"),
    "9999999999999999999",
]


def read_value(text: str, text_keys: frozenset[str] = NOTHING) -> Any:
    document, problems = parse_document(text.encode(), "t.yml", text_keys)
    assert problems == []
    assert document is not None
    return document.value


def codes_of(data: bytes) -> list[str]:
    return [problem.code for problem in parse_document(data, "t.yml", NOTHING)[1]]


# T07
@pytest.mark.parametrize("scalar", SCALARS)
@pytest.mark.parametrize("key", ["ae_title", "port", "label", "vars"])
def test_a_scalar_stays_the_text_that_was_typed(scalar: str, key: str) -> None:
    assert read_value(f"{key}: {scalar}", TEXT_KEYS) == {key: scalar}


# T07
@pytest.mark.parametrize(("typed", "value"), [("104", 104), ("0", 0), ("-1", -1), ("true", True), ("false", False)])
def test_only_canonical_integers_and_two_booleans_are_more_than_text(typed: str, value: object) -> None:
    assert read_value(f"port: {typed}") == {"port": value}
    assert read_value(f"ae_title: {typed}", TEXT_KEYS) == {"ae_title": typed}
    assert read_value(f'port: "{typed}"') == {"port": typed}


def test_nothing_typed_is_nothing_also_where_text_is_wanted() -> None:
    assert read_value("port:\nae_title:\nother: null", TEXT_KEYS) == {"port": None, "ae_title": None, "other": None}
    assert read_value("ae_title: null", TEXT_KEYS) == {"ae_title": "null"}
    assert read_value("") is None


def test_text_keys_reach_into_lists_and_end_at_vars() -> None:
    assert read_value("ae_title: [1, {a: 2}]\nvars: {ae_title: 3}", TEXT_KEYS) == {
        "ae_title": ["1", {"a": "2"}],
        "vars": {"ae_title": 3},
    }


# T06, T08, T09, T10, T11: each file says in its first lines what is refused, and where
@pytest.mark.parametrize("case", REFUSED, ids=lambda path: path.stem)
def test_a_case_is_refused_at_its_line_and_column(case: Path) -> None:
    data = case.read_bytes()
    wanted = [line[10:].decode().strip() for line in data.splitlines() if line.startswith(b"# expect:")]
    found = parse_document(data, case.name, NOTHING)[1]
    assert [f"{each.location.line}:{each.location.column} {each.code}" for each in found] == wanted


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("fleet:\n\tname: a\n", "(a tab: indent with spaces)"),
        ("fleet:\n- a: b\n\tc: d\n", "(a tab: indent with spaces)"),
        (
            "fleet:\n  a: b\n    c: d\n",
            "(either this line is indented too far, or a text with `: ` in it lacks quotes)",
        ),
        ("fleet: new: CT\n", "a text with `: ` in it lacks quotes)"),
        ("hosts:\n  - a: b\n  c: d\n", "not indented like those before it, which begin at 2:3)"),
        ("a:\n  - {b: c\n  - {d: e}\n", "begins at 2:5)"),
        ('a:\n  - {b: "c}\n  - {d: e}\n', "begins at 2:9)"),
        ("a: {b: new: CT}\n", "begins at 1:4)"),
        ("a: @b\n", "cannot start any token; nothing"),
    ],
)
def test_what_is_no_yaml_is_told_with_what_was_probably_typed(text: str, hint: str) -> None:
    (problem,) = parse_document(text.encode(), "t.yml", NOTHING)[1]
    assert (problem.code, hint in problem.message) == ("yaml-syntax", True), problem


def test_every_code_of_the_reader_has_a_case() -> None:
    told = {
        line.split()[-1] for case in REFUSED for line in case.read_text("latin-1").splitlines() if "# expect" in line
    }
    assert told >= {"yaml-alias", "yaml-merge-key", "yaml-tag", "yaml-key", "yaml-too-deep", "yaml-duplicate-key"}
    assert told >= {"yaml-several-documents", "yaml-syntax", "not-utf8", "text-hidden-character", "text-not-normalized"}


# T06
@given(
    path=st.lists(st.integers(0, 3), max_size=MAX_DEPTH // 2 - 2),
    key=st.sampled_from(["a", "NO", "12", "x y"]),
    flow=st.booleans(),
)
def test_a_key_twice_is_told_at_every_depth_with_both_lines(path: list[int], key: str, flow: bool) -> None:
    inner = f"{{\n{key}: 1,\n{key}: 2}}" if flow else None
    if inner is not None:
        text = "".join("[" * (step % 2) + "{k: " for step in path) + inner
        text += "".join("}" + "]" * (step % 2) for step in reversed(path))
    else:
        pads = [" " * depth for depth in range(len(path) + 1)]
        text = "".join(f"{pad}k:\n" for pad in pads[:-1]) + f"{pads[-1]}{key}: 1\n{pads[-1]}{key}: 2\n"
    _, problems = parse_document(text.encode(), "t.yml", NOTHING)
    assert [problem.code for problem in problems] == ["yaml-duplicate-key"]
    assert problems[0].location.line == problems[0].also[0].line + 1


# T01
@given(st.characters(max_codepoint=0x1F, exclude_characters="\n\t"), st.integers(0, 3))
def test_an_escaped_control_character_is_refused_in_any_text(character: str, position: int) -> None:
    text = "abc"[:position] + f"\\x{ord(character):02x}" + "abc"[position:]
    assert codes_of(f'ae_title: "{text}"'.encode()) == ["text-hidden-character"]


# T11
@pytest.mark.parametrize(
    "code_point",
    [
        0xAD,
        0x34F,
        0x61C,
        0x115F,
        0x1160,
        0x180B,
        0x180E,
        0x200B,
        0x200D,
        0x202E,
        0x2060,
        0x2064,
        0x2069,
        0x3164,
        0xFE00,
        0xFE0F,
        0xFEFF,
        0xFFA0,
        0xE0000,
        0xE0041,
        0xE007F,
        0xE0100,
        0xE01EF,
    ],
)
def test_a_character_that_nobody_sees_is_refused_as_typed_and_as_escaped(code_point: int) -> None:
    assert codes_of(f"contact: a{chr(code_point)}b".encode()) == ["text-hidden-character"]
    assert codes_of(f"a: 1  # a{chr(code_point)}b".encode()) == ["text-hidden-character"]
    assert codes_of(f'contact: "a\\U{code_point:08X}b"'.encode()) == ["text-hidden-character"]


# T11
@given(st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=20))
def test_text_is_taken_as_typed_only_in_normal_form_c(text: str) -> None:
    quoted = json.dumps({"a": text}, ensure_ascii=False)
    document, problems = parse_document(quoted.encode(), "t.yml", NOTHING)
    assert document is not None
    hidden = [problem for problem in problems if problem.code == "text-hidden-character"]
    assert document.value == {"a": text}
    if not hidden:
        assert bool(problems) == (not unicodedata.is_normalized("NFC", text))


# T11
def test_a_byte_order_mark_at_the_start_is_no_part_of_the_text() -> None:
    document, problems = parse_document(b"\xef\xbb\xbfsite: north\n", "t.yml", NOTHING)
    assert problems == []
    assert document is not None
    assert document.value == {"site": "north"}
    assert str(document.locate(("site",), key=True)) == "t.yml:1:1"


@given(st.binary(max_size=200))
def test_no_bytes_make_the_reader_raise(data: bytes) -> None:
    document, problems = parse_document(data, "t.yml", NOTHING)
    assert document is not None or problems


@given(
    st.recursive(
        st.text("ab:{}[]#&*!|>-? \n'\"%@`,", max_size=8), lambda inner: st.lists(inner, max_size=4).map("\n".join)
    )
)
def test_no_text_of_yaml_signs_makes_the_reader_raise(text: str) -> None:
    document, problems = parse_document(text.encode(), "t.yml", NOTHING)
    assert document is not None or problems


def test_a_value_is_located_by_its_own_place_and_a_key_by_its_own() -> None:
    text = "hosts:\n  a:\n    address: 10.0.0.1\nentities:\n  - {ae_title: A,\n     kind: other}\n"
    document, _ = parse_document(text.encode(), "t.yml", NOTHING)
    assert document is not None
    assert str(document.locate(("hosts", "a", "address"))) == "t.yml:3:14"
    assert str(document.locate(("hosts", "a", "address"), key=True)) == "t.yml:3:5"
    assert str(document.locate(("entities", 0, "kind"))) == "t.yml:6:12"
    assert str(document.locate(("entities", 0, "port"))) == "t.yml:5:5"
    assert document.locate(("hosts", "a/b~")).pointer == "/hosts/a~1b~0"


# T08, T09
@pytest.mark.parametrize(
    ("make", "code"),
    [
        ("b'a: ' + b'[' * 50_000", "yaml-too-deep"),
        ("b'a: ' + b'{a: ' * 50_000", "yaml-too-deep"),
        ("b''.join(b' ' * n + b'- \\n' for n in range(2_000))", "yaml-too-deep"),
        ("b'? ' * 50_000", "yaml-key"),
        ("b'- ' * 50_000", "yaml-too-deep"),
        ("b'a: ' + b'x' * (100 * 1024 * 1024)", "yaml-too-large"),
        ("b'a: ' + b'x' * (15 * 1024 * 1024)", "yaml-too-large"),
        ("b'#' * (17 * 1024 * 1024)", "yaml-too-large"),
        ("b'a: &a [' + b'x, ' * 9 + b']\\n' + b'b: [*a]'", "yaml-alias"),
        ("b'a: &a [*a]'", "yaml-alias"),
    ],
)
def test_a_hostile_file_costs_little_and_never_crashes(tmp_path: Path, make: str, code: str) -> None:
    script = f"""
        import resource, sys, time
        from pathlib import Path
        from fleet.documents.files import read_documents
        Path(sys.argv[1]).write_bytes({make})
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        with open("/proc/self/clear_refs", "w") as refs:
            refs.write("5")
        started = time.process_time()
        _, problems = read_documents(Path(sys.argv[1]), frozenset())
        spent = time.process_time() - started
        peak = [line for line in open("/proc/self/status") if line.startswith("VmHWM")]
        print(",".join(problem.code for problem in problems), spent, peak[0].split()[1])
        sys.exit(2)
    """
    path = tmp_path / "hostile.yml"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent.parent)}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), str(path)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    found, spent_s, peak_kilobytes = done.stdout.split()
    assert found == code
    large = "1024 * 1024" in make
    assert float(spent_s) < (0.5 if large else 0.1)
    assert int(peak_kilobytes) < (150_000 if large else 80_000)


def test_files_are_read_in_path_order_and_hidden_ones_left_out(tmp_path: Path) -> None:
    for name in ("b.yml", "a/z.yaml", "a.yml", ".git/x.yml", ".hidden.yml", "c.txt", "a/b.yml.orig"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("site: x\n")
    assert [path.relative_to(tmp_path).as_posix() for path in find_files(tmp_path)] == ["a/z.yaml", "a.yml", "b.yml"]


def test_no_inventory_and_an_empty_one_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UnreadableFile, match="fleet init"):
        find_files(tmp_path)
    with pytest.raises(UnreadableFile, match="no such inventory here; go to the folder that holds `inventory/`"):
        find_files(tmp_path / "missing")


# T12
@pytest.mark.parametrize("inside", [".", "sites"])
def test_a_link_that_leads_out_is_refused_wherever_it_stands(tmp_path: Path, inside: str) -> None:
    outside = tmp_path / "outside.yml"
    outside.write_text("site: x\n")
    root = tmp_path / "inventory"
    (root / inside).mkdir(parents=True)
    (root / inside / "link.yml").symlink_to(outside)
    documents, problems = read_documents(root, NOTHING)
    assert [problem.code for problem in problems] == ["path-escapes"]
    assert documents.documents == ()
    assert documents.unread == (str(root / inside / "link.yml"),)


# T12
def test_a_folder_by_link_is_refused_and_not_left_out_in_silence(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    root = tmp_path / "inventory"
    root.mkdir()
    (root / "fleet.yml").write_text("fleet: {name: a}\n")
    (root / "sites").symlink_to(tmp_path / "real")
    _, problems = read_documents(root, NOTHING)
    assert [problem.code for problem in problems] == ["path-escapes"]


def test_an_inventory_that_is_itself_a_link_is_read(tmp_path: Path) -> None:
    (tmp_path / "real.yml").write_text("fleet: {name: a}\n")
    (tmp_path / "link.yml").symlink_to(tmp_path / "real.yml")
    documents, problems = read_documents(tmp_path / "link.yml", NOTHING)
    assert (len(documents.documents), problems) == (1, [])


# T12
@pytest.mark.parametrize(
    "name", ["../secret", "/etc/passwd", "a/../../secret", "link", "folder", "pipe", "gone", "loop", "a\x00b"]
)
def test_a_file_beside_must_be_a_regular_file_below_the_folder(tmp_path: Path, name: str) -> None:
    root = tmp_path / "inventory"
    (root / "folder").mkdir(parents=True)
    (root / "a").mkdir()
    (tmp_path / "secret").write_text("s")
    (root / "link").symlink_to(tmp_path / "secret")
    (root / "loop").symlink_to(root / "loop")
    os.mkfifo(root / "pipe")
    with pytest.raises(ValueError, match=r"must be|leads out|no regular|cannot be read|null"):
        read_beside(root, name)


def test_a_file_beside_is_read_through_links_that_stay_inside(tmp_path: Path) -> None:
    (tmp_path / "real.pem").write_text("x")
    (tmp_path / "link.pem").symlink_to("real.pem")
    assert read_beside(tmp_path, "link.pem") == b"x"


def test_all_files_together_have_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fleet.documents.files.MAX_TOTAL_BYTES", 30)
    for name in "abc":
        (tmp_path / f"{name}.yml").write_text("site: north # x\n")
    _, problems = read_documents(tmp_path, NOTHING)
    assert [problem.code for problem in problems] == ["yaml-too-large"]


def test_the_digest_of_a_folder_names_every_file(tmp_path: Path) -> None:
    (tmp_path / "a.yml").write_text("site: north\n")
    (tmp_path / "b.yml").write_text("{")
    documents, _ = read_documents(tmp_path, NOTHING)
    assert [name for name, _ in documents.digests] == ["a.yml", "b.yml"]
    assert documents.unread == (str(tmp_path / "b.yml"),)


def test_the_schemas_that_ship_can_be_listed_and_read() -> None:
    assert "inventory" in list_schemas()
    assert read_schema("inventory")["$schema"] == "https://json-schema.org/draft/2020-12/schema"
