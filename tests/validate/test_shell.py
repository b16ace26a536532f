"""What is refused as no command is refused by `sh -n` too, and what shells accept passes."""

import random
import subprocess

import pytest

from fleet.validate.shell import explain_command

GOOD = [
    "systemctl reload x",
    "a && b || c; d &",
    "if a; then b; elif c; then d; else e; fi",
    "for i in 1 2; do echo $i; done",
    "while read -r x; do :; done <f",
    "case x in a|b) c ;; (d) ;; *) e ;; esac",
    "{ a; } >b 2>&1",
    "(a; b) | c",
    "f() { a; }; f",
    "echo 'it is' \"$x $(a \"b c\") ${y:-z}\" `a \\`b\\``",
    "echo $((1+(2*3))) \\' fi then # done",
    "test \"$(a | b)\" = '('",
    "x=$(case a in a) b;; esac)",
    'nc -z 127.0.0.1 104 && [ "$(id -u)" = 0 ]',
]  # fmt: skip
BAD = [
    "if a; then b", "if a then b; fi", "for i in a", "case x in a", "{ a", "(a", "a)", "a &&", "&& a", "| a", "a |",
    "echo 'x", 'echo "x', "echo $(a", "echo `a", "echo ${x", "a ;; b", "a >", "fi", "done", "; a", "&", "f( a", "{ }",
]  # fmt: skip


def shell_reads(text: str) -> bool:
    return subprocess.run(["sh", "-n", "-c", text], capture_output=True, check=False, timeout=10).returncode == 0


@pytest.mark.parametrize("text", GOOD)
def test_what_a_shell_reads_passes(text: str) -> None:
    assert shell_reads(text)
    assert explain_command(text) is None


@pytest.mark.parametrize("text", BAD)
def test_what_no_shell_reads_is_explained(text: str) -> None:
    assert not shell_reads(text)
    assert explain_command(text)


def test_nothing_is_refused_that_a_shell_would_read() -> None:
    dice = random.Random(20261121)
    text = "a if then fi else for in do done case esac { } ( ) ; && || | & ;; > < 2> ' ` ${ $( x ! while # \\ \""
    words = list(text.split(" "))
    for _ in range(400):
        text = " ".join(dice.choice(words) for _ in range(dice.randint(1, 6)))
        if (reason := explain_command(text)) is not None:
            assert not shell_reads(text), (text, reason)
