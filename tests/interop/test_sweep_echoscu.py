"""A host that forbids forwarding asks by its own echoscu: the real one, against peers that end each in its way."""

import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from fleet.dicom.association import make_command_pdu
from fleet.dicom.dimse import EchoRSP
from fleet.dicom.pdu import Abort, AssociateRJ
from fleet.push.ssh.connector import SshConnector
from fleet.push.transport import Transport
from fleet.verify.echoscu import ECHOSCU_PATHS, classify_echoscu, make_echoscu_arguments
from fleet.verify.settings import SweepSettings
from fleet.verify.values import ClientCertificate, EchoResult, EchoTarget, Outcome, Timeouts, TlsSettings
from fleet.workflow.on_host import ask_by_echoscu
from fleet.workflow.tunnel import Brakes, ask_through
from tests.interop.test_sweep_dcmtk import storescp
from tests.push.ssh_server import SSHD, SshServer, find_free_port, run_sshd
from tests.verify.certificates import make_authority, make_certificate
from tests.verify.peers import ACCEPT, ANSWER, RELEASED, Script, answer_well, read_pdu, replies, serving

ECHOSCU = ECHOSCU_PATHS[0]
pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(not Path(ECHOSCU).exists(), reason="no dcmtk: apt-get install dcmtk"),
]
QUICK = Timeouts(connect_s=1, acse_s=1, dimse_s=1, total_s=4)


def hang_after_accept(sock: socket.socket) -> None:
    read_pdu(sock)
    sock.sendall(ACCEPT)
    threading.Event().wait(3)


def say_nothing(_sock: socket.socket) -> None:
    threading.Event().wait(3)


def dribble(sock: socket.socket) -> None:
    """A byte now and then outlasts every timeout of echoscu's own."""
    for byte in ACCEPT:
        sock.sendall(bytes((byte,)))
        if threading.Event().wait(0.4):
            return


ENDINGS: dict[str, tuple[Script, Outcome, str]] = {
    "success": (replies(ACCEPT, ANSWER, RELEASED), Outcome.ANSWERED, ""),
    "called": (replies(AssociateRJ(1, 1, 7).encode()), Outcome.ASSOCIATION_REJECTED, "1/1/7"),
    "calling": (replies(AssociateRJ(1, 1, 3).encode()), Outcome.ASSOCIATION_REJECTED, "1/1/3"),
    "busy": (replies(AssociateRJ(2, 3, 2).encode()), Outcome.ASSOCIATION_REJECTED, "2/3/2"),
    "status": (
        replies(ACCEPT, make_command_pdu(1, EchoRSP(1, 0x0122)).encode(), RELEASED),
        Outcome.ECHO_FAILED,
        "0x0122 (SOP class not supported)",
    ),
    "abort in echo": (replies(ACCEPT, Abort(0, 0).encode()), Outcome.ASSOCIATION_ABORTED, "aborted"),
    "closed": (replies(), Outcome.CONNECTION_LOST, "list of allowed addresses"),
    "silent": (say_nothing, Outcome.ASSOCIATION_TIMEOUT, "not answered in time"),
    "hangs in echo": (hang_after_accept, Outcome.ECHO_TIMEOUT, "not answered in time"),
    "dribble": (dribble, Outcome.ASSOCIATION_TIMEOUT, ""),
    "web server": (replies(b"HTTP/1.1 400 Bad Request\r\n\r\n"), Outcome.NOT_DICOM, "not DICOM"),
}


def make_target(port: int, address: str = "127.0.0.1") -> EchoTarget:
    return EchoTarget("CALLED", address, port, "CALLER", source="north-1", timeouts=QUICK)


def ask(target: EchoTarget) -> EchoResult:
    command = ["timeout", "-k", "2", str(int(QUICK.total_s)), ECHOSCU, *make_echoscu_arguments(target)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    return classify_echoscu(target, done.returncode, done.stdout + done.stderr, 0.1)


@pytest.mark.parametrize("name", ENDINGS)
def test_the_words_of_echoscu_are_read_and_its_status_is_not(name: str) -> None:
    script, outcome, words = ENDINGS[name]
    with serving(script) as peer:
        result = ask(make_target(peer.port))
    assert (result.outcome, words in result.detail) == (outcome, True), result.detail


def test_an_echoscu_that_had_to_be_ended_is_a_timeout_of_where_it_was() -> None:
    begun, accepted = "I: Requesting Association\n", "I: Association Accepted (Max Send PDV: 16372)\n"
    for status in (124, 137):
        assert classify_echoscu(make_target(1), status, begun, 4).outcome is Outcome.ASSOCIATION_TIMEOUT
        assert classify_echoscu(make_target(1), status, begun + accepted, 4).outcome is Outcome.ECHO_TIMEOUT
    strange = classify_echoscu(make_target(1), 3, "\x1b[2Jout of order", 4)
    assert strange.outcome is Outcome.UNKNOWN
    assert "\\x1b[2Jout of order" in strange.detail


def test_refusals_and_unknown_names_are_told() -> None:
    assert ask(make_target(find_free_port())).outcome is Outcome.REFUSED
    assert ask(make_target(104, "nobody.invalid")).outcome is Outcome.NAME_NOT_FOUND


@pytest.fixture(scope="module")
def strict_sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SshServer]:
    if SSHD is None:
        pytest.skip("there is no sshd: apt-get install openssh-server")
    with run_sshd(tmp_path_factory.mktemp("sshd"), extra="DisableForwarding yes\n") as running:
        yield running


