"""DICOM over TLS on loopback: each way to fail has a detail of its own."""

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from fleet.verify.settings import Surroundings, SweepSettings
from fleet.verify.sweep import sweep
from fleet.verify.tls import LocalTlsError, make_context, openssl_name
from fleet.verify.values import ClientCertificate, EchoResult, EchoTarget, Outcome, Timeouts, TlsSettings
from tests.verify.certificates import Authority, make_authority, make_certificate, make_revocation_list
from tests.verify.peers import ACCEPT, Script, answer_well, read_pdu, replies, serving

QUICK = Timeouts(connect_s=1, acse_s=1, dimse_s=1, total_s=3)


@dataclass(frozen=True)
class Pki:
    ours: Authority
    other: Authority
    folder: Path

    def server(self, names: list[str], days: float = 90, authority: Authority | None = None) -> ssl.SSLContext:
        certificate, key = make_certificate(authority or self.ours, names, days)
        path = self.folder / f"{abs(hash((names[0], days, authority is None)))}.pem"
        path.write_text(certificate + key)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path)
        return context

    def client(self) -> tuple[str, str]:
        return make_certificate(self.ours, ["client.example"], 90)


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    return Pki(make_authority("Ours"), make_authority("Other"), tmp_path_factory.mktemp("pki"))


def over_tls(context: ssl.SSLContext) -> Script:
    def script(sock: socket.socket) -> None:
        with context.wrap_socket(sock, server_side=True) as wrapped:
            answer_well(wrapped)

    return script


def ask(script: Script, tls: TlsSettings | None, **settings: Callable[[], float]) -> EchoResult:
    with serving(script) as peer:
        target = EchoTarget("TITLE", "127.0.0.1", peer.port, "FLEET_SCU", timeouts=QUICK, tls=tls)
        (result,) = sweep([target], SweepSettings(), surroundings=Surroundings(**settings))  # type: ignore[arg-type]
        return result


def test_a_verified_peer_answers_with_certificate_days_and_a_tls_phase(pki: Pki) -> None:
    result = ask(over_tls(pki.server(["127.0.0.1"])), TlsSettings(ca_pem=pki.ours.pem))
    assert (result.outcome, result.detail, result.warnings) == (Outcome.ANSWERED, "", ())
    assert result.certificate_days == 89
    assert result.phases.tls_s is not None


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_both_versions_of_the_profile_are_spoken(pki: Pki, version: ssl.TLSVersion) -> None:
    context = pki.server(["127.0.0.1"])
    context.minimum_version = context.maximum_version = version
    assert ask(over_tls(context), TlsSettings(ca_pem=pki.ours.pem)).outcome is Outcome.ANSWERED


def test_a_certificate_near_its_end_is_warned_of(pki: Pki) -> None:
    result = ask(over_tls(pki.server(["127.0.0.1"], days=5.5)), TlsSettings(ca_pem=pki.ours.pem))
    assert result.outcome is Outcome.ANSWERED
    assert result.warnings == ("the peer's certificate expires in 5 days",)


def test_an_expired_certificate_is_called_expired(pki: Pki) -> None:
    result = ask(over_tls(pki.server(["127.0.0.1"], days=-3)), TlsSettings(ca_pem=pki.ours.pem))
    assert result.outcome is Outcome.TLS_FAILED
    assert "has expired" in result.detail


def test_a_certificate_for_another_name_is_called_that(pki: Pki) -> None:
    settings = TlsSettings(ca_pem=pki.ours.pem, server_name="pacs.example")
    context = pki.server(["other.example"])
    result = ask(over_tls(context), settings)
    assert result.outcome is Outcome.TLS_FAILED
    assert "another name than pacs.example" in result.detail
    result = ask(over_tls(context), TlsSettings(ca_pem=pki.ours.pem))
    assert "another address than 127.0.0.1" in result.detail
    assert ask(over_tls(context), replace(settings, server_name="other.example")).outcome is Outcome.ANSWERED
    assert ask(over_tls(context), replace(settings, check_name=False)).outcome is Outcome.ANSWERED


def test_an_authority_that_we_do_not_trust_is_called_that(pki: Pki) -> None:
    context = pki.server(["127.0.0.1"], authority=pki.other)
    result = ask(over_tls(context), TlsSettings(ca_pem=pki.ours.pem))
    assert result.outcome is Outcome.TLS_FAILED
    assert "authority that we do not trust" in result.detail
    ignoring = TlsSettings(ca_pem=pki.ours.pem, require_certificate=False)
    assert ask(over_tls(context), ignoring).outcome is Outcome.ANSWERED


