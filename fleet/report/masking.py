"""What was typed, without what nobody may read later (T39)."""

import re
from collections.abc import Iterable, Iterator

MASK = "***"

# `+pw` and `-pem`'s password are echoscu's; the others are what options that carry secrets are called everywhere.
_SECRET_OPTION = re.compile(
    r"(?:\+pw|--?(?:[a-z0-9]+-)*(?:pass|passwd|password|passphrase|secret|token|key-password|auth-pass)(?:-[a-z0-9]+)*)\Z",
    re.IGNORECASE,
)
_SECRET_FILE = re.compile(r"-file\Z", re.IGNORECASE)
_ADDRESS = re.compile(r"([a-z][a-z0-9+.-]*://[^/@:\s]*):[^@\s]*@", re.IGNORECASE)

# keepalived.conf's one secret (keepalived.conf(5)); both sides of a diff hold it, with or without quotes.
_AUTH_PASS = re.compile(r"(\bauth_pass\s+)(?!<secret [0-9a-f*]+>$)\S.*")


def mask_secrets(line: str) -> str:
    """A line of a file's diff, as terminals, reports and the history may hold it."""
    return _AUTH_PASS.sub(rf"\1{MASK}", line)


def mask_arguments(argv: Iterable[str]) -> tuple[str, ...]:
    """The words of a command line, secrets replaced: values of secret options, passwords in addresses."""
    return tuple(_masked(argv))


def _masked(argv: Iterable[str]) -> Iterator[str]:
    hide_next = False
    for word in argv:
        if hide_next:
            yield MASK
            hide_next = False
            continue
        name, equals, _ = word.partition("=")
        if _is_secret(name):
            yield f"{name}={MASK}" if equals else name
            hide_next = not equals
            continue
        yield _ADDRESS.sub(rf"\1:{MASK}@", word)


def _is_secret(name: str) -> bool:
    return bool(_SECRET_OPTION.match(name)) and not _SECRET_FILE.search(name)
