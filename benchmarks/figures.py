"""What is measured, beside what it has to be."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured figure beside what it may be at most (`at_least`: must be at least)."""

    what: str
    measured: float
    bound: float
    unit: str
    at_least: bool = False

    @property
    def is_met(self) -> bool:
        """Whether the figure keeps its bound."""
        return self.measured >= self.bound if self.at_least else self.measured <= self.bound

    def __str__(self) -> str:
        verdict = "ok" if self.is_met else "MISSED"
        side = "at least" if self.at_least else "at most"
        return f"| {self.what} | {self.measured:.2f} {self.unit} | {side} {self.bound:g} {self.unit} | {verdict} |"


@dataclass(frozen=True, slots=True)
class Unmeasured:
    """A row that this machine cannot measure, and why."""

    what: str
    why: str

    @property
    def is_met(self) -> bool:
        """Nothing was claimed."""
        return True

    def __str__(self) -> str:
        return f"| {self.what} | not measured: {self.why} | | |"
