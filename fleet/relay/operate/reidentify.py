"""Who stands behind a stand-in: asked by an operator who says why, and written down before it is answered.

Keyed hashes lead one way only. The way back is the original that the spool still holds: its identity is hashed
again with the spool's key and compared. There is no list of names beside the images that could outlive them.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from fleet.dicom.keywords import find_tag
from fleet.errors import UsageError
from fleet.relay.header import HeaderError, read_texts
from fleet.relay.spool.queue import Spool
from fleet.relay.transform.keys import Pseudonyms

_ASKED: Final = ("PatientID", "PatientName", "AccessionNumber", "StudyID", "SeriesInstanceUID")


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked for (a UID or a pseudonym that a destination shows), by which user of this host, and why."""

    asked: str
    user_id: int
    reason: str


def reidentify(spool: Spool, key: bytes, question: Question, now: float) -> list[dict[str, Any]]:
    """The originals that lead to what is asked for; the question is on disk before any of them is told."""
    if not question.reason.strip():
        raise UsageError("say why, by --reason; it is written down with who asked")
    found = list(_search(spool, Pseudonyms(key), question.asked.strip()))
    spool.change(
        "INSERT INTO reidentified VALUES (?, ?, ?, ?, ?)",
        (now, question.user_id, question.reason, question.asked, len(found)),
    )
    return found


def read_questions(spool: Spool) -> list[dict[str, Any]]:
    """Who asked for whom, when and why; what was answered stands nowhere."""
    rows = spool.read("SELECT at, user_id, reason, asked, found FROM reidentified ORDER BY at")
    return [dict(zip(("at", "user_id", "reason", "asked", "found"), row, strict=True)) for row in rows]


def _search(spool: Spool, names: Pseudonyms, asked: str) -> Iterator[dict[str, Any]]:
    """One answer a study; by instance where an instance was asked for."""
    seen: set[str] = set()
    for study, instance, name, syntax, offset, calling, at in spool.read(
        "SELECT study_instance_uid, sop_instance_uid, spool_id, transfer_syntax_uid, data_set_offset, calling,"
        " received_at FROM instances ORDER BY id"
    ):
        is_instance = names.uid(instance) == asked
        if study in seen and not is_instance:
            continue
        seen.add(study)
        try:
            texts = _read(spool, name, syntax, offset)
        except (OSError, HeaderError):
            continue
        stand_ins = {names.uid(study), names.uid(texts.get("SeriesInstanceUID", ""))}
        stand_ins.update(names.text(keyword, value) for keyword, value in texts.items())
        if is_instance or asked in stand_ins:
            answer = {"study": study, **({"instance": instance} if is_instance else {})}
            yield {**answer, **texts, "calling": calling, "received_at": at}


def _read(spool: Spool, name: str, transfer_syntax: str, offset: int) -> dict[str, str]:
    wanted = {keyword: tag for keyword in _ASKED if (tag := find_tag(keyword)) is not None}
    with spool.path(name).open("rb", buffering=8192) as file:
        file.seek(offset)
        return read_texts(file, transfer_syntax, wanted)[1]
