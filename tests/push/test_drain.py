"""Out of service and back, by the real script in every shell: nothing of it outlives its end."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from fleet.plan.manifest import Manifest, ManifestFile, format_manifest
from fleet.push.drain import Drain, observe_traffic, put_back, take_out
from fleet.render.artifacts import RenderedFile
from fleet.targets import drained, haproxy, keepalived
from tests.push.local_host import LocalTransport

HAPROXY = f"global\n  server-state-file {drained.SERVERS_PATH}\n"
KEEPALIVED = f"vrrp_track_file drained {{\n  file {drained.MEMBER_PATH}\n}}\n"
DRAIN = Drain("north-1", "run-1.a", 60, ("north-2",), (("pacs", "north-1"), ("worklist", "north-1")), ("10.0.0.1",))


@pytest.fixture
def transport(root: Path, userland: tuple[Sequence[str], Sequence[str]]) -> LocalTransport:
    """A member with both daemons, its files as fleet wrote them."""
    files = {}
    for path, content in ((haproxy.PATH, HAPROXY), (keepalived.PATH, KEEPALIVED)):
        (root / path[1:]).parent.mkdir(parents=True, exist_ok=True)
        (root / path[1:]).write_text(content)
        files[path] = ManifestFile(RenderedFile("north-1", path, content).digest, 0o644, "root:root")
    (root / "var/lib/fleet").mkdir(parents=True)
    (root / "var/lib/fleet/manifest").write_text(format_manifest(Manifest(files)))
    wrapper, shell = userland
    return LocalTransport(root, shell, wrapper)


def leave(transport: LocalTransport, drain: Drain = DRAIN, *, itself: bool = False) -> tuple[str, object, bool]:
    report = take_out(transport, drain, itself=itself, deadline_s=30)
    return report.refused, report.busy, report.moves


def come_back(transport: LocalTransport, drain: Drain = DRAIN) -> str:
    return put_back(transport, drain, deadline_s=30)


def list_marks(root: Path) -> list[str]:
    found = sorted(path.name for path in (root / "run/fleet-drain").iterdir() if not path.name.startswith("rows"))
    return found + ["fleet-drained"] * (root / "run/fleet-drained").exists()


def count_reloads(root: Path) -> int:
    log = root / "units/log"
    return log.read_text().splitlines().count("reload haproxy.service") if log.exists() else 0


def test_haproxy_is_told_of_each_server_and_reloaded_once(transport: LocalTransport, root: Path) -> None:
    assert leave(transport) == ("", None, False)
    rows = [drained.format_server_state(service, server) for service, server in DRAIN.servers]
    assert (root / drained.SERVERS_PATH[1:]).read_text().splitlines() == ["1", *rows]
    assert not (root / "run/fleet-drained").exists(), "its address stays until its associations have ended"
    assert leave(transport, itself=True) == ("", None, True)
    assert (root / "run/fleet-drained").read_text() == "1\n"
    assert (root / "run/fleet-drain/address.10.0.0.1").stat().st_mode & 0o777 == 0o644, "a check is nobody's process"
    assert (root / "run/fleet-drain").stat().st_mode & 0o777 == 0o755
    assert count_reloads(root) == 1
    assert come_back(transport) == ""
    assert list_marks(root) == []
    assert count_reloads(root) == 2


def test_two_partners_are_never_out_at_once_and_the_first_stays_out(transport: LocalTransport, root: Path) -> None:
    assert leave(transport)[1] is None
    partner = Drain("north-2", "run-2.b", 60, ("north-1",), (("pacs", "north-2"),), ("10.0.0.2",))
    assert leave(transport, partner)[1] == ("north-1", "run-1.a")
    assert come_back(transport, partner) == ""
    assert "claim.north-1" in list_marks(root)
    assert "north-2" not in (root / drained.SERVERS_PATH[1:]).read_text()
    come_back(transport)
    assert leave(transport, partner) == ("", None, False)


def test_members_of_different_services_are_out_side_by_side(transport: LocalTransport, root: Path) -> None:
    other = Drain("south-1", "run-1.c", 60, ("south-2",), (("mwl", "south-1"),), ())
    leave(transport)
    leave(transport, other)
    assert len((root / drained.SERVERS_PATH[1:]).read_text().splitlines()) == 4
    come_back(transport)
    assert (root / drained.SERVERS_PATH[1:]).read_text().splitlines() == [
        "1",
        drained.format_server_state("mwl", "south-1"),
    ]


def test_a_file_edited_by_hand_is_not_brought_to_life_by_a_drain(transport: LocalTransport, root: Path) -> None:
    (root / haproxy.PATH[1:]).write_text(HAPROXY + "# tried something\n")
    assert "was edited by hand" in leave(transport)[0]
    assert list_marks(root) == []
    assert count_reloads(root) == 0


def test_a_host_without_either_daemon_has_nothing_to_reload_and_no_address_to_move(local: LocalTransport) -> None:
    assert leave(local, itself=True) == ("", None, False)
    assert count_reloads(local.root) == 0


def test_whoever_took_it_out_since_is_not_put_back_by_the_one_before(transport: LocalTransport, root: Path) -> None:
    leave(transport)
    later = Drain("north-1", "run-2.b", 60, DRAIN.partners, DRAIN.servers, DRAIN.addresses)
    leave(transport, later, itself=True)
    assert come_back(transport) == ""
    assert "claim.north-1" in list_marks(root)
    assert "fleet-drained" in list_marks(root)
    come_back(transport, later)
    assert list_marks(root) == []


def test_the_hosts_own_timer_puts_it_back(transport: LocalTransport, root: Path) -> None:  # T29
    leave(transport, itself=True)
    (program,) = (root / "run/fleet-drain").glob("run.*")
    done = transport.run_text(program.read_bytes())
    assert (done.status, list_marks(root)) == (0, [])
    assert count_reloads(root) == 2


def test_a_reload_that_fails_is_told(transport: LocalTransport, root: Path) -> None:
    (root / "units").mkdir()
    (root / "units/haproxy.service.fails-to-reload").write_text("")
    assert leave(transport)[0] == "HAProxy could not be reloaded: Job for haproxy.service failed."


HEAD = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
ROW = "   {n}: {local} 2900140A:8001 {state} 00000000:00000000 00:00000000 00000000     0        0 {n} 1 0 20 4 30\n"
FIB = """\
Main:
  +-- 0.0.0.0/0 3 0 4
     |-- 10.20.0.10
        /32 link UNICAST
     |-- 10.20.0.100
        /32 host LOCAL
"""


def test_traffic_is_what_callers_have_open_and_checks_from_loopback_are_none(
    transport: LocalTransport, root: Path
) -> None:
    net = root / "proc/net"
    net.mkdir(parents=True)
    rows = [("0B00140A:2B68", "01"), ("0B00140A:2B68", "06"), ("6400140A:0068", "01"), ("0168007F:0068", "01")]
    net.joinpath("tcp").write_text(
        HEAD + "".join(ROW.format(n=n, local=local, state=state) for n, (local, state) in enumerate(rows))
    )
    net.joinpath("fib_trie").write_text(FIB)
    net.joinpath("if_inet6").write_text("fd000000000000000000000000000064 02 40 00 80 eth0\n")
    addresses = ("10.20.0.100", "10.20.0.10", "fd00::64", "fd00::65")
    seen = observe_traffic(transport, (11112,), (104,), addresses, deadline_s=30)
    assert (seen.here, seen.through) == (1, 1)
    assert seen.held == {"10.20.0.100", "fd00::64"}
