"""Channels through one connection, many at once: each has its own ending, and none costs another its own."""

import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from fleet.errors import NetworkError
from fleet.push.ssh.connector import SshConnector
from fleet.push.transport import Transport
from tests.push.ssh_server import SSHD, SshServer, find_free_port, run_sshd

pytestmark = pytest.mark.skipif(SSHD is None, reason="there is no sshd: apt-get install openssh-server")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SshServer]:
    with run_sshd(tmp_path_factory.mktemp("sshd"), extra="MaxSessions 100\n") as running:
        yield running


@pytest.fixture
def transport(server: SshServer) -> Iterator[Transport]:
    opened = SshConnector({}).open_(server.make_host(), deadline_s=10)
    yield opened
    opened.close()


@contextmanager
def black_hole() -> Iterator[int]:
    """A port whose queue is full: the kernel drops what else wants in (listen(2))."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        port = int(listener.getsockname()[1])
        waiting = [socket.socket() for _ in range(4)]
        try:
            for each in waiting:
                each.setblocking(False)
                each.connect_ex(("127.0.0.1", port))
            time.sleep(0.05)
            yield port
        finally:
            for each in waiting:
                each.close()


def describe(transport: Transport, port: int, deadline_s: float) -> str:
    try:
        transport.open_channel("127.0.0.1", port, deadline_s=deadline_s).close()
    except NetworkError as error:
        return str(error)
    return "opened"


def test_many_refusals_at_once_are_each_told_as_a_refusal(transport: Transport) -> None:
    closed = find_free_port()
    with ThreadPoolExecutor(16) as pool:
        told = list(pool.map(lambda _: describe(transport, closed, 5), range(160)))
    assert [words for words in told if "Connection refused" not in words] == []


def test_a_tunnel_that_is_not_opened_in_time_costs_no_other(server: SshServer, transport: Transport) -> None:
    closed = find_free_port()
    with black_hole() as silent, ThreadPoolExecutor(24) as pool:
        started = time.monotonic()
        late = [pool.submit(describe, transport, silent, 0.6) for _ in range(4)]
        others = list(pool.map(lambda n: describe(transport, server.port if n % 2 else closed, 5), range(80)))
        words = [each.result() for each in late]
        took_s = time.monotonic() - started
    assert set(others[1::2]) == {"opened"}
    assert all("Connection refused" in text for text in others[::2])
    assert all("no answer within 0.6 s" in text for text in words)
    assert took_s < 5
    assert transport.is_open
    assert describe(transport, server.port, 5) == "opened"


def test_a_host_that_forbids_forwarding_says_so(tmp_path: Path) -> None:
    with run_sshd(tmp_path, extra="DisableForwarding yes\n") as strict:
        opened = SshConnector({}).open_(strict.make_host(), deadline_s=10)
        assert "forbids forwarding" in describe(opened, strict.port, 5)
        opened.close()
