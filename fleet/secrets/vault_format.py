"""ansible-vault's format 1.1 and 1.2: AES256-CTR under PBKDF2-HMAC-SHA256, authenticated before it is opened.

A header line `$ANSIBLE_VAULT;1.1;AES256` (1.2 adds `;LABEL`), then lines of hexadecimal digits. Decoded once they
are three lines of hexadecimal digits again: salt, HMAC-SHA256 of the ciphertext, ciphertext. From the password
and the salt come 80 bytes: the cipher's key, the HMAC's key, and the counter's first block. The clear text is
padded as PKCS #7 has it (RFC 5652 section 6.3). What goes wrong is said without a byte of what was read.
"""

import hashlib
import hmac
import re
from binascii import hexlify, unhexlify
from dataclasses import dataclass
from typing import Final

MARK: Final = "$ANSIBLE_VAULT"
ITERATIONS: Final = 10_000
_KEY_BYTES: Final = 32
_BLOCK_BYTES: Final = 16
_LINE_CHARACTERS: Final = 80
_HEX = re.compile(r"(?:[0-9a-fA-F]{2})*\Z")
_LABEL = re.compile(r"[A-Za-z0-9_.@+-]{1,200}\Z")


class VaultError(Exception):
    """Why a vault's text cannot be opened, in words that hold nothing of it."""


class WrongPassword(VaultError):
    """The text is whole in form, and this password does not open it."""


@dataclass(frozen=True, slots=True)
class Envelope:
    """A vault's text taken apart; `label` is the vault id of format 1.2, a hint and nothing more."""

    salt: bytes
    mac: bytes
    ciphertext: bytes
    label: str | None = None


def is_vault_text(data: bytes) -> bool:
    """Whether a file's bytes claim to be a vault's."""
    return data.lstrip().startswith(MARK.encode())


def parse_envelope(text: str) -> Envelope:
    """The parts of a vault's text. Raises `VaultError`."""
    lines = [line.strip() for line in text.strip().splitlines()]
    label = _parse_header(lines[0] if lines else "")
    body = _decode("its body", "".join(lines[1:])).split(b"\n")
    if len(body) != 3:
        raise VaultError(
            "damaged: inside there must be salt, HMAC and ciphertext, and there are "
            f"{len(body) if body != [b''] else 0} parts; copy the whole output of ansible-vault again"
        )
    salt, mac, ciphertext = (
        _decode(name, part.decode("ascii", "replace"))
        for name, part in zip(("its salt", "its HMAC", "its ciphertext"), body, strict=True)
    )
    if not salt or len(mac) != hashlib.sha256().digest_size or not ciphertext or len(ciphertext) % _BLOCK_BYTES:
        raise VaultError("damaged: a part of it has an impossible length; copy the whole output of ansible-vault again")
    return Envelope(salt, mac, ciphertext, label)


def _parse_header(line: str) -> str | None:
    mark, *parts = line.split(";")
    if mark != MARK:
        raise VaultError(
            f"not in ansible-vault's format: it must begin with {MARK};1.1;AES256 (make it by `ansible-vault"
            " encrypt_string`)"
        )
    if any(" " in part for part in parts):  # YAML folded its lines into one
        raise VaultError("its lines stand in one: write `!vault |`, and the text below it as ansible-vault made it")
    match parts:
        case ["1.1", "AES256"]:
            return None
        case ["1.2", "AES256", label] if _LABEL.match(label):
            return label
        case ["1.1" | "1.2", cipher, *_] if cipher != "AES256":
            raise VaultError("its cipher is not AES256, which is the only one that fleet opens; encrypt it again")
        case _:
            raise VaultError("its header is none of ansible-vault's formats 1.1 and 1.2; encrypt it again")


def _decode(what: str, text: str) -> bytes:
    if not _HEX.match(text):
        odd = len(text) % 2
        why = "an odd number of hexadecimal digits" if odd else "a character that is no hexadecimal digit"
        raise VaultError(f"damaged: {what} has {why}; copy the whole output of ansible-vault again")
    return unhexlify(text)


def open_envelope(envelope: Envelope, password: bytes) -> bytes:
    """The clear bytes; nothing is decrypted before the HMAC was right. Raises `VaultError`."""
    cipher_key, mac_key, counter = _derive(password, envelope.salt)
    if not hmac.compare_digest(hmac.digest(mac_key, envelope.ciphertext, "sha256"), envelope.mac):
        raise WrongPassword(
            "the vault password does not open it (or its text was changed): give the password that it was encrypted"
            " with, or encrypt it again"
        )
    padded = _apply_cipher(envelope.ciphertext, cipher_key, counter)
    length = padded[-1]
    if not 1 <= length <= _BLOCK_BYTES or padded[-length:] != bytes((length,)) * length:
        raise VaultError("damaged: its padding is wrong although its HMAC is right; encrypt it again")
    return padded[:-length]


def seal_bytes(clear: bytes, password: bytes, salt: bytes, label: str | None = None) -> str:
    """A vault's text as ansible-vault writes it: format 1.1, or 1.2 with a label."""
    cipher_key, mac_key, counter = _derive(password, salt)
    missing = _BLOCK_BYTES - len(clear) % _BLOCK_BYTES
    ciphertext = _apply_cipher(clear + bytes((missing,)) * missing, cipher_key, counter)
    mac = hmac.digest(mac_key, ciphertext, "sha256")
    body = hexlify(b"\n".join((hexlify(salt), hexlify(mac), hexlify(ciphertext)))).decode("ascii")
    header = f"{MARK};1.2;AES256;{label}" if label else f"{MARK};1.1;AES256"
    lines = [body[at : at + _LINE_CHARACTERS] for at in range(0, len(body), _LINE_CHARACTERS)]
    return "\n".join((header, *lines, ""))


def _derive(password: bytes, salt: bytes) -> tuple[bytes, bytes, bytes]:
    length = 2 * _KEY_BYTES + _BLOCK_BYTES
    found = hashlib.pbkdf2_hmac("sha256", password, salt, ITERATIONS, length)
    return found[:_KEY_BYTES], found[_KEY_BYTES : 2 * _KEY_BYTES], found[2 * _KEY_BYTES :]


def _apply_cipher(data: bytes, key: bytes, counter: bytes) -> bytes:
    """AES-CTR (NIST SP 800-38A section 6.5): both directions are the same."""
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes  # only who opens a vault pays

    machine = Cipher(algorithms.AES(key), modes.CTR(counter)).encryptor()
    return machine.update(data) + machine.finalize()
