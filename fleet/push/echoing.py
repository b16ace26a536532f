"""A C-ECHO program that a host has already, run there: the way where the host forbids forwarding."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from fleet.errors import HostError
from fleet.push.script import Script, decode_blob, format_call_with, format_script, parse_reply
from fleet.push.transport import Transport

_GRACE_S = 8.0  # beyond the program's own wall clock: a login shell, and two seconds until `timeout -k` kills


@dataclass(frozen=True, slots=True)
class EchoRun:
    """How the program ended and what it said."""

    status: int
    output: str


def make_echo_script(paths: Sequence[str], words: Sequence[str], wall_s: float, given: bytes = b"") -> Script:
    """Runs the first of `paths` that is there, under timeout(1), with `given` on its stdin."""
    call = format_call_with(given, "echo_by", max(1, math.ceil(wall_s)), *paths, "--", *words)
    return Script("echo", format_script("echo", ["begin", call, "say end"]), request=tuple(words))


def run_echo(
    transport: Transport, paths: Sequence[str], words: Sequence[str], *, wall_s: float, given: bytes = b""
) -> EchoRun | None:
    """What it said; None where the host has none of `paths`. Raises FleetError. Needs no root."""
    script = make_echo_script(paths, words, wall_s, given)
    result = transport.run_script(script, deadline_s=wall_s + _GRACE_S, become=False)
    for line in parse_reply(result.stdout, "echo", stderr=result.stderr, status=result.status):
        if line == ["missing"]:
            return None
        if line[0] == "said" and len(line) == 2:
            text = decode_blob(line[1], "echo").decode("utf-8", "backslashreplace")
            ended = re.search(r"status ([0-9]{1,3})\s*\Z", text)
            if ended is not None:
                return EchoRun(int(ended.group(1)), text[: ended.start()])
    raise HostError("the host did not say how echoscu ended", phase="echo")
