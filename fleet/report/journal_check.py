"""`fleet history verify`: what is wrong with a journal, each fault with its line. Reads only.

What is found: every line that was edited, removed, put in or moved, a file that was cut or replaced, as long as
whoever did it could not rewrite the history's memory of the end as well. Against that a head from elsewhere helps:
every apply prints it, and it can be given back here.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fleet.report.journal import Head, KnownHead, unseal


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong, and at which line of the file (from 1; 0: the file as a whole)."""

    line: int
    text: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.text}" if self.line else self.text


@dataclass(frozen=True, slots=True)
class Checked:
    """A journal that was looked at: its end, its faults, and what a crash (nobody's deed) left in it."""

    lines: int
    head: Head
    faults: tuple[Fault, ...] = ()
    remarks: tuple[str, ...] = ()


def check_journal(data: bytes | None, known: KnownHead | None, witness: Head | None = None) -> Checked:
    """Everything that is wrong with these bytes, if the history remembers `known` and somebody else `witness`."""
    if data is None:
        if known is None and witness is None:
            return Checked(0, Head(), (), ("there is no journal yet; it begins with the first apply",))
        lost = known.head if known else witness
        return Checked(0, Head(), (Fault(0, f"the journal is gone: it ended with line {lost}"),))
    *lines, torn = data.split(b"\n")
    chain = _Chain()
    for number, line in enumerate(lines, start=1):
        chain.take(number, line)
    faults, remarks = [*chain.faults], [*chain.remarks]
    if known is None and not data:  # made, and the disk was full before anything could be written into it
        remarks.append("there is no line in it yet; it begins with the first apply")
    elif known is None:
        faults.append(Fault(0, "the history remembers no journal, but here is one: it belongs to another history"))
    else:
        _compare_end(chain, known, torn, faults, remarks)
    if witness is not None and witness not in chain.heads:
        faults.append(Fault(0, f"the line {witness}, of which you know, is not in it: it was rewritten since"))
    return Checked(len(lines), chain.last, tuple(sorted(faults, key=lambda fault: fault.line)), tuple(remarks))


@dataclass(slots=True)
class _Chain:
    """The lines until now; lives only inside `check_journal`."""

    last: Head = field(default_factory=Head)
    heads: set[Head] = field(default_factory=set)
    places: dict[int, int] = field(default_factory=dict)  # number of an event → line of the file
    faults: list[Fault] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    is_doubtful: bool = False  # the line before was none of ours: nothing can be compared with it

    def take(self, at: int, line: bytes) -> None:
        """One line more."""
        event = unseal(line)
        if event is None:
            self.faults.append(
                Fault(at, "it was edited, or is none of fleet's: its digest is not that of what it says")
            )
            self.last = Head(self.last.number + 1, "")
            self.is_doubtful = True
            return
        number, before = event["n"], event["prev"]
        if event.get("event") == "broken":
            self._note_broken(at, event)
        elif number > self.last.number + 1:
            self.faults.append(Fault(at, f"events {self.last.number + 1} to {number - 1} are missing before it"))
        elif number <= self.last.number:
            where = f", which stands in line {self.places[number]} too" if number in self.places else ""
            self.faults.append(Fault(at, f"it is event {number}{where}: lines were moved or put in"))
        elif before != self.last.digest and not self.is_doubtful:
            self.faults.append(Fault(at - 1, f"it is not the line that line {at} follows: it was replaced or put in"))
        if event.get("event") == "recovered":
            self.remarks.append(
                f"line {at}: a crash cut off {event.get('lost_lines')} events before it, which is nobody's deed"
            )
        self.last, self.is_doubtful = Head(number, event["hash"]), False
        self.heads.add(self.last)
        self.places.setdefault(number, at)

    def _note_broken(self, at: int, event: Mapping[str, Any]) -> None:
        text = (
            f"on {event.get('at')} fleet found that the journal did not end as it had left it: it should have ended"
            f" with {event.get('expected')}, and ended with {event.get('found')}"
        )
        self.faults.append(Fault(at, text))


def _compare_end(chain: _Chain, known: KnownHead, torn: bytes, faults: list[Fault], remarks: list[str]) -> None:
    """The end of the file against the end that the history remembers."""
    at = max(chain.places.values(), default=0)
    between = chain.last == known.before or known.before.number < chain.last.number < known.head.number
    if between and not known.is_settled:
        what = "in the middle of a line" if torn else "between two lines"
        remarks.append(f"the last writing was cut off {what} by a crash, which is nobody's deed")
        return
    if torn:
        faults.append(Fault(at + 1, "it has no end, and no crash is known of: it was cut, or put in"))
    if chain.last.number < known.head.number:
        missing = f"events {chain.last.number + 1} to {known.head.number}"
        faults.append(Fault(at, f"the journal was cut off after it: {missing} are missing"))
    elif chain.last.number > known.head.number:
        text = f"what follows event {known.head.number} was not written by fleet with this history"
        faults.append(Fault(chain.places.get(known.head.number + 1, at), text))
    elif chain.last != known.head and not chain.is_doubtful:
        faults.append(
            Fault(at, "it is not the last line that the history remembers: it, or the whole file, was replaced")
        )


def parse_head(text: str) -> Head:
    """`12:ab34…`, as an apply prints it. Raises ValueError."""
    number, colon, digest = text.partition(":")
    if not (colon and number.isascii() and number.isdigit() and len(digest) == 64):
        raise ValueError("write it as an apply prints it: a number, a colon, and 64 hexadecimal digits")
    return Head(int(number), digest)


def describe(checked: Checked) -> str:
    """One sentence for the whole."""
    lines = f"{checked.lines} line{'' if checked.lines == 1 else 's'}"
    if checked.faults:
        return f"somebody has changed it: {len(checked.faults)} places in {lines}"
    return f"{lines}, a whole chain; it ends with {checked.head}"
