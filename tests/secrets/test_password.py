"""The vault password's ways in, as Ansible has them."""

from pathlib import Path

import pytest

from fleet.errors import UnreadableFile, UsageError
from fleet.secrets.password import read_password_file, run_password_command
from fleet.secrets.vault import Vault
from fleet.secrets.vault_format import seal_bytes


def test_a_file_is_read_without_its_outer_spaces(tmp_path: Path) -> None:
    path = tmp_path / "password"
    path.write_text("  two words\n\n")
    assert read_password_file(path) == b"two words"


def test_an_executable_file_is_run_and_loses_its_line_ends_alone(tmp_path: Path) -> None:
    path = tmp_path / "password"
    path.write_text("#!/bin/sh\necho ' spaced '\n")
    path.chmod(0o700)
    assert read_password_file(path) == b" spaced "


def test_a_command_is_words_and_no_shell(tmp_path: Path) -> None:
    script = tmp_path / "a script"
    script.write_text('#!/bin/sh\nprintf "%s|" "$@"\n')
    script.chmod(0o700)
    assert run_password_command(f"'{script}' 'a b' $HOME ';id'") == b"a b|$HOME|;id|"


@pytest.mark.parametrize(
    ("content", "mode", "words"),
    [
        ("", 0o600, "empty password"),
        ("#!/bin/sh\nexit 3\n", 0o700, "status 3"),
        ("#!/bin/sh\n", 0o700, "empty password"),
        ("#!/nowhere\n", 0o700, "cannot be run"),
        ("x" * 70_000, 0o600, "no password"),
    ],
)
def test_what_gives_no_password_says_so(tmp_path: Path, content: str, mode: int, words: str) -> None:
    path = tmp_path / "password"
    path.write_text(content)
    path.chmod(mode)
    with pytest.raises(UnreadableFile, match=words):
        read_password_file(path)


def test_what_is_not_there_says_so(tmp_path: Path) -> None:
    for path in (tmp_path / "absent", tmp_path):
        with pytest.raises(UnreadableFile, match="is not there or is no regular file"):
            read_password_file(path)
    with pytest.raises(UsageError, match="split"):
        run_password_command("'unclosed")
    with pytest.raises(UsageError, match="empty"):
        run_password_command(" ")


def test_the_password_is_asked_for_once_and_only_when_needed() -> None:
    asked: list[int] = []

    def ask() -> bytes:
        asked.append(1)
        return b"pw"

    vault = Vault(ask)
    assert not asked
    text = seal_bytes(b"clear", b"pw", b"salt")
    assert [vault.open_text(text).reveal(), vault.open_text(text).reveal()] == ["clear", "clear"]
    assert asked == [1]
    assert vault.unopened == 0


def test_without_a_password_values_stay_closed_and_are_counted() -> None:
    vault = Vault()
    assert not vault.open_text(seal_bytes(b"clear", b"pw", b"salt")).is_open
    assert vault.unopened == 1
    assert list(vault.known) == []
