"""The operator's door: a socket in the spool's folder, which only its owner and root can enter.

One request a connection: a line of JSON `{"verb": …}`, answered by a line of JSON. Whoever cannot enter the folder
cannot ask; the socket itself has mode 0600.
"""

import json
import os
import socket
import struct
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from fleet.errors import FleetError, UsageError
from fleet.relay.shape import is_unicode

SOCKET_NAME: Final = "control"
MAX_REQUEST_BYTES: Final = 65_536
_TIMEOUT_S: Final = 5.0
# What a task can be listed by; the last two ask nothing of anybody and are shown only when they are named.
OPEN_STATES: Final = ("queued", "hold", "wait", "uncommitted", "quarantined", "unrouted")
STATES: Final = (*OPEN_STATES, "delivered", "dropped")

Handler = Callable[[Mapping[str, Any]], Any]


class Control:
    """Answers operators in a thread of its own."""

    def __init__(self, folder: Path, handle: Handler) -> None:
        self._path, self._handle = folder / SOCKET_NAME, handle
        self._path.unlink(missing_ok=True)  # the spool's lock is ours, so this is nobody's any more
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        # sun_path takes 107 bytes (unix(7)); a long spool path is entered through a descriptor of its folder.
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            self._sock.bind(f"/proc/self/fd/{descriptor}/{SOCKET_NAME}")
        finally:
            os.close(descriptor)
        self._path.chmod(0o600)
        self._sock.listen(8)
        self._thread = threading.Thread(target=self._run, name="control", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Answer no more."""
        with suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)
        self._sock.close()
        self._path.unlink(missing_ok=True)

    def _run(self) -> None:
        while True:
            try:
                sock, _ = self._sock.accept()
            except OSError:
                if self._sock.fileno() < 0:
                    return
                time.sleep(0.1)  # EMFILE and kin pass; an operator is needed most then
                continue
            with sock, suppress(OSError):
                sock.settimeout(_TIMEOUT_S)
                sock.sendall(json.dumps(self._answer(_read_line(sock), _read_user(sock))).encode() + b"\n")

    def _answer(self, line: bytes, user_id: int) -> dict[str, Any]:
        try:
            return {"answer": self._handle({**_parse(line), "user_id": user_id})}
        except FleetError as error:
            return {"error": str(error)}
        except Exception as error:  # noqa: BLE001  an operator's question never ends the relay
            return {"error": f"internal error ({type(error).__name__})"}


def _parse(line: bytes) -> dict[str, Any]:
    if len(line) > MAX_REQUEST_BYTES:
        raise UsageError(f"a request takes {MAX_REQUEST_BYTES} bytes at most; nothing was done")
    try:
        request = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise UsageError(
            f"a request is a line of JSON; this is none ({type(error).__name__}); nothing was done"
        ) from error
    if not isinstance(request, dict):
        raise UsageError("a request is an object; nothing was done")
    return request


def read_text(request: Mapping[str, Any], key: str) -> str:
    """A word of a request; raises `UsageError` for anything that no queue could hold."""
    found = request.get(key)
    if not isinstance(found, str) or "\0" in found or not is_unicode(found):
        raise UsageError(f"{key!r} of a request is text; nothing was done")
    return found


def read_task(request: Mapping[str, Any]) -> int:
    """A task's number, as `list` tells it."""
    found = request.get("task")
    if not isinstance(found, int) or isinstance(found, bool) or not 0 < found < 2**63:
        raise UsageError("'task' of a request is a number that `list` tells; nothing was done")
    return found


def read_states(request: Mapping[str, Any]) -> tuple[str, ...]:
    """The states to be listed; without any, those that are not an end."""
    found = request.get("states")
    if found is None or found == []:
        return OPEN_STATES
    if not isinstance(found, list) or not all(isinstance(each, str) and each in STATES for each in found):
        raise UsageError(f"'states' of a request is a list of {', '.join(STATES)}; nothing was done")
    return tuple(dict.fromkeys(found))


def _read_user(sock: socket.socket) -> int:
    """Who asks, by the kernel's word (unix(7), SO_PEERCRED): process, user, group."""
    _, user_id, _ = struct.unpack("iII", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return int(user_id)


def _read_line(sock: socket.socket) -> bytes:
    data = b""
    while not data.endswith(b"\n") and len(data) <= MAX_REQUEST_BYTES and (piece := sock.recv(4096)):
        data += piece
    return data


def ask(folder: Path, request: Mapping[str, Any]) -> Any:
    """Ask the relay that works on a spool; raises `FleetError` when none does, or when it says no."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError as error:
        raise FleetError(
            f"the spool {folder} is not there: no relay has run from this CONFIG on this machine;"
            " ask on the relay's host"
        ) from error
    except OSError as error:
        raise FleetError(
            f"the spool {folder} cannot be entered: {error.strerror}; ask as its user or as root"
        ) from error
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.settimeout(60.0)
            sock.connect(f"/proc/self/fd/{descriptor}/{SOCKET_NAME}")
            sock.sendall(json.dumps(request).encode() + b"\n")
            with sock.makefile("rb") as file:
                reply = json.loads(file.readline())
    except (OSError, ValueError) as error:
        said = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise FleetError(f"no relay answers on the spool {folder}: {said}; is its service running?") from error
    finally:
        os.close(descriptor)
    if "error" in reply:
        raise FleetError(reply["error"])
    return reply["answer"]
