"""Ways to a host over real OpenSSH servers: several hops, certificates, agents, and peers that vanish."""

import getpass
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from fleet.errors import NetworkError
from fleet.inventory.model import Host, SshSettings
from fleet.push.host_keys import parse_host_key
from fleet.push.ping import ping_host
from fleet.push.ssh.config import Person, read_ssh_config
from fleet.push.ssh.connector import SshConnector, SshOptions, fetch_host_keys
from tests.push import hostile_server
from tests.push.broken_link import broken_link
from tests.push.hostile_server import misbehaving
from tests.push.ssh_server import SSHD, SshServer, make_key, run_sshd

pytestmark = pytest.mark.skipif(SSHD is None, reason="sshd is not installed (tests/debian-packages.txt)")
ME = getpass.getuser()


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, SshServer]]:
    """Three servers with keys of their own: one, two, and the last one."""
    folder = tmp_path_factory.mktemp("ways")
    with run_sshd(folder / "one") as one, run_sshd(folder / "two") as two, run_sshd(folder / "last") as last:
        yield {"one": one, "two": two, "last": last}


def options(folder: Path, text: str, **more: object) -> SshOptions:
    """An ssh_config and nothing else."""
    path = folder / "ssh_config"
    path.write_text(text)
    config = read_ssh_config([path], Person(ME, folder))
    return SshOptions(config=config, home=folder, **more)  # type: ignore[arg-type] # a test's shorthand


def section(name: str, server: SshServer, more: str = "") -> str:
    known = server.folder / "known"
    known.write_text(f"[127.0.0.1]:{server.port} {server.host_key}\n")
    return (
        f"Host {name}\n HostName 127.0.0.1\n Port {server.port}\n User {ME}\n IdentityFile {server.identity_file}\n"
        f" UserKnownHostsFile {known}\n{more}"
    )


def ping(host: Host, chosen: SshOptions, hosts: dict[str, Host] | None = None) -> int:
    transport = SshConnector(hosts or {}, chosen).open_(host, deadline_s=10)
    try:
        return ping_host(transport, deadline_s=5)
    finally:
        transport.close()


def refuse(host: Host, chosen: SshOptions, hosts: dict[str, Host] | None = None) -> NetworkError:
    with pytest.raises(NetworkError) as caught:
        SshConnector(hosts or {}, chosen).open_(host, deadline_s=10)
    return caught.value


def test_two_hops_that_an_ssh_config_names(servers: dict[str, SshServer], tmp_path: Path) -> None:
    text = section("one", servers["one"]) + section("two", servers["two"])
    last = servers["last"].make_host("last")
    for jump in ("ProxyJump one,two\n", "ProxyJump two\nHost two\n ProxyJump one\n"):
        chosen = options(tmp_path, text + f"Host last\n {jump}")
        assert ping(last, chosen) == os.geteuid()


def test_two_hops_of_which_the_inventory_names_one_and_an_ssh_config_the_other(
    servers: dict[str, SshServer], tmp_path: Path
) -> None:
    hosts = {"one": servers["one"].make_host("one")}
    chosen = options(tmp_path, section("two", servers["two"]))
    last = servers["last"].make_host("last", jump="one,two")
    assert ping(last, chosen, hosts) == os.geteuid()
    keys = fetch_host_keys(replace(last, host_keys=()), deadline_s=10, hosts=hosts, options=chosen)
    assert servers["last"].host_key in [key.line for key in keys]


def test_a_wrong_key_at_the_middle_hop_ends_there_with_both_fingerprints(  # T20, T21
    servers: dict[str, SshServer], tmp_path: Path
) -> None:
    hosts = {"one": servers["one"].make_host("one")}
    two = servers["two"].make_host("two", host_keys=(servers["one"].host_key,))
    last = servers["last"].make_host("last", jump="one,two")
    error = refuse(last, options(tmp_path, ""), {**hosts, "two": two})
    assert error.phase == "host_key"
    assert str(error).startswith("the host key changed: two (127.0.0.1 port ")
    for server in ("one", "two"):
        assert parse_host_key(servers[server].host_key).fingerprint in str(error)
    unknown = refuse(last, options(tmp_path, ""), {**hosts, "two": replace(two, host_keys=())})
    assert unknown.phase == "host_key"
    assert "unknown host key: two" in str(unknown)
    known = tmp_path / "known"
    known.write_text(f"@revoked * {servers['two'].host_key}\n")
    right = replace(two, host_keys=(servers["two"].host_key,))
    revoked = refuse(last, options(tmp_path, "", known_hosts=(known,)), {**hosts, "two": right})
    assert (revoked.phase, "marks as revoked" in str(revoked)) == ("host_key", True)


