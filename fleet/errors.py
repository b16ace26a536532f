"""The error families, and a problem in a user's file as a value.

`FleetError` is the one base; its families say whose fault it is. `Problem` is not an exception: problems in
files are collected, all of them, and told at once.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import ClassVar


class FleetError(Exception):
    """Something fleet could not do; the message says what, where, what it would do and what to do next.

    `found_wrong` tells the two kinds of bad news apart: fleet could not do its work, or it did, and found
    something wrong.
    """

    found_wrong: ClassVar[bool] = False


class InvalidInventory(FleetError):
    """The operator's files are at fault; `problems` says where, all of them."""

    found_wrong = True

    def __init__(self, problems: "tuple[Problem, ...]", what: str = "inventory") -> None:
        super().__init__(f"the {what} has {_count_problems(problems)}")
        self.problems = problems


class ClosedInventory(InvalidInventory):
    """Nothing is wrong in the files; a vault password is missing, and `problems` says for which values."""

    def __init__(self, problems: "tuple[Problem, ...]") -> None:
        super().__init__(problems)
        number = len({problem.location for problem in problems})
        are = "secret value is" if number == 1 else "secret values are"
        self.args = (f"no vault password was given (--vault-password-file FILE), and {number} {are} needed",)


def _count_problems(problems: "tuple[Problem, ...]") -> str:
    """`1 error`; where only warnings stop it, that they count."""
    errors = count_errors(problems)
    if errors or not problems:
        return f"{errors} error{'' if errors == 1 else 's'}"
    return f"{len(problems)} warning{'' if len(problems) == 1 else 's'}, and warnings count here (strict)"


class UnreadableFile(FleetError):
    """A file that the user named cannot be opened (exit status 1: fleet could not do its work)."""


class UsageError(FleetError):
    """What was typed cannot be meant (exit status 64)."""


class EmptySelection(FleetError):
    """A selector that matches nothing, or names nothing; never an empty run (exit status 2)."""

    found_wrong = True


class TemplateError(FleetError):
    """A template, ours or a team's, is at fault: undefined name, sandbox, limits of time or memory."""

    found_wrong = True


class UnfitValue(FleetError):
    """A value that a target product cannot carry; names target, field and reason."""

    found_wrong = True


class NetworkError(FleetError):
    """The way to a host failed: `phase` is one of connect, handshake, host_key, login, session."""

    def __init__(self, message: str, *, phase: str) -> None:
        super().__init__(message)
        self.phase = phase


class HostError(FleetError):
    """A host was reached and could not do what was asked; `phase` names the step."""

    def __init__(self, message: str, *, phase: str) -> None:
        super().__init__(message)
        self.phase = phase


class DeadlineExceeded(HostError):
    """A phase took longer than it was given."""


class HostLocked(FleetError):
    """A colleague is at work on the host."""

    found_wrong = True


class PlanStale(FleetError):
    """The world moved on since the plan was made."""

    found_wrong = True


class BrokenPlan(FleetError):
    """A file is no saved plan that fleet wrote: torn, edited, of a newer version, or something else."""

    found_wrong = True


class HistoryError(FleetError):
    """The history file is missing, torn, or of a newer version; never treated as empty."""


class Severity(StrEnum):
    """How much a problem weighs: an error stops everything that touches the network, a warning nothing."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True, order=True)
class Location:
    """Where in the user's files: `line` and `column` count from 1, `pointer` is an RFC 6901 JSON pointer."""

    document: str
    line: int = 0
    column: int = 0
    pointer: str = field(default="", compare=False)

    def __str__(self) -> str:
        return f"{self.document}:{self.line}:{self.column}" if self.line else self.document


@dataclass(frozen=True, slots=True)
class Problem:
    """A finding in a user's file.

    `code` is a stable kebab word on which tests, waivers and docs key; `also` is the other place where two
    are at odds; `subjects` are the titles or names that it is about (waivers select by them).
    """

    code: str
    severity: Severity
    message: str
    location: Location
    also: tuple[Location, ...] = ()
    subjects: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.location}: {self.severity}[{self.code}] {self.message}"

    @property
    def sort_key(self) -> tuple[str, int, int, str, str]:
        """By file and line, then code, so that the same inventory tells the same story."""
        at = self.location
        return (at.document, at.line, at.column, self.code, self.message)


def count_errors(problems: "tuple[Problem, ...] | list[Problem]") -> int:
    """How many of them stop the run."""
    return sum(1 for problem in problems if problem.severity is Severity.ERROR)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?` where one of them is close; else nothing."""
    import difflib  # only who made a slip pays

    close = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""
