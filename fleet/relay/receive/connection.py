"""One connection of a peer: its socket, plain or TLS, and the moments by which it has to have said something (T69).

A handshake of TLS is part of what a peer does before it asks for an association: the same ten seconds hold for both,
and the same places are counted.
"""

import selectors
import socket
import ssl
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from fleet.relay.receive.inbound import Inbound

REQUEST_S: Final = 10.0
IDLE_S: Final = 300.0
GRACE_S: Final = 30.0
MIN_BYTES_PER_S: Final = 4096
FLUSH_S: Final = 5.0
_MAX_OUT_BYTES: Final = 65_536


class NotNow(Exception):
    """Nothing can be read at the moment."""


class Gone(Exception):
    """Nothing will come any more; `words` say why where it was not simply closed."""

    def __init__(self, words: str = "") -> None:
        super().__init__(words)
        self.words = words


@dataclass(slots=True, eq=False)
class Connection:
    """A socket that does not block, and what is known of the peer behind it."""

    sock: socket.socket
    inbound: Inbound
    opened_at: float
    is_known: bool
    last_at: float
    message_at: float | None = None  # since when a message is under way
    message_bytes: int = 0
    over_at: float | None = None
    counted: bool = False
    events: int = field(default=selectors.EVENT_READ)
    reads_by_writing: bool = False  # TLS has to send before it can read on
    _is_shaken: bool = False

    def read_into(self, buffer: bytearray) -> int:
        """Read what is there, at least a byte; raises `NotNow` or `Gone`."""
        self.reads_by_writing = False
        if isinstance(self.sock, ssl.SSLSocket):
            length = self._read_secure(self.sock, buffer)
        else:
            try:
                length = self.sock.recv_into(buffer)
            except BlockingIOError:
                raise NotNow from None
            except OSError:
                raise Gone from None
        if not length:
            raise Gone
        # Senders that write a message in two pieces wait for our acknowledgement of the first (Nagle); tcp(7).
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        return length

    @property
    def has_more(self) -> bool:
        """Whether TLS holds bytes that no selector will tell of: at most the rest of one record."""
        return isinstance(self.sock, ssl.SSLSocket) and self._is_shaken and self.sock.pending() > 0

    def _read_secure(self, sock: ssl.SSLSocket, buffer: bytearray) -> int:
        """A record of TLS holds 16 KB at most: several are gathered, so that the loop goes round less often."""
        done = 0
        try:
            if not self._is_shaken:
                sock.do_handshake()
                self._is_shaken = True
            with memoryview(buffer) as whole:
                while done < len(whole) and (length := sock.recv_into(whole[done:])):
                    done += length
        except ssl.SSLWantReadError:
            if not done:
                raise NotNow from None
        except ssl.SSLWantWriteError:
            self.reads_by_writing = True
            if not done:
                raise NotNow from None
        except OSError as error:  # all of TLS's own too
            if not done:
                raise Gone("" if self._is_shaken else _explain(error)) from None
        return done

    def send_out(self) -> None:
        """Send as much of what waits as goes; raises `Gone`."""
        if not self.inbound.out:
            return
        if isinstance(self.sock, ssl.SSLSocket) and not self._is_shaken:
            self.inbound.out.clear()  # who has not proven himself is told nothing, and certainly not in the clear
            return
        try:
            sent = self.sock.send(self.inbound.out)
            del self.inbound.out[:sent]
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return
        except OSError:
            raise Gone from None

    def wanted_events(self) -> int:
        """What the selector should wake us for."""
        out = len(self.inbound.out)
        events = selectors.EVENT_WRITE if out or self.reads_by_writing else 0
        if out < _MAX_OUT_BYTES and not self.inbound.is_over:
            events |= selectors.EVENT_READ
        return events

    def note_bytes(self, length: int, now: float) -> None:
        """Keep count of a message that is under way."""
        self.last_at = now
        if not self.inbound.is_inside:
            self.message_at = None
        elif self.message_at is None:
            self.message_at, self.message_bytes = now, length
        else:
            self.message_bytes += length

    def overdue(self, now: float) -> str | None:
        """Why it has to end now, if it has to."""
        if self.over_at is not None:
            return "it does not take our last bytes" if now - self.over_at > FLUSH_S else None
        if not self.inbound.is_established:
            return "no association was asked for in time" if now - self.opened_at > REQUEST_S else None
        if self.inbound.pending is not None:
            return None
        if self.message_at is not None:
            allowed_s = GRACE_S + self.message_bytes / MIN_BYTES_PER_S
            return "its message comes too slowly" if now - self.message_at > allowed_s else None
        return "nothing happened" if now - self.last_at > IDLE_S else None

    def close(self) -> None:
        """Close it, in order as far as that takes no waiting."""
        with suppress(OSError, ValueError):
            if isinstance(self.sock, ssl.SSLSocket) and self._is_shaken:
                self.sock.unwrap()  # close_notify; theirs is not waited for (RFC 8446 6.1)
        with suppress(OSError):  # so that our last bytes are not lost to what the peer still sends
            self.sock.shutdown(socket.SHUT_WR)
        self.sock.close()


def make_secure(sock: socket.socket, context: ssl.SSLContext | None) -> ssl.SSLSocket:
    """A connection on which nothing but TLS is spoken; raises OSError, and closes it then."""
    try:
        if context is None:  # its certificate is not there: never plain instead
            raise ConnectionAbortedError
        return context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
    except ValueError as error:
        sock.close()
        raise ConnectionAbortedError from error
    except OSError:
        sock.close()
        raise


def _explain(error: OSError) -> str:
    """Why a handshake failed; OpenSSL's words name no data of the peer's."""
    reason = (error.reason or "") if isinstance(error, ssl.SSLError) else ""
    if reason in {"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "UNKNOWN_PROTOCOL", "PACKET_LENGTH_TOO_LONG"}:
        return "plain bytes came where TLS is spoken"
    return f"no TLS: {reason.lower().replace('_', ' ') or 'the peer went away'}"
