import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from fleet.errors import HostError
from fleet.inventory.model import Host, SshSettings
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