def test_a_peer_that_wants_a_certificate_of_ours_gets_it_or_is_named(pki: Pki) -> None:
    context = pki.server(["127.0.0.1"])
    context.load_verify_locations(cadata=pki.ours.pem)
    context.verify_mode = ssl.CERT_REQUIRED
    result = ask(over_tls(context), TlsSettings(ca_pem=pki.ours.pem))
    assert result.outcome is Outcome.TLS_FAILED
    assert "certificate of ours" in result.detail
    certificate, key = pki.client()
    ours = ClientCertificate(certificate.encode(), key.encode())
    with_ours = TlsSettings(ca_pem=pki.ours.pem, certificate=ours)
    assert ask(over_tls(context), with_ours).outcome is Outcome.ANSWERED


def _plain_abort(sock: socket.socket) -> None:
    sock.recv(4096)
    sock.sendall(bytes.fromhex("07000000000400000201"))


@pytest.mark.parametrize(
    ("script", "words"),
    [
        (_plain_abort, "plain DICOM"),
        (lambda sock: sock.recv(4096), "seems not to speak TLS"),
        (lambda sock: sock.sendall(b"SSH-2.0-OpenSSH_9.2p1\r\n"), "an SSH server"),
        (lambda sock: (sock.recv(4096), sock.recv(4096)), "not over within 1 s"),
    ],
)
def test_a_plain_peer_is_named_when_we_speak_tls(pki: Pki, script: Script, words: str) -> None:
    result = ask(script, TlsSettings(ca_pem=pki.ours.pem))
    assert result.outcome is Outcome.TLS_FAILED
    assert words in result.detail


def test_a_tls_peer_is_named_when_we_speak_plain(pki: Pki) -> None:
    result = ask(over_tls(pki.server(["127.0.0.1"])), None)
    assert result.outcome in (Outcome.TLS_FAILED, Outcome.CONNECTION_LOST)
    result = ask(replies(b"\x15\x03\x01\0\x02\x02\x46"), None)
    assert (result.outcome, "want TLS" in result.detail) == (Outcome.TLS_FAILED, True)


def test_our_own_missing_files_are_our_own_fault(pki: Pki) -> None:
    result = ask(answer_well, TlsSettings(ca_file="/nonexistent/ca.pem"))
    assert result.outcome is Outcome.LOCAL_ERROR
    assert "our own TLS files" in result.detail
    with pytest.raises(LocalTlsError):
        make_context(TlsSettings(ca_pem="not a certificate"))


def test_a_key_never_shows_in_a_repr(pki: Pki) -> None:  # T39
    certificate, key = pki.client()
    own = ClientCertificate(certificate.encode(), key.encode(), "secret-word")
    for shown in (repr(own), repr(TlsSettings(certificate=own)), str(own)):
        assert "PRIVATE" not in shown
        assert "secret-word" not in shown


def test_a_key_is_never_on_a_disk_and_leaves_no_descriptor(pki: Pki, monkeypatch: pytest.MonkeyPatch) -> None:  # T39
    certificate, key = pki.client()
    paths: list[str] = []
    load = ssl.SSLContext.load_cert_chain

    def watch(context: ssl.SSLContext, cert: str, key: str, password: str) -> None:
        paths.extend(str(Path(path).readlink()) for path in (cert, key))
        load(context, cert, key, password=password)

    monkeypatch.setattr(ssl.SSLContext, "load_cert_chain", watch)
    before = sorted(Path("/proc/self/fd").iterdir())
    make_context(TlsSettings(certificate=ClientCertificate(certificate.encode(), key.encode())))
    assert sorted(Path("/proc/self/fd").iterdir()) == before
    assert [path.partition(":")[0] for path in paths] == ["/memfd", "/memfd"]


def test_a_key_that_does_not_belong_to_its_certificate_is_our_own_fault(pki: Pki) -> None:
    certificate, _ = pki.client()
    _, other_key = pki.client()
    with pytest.raises(LocalTlsError, match="our own TLS files cannot be used") as caught:
        make_context(TlsSettings(certificate=ClientCertificate(certificate.encode(), other_key.encode())))
    assert "PRIVATE" not in str(caught.value)


def test_a_revoked_certificate_is_called_revoked(pki: Pki, tmp_path: Path) -> None:
    certificate, key = make_certificate(pki.ours, ["127.0.0.1"], 30)
    (tmp_path / "server.pem").write_text(certificate + key)
    (tmp_path / "revoked.crl").write_text(make_revocation_list(pki.ours, [certificate]))
    (tmp_path / "none.crl").write_text(make_revocation_list(pki.ours, []))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "server.pem")
    settings = TlsSettings(ca_pem=pki.ours.pem, crl_files=(str(tmp_path / "revoked.crl"),))
    result = ask(over_tls(context), settings)
    assert (result.outcome, "revoked" in result.detail) == (Outcome.TLS_FAILED, True)
    good = replace(settings, crl_files=(str(tmp_path / "none.crl"),))
    assert ask(over_tls(context), good).outcome is Outcome.ANSWERED


