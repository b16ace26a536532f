"""--ssh-config: read by the verbs that contact hosts, told where it is not honoured, and refused by all others."""

from pathlib import Path

import pytest

from tests.cli.doors import Door
from tests.push.ssh_server import find_free_port

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f"


@pytest.fixture
def closed(door: Door, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Door:
    """Two hosts where nothing listens, and a person's own folder."""
    monkeypatch.setenv("HOME", str(tmp_path))
    rows = "".join(
        f"  {name}: {{address: 127.0.0.{number}, ssh: {{port: {find_free_port()}}}, host_keys: [{KEY}]}}\n"
        for number, name in enumerate(("one", "two"), start=1)
    )
    door.write(f"fleet: {{name: t}}\nsite: a\nhosts:\n{rows}")
    (tmp_path / ".ssh").mkdir()
    return door


def write(door: Door, text: str, name: str = ".ssh/config") -> Path:
    (door.root / name).write_text(text)
    return door.root / name


def test_what_is_not_honoured_is_a_warning_once_for_all_hosts(closed: Door) -> None:
    write(closed, "Host 127.0.0.*\n ProxyCommand nc %h %p\n")
    said = closed("doctor")
    assert said.err.count("fleet: warning:") == 1
    assert ".ssh/config:2: proxycommand is not honoured" in said.err
    assert "warning" not in closed("doctor", "-q").err


def test_another_file_or_none_takes_the_place_of_the_usual_ones(closed: Door) -> None:
    write(closed, "Host *\n ProxyCommand nc %h %p\n")
    assert "warning" not in closed("doctor", "--ssh-config", "none").err
    other = write(closed, "Host *\n ControlMaster auto\n", "other")
    said = closed("doctor", "--ssh-config", str(other))
    assert "controlmaster is not honoured" in said.err
    assert "proxycommand" not in said.err


@pytest.mark.parametrize("text", ["Host *\n Port x\n", "User\n"])
def test_a_file_that_ssh_would_refuse_contacts_nobody(closed: Door, text: str) -> None:
    write(closed, text)
    said = closed("doctor")
    assert (said.status, "no host was contacted" in said.err) == (1, True)
    assert ".ssh/config:" in said.err


def test_a_file_that_is_named_has_to_be_there(closed: Door) -> None:
    said = closed("doctor", "--ssh-config", str(closed.root / "none-such"))
    assert (said.status, "none-such cannot be read" in said.err) == (1, True)


@pytest.mark.parametrize("verb", ["validate", "render", "inventory"])
def test_verbs_that_contact_nobody_take_no_ssh_config(closed: Door, verb: str) -> None:
    assert closed(verb, "--ssh-config", "none").status == 64


@pytest.mark.parametrize("verb", ["plan", "apply", "verify", "run", "unlock", "trust", "doctor"])
def test_verbs_that_contact_hosts_take_one(closed: Door, verb: str) -> None:
    said = closed.bare(verb, "--help")
    assert "--ssh-config FILE" in said.out