@pytest.fixture
def strict_host(strict_sshd: SshServer) -> Iterator[Transport]:
    opened = SshConnector({}).open_(strict_sshd.make_host(), deadline_s=10)
    yield opened
    opened.close()


def test_where_forwarding_is_forbidden_the_hosts_own_echoscu_asks(strict_sshd: SshServer) -> None:
    with serving(answer_well) as peer:
        targets = [make_target(peer.port), make_target(find_free_port())]
        connector = SshConnector({})
        asked = ask_through(strict_sshd.make_host(), targets, connector, 10.0, Brakes(SweepSettings()))
    assert [result.outcome for result in asked] == [Outcome.ANSWERED, Outcome.REFUSED]
    assert all("echoscu on north-1, which forbids forwarding" in result.detail for result in asked)


def test_titles_reach_the_peer_whole_whatever_signs_they_hold(strict_host: Transport) -> None:  # T22
    seen: list[bytes] = []

    def look(sock: socket.socket) -> None:
        seen.append(read_pdu(sock))

    with serving(look) as peer:
        target = replace(make_target(peer.port), ae_title="$(id)`;'\" A", calling="-aet *")
        ask_by_echoscu(strict_host, target)
    assert seen[0][10:42] == b"$(id)`;'\" A".ljust(16) + b"-aet *".ljust(16)


def test_tls_is_asked_that_way_with_our_authorities_and_what_is_not_compared_is_said(
    strict_host: Transport, tmp_path: Path
) -> None:
    ours, other = make_authority("Ours"), make_authority("Other")
    certificate, key = make_certificate(ours, ["127.0.0.1"], 30)
    for name, text in (("ca", ours.pem), ("cert", certificate), ("key", key)):
        (tmp_path / f"{name}.pem").write_text(text)
    paths = [str(tmp_path / f"{name}.pem") for name in ("key", "cert", "ca")]
    with storescp(tmp_path, "+tls", *paths[:2], "+cf", paths[2], "-ic") as port, serving(answer_well) as plain:
        good, strange, no_tls = (
            ask_by_echoscu(strict_host, replace(make_target(to), tls=TlsSettings(ca_pem=authority.pem)))
            for to, authority in ((port, ours), (port, other), (plain.port, ours))
        )
    assert (good.outcome, good.status) == (Outcome.ANSWERED, 0), good
    assert any("cannot compare the name" in warning for warning in good.warnings)
    assert (strange.outcome, "do not trust" in strange.detail) == (Outcome.TLS_FAILED, True)
    assert no_tls.outcome is Outcome.TLS_FAILED


def test_our_private_key_is_never_given_to_a_host_and_it_is_said(strict_host: Transport) -> None:  # T39
    tls = TlsSettings(ca_pem="x", certificate=ClientCertificate(b"public", b"SECRET-KEY"))
    result = ask_by_echoscu(strict_host, replace(make_target(104), tls=tls))
    assert result.outcome is Outcome.UNKNOWN
    assert "our private key is not given to its echoscu" in result.detail
    assert "SECRET-KEY" not in result.detail


def test_several_echoes_are_asked_that_way_and_an_end_in_the_middle_is_no_answer(strict_host: Transport) -> None:
    answers = [make_command_pdu(1, EchoRSP(number, 0)).encode() for number in (1, 2, 3)]
    with serving(replies(ACCEPT, *answers, RELEASED)) as peer, serving(replies(ACCEPT, *answers[:2])) as broken:
        whole = ask_by_echoscu(strict_host, make_target(peer.port), echoes=3)
        cut = ask_by_echoscu(strict_host, make_target(broken.port), echoes=3)
    assert (whole.outcome, "3 of 3 echoes were answered" in whole.detail) == (Outcome.ANSWERED, True)
    assert cut.outcome in (Outcome.CONNECTION_LOST, Outcome.ASSOCIATION_ABORTED), cut
    assert "2 of 3 echoes were answered" in cut.detail


def test_a_host_without_echoscu_says_what_to_do(tmp_path: Path) -> None:
    if SSHD is None or shutil.which("timeout") is None:
        pytest.skip("there is no sshd, or no timeout(1)")
    (tmp_path / "root").mkdir()
    with run_sshd(tmp_path / "ssh", root=tmp_path / "root", extra="DisableForwarding yes\n") as server:
        opened = SshConnector({}).open_(server.make_host(), deadline_s=10)
        result = ask_by_echoscu(opened, make_target(104))
        opened.close()
    assert result.outcome is Outcome.UNKNOWN
    assert "has no echoscu" in result.detail
