"""Against a real sshd: host keys, logins, jumps, tunnels, sudo, and links that break."""

import os
import shutil
import time
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from fleet.errors import FleetError, HostError, NetworkError
from fleet.inventory.model import Host, SshSettings
from fleet.plan.decide import make_host_plan
from fleet.push.apply import ApplySettings, apply_batch, apply_host
from fleet.push.observe import ObserveSettings, observe_fleet, observe_host
from fleet.push.outcome import Outcome
from fleet.push.ping import ping_host
from fleet.push.pool import ConnectionPool
from fleet.push.ssh.connector import SshConnector, SshOptions, fetch_host_keys
from fleet.push.transport import Deadlines
from fleet.render.artifacts import RenderedHost
from tests.push.broken_link import broken_link
from tests.push.local_host import LocalTransport
from tests.push.scenes import NOW, converge, let_leases_expire, list_leftovers, rendered_file, rendered_host
from tests.push.ssh_server import SshServer, find_free_port, make_key, run_sshd

Server = tuple[SshServer, Path]
HOSTILE_WORDS = [
    "-oProxyCommand=touch /tmp/pwned",
    "$(id)",
    "a b",
    "a;id",
    "a|id",
    "`id`",
    "a\nb",
    "",
    "a'b",
    "&",
    ">x",
]


def refusal(host: Host, options: SshOptions | None = None, deadline_s: float = 5) -> NetworkError:
    with pytest.raises(NetworkError) as caught:
        SshConnector({}, options).open_(host, deadline_s=deadline_s)
    return caught.value


def test_a_script_runs_on_a_host_whose_key_is_pinned(sshd: Server) -> None:
    transport = SshConnector({}).open_(sshd[0].make_host(), deadline_s=5)
    assert ping_host(transport, deadline_s=5) >= 0
    assert transport.is_open
    transport.close()
    assert not transport.is_open


def test_an_unknown_host_key_is_refused_with_its_fingerprint_before_any_login(sshd: Server) -> None:  # T20
    host = replace(sshd[0].make_host(host_keys=()), ssh=SshSettings("nobody-we-know", sshd[0].port))
    error = refusal(host)
    assert error.phase == "host_key"
    presented = fetch_host_keys(host, deadline_s=5)[0]
    assert presented.fingerprint in str(error)
    assert presented.line == sshd[0].host_key


def test_a_changed_host_key_is_refused_with_both_fingerprints(sshd: Server, jump_sshd: SshServer) -> None:  # T21
    host = sshd[0].make_host(host_keys=(jump_sshd.host_key,))
    error = refusal(host)
    assert error.phase == "host_key"
    assert "changed" in str(error)
    assert fetch_host_keys(host, deadline_s=5)[0].fingerprint in str(error)
    assert fetch_host_keys(jump_sshd.make_host(), deadline_s=5)[0].fingerprint in str(error)


def test_a_host_with_several_keys_presents_the_pinned_one(sshd: Server) -> None:
    SshConnector({}).open_(sshd[0].make_host(host_keys=(sshd[0].ecdsa_key,)), deadline_s=5).close()


def test_one_bad_line_does_not_disable_a_known_hosts_file(sshd: Server, tmp_path: Path) -> None:  # T21
    known = tmp_path / "known_hosts"
    line = f"[127.0.0.1]:{sshd[0].port} {sshd[0].host_key}\n"
    known.write_text(f"# a comment\n@revoked * ssh-rsa AAAA\n127.0.0.1 ssh-ed25519 !!!\n\x00\xff\n{line}")
    host = sshd[0].make_host(host_keys=())
    SshConnector({}, SshOptions(known_hosts=(known,))).open_(host, deadline_s=5).close()
    known.write_text(f"@revoked {line}{line}")
    error = refusal(host, SshOptions(known_hosts=(known,)))
    assert (error.phase, "revoked" in str(error)) == ("host_key", True)


def test_a_revoked_key_is_refused_even_when_it_is_pinned(sshd: Server, tmp_path: Path) -> None:  # T21
    known = tmp_path / "known_hosts"
    known.write_text(f"@revoked * {sshd[0].host_key}\n")
    assert refusal(sshd[0].make_host(), SshOptions(known_hosts=(known,))).phase == "host_key"


def test_a_known_hosts_file_is_never_written(sshd: Server, tmp_path: Path) -> None:  # T21
    known = tmp_path / "known_hosts"
    known.write_text("")
    refusal(sshd[0].make_host(host_keys=()), SshOptions(known_hosts=(known,)))
    assert known.read_text() == ""


