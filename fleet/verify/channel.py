"""The same dialogue over a channel that somebody else opened, such as SSH's direct-tcpip (RFC 4254 7.2).

Blocking, one association after the other: the channel belongs to a connection of its own, and the
threads, if any, to the caller.
"""

import errno
import time
from collections.abc import Callable
from typing import Protocol

from fleet.verify.course import Course, Workshop
from fleet.verify.dialogue import EchoDialogue
from fleet.verify.prepare import Question
from fleet.verify.tls import LocalTlsError
from fleet.verify.values import EchoResult, EchoTarget, Outcome

_RECEIVE_BYTES = 16_384
_LOOK_UP_S = 0.25  # how often somebody who waits looks whether to stop


class Channel(Protocol):
    """What is needed of a socket, or of an SSH channel."""

    def send(self, data: bytes, /) -> int: ...
    def recv(self, size: int, /) -> bytes: ...
    def settimeout(self, seconds: float | None, /) -> None: ...
    def close(self) -> None: ...


class ChannelNotOpenedError(Exception):
    """What an opener raises when the far side could not connect to the target."""

    def __init__(self, outcome: Outcome, detail: str) -> None:
        super().__init__(detail)
        self.outcome = outcome
        self.detail = detail


OpenChannel = Callable[[float], Channel]  # takes the seconds that are left, returns a connected channel


def run_dialogue_over(
    channel: Channel,
    target: EchoTarget,
    deadline: float,
    *,
    clock: Callable[[], float] = time.monotonic,
    workshop: Workshop | None = None,
) -> EchoResult:
    """Echo once over an open *channel* and close it; *deadline* is a time of *clock*."""
    workshop = workshop or Workshop(time.time)
    course = Course(target, Question(target.ae_title, target.calling), workshop)
    now = clock()
    try:
        dialogue = course.next_dialogue(now)
    except (LocalTlsError, ValueError) as error:
        channel.close()
        return course.fail(Outcome.LOCAL_ERROR, f"the target cannot be asked: {error}", now)
    dialogue.start(now, min(deadline, course.deadline))
    _carry(channel, dialogue, target.source, clock)
    course.deadline = now  # a single attempt: this channel cannot be used for another
    result = course.take(dialogue, clock())
    assert isinstance(result, EchoResult)  # noqa: S101 (nothing is asked again after the deadline)
    return result


def echo_through(
    open_channel: OpenChannel,
    target: EchoTarget,
    *,
    clock: Callable[[], float] = time.monotonic,
    pause: Callable[[float], None] = time.sleep,
    workshop: Workshop | None = None,
    stop: Callable[[], bool] | None = None,
    echoes: int = 1,
) -> EchoResult:
    """Ask a target everything it is to be asked, each association over a channel of its own.

    Where *stop* says so the association is aborted, and the result is `unknown`.
    """
    question = Question(target.ae_title, target.calling, echoes=echoes)
    course = Course(target, question, workshop or Workshop(time.time))
    while True:
        now = clock()
        late = course.give_up(now)
        if late is not None:
            return late
        try:
            dialogue = course.next_dialogue(now)
            channel = open_channel(max(0.0, dialogue.deadline - now))
        except (LocalTlsError, ValueError) as error:
            return course.fail(Outcome.LOCAL_ERROR, f"the target cannot be asked: {error}", clock())
        except ChannelNotOpenedError as error:
            return course.fail(error.outcome, error.detail, clock())
        except TimeoutError:
            return course.fail(Outcome.CONNECT_TIMEOUT, "the channel to the target was not opened in time", clock())
        except OSError as error:
            return course.fail(Outcome.LOCAL_ERROR, f"the channel to the target failed: {error}", clock())
        _carry(channel, dialogue, target.source, clock, stop)
        step = course.take(dialogue, clock())
        if isinstance(step, EchoResult):
            return step
        pause(max(0.0, step - clock()))


def _carry(
    channel: Channel,
    dialogue: EchoDialogue,
    source: str,
    clock: Callable[[], float],
    stop: Callable[[], bool] | None = None,
) -> None:
    """Move bytes between *channel* and *dialogue* until the dialogue is over; *source* is where it ends."""
    try:
        out = dialogue.connected(clock(), lambda: (source,))
        while True:
            if out and not _send_all(channel, out, dialogue, clock):
                return
            if dialogue.over:
                return
            out = _receive(channel, dialogue, clock, stop)
    finally:
        channel.close()


def _receive(
    channel: Channel, dialogue: EchoDialogue, clock: Callable[[], float], stop: Callable[[], bool] | None
) -> bytes:
    left_s = dialogue.deadline - clock()
    if left_s <= 0:
        return dialogue.expired(clock())
    if stop is not None and stop():
        return dialogue.interrupted()
    try:
        channel.settimeout(left_s if stop is None else min(left_s, _LOOK_UP_S))
        data = channel.recv(_RECEIVE_BYTES)
    except TimeoutError:
        return dialogue.expired(clock()) if clock() >= dialogue.deadline else b""
    except (OSError, EOFError) as error:
        dialogue.broke(getattr(error, "errno", None) or errno.ECONNRESET, clock())
        return b""
    if not data:
        dialogue.peer_closed(clock())
        return b""
    return dialogue.receive(data, clock())


def _send_all(channel: Channel, data: bytes, dialogue: EchoDialogue, clock: Callable[[], float]) -> bool:
    """Send everything; False when the dialogue came to its end over it."""
    while data:
        left_s = max(0.05, dialogue.deadline - clock())
        try:
            channel.settimeout(left_s)
            data = data[channel.send(data) :]
        except TimeoutError:
            dialogue.expired(clock())
            return False
        except (OSError, EOFError) as error:
            dialogue.broke(getattr(error, "errno", None) or errno.EPIPE, clock())
            return False
    return True
