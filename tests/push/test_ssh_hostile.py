"""Servers that hang, dribble, flood or lie: each costs its deadline and nothing more (T23, T24, T40)."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import paramiko
import pytest

from fleet.errors import DeadlineExceeded, FleetError, HostError, NetworkError
from fleet.inventory.model import Host, SshSettings
from fleet.push.observe import ObserveSettings, observe_fleet, observe_host
from fleet.push.outcome import Outcome
from fleet.push.ping import make_ping_script, ping_host
from fleet.push.script import Script
from fleet.push.ssh.connector import SshConnector, SshOptions
from fleet.push.transport import Deadlines, Transport
from fleet.render.artifacts import RenderedHost
from tests.push import hostile_server
from tests.push.fake_host import FakeConnector, FakeHost
from tests.push.hostile_server import MUCH_BYTES, Behaviour, misbehaving, scripted
from tests.push.scenes import rendered_file, rendered_host
from tests.push.ssh_server import make_key

DEADLINE_S = 0.5


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, paramiko.PKey, str]:
    """A client's key file, a server's key, and that as it is pinned."""
    folder = tmp_path_factory.mktemp("keys")
    make_key(folder / "id")
    make_key(folder / "host")
    pinned = " ".join((folder / "host.pub").read_text().split()[:2])
    return folder / "id", paramiko.PKey.from_path(folder / "host"), pinned


Keys = tuple[Path, paramiko.PKey, str]


def make_host(port: int, keys: Keys) -> Host:
    return Host("h", "127.0.0.1", "north", SshSettings("fleet", port, None, str(keys[0])), (keys[2],))


@contextmanager
def takes_at_most(seconds: float) -> Iterator[None]:
    began = time.monotonic()
    yield
    assert time.monotonic() - began <= seconds


@pytest.mark.parametrize(
    "behaviour",
    [
        hostile_server.say_nothing,
        hostile_server.greet_and_hang,
        hostile_server.greet_slowly,
        hostile_server.chat_before_the_greeting,
        hostile_server.send_one_endless_line,
        hostile_server.hang_in_the_key_exchange,
        hostile_server.send_junk_for_a_key_exchange,
        hostile_server.hang_up,
        hostile_server.speak_http,
    ],
)
def test_whoever_hangs_before_the_login_costs_the_deadline(behaviour: Behaviour, keys: Keys) -> None:  # T23
    with misbehaving(behaviour) as port, takes_at_most(DEADLINE_S + 1):
        with pytest.raises(NetworkError) as caught:
            SshConnector({}).open_(make_host(port, keys), deadline_s=DEADLINE_S)
        assert caught.value.phase == "handshake"


def test_a_length_that_nobody_means_is_refused_by_its_header(keys: Keys) -> None:  # T23, T24
    """Whoever answers at the address, before anybody knows who it is, must not fill our memory until the deadline."""
    with misbehaving(hostile_server.announce_a_huge_packet) as port, pytest.raises(NetworkError) as caught:
        SshConnector({}).open_(make_host(port, keys), deadline_s=20)
    assert "announced a packet of 1073741816 bytes" in str(caught.value)
    assert caught.value.phase == "handshake"


@pytest.mark.parametrize("behaviour", [hostile_server.greet_with_escapes, hostile_server.send_one_endless_line])
def test_whatever_is_said_in_place_of_a_greeting_is_short_and_harmless(behaviour: Behaviour, keys: Keys) -> None:  # T23
    """And costs no deadline: nothing that could follow would be a greeting (RFC 4253 section 4.2)."""
    with misbehaving(behaviour) as port, takes_at_most(10), pytest.raises(NetworkError) as caught:
        SshConnector({}).open_(make_host(port, keys), deadline_s=20)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 500


def test_whoever_hangs_in_the_login_costs_the_deadline(keys: Keys) -> None:  # T23
    with scripted("hang-in-login", keys[1]) as port, takes_at_most(DEADLINE_S + 1):
        with pytest.raises(NetworkError, match=r"did not answer the login within 0\.5 s") as caught:
            SshConnector({}).open_(make_host(port, keys), deadline_s=DEADLINE_S)
        assert caught.value.phase == "login"


@pytest.mark.parametrize(
    ("script", "told"),
    [
        ("wants-password", "it takes no keys, only password"),
        ("wants-an-answer", "it takes no keys, only keyboard-interactive"),
        ("wants-a-second-factor", "was not let in"),
    ],
)
def test_a_host_that_wants_more_than_a_key_gets_none(keys: Keys, script: str, told: str) -> None:  # T21, T23
    with scripted(script, keys[1]) as port, takes_at_most(4), pytest.raises(NetworkError, match=told) as caught:
        SshConnector({}).open_(make_host(port, keys), deadline_s=5)
    assert caught.value.phase == "login"


@contextmanager
def logged_in(script: str, keys: Keys) -> Iterator[Transport]:
    with scripted(script, keys[1]) as port:
        transport = SshConnector({}).open_(make_host(port, keys), deadline_s=5)
        yield transport
        transport.close()


@pytest.mark.parametrize(
    "script", ["hang-in-session", "hang-in-exec", "dribble", "never-exits", "reads-nothing", "endless-chatter"]
)
def test_whoever_hangs_after_the_login_costs_the_deadline(script: str, keys: Keys) -> None:  # T23, T24
    with logged_in(script, keys) as transport, takes_at_most(DEADLINE_S + 1):
        with pytest.raises(DeadlineExceeded, match=r"not done within 0\.5 s"):
            transport.run_script(make_ping_script(), deadline_s=DEADLINE_S)
        assert not transport.is_open


@pytest.mark.parametrize("script", ["endless-output", "endless-errors"])
def test_a_flood_on_either_stream_is_cut_at_its_limit(script: str, keys: Keys) -> None:  # T24
    with logged_in(script, keys) as transport, takes_at_most(8):
        with pytest.raises(HostError, match="more than 1000000 bytes"):
            transport.run_script(make_ping_script(), deadline_s=10)
        assert not transport.is_open


def test_both_streams_are_emptied_at_once_whatever_their_size(keys: Keys) -> None:  # T24
    """paramiko's trap: a channel stands still when nobody empties its window of 2 MiB."""
    with logged_in("much-on-both", keys) as transport, takes_at_most(15):
        result = transport.run_script(make_ping_script(), deadline_s=15, limit_bytes=2 * MUCH_BYTES)
    assert (len(result.stdout), len(result.stderr), result.status) == (MUCH_BYTES, MUCH_BYTES, 3)


