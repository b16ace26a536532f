"""The spool's own key: UIDs and pseudonyms follow from it, so that another key is another person in every archive.

It is a file beside the queue, made once. The queue remembers a keyed fingerprint of it, from which nothing of the key
follows: a file that was lost or exchanged is found before anything goes out under other names.
"""

import hashlib
import hmac
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from fleet.errors import UsageError
from fleet.relay.spool.queue import Spool
from fleet.relay.spool.schema import SpoolError

KEY_BYTES: Final = 32
_WAY_OUT: Final = (
    "Bring the file back from where it is kept safe (mode 0600, of the relay's user). Only if it is lost for good:"
    " fleet relay new-key CONFIG --reason TEXT, which is written down"
)


@dataclass(frozen=True, slots=True)
class NewKey:
    """Who said that from now on another key holds, when and why."""

    at: float
    user_id: int
    reason: str


def read_key(spool: Spool, make: Callable[[], bytes], is_used: bool) -> bytes:
    """The key, made where the spool never worked with one; `is_used`: there are routes whose stand-ins follow from it.

    Raises `SpoolError` for one that is missing or another than before, that others could read, or that is cut off.
    """
    path, known, has_history = _path(spool), _recall(spool, "key"), _has_history(spool)
    was_used = _recall(spool, "key-used") is not None
    if not path.exists():
        if has_history and (was_used or (is_used and known is None)):
            raise SpoolError(f"{path} is missing: with a new key every patient would get other stand-ins. {_WAY_OUT}")
        spool.write_private(path, make())
        known = None
    key = _read_checked(path)
    if was_used and has_history and known not in {None, _fingerprint(key)}:
        raise SpoolError(
            f"{path} is another key than the one that this spool worked with: every patient would get other stand-ins."
            f" {_WAY_OUT}"
        )
    _remember(spool, "key", _fingerprint(key))
    if is_used:
        _remember(spool, "key-used", "yes")
    return key


def accept_key(spool: Spool, make: Callable[[], bytes], said: NewKey) -> None:
    """From now on the key that lies there holds, or a new one where none does; on disk with who said so, and why."""
    if not said.reason.strip():
        raise UsageError("say why, by --reason; it is written down with who said so")
    path, known = _path(spool), _recall(spool, "key")
    if not path.exists():
        spool.write_private(path, make())
    elif known == _fingerprint(_read_checked(path)):
        raise UsageError(f"{path} is the key that this spool works with; nothing was changed")
    fingerprint = _fingerprint(_read_checked(path))
    changes = [*read_changes(spool), {**asdict(said), "fingerprint": fingerprint}]
    _remember(spool, "key-changes", json.dumps(changes))
    _remember(spool, "key", fingerprint)


def read_changes(spool: Spool) -> list[dict[str, object]]:
    """Who made another key hold, when and why."""
    return list(json.loads(_recall(spool, "key-changes") or "[]"))


def _path(spool: Spool) -> Path:
    return spool.folder / "deidentify.key"


def _read_checked(path: Path) -> bytes:
    found, key = path.stat(), path.read_bytes()
    if found.st_mode & 0o077:
        raise SpoolError(f"{path} has mode {found.st_mode & 0o777:o}; who reads it can name every patient: 0600")
    if len(key) < KEY_BYTES:
        raise SpoolError(f"{path} holds {len(key)} bytes of {KEY_BYTES}. {_WAY_OUT}")
    return key


def _fingerprint(key: bytes) -> str:
    return hmac.new(key, b"fleet relay key", hashlib.sha256).hexdigest()[:32]


def _has_history(spool: Spool) -> bool:
    """Whether anything was ever received here; callers stay when instances are forgotten."""
    return bool(spool.read("SELECT 1 FROM callers LIMIT 1") or spool.read("SELECT 1 FROM instances LIMIT 1"))


def _recall(spool: Spool, what: str) -> str | None:
    rows = spool.read("SELECT value FROM about WHERE key = ?", (what,))
    return str(rows[0][0]) if rows else None


def _remember(spool: Spool, what: str, value: str) -> None:
    if _recall(spool, what) != value:
        spool.change("INSERT OR REPLACE INTO about VALUES (?, ?)", (what, value))
