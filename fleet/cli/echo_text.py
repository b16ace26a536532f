"""What `fleet echo` shows: the result, what was negotiated, the bytes."""

from collections.abc import Iterator

from fleet.dicom.pdu import AssociateAC, AssociateRJ
from fleet.report.text import format_place
from fleet.sheet.safe import safe_text
from fleet.verify.probe import Negotiation, ProbeReport, TraceEntry

_RESULTS = {
    0: "accepted",
    1: "rejected by the user",
    2: "rejected, no reason given",
    3: "abstract syntax not supported",
    4: "transfer syntaxes not supported",
}  # PS3.8 table 9-18


def format_probe(report: ProbeReport, level: int) -> str:
    """All of it as text; `level` 1 the result, 2 the negotiation too, 3 the bytes too."""
    lines: list[str] = []
    if level >= 2:
        for negotiation in report.negotiations:
            lines += _negotiation(negotiation)
    if level >= 3:
        for entry in report.trace:
            lines += _bytes(entry)
    lines += _result(report)
    return "".join(f"{line}\n" for line in lines)


def _result(report: ProbeReport) -> Iterator[str]:
    result = report.result
    place = format_place(result.target.address, result.target.port)
    yield f"{result.outcome.value}: {result.target.ae_title} at {place} in {result.elapsed_s * 1000:.1f} ms"
    if result.detail:
        yield f"  {safe_text(result.detail)}"
    for warning in result.warnings:
        yield f"  warning: {safe_text(warning)}"


def _negotiation(negotiation: Negotiation) -> Iterator[str]:
    answer = negotiation.answer
    for proposed, answered in negotiation.contexts():
        yield f"context {proposed.context_id}: {proposed.abstract_syntax}"
        for syntax in proposed.transfer_syntaxes:
            yield f"  proposed {syntax}"
        if answered is not None:
            word = _RESULTS.get(answered.result, f"result {answered.result}")
            syntax_words = f" with {safe_text(answered.transfer_syntax)}" if answered.result == 0 else ""
            yield f"  {word}{syntax_words}"
    if isinstance(answer, AssociateAC):
        information = answer.user_information
        yield f"their implementation class UID: {safe_text(str(information.implementation_class_uid))}"
        yield f"their implementation version:   {safe_text(str(information.implementation_version))}"
        yield f"their maximum PDU:              {information.max_pdu_bytes}"
    elif isinstance(answer, AssociateRJ):
        yield f"rejected: result {answer.result}, source {answer.source}, reason {answer.reason}"


def _bytes(entry: TraceEntry) -> Iterator[str]:
    yield f"{entry.at_s * 1000:9.2f} ms {entry.direction} {len(entry.data)} bytes"
    for start in range(0, len(entry.data), 16):
        chunk = entry.data[start : start + 16]
        text = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in chunk)
        yield f"  {start:04x}  {chunk.hex(' '):<47}  {text}"
