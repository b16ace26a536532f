"""A question that a host asks by dcmtk's echoscu, because it lets nobody forward: push runs it, verify reads it."""

import time
from collections.abc import Callable

from fleet.errors import FleetError
from fleet.push.echoing import run_echo
from fleet.push.transport import Transport
from fleet.verify.echoscu import ECHOSCU_PATHS, classify_echoscu, make_echoscu_arguments
from fleet.verify.values import EchoResult, EchoTarget, Outcome


def ask_by_echoscu(transport: Transport, target: EchoTarget, clock: Callable[[], float] = time.monotonic) -> EchoResult:
    """One result, whatever happens; `unknown` where the host has no echoscu, or TLS is wanted."""
    who = target.source
    if target.tls is not None:
        return _unknown(target, f"{who} forbids forwarding, and our TLS files are not on it for its echoscu")
    started = clock()
    words = make_echoscu_arguments(target)
    try:
        run = run_echo(transport, ECHOSCU_PATHS, words, wall_s=target.timeouts.total_s)
    except FleetError as error:
        return _unknown(target, f"{who} forbids forwarding, and its echoscu did not report: {error}")
    if run is None:
        advice = "allow forwarding for fleet's user (AllowTcpForwarding local), or install dcmtk there"
        return _unknown(target, f"{who} forbids forwarding and has no echoscu, so nobody asked; {advice}")
    return classify_echoscu(target, run.status, run.output, clock() - started)


def _unknown(target: EchoTarget, detail: str) -> EchoResult:
    return EchoResult(target, Outcome.UNKNOWN, detail=detail)
