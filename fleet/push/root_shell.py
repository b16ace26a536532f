"""One root shell a connection: sudo is asked once, and each script is run by a shell of its own below it.

sudo costs a host more than all of a script's own work: PAM, a log, a session. So the shell that it gave stays,
waits for the next script, and ends with the connection. Each script still has a process, an input and an end of its
own; what tells where its answer ends is a word that was made for it.
"""

import re
import threading
from collections.abc import Callable

from fleet.push.exchange import READ_BYTES, Channel

_STATUS_DIGITS = 3
_BEGINNING = re.compile(rb"/bin/sh -s <<'(FLEET_[0-9a-z]+)'\n")


def wrap_script(text: str, nonce: str) -> bytes:
    """What the root shell is told: run this by a shell of its own, then say on both streams that it ended, and how."""
    mark = f"FLEET_{nonce}"
    return f"/bin/sh -s <<'{mark}'\n{text}{_format_end(mark)}".encode()


def find_end(data: bytes) -> int | None:
    """Where the wrapped script ends with which `data` begins; None while it has not come whole."""
    begun = _BEGINNING.match(data)
    end = _format_end(begun[1].decode("ascii")).encode() if begun else b""
    at = data.find(b"\n" + end) if end else -1
    return at + 1 + len(end) if at >= 0 else None


def _format_end(mark: str) -> str:
    return f"{mark}\nstatus=$?\nprintf '\\n{mark} %s\\n' $status\nprintf '\\n{mark} %s\\n' $status >&2\n"


class RootShell:
    """A shell on a channel; one script at a time."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._busy = threading.Lock()
        self.is_open = True

    def claim(self) -> bool:
        """Whether it is ours until `release`: somebody else's script may be under way."""
        return self.is_open and self._busy.acquire(blocking=False)

    def release(self) -> None:
        """Let others have it."""
        self._busy.release()

    def run(self, text: str, nonce: str, limit_bytes: int) -> "Answer":
        """Script in, both streams out until each says that it ended, or until the channel does."""
        answer = Answer(f"\nFLEET_{nonce} ".encode(), limit_bytes)
        threads = [
            threading.Thread(target=self._feed, args=(wrap_script(text, nonce),), daemon=True, name="fleet-stdin"),
            threading.Thread(target=self._drain, args=(answer, "stderr"), daemon=True, name="fleet-stderr"),
        ]
        for thread in threads:
            thread.start()
        self._drain(answer, "stdout")
        threads[1].join()
        if answer.flooded or answer.status is None:
            self.is_open = False
        if answer.flooded:
            self._channel.close()
        threads[0].join()
        return answer

    def _feed(self, data: bytes) -> None:
        try:
            self._channel.sendall(data)
        except Exception:  # noqa: BLE001  a shell that ended reads no more: whoever waits for its answer hears it
            self.is_open = False

    def _drain(self, answer: "Answer", name: str) -> None:
        receive: Callable[[int], bytes] = self._channel.recv if name == "stdout" else self._channel.recv_stderr
        try:
            while not answer.take(name, receive(READ_BYTES)):
                pass
        except OSError:
            self.is_open = False
        if answer.flooded:
            self._channel.close()


class Answer:
    """What came on both streams; `status` is None while neither end was told."""

    def __init__(self, mark: bytes, limit_bytes: int) -> None:
        self._mark = mark
        self._limit_bytes = limit_bytes
        self._streams = {"stdout": bytearray(), "stderr": bytearray()}
        self.status: int | None = None
        self.flooded = False

    def take(self, name: str, data: bytes) -> bool:
        """More of a stream; whether it has ended."""
        stream = self._streams[name]
        if not data or self.flooded:
            return True
        searched_from = max(0, len(stream) - len(self._mark) - 8)
        stream += data
        at = stream.find(self._mark, searched_from)
        if at >= 0 and stream.endswith(b"\n", at + len(self._mark)):
            word = bytes(stream[at + len(self._mark) : -1])
            del stream[at:]
            if name == "stdout" and word.isdigit() and len(word) <= _STATUS_DIGITS:
                self.status = int(word)
            return True
        self.flooded = len(stream) > self._limit_bytes
        return self.flooded

    @property
    def stdout(self) -> bytes:
        """Without the end's word."""
        return bytes(self._streams["stdout"])

    @property
    def stderr(self) -> bytes:
        """Without the end's word."""
        return bytes(self._streams["stderr"])
