"""How every target says that it cannot carry a value: naming target, field and reason, in the user's file."""

from fleet.errors import Location, Problem, Severity, UnfitValue

CODE = "target-cannot-carry"
HINT_CODE = "target-limitation"


def cannot_carry(
    target: str,
    what: str,
    reason: str,
    at: Location,
    *,
    also: tuple[Location, ...] = (),
    subjects: tuple[str, ...] = (),
) -> Problem:
    """The problem of a value that a product cannot carry; `what` names the field and the value."""
    message = f"{target} cannot carry {what}: {reason}"
    return Problem(CODE, Severity.ERROR, message, at, also, subjects)


def cannot_do(target: str, what: str, at: Location, *, subjects: tuple[str, ...] = ()) -> Problem:
    """The warning of something that the inventory says and a product has no means for."""
    return Problem(HINT_CODE, Severity.WARNING, f"{target} {what}", at, (), subjects)


def unfit(target: str, what: str, reason: str) -> UnfitValue:
    """The same as an error, for what reaches a quoting function unchecked (a team's template, say)."""
    return UnfitValue(f"{target} cannot carry {what}: {reason}")
