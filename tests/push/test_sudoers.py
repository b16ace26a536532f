import os
import shutil
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import pytest

from fleet.errors import HostError
from fleet.inventory.model import Host, SshSettings
from fleet.push.script import parse_reply
from fleet.push.sudoers import BECOME_COMMAND, format_sudoers

HOST = Host("north-pacs-1", "10.0.0.1", "north", SshSettings("fleet", become="sudo"))


def test_the_rule_names_the_very_command_that_is_run() -> None:
    assert BECOME_COMMAND == "sudo -n -- /bin/sh -s"
    assert "\nfleet ALL=(root) NOPASSWD: /bin/sh -s\n" in format_sudoers(HOST)


def test_visudo_accepts_the_rule(tmp_path: Path) -> None:
    visudo = shutil.which("visudo", path="/usr/sbin:/usr/bin")
    if visudo is None:
        pytest.skip("visudo is not installed (tests/debian-packages.txt)")
    rule = tmp_path / "rule"
    rule.write_text(format_sudoers(HOST))
    rule.chmod(0o440)
    assert subprocess.run([visudo, "-cf", str(rule)], check=False, capture_output=True, timeout=10).returncode == 0


def test_a_host_without_sudo_needs_no_rule() -> None:
    text = format_sudoers(replace(HOST, ssh=SshSettings("root", become="none")))
    assert all(line.startswith("#") for line in text.splitlines())


# ALL is a legal user name for Linux, and a keyword for sudoers(5).
@pytest.mark.parametrize("user", ["ALL", "fleet ALL", "%wheel", "a\nroot"])
def test_a_user_that_would_write_another_rule_is_refused(user: str) -> None:  # T22
    with pytest.raises(HostError):
        format_sudoers(replace(HOST, ssh=SshSettings(user, become="sudo")))


# In a mount namespace of its own: this machine's sudoers are not touched.
AS_PLAIN_USER = """
mount -t tmpfs -o mode=750 tmpfs /etc/sudoers.d && cp "$0" /etc/sudoers.d/fleet && chmod 440 /etc/sudoers.d/fleet &&
export FLEET_ROOT=/elsewhere &&
exec setpriv --reuid=games --regid=games --clear-groups "$@"
"""


def as_plain_user(rule: Path, *command: str) -> "subprocess.CompletedProcess[str]":
    namespace = ["unshare", "--mount", "--propagation", "private", "sh", "-c", AS_PLAIN_USER, str(rule)]
    script = 'echo "$(id -u) ${FLEET_ROOT-dropped}"\n'
    return subprocess.run([*namespace, *command], input=script, capture_output=True, text=True, check=False, timeout=20)


@pytest.mark.skipif(os.geteuid() != 0, reason="a mount namespace and another user need root")
@pytest.mark.skipif(shutil.which("sudo") is None, reason="sudo is not installed (tests/debian-packages.txt)")
def test_the_rule_lets_scripts_in_and_nothing_else(tmp_path: Path) -> None:  # T38
    rule = tmp_path / "rule"
    rule.write_text(format_sudoers(replace(HOST, ssh=SshSettings("games", become="sudo"))))

    def run(*command: str) -> "subprocess.CompletedProcess[str]":
        return as_plain_user(rule, *command)

    assert run(*BECOME_COMMAND.split()).stdout == "0 dropped\n"
    for other in (["/bin/sh", "-c", "id"], ["/bin/sh"], ["/bin/sh", "-s", "x"], ["/usr/bin/id"]):
        refused = run("sudo", "-n", "--", *other)
        assert (refused.returncode, refused.stdout) == (1, "")


REFUSALS = {
    "a-password": ("games ALL=(root) /bin/sh -s\n", "sudo asks for a password"),
    "a-terminal": ("Defaults:games requiretty\ngames ALL=(root) NOPASSWD: /bin/sh -s\n", "requiretty"),
    "another-command": ("games ALL=(root) NOPASSWD: /usr/bin/id\n", "sudo asks for a password"),
    "nobody": ("daemon ALL=(root) NOPASSWD: /bin/sh -s\n", "sudo"),
    "a-lecture": ("Defaults lecture=always\ngames ALL=(root) /bin/sh -s\n", "sudo asks for a password"),
}


@pytest.mark.skipif(os.geteuid() != 0, reason="a mount namespace and another user need root")
@pytest.mark.skipif(shutil.which("sudo") is None, reason="sudo is not installed (tests/debian-packages.txt)")
@pytest.mark.parametrize("case", REFUSALS)
def test_a_real_sudo_that_wants_more_is_named_at_once(tmp_path: Path, case: str) -> None:  # T38
    rule = tmp_path / "rule"
    rule.write_text(REFUSALS[case][0])
    began = time.monotonic()
    refused = as_plain_user(rule, *BECOME_COMMAND.split())
    assert time.monotonic() - began < 10
    with pytest.raises(HostError, match=REFUSALS[case][1]) as caught:
        parse_reply(refused.stdout.encode(), "observe", stderr=refused.stderr.encode(), status=refused.returncode)
    assert "fleet doctor --sudoers" in str(caught.value)


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("sudo: ein Passwort ist notwendig\n", "sudo does not let us in"),
        ("sh: 1: sudo: not found\n", "the host has no sudo"),
        ("bash: line 1: sudo: command not found\n", "the host has no sudo"),
        ("sudo-rs: interactive authentication is required\n", "sudo does not let us in"),
    ],
)
def test_what_sudo_says_in_any_language_is_told_as_its_refusal(said: str, told: str) -> None:  # T38
    with pytest.raises(HostError, match=told):
        parse_reply(b"", "observe", stderr=said.encode(), status=1)