def test_a_host_that_reads_nothing_is_heard_all_the_same(keys: Keys) -> None:  # T24
    """Its window is full after 2 MiB of a script of 5: it still says its piece, and how it ended."""
    script = Script("ping", "x" * MUCH_BYTES)
    with logged_in("much-and-reads-nothing", keys) as transport, takes_at_most(15):
        result = transport.run_script(script, deadline_s=15, limit_bytes=2 * MUCH_BYTES)
    assert (len(result.stdout), result.status) == (MUCH_BYTES, 3)


def test_a_script_that_nobody_reads_costs_the_deadline(keys: Keys) -> None:  # T23
    with logged_in("reads-nothing", keys) as transport, takes_at_most(DEADLINE_S + 1):
        with pytest.raises(DeadlineExceeded):
            transport.run_script(Script("ping", "x" * MUCH_BYTES), deadline_s=DEADLINE_S)
        assert not transport.is_open


def test_a_host_that_hangs_up_in_the_middle_is_a_broken_connection(keys: Keys) -> None:
    with logged_in("hang-up", keys) as transport, pytest.raises(NetworkError) as caught:
        transport.run_script(make_ping_script(), deadline_s=5)
    assert caught.value.phase == "session"


LIES = [
    "",
    "fleet-host 1\n",
    "fleet-host 1\nend",
    "fleet-host 1\nuid 0\n",
    "fleet-host 1\nuid 0\n\x1b[2J\nend\n",
    "fleet-host 1\nfile 0 absent\nmanifest absent\nend\n",
    "fleet-host 1\nfile 99 absent\nend\n",
    "fleet-host 1\nfile -1 absent\nend\n",
    "fleet-host 1\npath 7 /etc/../shadow\nend\n",
    "fleet-host 1\nmanifest absent\npath 1 /etc/shadow\nend\n",
    "fleet-host 1\nmanifest text !!!\nend\n",
    "fleet-host 1\nrun /bin/sh\nend\n",
    "fleet-host 1\nfolder 0 somewhere\nend\n",
    "fleet-host 1\nfile 0 file 99999 root:root 1 1 abc\nend\n",
]


