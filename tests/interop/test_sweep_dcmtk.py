"""Our sweep and dcmtk's servers, called by absolute path: pip's pynetdicom shadows their names."""

import base64
import contextlib
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from fleet.cli.main import main
from fleet.verify.probe import ProbeOptions, probe
from fleet.verify.sweep import sweep
from fleet.verify.values import ClientCertificate, EchoResult, EchoTarget, Outcome, Timeouts, TlsSettings
from tests.verify.certificates import make_authority, make_certificate

STORESCP, DCMQRSCP = "/usr/bin/storescp", "/usr/bin/dcmqrscp"
pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(shutil.which(STORESCP) is None, reason="dcmtk is not installed (apt-get install dcmtk)"),
]
QUICK = Timeouts(connect_s=2, acse_s=3, dimse_s=3, total_s=6)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@contextlib.contextmanager
def running(command: list[str], port: int) -> Iterator[None]:
    """Run a server until its port takes connections, and end it by its own id."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(200):
            assert process.poll() is None, f"{command[0]} ended with {process.returncode}"
            if _listens(port):
                break
            threading.Event().wait(0.02)
        yield
    finally:
        process.kill()
        process.wait(5)


def _listens(port: int) -> bool:
    """Look into /proc/net/tcp: a bare connection would disturb some servers."""
    wanted = f":{port:04X} 00000000:0000 0A"
    return any(wanted in line for line in Path("/proc/net/tcp").read_text().splitlines())


@contextlib.contextmanager
def storescp(tmp_path: Path, *options: str) -> Iterator[int]:
    port = _free_port()
    with running([STORESCP, "-od", str(tmp_path), *options, str(port)], port):
        yield port


def ask(port: int, calling: str = "FLEET_SCU", called: str = "STORE", tls: TlsSettings | None = None) -> EchoResult:
    (result,) = sweep([EchoTarget(called, "127.0.0.1", port, calling, timeouts=QUICK, tls=tls)])
    return result


def test_storescp_answers(tmp_path: Path) -> None:
    with storescp(tmp_path) as port:
        result = ask(port)
    assert (result.outcome, result.status, result.warnings) == (Outcome.ANSWERED, 0, ())
    assert result.peer is not None
    assert str(result.peer.implementation_version).startswith("OFFIS_DCMTK")


def test_storescp_answers_every_choice_of_a_probe(tmp_path: Path) -> None:
    with storescp(tmp_path) as port:
        report = probe(ProbeOptions("127.0.0.1", port, contexts=128, transfer_syntaxes=3, repeat=4, timeouts=QUICK))
    assert report.result.outcome is Outcome.ANSWERED
    assert len(report.result.echo_times_s) == 4
    answers = [answer for _, answer in report.negotiations[0].contexts()]
    assert [answer.result for answer in answers if answer is not None] == [0] * 128


def test_storescp_that_refuses_is_a_rejection(tmp_path: Path) -> None:
    with storescp(tmp_path, "--refuse") as port:
        result = ask(port)
    assert result.outcome is Outcome.ASSOCIATION_REJECTED
    assert result.detail.startswith("rejected")


def test_a_profile_without_verification_accepts_no_context(tmp_path: Path) -> None:
    profile = tmp_path / "storescp.cfg"
    profile.write_text(
        "[[TransferSyntaxes]]\n[Plain]\nTransferSyntax1 = LittleEndianImplicit\n"
        "[[PresentationContexts]]\n[Storage]\nPresentationContext1 = CTImageStorage\\Plain\n"
        "[[Profiles]]\n[Default]\nPresentationContexts = Storage\n"
    )
    with storescp(tmp_path, "-xf", str(profile), "Default") as port:
        result = ask(port)
    assert result.outcome is Outcome.CONTEXT_NOT_ACCEPTED
    assert "(3)" in result.detail


def test_dcmqrscp_rejects_a_stranger_and_answers_a_friend(tmp_path: Path) -> None:
    port = _free_port()
    config = tmp_path / "dcmqrscp.cfg"
    storage = tmp_path / "ARCHIVE"
    storage.mkdir()
    config.write_text(
        f"NetworkTCPPort = {port}\nMaxPDUSize = 16384\nMaxAssociations = 16\n"
        "HostTable BEGIN\nfriend = (FRIEND, 127.0.0.1, 104)\nHostTable END\n"
        "VendorTable BEGIN\nVendorTable END\n"
        f"AETable BEGIN\nARCHIVE {storage} RW (10, 1024mb) friend\nAETable END\n"
    )
    with running([DCMQRSCP, "-dhl", "-c", str(config)], port):
        friend = ask(port, "FRIEND", "ARCHIVE")
        stranger = ask(port, "STRANGER", "ARCHIVE")
        wrong = ask(port, "FRIEND", "OTHER")
    assert friend.outcome is Outcome.ANSWERED
    for result in (stranger, wrong):
        assert result.outcome is Outcome.ASSOCIATION_REJECTED
        assert "1/1/7" in result.detail
    assert "STRANGER" in stranger.detail
    assert "127.0.0.1" in stranger.detail


def test_storescp_that_requires_a_client_certificate_gets_it_from_memory(tmp_path: Path) -> None:
    authority = make_authority("Hospital")
    certificate, key = make_certificate(authority, ["127.0.0.1"], 60)
    client_certificate, client_key = make_certificate(authority, ["client"], 60)
    files = {"ca.pem": authority.pem, "cert.pem": certificate, "key.pem": key}
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    paths = {name: str(tmp_path / name) for name in files}
    options = ("+tls", paths["key.pem"], paths["cert.pem"], "+cf", paths["ca.pem"], "+py", "-rc")
    own = ClientCertificate(client_certificate.encode(), client_key.encode())
    ours = TlsSettings(ca_pem=authority.pem, certificate=own)
    with storescp(tmp_path, *options) as port:
        answered = ask(port, tls=ours)
        without = ask(port, tls=TlsSettings(ca_pem=authority.pem))
        plain = ask(port)
    assert (answered.outcome, answered.certificate_days) == (Outcome.ANSWERED, 59)
    assert without.outcome is Outcome.TLS_FAILED
    assert "certificate of ours" in without.detail
    assert plain.outcome in (Outcome.TLS_FAILED, Outcome.CONNECTION_LOST)


def test_tls_to_a_plain_storescp_is_called_that(tmp_path: Path) -> None:
    with storescp(tmp_path) as port:
        result = ask(port, tls=TlsSettings(require_certificate=False))
    assert result.outcome is Outcome.TLS_FAILED
    assert "speak TLS" in result.detail


@pytest.mark.parametrize("verifying", ["-rc", "-vc"])
def test_fleet_echo_speaks_tls_with_files_in_der(tmp_path: Path, verifying: str) -> None:
    authority = make_authority("Hospital")
    certificate, key = make_certificate(authority, ["127.0.0.1"], 60)
    other = make_authority("Other")
    files = {"ca": authority.pem, "other": other.pem, "cert": certificate, "key": key}
    for name, text in files.items():
        (tmp_path / f"{name}.pem").write_text(text)
        der = base64.b64decode("".join(text.split("-----")[2].split()))
        (tmp_path / f"{name}.der").write_bytes(der)
    paths = {name: str(tmp_path / f"{name}.pem") for name in files}
    ders = {name: str(tmp_path / f"{name}.der") for name in files}
    with storescp(tmp_path, "+tls", paths["key"], paths["cert"], "+cf", paths["ca"], "+py") as port:
        place = ["127.0.0.1", str(port)]
        own = ["+tls", ders["key"], ders["cert"], "-der", "-pw", verifying]
        assert main(["echo", *own, "+cf", ders["other"], "+cf", ders["ca"], *place]) == 0
        assert main(["echo", *own, "+cf", ders["other"], *place]) == 2
        assert main(["echo", *own, "+cf", paths["ca"], *place]) == 64
