"""One apply at a time on a host: whose lease it is, and how it is broken. The lease itself lies on the host and
is counted by the host's own uptime (programs/lock.sh); nothing here compares two clocks."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass

from fleet.errors import HostError
from fleet.plan.grammar import is_token
from fleet.push.script import Script, decode_text, format_call, format_script, parse_reply
from fleet.push.transport import Transport

PHASE = "lock"
UNNAMED = "run"  # the token of a script that is run by itself


@dataclass(frozen=True, slots=True)
class Claim:
    """Who applies: shown to whoever finds the host locked. `run_id` begins every token of this run."""

    owner: str = "somebody"
    run_id: str = "run"


@dataclass(frozen=True, slots=True)
class Lease:
    """Who is at work on a host; all durations by that host's own clock."""

    token: str
    owner: str
    age_s: int
    heard_s: int
    left_s: int
    is_working: bool = False  # a script of theirs runs on the host right now

    @property
    def run_id(self) -> str:
        """Which run it is of."""
        return self.token.rpartition(".")[0] or self.token

    def describe(self) -> str:
        """A sentence's worth: who, which run, since when, and until when at most."""
        return (
            f"{self.owner} (run {self.run_id}) since {self.age_s} s, last heard of {self.heard_s} s ago; it runs out "
            f"in {max(0, self.left_s)} s unless it is renewed"
        )


def encode_owner(owner: str) -> str:
    """One word for a name that may hold anything."""
    return base64.b64encode(owner.encode()[:200]).decode("ascii") or "-"


def parse_lease(words: Sequence[str]) -> Lease:
    """The lease in a line of a host's answer: id, since, renewed, left, owner, what it is doing."""
    if len(words) != 6:
        raise HostError("the host's answer is garbled: no lease", phase=PHASE)
    token, *numbers, owner, doing = words
    are_numbers = all(word.lstrip("-").isascii() and word.lstrip("-").isdigit() for word in numbers)
    if doing not in {"working", "waiting"} or not is_token(token) or not are_numbers:
        raise HostError("the host's answer is garbled: no lease", phase=PHASE)
    age_s, heard_s, left_s = (int(word[:12]) for word in numbers)
    return Lease(token, decode_text(owner, PHASE, 200), age_s, heard_s, left_s, doing == "working")


@dataclass(frozen=True, slots=True)
class LockReport:
    """Who holds a host; `broken` when it was just taken from them, `armed` when their change still undoes itself."""

    lease: Lease | None
    broken: bool = False
    armed: bool = False


def observe_lock(transport: Transport, *, deadline_s: float) -> LockReport:
    """Who is at work on the host, if anybody; raises FleetError. Waits for nobody."""
    return _ask(transport, Script("lock", format_script("lock", ["report_lock"])), deadline_s)


def break_lock(transport: Transport, token: str, *, deadline_s: float) -> LockReport:
    """Take the lease from whoever holds it, while it is still the one with this token; raises FleetError."""
    return _ask(
        transport, Script("unlock", format_script("lock", [format_call("break_lock", token)]), token), deadline_s
    )


def _ask(transport: Transport, script: Script, deadline_s: float) -> LockReport:
    result = transport.run_script(script, deadline_s=deadline_s)
    lines = parse_reply(result.stdout, PHASE, stderr=result.stderr, status=result.status)
    held = [words[1:] for words in lines if words[0] == "lease" and words[1:] != ["free"]]
    return LockReport(parse_lease(held[0]) if held else None, ["broken"] in lines, ["armed"] in lines)