@pytest.mark.parametrize("answer", LIES)
def test_a_host_that_lies_fails_alone_and_names_no_path(answer: str, keys: Keys) -> None:  # T40
    with logged_in(answer or " ", keys) as transport, pytest.raises(HostError) as caught:
        observe_host(rendered_host(rendered_file()), transport, deadline_s=5)
    assert str(caught.value).isprintable()


def test_one_hanging_host_does_not_hold_up_the_others(keys: Keys) -> None:  # T23
    with misbehaving(hostile_server.say_nothing) as port:
        hosts = [make_host(port, keys) for _ in range(12)]
        pairs = [(host, RenderedHost("h")) for host in hosts]
        with takes_at_most(DEADLINE_S + 1):
            readings = observe_fleet(pairs, SshConnector({}), ObserveSettings(20, Deadlines(connect_s=DEADLINE_S)))
    assert [reading.failure.outcome for reading in readings if reading.failure] == [Outcome.UNREACHABLE] * 12


def test_a_key_with_a_passphrase_is_never_asked_about(keys: Keys, tmp_path: Path) -> None:
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "secret", "-f", str(tmp_path / "locked")], check=True, timeout=30
    )
    with scripted("x", keys[1]) as port:
        host = Host("h", "127.0.0.1", "n", SshSettings("fleet", port, None, str(tmp_path / "locked")), (keys[2],))
        with pytest.raises(NetworkError, match="asks for no passphrase"):
            SshConnector({}).open_(host, deadline_s=5)
        # A person's own default key that is locked is passed over, not an error.
        plain = Host("h", "127.0.0.1", "n", SshSettings("fleet", port), (keys[2],))
        options = SshOptions(identity_files=(tmp_path / "locked", keys[0]))
        SshConnector({}, options).open_(plain, deadline_s=5).close()


def test_a_key_in_an_agent_is_used(keys: Keys, tmp_path: Path) -> None:
    socket_path = tmp_path / "agent"
    told = subprocess.run(["ssh-agent", "-a", str(socket_path)], check=True, capture_output=True, text=True, timeout=10)
    pid = int(told.stdout.split("SSH_AGENT_PID=")[1].split(";")[0])
    try:
        environment = {"SSH_AUTH_SOCK": str(socket_path), "PATH": os.environ["PATH"]}
        subprocess.run(["ssh-add", "-q", str(keys[0])], check=True, env=environment, timeout=10)
        with scripted("fleet-host 1\nuid 7\nend\n", keys[1]) as port:
            host = Host("h", "127.0.0.1", "n", SshSettings("fleet", port), (keys[2],))
            transport = SshConnector({}, SshOptions(agent_socket=str(socket_path))).open_(host, deadline_s=5)
            assert ping_host(transport, deadline_s=5) == 7
            transport.close()
    finally:
        os.kill(pid, signal.SIGTERM)


@pytest.mark.parametrize("error", [NetworkError("gone", phase="session"), DeadlineExceeded("late", phase="observe")])
def test_every_host_ends_as_a_reading_or_a_failure(error: FleetError) -> None:
    hosts = {"good": FakeHost(), "bad": FakeHost(failures={"observe": error})}
    pairs = [(Host(name, "127.0.0.1", "n"), RenderedHost(name)) for name in ("good", "bad", "gone")]
    readings = observe_fleet(pairs, FakeConnector(hosts))
    assert [(reading.host, reading.observed is None) for reading in readings] == [
        ("good", False),
        ("bad", True),
        ("gone", True),
    ]
    assert all((reading.observed is None) != (reading.failure is None) for reading in readings)