def test_a_second_hop_that_says_nothing_costs_the_deadline_and_is_named(  # T23
    servers: dict[str, SshServer], tmp_path: Path
) -> None:
    hosts = {"one": servers["one"].make_host("one")}
    with misbehaving(hostile_server.say_nothing) as port:
        text = section("two", servers["two"]).replace(f"Port {servers['two'].port}", f"Port {port}")
        began = time.monotonic()
        # ConnectTimeout bounds the one hop, and the deadline all of them.
        for more, limit_s in ((" ConnectTimeout 1\n", 10.0), ("", 1.5)):
            with pytest.raises(NetworkError, match="two") as caught:
                SshConnector(hosts, options(tmp_path, text + more)).open_(
                    servers["last"].make_host(jump="one,two"), deadline_s=limit_s
                )
            assert caught.value.phase == "handshake"
        assert time.monotonic() - began < 5


@pytest.fixture(scope="module")
def certified(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[SshServer, Path, Path]]:
    """A server that knows no key, but an authority; a key, and a certificate of it in another place."""
    folder = tmp_path_factory.mktemp("certified")
    make_key(folder / "authority")
    make_key(folder / "user")
    command = ["ssh-keygen", "-q", "-s", str(folder / "authority"), "-I", "tests", "-n", ME, str(folder / "user.pub")]
    subprocess.run(command, check=True, capture_output=True, timeout=20)
    with run_sshd(folder / "sshd", extra=f"TrustedUserCAKeys {folder}/authority.pub\n") as server:
        (server.folder / "authorized_keys").write_text("")
        (folder / "user-cert.pub").rename(folder / "elsewhere.pub")
        yield server, folder / "user", folder / "elsewhere.pub"


def test_a_certificate_of_an_authority_lets_in_and_the_key_alone_does_not(
    certified: tuple[SshServer, Path, Path], tmp_path: Path
) -> None:
    server, key, certificate = certified
    host = server.make_host("h")
    typed = replace(host, ssh=replace(host.ssh, identity_file=str(key)))
    assert refuse(typed, SshOptions()).phase == "login"
    assert ping(typed, options(tmp_path, f"CertificateFile {certificate}\n")) == os.geteuid()
    said = replace(host, ssh=replace(host.ssh, identity_file=None))
    text = f"IdentityFile {tmp_path}/none\nIdentityFile {key}\nCertificateFile {certificate}\n"
    assert ping(said, options(tmp_path, text)) == os.geteuid()
    # Beside the key, under the name that ssh-keygen gives it.
    for name in (key, Path(f"{key}.pub")):
        (tmp_path / name.name).write_bytes(name.read_bytes())
    (tmp_path / "user").chmod(0o600)
    (tmp_path / "user-cert.pub").write_bytes(certificate.read_bytes())
    assert ping(replace(host, ssh=replace(host.ssh, identity_file=str(tmp_path / "user"))), SshOptions()) >= 0


def test_a_certificate_of_another_key_is_not_offered(certified: tuple[SshServer, Path, Path], tmp_path: Path) -> None:
    server, _, certificate = certified
    host = server.make_host("h")
    make_key(tmp_path / "other")
    other = replace(host, ssh=replace(host.ssh, identity_file=str(tmp_path / "other")))
    error = refuse(other, options(tmp_path, f"CertificateFile {certificate}\n"))
    assert str(certificate) not in str(error)


@contextmanager
def agent(folder: Path, *keys: Path) -> Iterator[str]:
    """An ssh-agent that holds these keys."""
    path = folder / "agent"
    told = subprocess.run(["ssh-agent", "-a", str(path)], check=True, capture_output=True, text=True, timeout=10)
    pid = int(told.stdout.split("SSH_AGENT_PID=")[1].split(";")[0])
    environment = {"SSH_AUTH_SOCK": str(path), "PATH": os.environ["PATH"]}
    try:
        for key in keys:
            subprocess.run(["ssh-add", "-q", str(key)], check=True, env=environment, timeout=10, capture_output=True)
        yield str(path)
    finally:
        os.kill(pid, signal.SIGTERM)


