"""ansible-vault's format: what the real program makes we open, what we make it opens, and damage is told."""

import os
import subprocess
import sys
from binascii import hexlify, unhexlify
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleet.secrets.vault_format import (
    VaultError,
    WrongPassword,
    is_vault_text,
    open_envelope,
    parse_envelope,
    seal_bytes,
)

ANSIBLE_VAULT = Path(sys.executable).with_name("ansible-vault")
PASSWORD = b"correct horse"
SALT = bytes(range(32))
CANARY = "canary-4711"


def ansible_vault(folder: Path, *words: str, typed: str = "") -> str:
    """What the real program prints; its own state stays in the test's folder."""
    (folder / "password").write_bytes(PASSWORD + b"\n")
    environment = {**os.environ, "HOME": str(folder), "ANSIBLE_HOME": str(folder), "ANSIBLE_LOCALHOST_WARNING": "0"}
    command = [str(ANSIBLE_VAULT), *words]
    done = subprocess.run(
        command, cwd=folder, env=environment, input=typed, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("clear", ["s3cret", "x" * 16, "zwei\nZeilen\n", "Größe €"])
def test_what_the_real_ansible_vault_encrypts_we_open(tmp_path: Path, clear: str) -> None:
    (tmp_path / "clear").write_text(clear, encoding="utf-8")
    ansible_vault(tmp_path, "encrypt", "--vault-password-file", "password", "--output", "sealed", "clear")
    data = (tmp_path / "sealed").read_bytes()
    assert is_vault_text(data)
    assert open_envelope(parse_envelope(data.decode("ascii")), PASSWORD).decode("utf-8") == clear


def test_a_label_of_the_real_ansible_vault_makes_format_1_2(tmp_path: Path) -> None:
    (tmp_path / "clear").write_text("s3cret")
    words = ("encrypt", "--vault-id", "north@password", "--encrypt-vault-id", "north", "--output", "sealed", "clear")
    ansible_vault(tmp_path, *words)
    text = (tmp_path / "sealed").read_text()
    assert text.startswith("$ANSIBLE_VAULT;1.2;AES256;north\n")
    parsed = parse_envelope(text)
    assert (parsed.label, open_envelope(parsed, PASSWORD)) == ("north", b"s3cret")


@pytest.mark.parametrize("label", [None, "north"])
@pytest.mark.parametrize("clear", ["s3cret", "", "x" * 32, "zwei\nZeilen\n"])
def test_what_we_seal_the_real_ansible_vault_opens(tmp_path: Path, clear: str, label: str | None) -> None:
    (tmp_path / "sealed").write_text(seal_bytes(clear.encode(), PASSWORD, SALT, label))
    given_id = ("--vault-id", f"{label or 'default'}@password")
    assert ansible_vault(tmp_path, "decrypt", *given_id, "--output", "-", "sealed") == clear


@settings(max_examples=25, deadline=None)
@given(clear=st.binary(max_size=200), password=st.binary(min_size=1, max_size=40), salt=st.binary(min_size=1))
def test_what_is_sealed_is_what_is_opened(clear: bytes, password: bytes, salt: bytes) -> None:
    assert open_envelope(parse_envelope(seal_bytes(clear, password, salt)), password) == clear


def test_a_wrong_password_is_told_apart_from_damage() -> None:
    with pytest.raises(WrongPassword):
        open_envelope(parse_envelope(seal_bytes(CANARY.encode(), PASSWORD, SALT)), b"wrong")


def test_a_flipped_bit_anywhere_in_the_body_is_noticed_before_anything_is_decrypted() -> None:
    header, *lines = seal_bytes(CANARY.encode(), PASSWORD, SALT).splitlines()
    salt, mac, ciphertext = (unhexlify(part) for part in unhexlify("".join(lines)).split(b"\n"))
    for name, part in (("salt", salt), ("mac", mac), ("ciphertext", ciphertext)):
        for index in (0, len(part) - 1):
            broken = bytearray(part)
            broken[index] ^= 1
            parts = {"salt": salt, "mac": mac, "ciphertext": ciphertext, name: bytes(broken)}
            body = hexlify(b"\n".join(hexlify(each) for each in parts.values())).decode()
            with pytest.raises(WrongPassword):
                open_envelope(parse_envelope(f"{header}\n{body}\n"), PASSWORD)


def envelope(inside: bytes) -> str:
    return f"$ANSIBLE_VAULT;1.1;AES256\n{hexlify(inside).decode()}\n"


DAMAGED = {
    "nothing": ("", "begin with"),
    "no vault": ("hunter2", "begin with"),
    "an older format": ("$ANSIBLE_VAULT;1.0;AES\n61\n", "header"),
    "a newer format": ("$ANSIBLE_VAULT;1.3;AES256\n61\n", "header"),
    "another cipher": ("$ANSIBLE_VAULT;1.1;AES512\n61\n", "cipher"),
    "a label in 1.1": ("$ANSIBLE_VAULT;1.1;AES256;x\n61\n", "header"),
    "no label in 1.2": ("$ANSIBLE_VAULT;1.2;AES256\n61\n", "header"),
    "an odd digit": ("$ANSIBLE_VAULT;1.1;AES256\n61626\n", "odd number"),
    "no digit": ("$ANSIBLE_VAULT;1.1;AES256\n61zz\n", "no hexadecimal digit"),
    "no body": ("$ANSIBLE_VAULT;1.1;AES256\n", "0 parts"),
    "two parts": (envelope(b"61\n62"), "2 parts"),
    "odd digits inside": (envelope(b"616\n62\n63"), "salt has an odd"),
    "a short HMAC": (envelope(b"61\n62\n63"), "impossible length"),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_damage_is_told_in_words(case: str) -> None:
    text, words = DAMAGED[case]
    with pytest.raises(VaultError, match=words):
        parse_envelope(text)


@given(cut=st.integers(0, 600))
@settings(deadline=None)
def test_a_text_cut_anywhere_is_refused_without_a_byte_of_it(cut: int) -> None:
    text = seal_bytes(CANARY.encode(), PASSWORD, SALT)
    piece = text[: min(cut, len(text) - 3)]
    with pytest.raises(VaultError) as caught:
        open_envelope(parse_envelope(piece), PASSWORD)
    body = "".join(piece.splitlines()[1:])
    assert not any(body[at : at + 8] in str(caught.value) for at in range(len(body) - 8))


@pytest.mark.parametrize("label", [None, "clinic"])
def test_a_text_whose_lines_yaml_folded_is_told_by_what_is_missing(label: str | None) -> None:
    """`!vault` without its `|`: the cipher is not to blame."""
    folded = " ".join(seal_bytes(CANARY.encode(), PASSWORD, SALT, label).split())
    with pytest.raises(VaultError, match=r"its lines stand in one: write `!vault \|`"):
        parse_envelope(folded)