def test_a_key_that_the_host_does_not_know_is_a_login_failure(sshd: Server, tmp_path: Path) -> None:
    make_key(tmp_path / "other")
    host = sshd[0].make_host()
    error = refusal(replace(host, ssh=replace(host.ssh, identity_file=str(tmp_path / "other"))))
    assert (error.phase, str(tmp_path / "other") in str(error)) == ("login", True)
    error = refusal(replace(host, ssh=replace(host.ssh, identity_file=str(tmp_path / "none"))))
    assert "does not exist" in str(error)
    error = refusal(replace(host, ssh=replace(host.ssh, identity_file=None)))
    assert "no key to offer" in str(error)


@pytest.mark.parametrize("word", HOSTILE_WORDS)
def test_hostile_addresses_users_and_jumps_are_refused_before_anything_is_contacted(word: str) -> None:  # T22
    plain = Host("h", "127.0.0.1", "north", SshSettings("fleet", 22), ("ssh-ed25519 AAAA",))
    for host in (
        replace(plain, address=word),
        replace(plain, ssh=replace(plain.ssh, user=word)),
        replace(plain, ssh=replace(plain.ssh, jump=word)),
    ):
        with pytest.raises(HostError) as caught:
            SshConnector({}).open_(host, deadline_s=1)
        assert caught.value.phase == "plan"


@pytest.mark.parametrize("port", [0, -1, 65536])
def test_a_port_that_is_none_is_refused(port: int) -> None:  # T22
    with pytest.raises(HostError):
        SshConnector({}).open_(Host("h", "127.0.0.1", "north", SshSettings("fleet", port)), deadline_s=1)


def test_a_jump_by_name_and_by_address(sshd: Server, jump_sshd: SshServer, tmp_path: Path) -> None:
    host = sshd[0].make_host(jump="bastion")
    hosts = {"bastion": jump_sshd.make_host("bastion")}
    transport = SshConnector(hosts).open_(host, deadline_s=8)
    assert ping_host(transport, deadline_s=5) >= 0
    transport.close()
    shutil.copy(sshd[0].folder / "id_ed25519.pub", tmp_path / "key.pub")
    authorized = jump_sshd.folder / "authorized_keys"
    authorized.write_text(authorized.read_text() + (sshd[0].folder / "id_ed25519.pub").read_text())
    known = tmp_path / "known_hosts"
    known.write_text(f"[127.0.0.1]:{jump_sshd.port} {jump_sshd.host_key}\n")
    by_address = replace(host, ssh=replace(host.ssh, jump=f"{host.ssh.user}@127.0.0.1:{jump_sshd.port}"))
    SshConnector({}, SshOptions(known_hosts=(known,))).open_(by_address, deadline_s=8).close()


def test_a_jump_whose_key_is_wrong_is_not_used(sshd: Server, jump_sshd: SshServer) -> None:  # T21
    hosts = {"bastion": jump_sshd.make_host("bastion", host_keys=(sshd[0].host_key,))}
    with pytest.raises(NetworkError, match="bastion") as caught:
        SshConnector(hosts).open_(sshd[0].make_host(jump="bastion"), deadline_s=8)
    assert caught.value.phase == "host_key"


def test_jumps_that_go_round_are_refused(sshd: Server) -> None:
    one, two = sshd[0].make_host("one", jump="two"), sshd[0].make_host("two", jump="one")
    with pytest.raises(HostError, match="circle"):
        SshConnector({"one": one, "two": two}).open_(one, deadline_s=2)


def test_a_host_opens_a_channel_to_a_port_that_only_it_can_reach(sshd: Server, jump_sshd: SshServer) -> None:
    transport = SshConnector({}).open_(sshd[0].make_host(), deadline_s=5)
    stream = transport.open_channel("127.0.0.1", jump_sshd.port, deadline_s=5)
    assert stream.receive(8, deadline_s=5) == b"SSH-2.0-"
    stream.send(b"SSH-2.0-x\r\n", deadline_s=5)
    stream.close()
    with pytest.raises(NetworkError, match="could not connect") as caught:
        transport.open_channel("127.0.0.1", find_free_port(), deadline_s=5)
    assert caught.value.phase == "tunnel"
    transport.close()


FAKE_SUDO = {
    "sudo: a password is required": "sudo asks for a password",
    "sudo: sorry, you must have a tty to run sudo": "requiretty",
    "fleet is not in the sudoers file.": "does not let this user in",
}


@pytest.mark.parametrize("said", FAKE_SUDO)
def test_a_sudo_that_does_not_let_us_in_is_named_at_once(tmp_path: Path, said: str) -> None:  # T38
    (tmp_path / "bin").mkdir()
    sudo = tmp_path / "bin/sudo"
    sudo.write_text(f"#!/bin/sh\necho '{said}' >&2\nexit 1\n")
    sudo.chmod(0o755)
    with run_sshd(tmp_path / "ssh", extra=f"SetEnv PATH={tmp_path}/bin:/usr/bin:/bin\n") as server:
        transport = SshConnector({}).open_(server.make_host(), deadline_s=5)
        began = time.monotonic()
        with pytest.raises(HostError, match=FAKE_SUDO[said]):
            ping_host(transport, deadline_s=5, become=True)
        assert time.monotonic() - began < 2
        transport.close()