def test_an_agent_holds_the_key_of_which_only_the_public_half_lies_here(
    servers: dict[str, SshServer], tmp_path: Path
) -> None:
    server = servers["last"]
    (tmp_path / "mine.pub").write_bytes(Path(f"{server.identity_file}.pub").read_bytes())
    make_key(tmp_path / "other")
    host = Host("last", "127.0.0.1", "n", SshSettings(ME, server.port), (server.host_key,))
    with agent(tmp_path, tmp_path / "other", server.identity_file) as path:
        for text in ("", f"IdentityFile {tmp_path}/mine.pub\nIdentitiesOnly yes\n"):
            assert ping(host, options(tmp_path, text, agent_socket=path)) == os.geteuid()
        error = refuse(
            host, options(tmp_path, f"IdentityFile {tmp_path}/other\nIdentitiesOnly yes\n", agent_socket=path)
        )
        assert (error.phase, str(tmp_path / "other") in str(error)) == ("login", True)
        assert "agent key" not in str(error)
        assert refuse(host, options(tmp_path, "IdentityAgent none\n", agent_socket=path)).phase == "login"


def test_an_agent_holds_a_certificate_too(certified: tuple[SshServer, Path, Path], tmp_path: Path) -> None:
    server, key, certificate = certified
    for name in (key, Path(f"{key}.pub")):
        (tmp_path / name.name).write_bytes(name.read_bytes())
    (tmp_path / "user").chmod(0o600)
    (tmp_path / "user-cert.pub").write_bytes(certificate.read_bytes())
    host = Host("h", "127.0.0.1", "n", SshSettings(ME, server.port), (server.host_key,))
    with agent(tmp_path, tmp_path / "user") as path:
        assert ping(host, SshOptions(agent_socket=path)) == os.geteuid()
        text = f"IdentityFile {tmp_path}/user.pub\nIdentitiesOnly yes\n"
        assert ping(host, options(tmp_path, text, agent_socket=path)) == os.geteuid()


def test_an_alias_names_the_host_in_known_hosts_files(servers: dict[str, SshServer], tmp_path: Path) -> None:
    server = servers["last"]
    (tmp_path / "known").write_text(f"pacs-cluster {server.host_key}\n")
    text = f"UserKnownHostsFile {tmp_path}/known\nHostKeyAlias pacs-cluster\n"
    assert ping(server.make_host("last", host_keys=()), options(tmp_path, text)) == os.geteuid()
    plain = options(tmp_path, text.splitlines()[0])
    assert refuse(server.make_host("last", host_keys=()), plain).phase == "host_key"


def test_a_peer_that_vanished_is_noticed_while_nothing_is_asked(
    servers: dict[str, SshServer], tmp_path: Path
) -> None:  # T25
    chosen = options(tmp_path, "ServerAliveInterval 1\nServerAliveCountMax 1\n")
    with broken_link(servers["last"].port) as link:
        host = servers["last"].make_host()
        transport = SshConnector({}, chosen).open_(replace(host, ssh=replace(host.ssh, port=link.port)), deadline_s=10)
        assert ping_host(transport, deadline_s=5) == os.geteuid()
        link.silent, link.limit = True, link.counted
        until = time.monotonic() + 10
        while transport.is_open:
            assert time.monotonic() < until
            time.sleep(0.05)
        transport.close()


def test_a_peer_that_answers_its_keepalives_stays(servers: dict[str, SshServer], tmp_path: Path) -> None:
    chosen = options(tmp_path, "ServerAliveInterval 1\nServerAliveCountMax 1\n")
    with broken_link(servers["last"].port) as link:
        host = servers["last"].make_host()
        transport = SshConnector({}, chosen).open_(replace(host, ssh=replace(host.ssh, port=link.port)), deadline_s=10)
        before, until = link.counted, time.monotonic() + 10
        while link.counted < before + 200:  # three questions at least
            assert time.monotonic() < until
            time.sleep(0.05)
        assert ping_host(transport, deadline_s=5) == os.geteuid()
        transport.close()
