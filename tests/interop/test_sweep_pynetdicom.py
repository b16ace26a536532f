"""Our sweep and pynetdicom's SCP: a second implementation agrees that we speak DICOM."""

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from pynetdicom import AE, evt
from pynetdicom.sop_class import CTImageStorage, Verification

from fleet.verify.settings import SweepSettings
from fleet.verify.sweep import sweep
from fleet.verify.values import EchoResult, EchoTarget, Expectation, Outcome, Timeouts

QUICK = Timeouts(connect_s=2, acse_s=3, dimse_s=3, total_s=6)


@contextlib.contextmanager
def scp(**options: Any) -> Iterator[tuple[int, list[str]]]:
    """An SCP on a free port, and the names of the events that it saw."""
    seen: list[str] = []
    entity = AE(ae_title="TEST_SCP")
    entity.require_called_aet = options.get("require_called", False)
    entity.require_calling_aet = options.get("require_calling", [])
    for context in options.get("contexts", [Verification]):
        entity.add_supported_context(context)
    handlers = [(getattr(evt, name), lambda event: seen.append(event.event.name)) for name in _WATCHED]
    handlers.append((evt.EVT_C_ECHO, options.get("on_echo", lambda _event: 0x0000)))
    server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
    try:
        yield server.server_address[1], seen
    finally:
        server.shutdown()


_WATCHED = ("EVT_ACCEPTED", "EVT_RELEASED", "EVT_ABORTED", "EVT_REJECTED")


def ask(port: int, **changes: Any) -> EchoResult:
    target = EchoTarget("TEST_SCP", "127.0.0.1", port, "FLEET_SCU", timeouts=QUICK, **changes)
    (result,) = sweep([target])
    return result


def test_pynetdicom_answers_and_sees_a_release() -> None:
    with scp() as (port, seen):
        result = ask(port)
        deadline = threading.Event()
        for _ in range(100):
            if "EVT_RELEASED" in seen:
                break
            deadline.wait(0.02)
    assert (result.outcome, result.status, result.warnings) == (Outcome.ANSWERED, 0, ())
    assert result.peer is not None
    assert str(result.peer.implementation_version).startswith("PYNETDICOM")
    assert seen == ["EVT_ACCEPTED", "EVT_RELEASED"]


@pytest.mark.parametrize("status", [0x0122, 0x0210, 0x0211, 0x0212, 0x0110])
def test_a_status_other_than_success_is_a_failed_echo(status: int) -> None:
    with scp(on_echo=lambda _event: status) as (port, _):
        result = ask(port)
    assert (result.outcome, result.status) == (Outcome.ECHO_FAILED, status)


def test_an_unknown_caller_and_a_wrong_title_are_told_apart() -> None:
    with scp(require_calling=["SOMEBODY"]) as (port, _):
        result = ask(port)
    assert result.outcome is Outcome.ASSOCIATION_REJECTED
    assert "calling AE title not recognized (1/1/3)" in result.detail
    with scp(require_called=True) as (port, _):
        (result,) = sweep([EchoTarget("OTHER", "127.0.0.1", port, "FLEET_SCU", timeouts=QUICK)])
    assert "called AE title not recognized (1/1/7)" in result.detail


def test_a_peer_without_verification_is_told() -> None:
    with scp(contexts=[CTImageStorage]) as (port, _):
        result = ask(port)
    assert result.outcome in (Outcome.CONTEXT_NOT_ACCEPTED, Outcome.ASSOCIATION_ABORTED)


def test_expectations_are_negotiated() -> None:
    expect = Expectation(rejects_wrong_called_title=True, sop_classes=("CTImageStorage",))
    with scp(require_called=True, contexts=[Verification, CTImageStorage]) as (port, _):
        assert ask(port, expect=expect).outcome is Outcome.ANSWERED
    with scp() as (port, _):
        result = ask(port, expect=expect)
    assert result.outcome is Outcome.EXPECTATION_FAILED
    assert "NOT_TEST_SCP was accepted" in result.detail
    assert "CTImageStorage with ImplicitVRLittleEndian (abstract syntax not supported)" in result.detail


def test_many_echoes_in_one_association() -> None:
    with scp() as (port, seen):
        target = EchoTarget("TEST_SCP", "127.0.0.1", port, "FLEET_SCU", timeouts=QUICK)
        (result,) = sweep([target], SweepSettings(repeat=5))
    assert (result.outcome, len(result.echo_times_s)) == (Outcome.ANSWERED, 5)
    assert seen.count("EVT_ACCEPTED") == 1
