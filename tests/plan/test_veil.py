"""Diffs of files that hold secrets: what changes is seen, what it is changes from and to is not."""

import base64
import html
import json
import time
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.plan.diff import diff_file
from fleet.plan.steps import FileState
from fleet.plan.veil import HIDDEN, Veil
from fleet.render.artifacts import RenderedFile
from fleet.secrets.fingerprint import hide_unknown, list_forms, make_fingerprint, make_key, mask_forms
from fleet.secrets.secret import Secret

OLD, NEW = "old-canary", "new-canary"
FINGERPRINT = make_fingerprint(b"k" * 32)


def rendered(text: str, *secrets: str) -> RenderedFile:
    spans = tuple((text.index(each), text.index(each) + len(each)) for each in secrets)
    return RenderedFile("h1", "/etc/x", text, mode=0o600, secrets=spans)


def diff(old: str | None, file: RenderedFile | None, mode: int = 0o600) -> list[str]:
    before = None if old is None else FileState("0", mode, "root:root", old.encode())
    after = None if file is None else FileState("1", file.mode, file.owner, file.data)
    return [line for line in diff_file("/etc/x", before, after, Veil(file, FINGERPRINT)) if line[0] in "+- ("][2:]


# T39
def test_a_secret_that_changes_is_two_fingerprints_on_the_same_line() -> None:
    file = rendered(f"a\n  pass {NEW};\nb\n", NEW)
    assert diff(f"a\n  pass {OLD};\nb\n", file) == [
        " a",
        f"-  pass {FINGERPRINT(OLD)};",
        f"+  pass {FINGERPRINT(NEW)};",
        " b",
    ]
    assert FINGERPRINT(OLD) != FINGERPRINT(NEW)


def test_what_changes_beside_a_secret_leaves_its_fingerprint_alone() -> None:
    lines = diff(f"a\npass {NEW}\n", rendered(f"b\npass {NEW}\n", NEW))
    assert lines == [f"-{HIDDEN}", "+b", f" pass {FINGERPRINT(NEW)}"]


# T39
def test_old_lines_that_are_not_like_new_ones_are_hidden() -> None:
    lines = diff(f"a\npassword={OLD}\n# was {OLD}\n", rendered(f"a\npass {NEW}\n", NEW))
    assert lines == [" a", f"-{HIDDEN}", f"-{HIDDEN}", f"+pass {FINGERPRINT(NEW)}"]


# T39
def test_a_key_is_one_fingerprint_on_either_side() -> None:
    text = f"-----BEGIN PRIVATE KEY-----\n{NEW}\n-----END PRIVATE KEY-----\n"
    file = RenderedFile("h1", "/etc/x", text, mode=0o600, secrets=((0, len(text)),))
    assert diff(text.replace(NEW, OLD), file) == [
        f"-{FINGERPRINT(text.replace(NEW, OLD))}",
        f"+{FINGERPRINT(text)}",
    ]


# T39
def test_a_file_that_nobody_else_could_read_may_have_held_a_secret() -> None:
    plain = RenderedFile("h1", "/etc/x", "a\nb\n")
    assert diff(f"a\npass {OLD}\n", plain)[2:] == [" a", f"-{HIDDEN}", "+b"]
    assert diff(f"a\npass {OLD}\n", None) == [f"-{HIDDEN}", f"-{HIDDEN}"]
    assert diff("a\nc\n", plain, 0o644) == [" a", "-c", "+b"]


def test_nothing_is_said_of_bytes_and_what_was_not_sent() -> None:
    file = rendered(f"pass {NEW}\n", NEW)
    assert diff("\0" + OLD, file) == ["(content not shown: it may hold secrets)"]
    before = FileState("0" * 64, 0o600, None, None)
    after = FileState("1" * 64, 0o600, "root:root", file.data)
    assert not any("1" * 64 in line or "0" * 64 in line for line in diff_file("/etc/x", before, after, Veil(file)))


# T39
@given(
    old=st.lists(st.text("ab =#", max_size=4).map(lambda text: f"{text}{OLD}{text}"), max_size=6),
    prefix=st.text("ab =#", max_size=4),
    suffix=st.text("ab =#", max_size=4),
    plain=st.lists(st.text("ab =#", max_size=4), max_size=4),
)
def test_no_old_and_no_new_secret_is_ever_shown(old: list[str], prefix: str, suffix: str, plain: list[str]) -> None:
    file = rendered("\n".join([*plain, f"{prefix}{NEW}{suffix}", *plain, ""]), NEW)
    shown = "\n".join(diff("\n".join([*plain, *old, ""]), file))
    assert OLD not in shown
    assert NEW not in shown


def test_fingerprints_of_one_password_are_the_same_on_every_day_and_of_another_are_not() -> None:
    one, again, other = (make_fingerprint(make_key(word)) for word in (b"a", b"a", b"b"))
    assert one("x") == again("x") != other("x")
    assert one("x") != one("y")
    assert "x" not in hide_unknown("x")


def test_known_secrets_leave_a_text_in_the_forms_that_programs_write() -> None:
    forms = list_forms([Secret("it's a canary"), Secret(None), Secret("two\nlines-of-a-canary")])
    for said in (
        "it's a canary",
        "it'\"'\"'s a canary",
        b"it's a canary".hex(),
        "lines-of-a-canary",
        "two\\nlines-of-a",
    ):
        assert "canary" not in mask_forms(f"<{said}>", forms) or said == "two\\nlines-of-a"
    assert mask_forms("nothing", ()) == "nothing"


# T39
@pytest.mark.parametrize("clear", ["canary&4711", "c@n/r+y?~?\u00ff", "CanaryA1"])
@pytest.mark.parametrize("before", ["", "u", "us", "user:", "u\u00fcser:"])
@pytest.mark.parametrize("after", ["", "@", "@h", "@host"])
def test_a_secret_inside_what_programs_encode_is_found(clear: str, before: str, after: str) -> None:
    """A header that curl prints, an URL, a page, a dump: the secret is a part of what was encoded."""
    text = before + clear + after
    forms = list_forms([Secret(clear)])
    for said in (
        base64.b64encode(text.encode()).decode(),
        base64.urlsafe_b64encode(text.encode()).decode(),
        quote(text),
        quote(text, safe=""),
        quote(text, safe="").lower() if clear.islower() else quote_plus(text),
        html.escape(text),
        text.encode().hex(),
        text.encode().hex().upper(),
        json.dumps(text),
    ):
        assert "***" in mask_forms(said, forms), said
        assert mask_forms(said, forms) != said


def test_a_line_that_a_host_made_to_keep_us_busy_is_hidden_at_once() -> None:  # T40
    content = "user AAAA pass BBBB key CCCC end\n"
    veil = Veil(RenderedFile("h", "/x", content, secrets=((5, 9), (15, 19), (24, 28))))
    began = time.process_time()
    (shown,) = veil.old_lines("user " + " pass x key y" * 5000 + "\n")
    assert shown == HIDDEN
    assert time.process_time() - began < 1
    assert veil.old_lines("user old1 pass old2 key old3 end\n") == [
        "user <secret ***> pass <secret ***> key <secret ***> end"
    ]
