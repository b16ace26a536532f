"""A secret is three asterisks to everything but `reveal()`, and who calls that is a short list."""

import copy
import json
import pickle
import re
from pathlib import Path

import pytest

from fleet.errors import Location
from fleet.secrets.secret import MASK, SealedSecret, Secret

FLEET = Path(__file__).parents[2] / "fleet"
CANARY = "canary-4711"
# Who may know a clear value, and what for. A new line here is a decision: say why.
REVEALERS = {
    "render/certificates.py",  # a key is a file of the host that shows it
    "render/slots.py",  # quotes it into a file of a host
    "secrets/fingerprint.py",  # to find it in what programs and hosts say, and take it out
    "validate/rules/certificate_sound.py",  # whether a key belongs to its certificate
    "validate/rules/secret_in_clear.py",  # whether keepalived takes a password
    "workflow/targets.py",  # the key of a client certificate, for OpenSSL by way of a memfd
}


# T39
def test_whatever_makes_text_of_a_secret_gets_asterisks() -> None:
    secret = Secret(CANARY)
    made = [
        str(secret),
        repr(secret),
        f"{secret}",
        f"{secret!r:>20}",
        "%s %r" % (secret, secret),  # noqa: UP031 - old code formats so
        f"{secret:x}",
    ]
    made += [str([secret]), str({"a": secret}), repr(Location("a")), json.dumps({"a": secret}, default=str)]
    assert not any(CANARY in text for text in made)
    assert all(MASK in text for text in made[:4])
    with pytest.raises(TypeError):
        json.dumps({"a": secret})


# T39
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_secret_is_not_pickled(protocol: int) -> None:
    with pytest.raises(TypeError, match="never pickled"):
        pickle.dumps({"a": [Secret(CANARY)]}, protocol)


def test_copies_are_the_secret_itself() -> None:
    secret = Secret(CANARY)
    assert copy.copy(secret) is secret
    assert copy.deepcopy({"a": [secret]})["a"][0] is secret


def test_equal_secrets_are_equal_and_no_text_is_one() -> None:
    assert Secret("a") == Secret("a", Location("x", 1, 1))
    assert Secret("a") != Secret("b")
    assert Secret("a") != "a"
    assert len({Secret("a"), Secret("a"), Secret("b")}) == 2
    assert Secret(None, Location("x", 1, 1)) == Secret(None, Location("x", 1, 1))
    assert Secret(None, Location("x", 1, 1)) != Secret(None, Location("x", 2, 1))
    assert Secret(None) != Secret("a")


def test_a_closed_secret_says_where_it_is_and_what_to_give() -> None:
    with pytest.raises(SealedSecret, match=r"at a\.yml:3:5 .*--vault-password-file"):
        Secret(None, Location("a.yml", 3, 5)).reveal()
    assert Secret("a").reveal() == "a"


def test_who_reveals_secrets_is_a_short_list() -> None:
    found = {
        path.relative_to(FLEET).as_posix()
        for path in FLEET.rglob("*.py")
        if re.search(r"\.reveal\(", path.read_text(encoding="utf-8"))
    }
    assert found == REVEALERS


def test_nobody_reaches_behind_reveal() -> None:
    for path in FLEET.rglob("*.py"):
        if path != FLEET / "secrets" / "secret.py":
            assert not re.search(r"secret\w*\._text\b", path.read_text(encoding="utf-8")), path
