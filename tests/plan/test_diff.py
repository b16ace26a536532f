from hypothesis import given
from hypothesis import strategies as st

from fleet.plan.diff import describe_step, diff_file, escape_text, fold_diffs, split_lines
from fleet.plan.steps import FileState, HostPlan, Plan, RestartUnit, UnitReason, WriteFile, WriteReason
from fleet.render.artifacts import RenderedHost


def state(content: bytes | None, mode: int = 0o644, owner: str | None = "root:root") -> FileState:
    return FileState(str(hash(content)), mode, owner, content)


def write(before: bytes, after: bytes) -> WriteFile:
    return WriteFile("/etc/x", WriteReason.CHANGE, state(before), state(after))


def test_a_diff_shows_lines_mode_and_owner() -> None:
    lines = diff_file("/etc/x", state(b"a\nb\n"), state(b"a\nc\n", 0o600, "dcmtk:dcmtk"))
    assert lines == [
        "--- /etc/x", "+++ /etc/x", "-mode 0644", "+mode 0600", "-owner root:root", "+owner dcmtk:dcmtk",
        "@@ -1,2 +1,2 @@", " a", "-b", "+c",
    ]  # fmt: skip


def test_a_new_and_a_removed_file_are_diffs_against_nothing() -> None:
    assert diff_file("/etc/x", None, state(b"a\n"))[0] == "--- /dev/null"
    assert diff_file("/etc/x", state(b"a\n"), None)[1] == "+++ /dev/null"


def test_a_missing_last_newline_is_seen() -> None:
    assert "+\\ No newline at end of file" in diff_file("/etc/x", state(b"a\n"), state(b"a"))


def test_content_that_the_host_did_not_send_is_said_so() -> None:
    assert "(content not shown: too large, or the host did not send it)" in diff_file("/x", state(None), state(b"a\n"))


@given(st.binary(max_size=200))
def test_no_byte_of_a_host_reaches_a_terminal_as_a_control_character(content: bytes) -> None:  # T40, T53
    for line in split_lines(content):
        assert all(char.isprintable() or char == "\t" for char in line)


def test_escape_sequences_and_bidi_controls_are_shown_as_what_they_are() -> None:  # T53
    assert escape_text("\x1b[2J\u202eabc\x9b") == "\\x1b[2J\\u202eabc\\x9b"


def test_equal_changes_are_folded_and_the_odd_one_comes_first() -> None:
    same, odd = write(b"a\n", b"b\n"), write(b"edited\n", b"b\n")
    hosts = [HostPlan(name, RenderedHost(name), (same,)) for name in ("n1", "n2", "n3")]
    hosts.insert(1, HostPlan("odd", RenderedHost("odd"), (odd,)))
    assert [fold.hosts for fold in fold_diffs(Plan(tuple(hosts)))] == [("odd",), ("n1", "n2", "n3")]


def test_a_unit_step_is_one_sentence_with_its_reason() -> None:
    assert describe_step(RestartUnit("a.service", UnitReason.OWED, "-", "-")) == ("restart a.service (owed)",)


def test_a_binary_file_is_told_by_size_and_digest_and_not_by_lines() -> None:
    before, after = FileState("0" * 64, 0o644, "root:root"), FileState("1" * 64, 0o644, "root:root", b"PK\0\x03\x04")
    assert diff_file("/usr/local/x", before, after) == [
        "--- /usr/local/x",
        "+++ /usr/local/x",
        f"-binary, bytes not asked for, sha256 {'0' * 64}",
        f"+binary, 5 bytes, sha256 {'1' * 64}",
    ]
    assert diff_file("/x", None, after)[-2:] == ["-(no file)", f"+binary, 5 bytes, sha256 {'1' * 64}"]
    assert diff_file("/x", after, None)[-2:] == [f"-binary, 5 bytes, sha256 {'1' * 64}", "+(no file)"]