@pytest.mark.parametrize("suite", ["TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", "ECDHE-ECDSA-AES256-GCM-SHA384"])
def test_a_suite_that_is_asked_for_by_either_name_is_the_one_spoken(pki: Pki, suite: str) -> None:
    spoken: list[tuple[str, str, int] | None] = []
    context = pki.server(["127.0.0.1"])

    def script(sock: socket.socket) -> None:
        with context.wrap_socket(sock, server_side=True) as wrapped:
            spoken.append(wrapped.cipher())
            answer_well(wrapped)

    assert ask(script, TlsSettings(ca_pem=pki.ours.pem, ciphers=(suite,))).outcome is Outcome.ANSWERED
    assert [cipher and cipher[0] for cipher in spoken] == ["ECDHE-ECDSA-AES256-GCM-SHA384"]


@pytest.mark.parametrize("suite", ["TLS_AES_256_GCM_SHA384", "NO-SUCH-SUITE"])
def test_a_suite_that_cannot_be_chosen_is_our_own_fault(pki: Pki, suite: str) -> None:
    result = ask(over_tls(pki.server(["127.0.0.1"])), TlsSettings(ca_pem=pki.ours.pem, ciphers=(suite,)))
    assert result.outcome is Outcome.LOCAL_ERROR


@pytest.mark.parametrize(
    ("name", "known_as"),
    [
        ("TLS_RSA_WITH_AES_128_CBC_SHA", "AES128-SHA"),
        ("TLS_DHE_RSA_WITH_AES_256_CBC_SHA256", "DHE-RSA-AES256-SHA256"),
        ("TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256", "ECDHE-RSA-CHACHA20-POLY1305"),
        ("TLS_RSA_WITH_CAMELLIA_128_CBC_SHA", "CAMELLIA128-SHA"),
    ],
)
def test_the_rfcs_names_of_suites_are_translated(name: str, known_as: str) -> None:
    assert openssl_name(name) == known_as


def test_every_folder_and_every_revocation_list_that_is_named_is_read(pki: Pki, tmp_path: Path) -> None:
    certificate, key = make_certificate(pki.ours, ["127.0.0.1"], 30)
    (tmp_path / "server.pem").write_text(certificate + key)
    (tmp_path / "others.crl").write_text(make_revocation_list(pki.other, []))
    (tmp_path / "ours.crl").write_text(make_revocation_list(pki.ours, [certificate]))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "server.pem")
    for names in (("ours.crl", "others.crl"), ("others.crl", "ours.crl")):
        lists = tuple(str(tmp_path / name) for name in names)
        result = ask(over_tls(context), TlsSettings(ca_pem=pki.ours.pem, crl_files=lists))
        assert (result.outcome, "revoked" in result.detail) == (Outcome.TLS_FAILED, True)


def _after_the_handshake(pki: Pki, act: Callable[[ssl.SSLSocket], None]) -> EchoResult:
    context = pki.server(["127.0.0.1"])

    def script(sock: socket.socket) -> None:
        with context.wrap_socket(sock, server_side=True) as wrapped:
            act(wrapped)

    return ask(script, TlsSettings(ca_pem=pki.ours.pem))


def test_the_bytes_of_the_handshake_are_no_answer_to_the_association_request(pki: Pki) -> None:
    def close_unsaid(sock: ssl.SSLSocket) -> None:
        read_pdu(sock)

    def say_nothing(_sock: ssl.SSLSocket) -> None:
        threading.Event().wait(1.5)

    lost = _after_the_handshake(pki, close_unsaid)
    assert (lost.outcome, "without a PDU" in lost.detail) == (Outcome.CONNECTION_LOST, True)
    silent = _after_the_handshake(pki, say_nothing)
    assert (silent.outcome, "bytes came" in silent.detail) == (Outcome.ASSOCIATION_TIMEOUT, False)


def test_a_peer_that_ends_tls_is_gone_although_its_connection_stays(pki: Pki) -> None:
    def end_tls(sock: ssl.SSLSocket) -> None:
        read_pdu(sock)
        sock.sendall(ACCEPT)
        read_pdu(sock)
        sock.settimeout(0.2)
        with contextlib.suppress(OSError):
            sock.unwrap()
        threading.Event().wait(1.5)

    started = time.monotonic()
    result = _after_the_handshake(pki, end_tls)
    assert (result.outcome, "during C-ECHO" in result.detail) == (Outcome.CONNECTION_LOST, True)
    assert time.monotonic() - started < 3