def test_a_whole_fleet_over_one_connection_a_host(sshd: Server) -> None:
    server, folder = sshd
    host, gone = server.make_host(), replace(server.make_host("gone"), ssh=SshSettings("root", find_free_port()))
    rendered = rendered_host(rendered_file("/etc/fleet-test/a.cfg", "x\n" * 50_000))
    pairs = [(host, rendered), (gone, RenderedHost("gone"))]
    with ConnectionPool(SshConnector({})) as pool:
        readings = observe_fleet(pairs, pool, ObserveSettings(deadlines=Deadlines(connect_s=3)))
        assert [reading.host for reading in readings] == ["north-1", "gone"]
        assert readings[1].failure is not None
        assert (readings[1].failure.outcome, readings[1].failure.phase) == (Outcome.UNREACHABLE, "connect")
        assert readings[0].observed is not None
        plan = make_host_plan(rendered, readings[0].observed, adopt=False)
        assert [each.outcome for each in apply_batch([(host, plan)], pool, NOW)] == [Outcome.CONVERGED]
    assert (folder / "etc/fleet-test/a.cfg").read_text() == "x\n" * 50_000
    assert list_leftovers(folder) == []


@dataclass(frozen=True)
class Push:
    """What a push through a link came to: bytes that passed, and the longest that any phase took."""

    passed: int
    longest_s: float


def push_through(
    server: SshServer, rendered: RenderedHost, limit: int | None, *, silent: bool = False, deadline_s: float = 5.0
) -> Push:
    """Log in, observe, apply, each phase with the same deadline; a link that breaks ends it."""
    longest_s = 0.0
    began = time.monotonic()

    def mark() -> None:
        nonlocal longest_s, began
        longest_s, began = max(longest_s, time.monotonic() - began), time.monotonic()

    with broken_link(server.port, limit, silent=silent) as link:
        host = server.make_host()
        host = replace(host, ssh=replace(host.ssh, port=link.port))
        transport = None
        try:
            transport = SshConnector({}).open_(host, deadline_s=deadline_s)
            mark()
            observed = observe_host(rendered, transport, deadline_s=deadline_s)
            mark()
            plan = make_host_plan(rendered, observed, adopt=False)
            stages = Deadlines(deadline_s, deadline_s, deadline_s, deadline_s)
            apply_host(plan, transport, ApplySettings(1, stages, 0, 0), lambda _event: mark())
        except FleetError:
            pass
        finally:
            mark()
            if transport is not None:
                transport.close()
        return Push(link.counted, longest_s)


def settle(rendered: RenderedHost, folder: Path) -> Outcome:
    """The next run; the host may still be busy with the last one."""
    until = time.monotonic() + 5
    outcome = converge(rendered, LocalTransport(folder)).outcome
    while outcome not in {Outcome.CONVERGED, Outcome.UNCHANGED} and time.monotonic() < until:
        time.sleep(0.1)
        let_leases_expire(folder)
        outcome = converge(rendered, LocalTransport(folder)).outcome
    return outcome


@pytest.mark.parametrize("silent", [False, True], ids=["reset", "silent"])
def test_a_link_cut_at_any_byte_leaves_files_whole_and_the_next_run_finishes(  # T25
    sshd: Server, *, silent: bool
) -> None:
    server, folder = sshd
    paths = ("/etc/cut/a.cfg", "/etc/cut/b.cfg")
    versions = {letter: "".join(f"{letter} {number}\n" for number in range(3000)) for letter in "01"}

    def render(letter: str) -> RenderedHost:
        return rendered_host(*(rendered_file(path, versions[letter]) for path in paths))

    push_through(server, render("1"), None)
    total = push_through(server, render("0"), None).passed
    counts = (100, 900) if os.environ.get("FLEET_SOAK") == "1" else (5, 25)  # silent cuts, resets
    count = counts[0 if silent else 1]
    deadline_s = 1.0 if silent else 5.0
    for step in range(count):
        target = "1" if step % 2 == 0 else "0"
        before = versions["0" if target == "1" else "1"]
        cut = push_through(
            server, render(target), 40 + step * (total - 100) // count, silent=silent, deadline_s=deadline_s
        )
        assert cut.longest_s <= deadline_s + 1
        now = [(folder / path[1:]).read_text() for path in paths]
        assert set(now) <= {before, versions[target]}
        assert settle(render(target), folder) in {Outcome.CONVERGED, Outcome.UNCHANGED}
        assert [(folder / path[1:]).read_text() for path in paths] == [versions[target]] * 2
        assert list_leftovers(folder) == []
