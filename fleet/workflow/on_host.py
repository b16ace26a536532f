"""A question that a host asks by dcmtk's echoscu, because it lets nobody forward: push runs it, verify reads it."""

import time
from collections.abc import Callable

from fleet.errors import FleetError
from fleet.push.echoing import run_echo
from fleet.push.transport import Transport
from fleet.verify.echoscu import (
    ECHOSCU_PATHS,
    classify_echoscu,
    make_echoscu_arguments,
    make_echoscu_input,
    why_not,
)
from fleet.verify.values import EchoResult, EchoTarget, Outcome


def ask_by_echoscu(
    transport: Transport, target: EchoTarget, clock: Callable[[], float] = time.monotonic, *, echoes: int = 1
) -> EchoResult:
    """One result, whatever happens; `unknown` where the host has no echoscu, or it cannot be asked that way."""
    who = target.source
    reason = why_not(target)
    if reason is not None:
        return _unknown(target, f"nobody asked from {who}: {reason}")
    started = clock()
    words, given = make_echoscu_arguments(target, echoes), make_echoscu_input(target)
    try:
        run = run_echo(transport, ECHOSCU_PATHS, words, wall_s=target.timeouts.total_s, given=given)
    except FleetError as error:
        return _unknown(target, f"{who} forbids forwarding, and its echoscu did not report: {error}")
    if run is None:
        advice = "allow forwarding for fleet's user (AllowTcpForwarding local), or install dcmtk there"
        return _unknown(target, f"{who} forbids forwarding and has no echoscu, so nobody asked; {advice}")
    return classify_echoscu(target, run.status, run.output, clock() - started, echoes)


def _unknown(target: EchoTarget, detail: str) -> EchoResult:
    return EchoResult(target, Outcome.UNKNOWN, detail=detail)
