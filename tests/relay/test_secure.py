"""Receiving by TLS: who gets in, who does not, and what a handshake may cost."""

import dataclasses
import json
import signal
import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fleet.relay.__main__ import main
from fleet.relay.forward.outbound import AssociationFailed, Outbound
from fleet.relay.secure import check_server_tls, check_tls, make_server_context
from fleet.relay.values import Destination, Endpoint, ReceiveTls, Tls
from tests.relay.configs import make_document
from tests.relay.house import CT, EXPLICIT, House, make_data_set, receiving
from tests.relay.process import Relay, free_port, wait_for
from tests.relay.sink import Script, sinking
from tests.relay.test_receive import parcel
from tests.verify.certificates import Authority, make_authority, make_certificate

KINDS = ((CT, EXPLICIT), ("1.2.840.10008.1.1", "1.2.840.10008.1.2"))


class Papers:
    """A CA, the relay's certificate and a caller's, as files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority = make_authority("CA")
        (folder / "ca.pem").write_text(self.authority.pem)
        self.write("relay", self.authority, "relay")
        self.write("caller", self.authority, "caller")
        self.write("stranger", make_authority("OTHER"), "caller")

    def write(self, file: str, authority: Authority, name: str, days: float = 30) -> None:
        certificate, key = make_certificate(authority, [name], days)
        (self.folder / f"{file}.pem").write_text(certificate)
        path = self.folder / f"{file}.key"
        path.write_text(key)
        path.chmod(0o600)

    def server(self, asks: bool = False, port: int | None = None) -> ReceiveTls:
        ca_file = str(self.folder / "ca.pem") if asks else None
        return ReceiveTls(str(self.folder / "relay.pem"), str(self.folder / "relay.key"), ca_file, port)

    def client(self, file: str | None = None) -> Tls:
        own = (str(self.folder / f"{file}.pem"), str(self.folder / f"{file}.key")) if file else (None, None)
        return Tls(str(self.folder / "ca.pem"), "relay", *own)


@pytest.fixture
def papers(tmp_path: Path) -> Papers:
    (tmp_path / "papers").mkdir()
    return Papers(tmp_path / "papers")


@pytest.fixture
def house(tmp_path: Path, papers: Papers) -> Iterator[House]:
    with receiving(tmp_path / "spool", secure=make_server_context(papers.server())) as house:
        yield house


def connect(port: int, tls: Tls | None, acse_s: float = 2) -> Outbound:
    place = Destination("RELAY", "CT1", (Endpoint("127.0.0.1", port),), False, tls, 2, acse_s, 1)
    return Outbound(place, KINDS, 10)


def reach(port: int, tls: Tls | None) -> None:
    with connect(port, tls) as association:
        association.release()


@pytest.mark.parametrize("pixels", [10, 16_384, 262_144, 3_000_000])
def test_instances_come_by_tls_byte_for_byte(house: House, papers: Papers, tmp_path: Path, pixels: int) -> None:
    data_set = make_data_set(pixels=pixels)
    with connect(house.port, papers.client()) as association:
        assert association.store(parcel(tmp_path, data_set)) == 0
        assert association.echo() == 0
        association.release()
    [(spool_id, offset)] = house.spool.read("SELECT spool_id, data_set_offset FROM instances")
    assert house.spool.path(spool_id).read_bytes()[offset:] == data_set


def test_a_plain_peer_on_the_tls_port_is_refused_at_once_and_told(house: House) -> None:
    started = time.monotonic()
    with pytest.raises(AssociationFailed):
        connect(house.port, None)
    assert time.monotonic() - started < 1.5
    wait_for(lambda: any(each.get("ending") == "plain bytes came where TLS is spoken" for each in house.events()))
    assert house.uids() == []


def test_a_tls_peer_on_the_plain_port_is_refused_at_once_and_told(tmp_path: Path, papers: Papers) -> None:
    with receiving(tmp_path / "spool") as house:
        with pytest.raises(AssociationFailed):
            connect(house.port, papers.client())
        words = "aborted: a TLS handshake came where plain DICOM is spoken"
        wait_for(lambda: any(each.get("ending") == words for each in house.events()))


@pytest.mark.parametrize(("file", "gets_in"), [("caller", True), ("stranger", False), (None, False)])
def test_with_a_callers_ca_only_its_certificates_get_in(
    tmp_path: Path, papers: Papers, file: str | None, gets_in: bool
) -> None:
    with receiving(tmp_path / "spool", secure=make_server_context(papers.server(asks=True))) as house:
        if gets_in:
            with connect(house.port, papers.client(file)) as association:
                assert association.echo() == 0
        else:
            with pytest.raises(AssociationFailed):
                connect(house.port, papers.client(file))
            wait_for(lambda: any(str(each.get("ending")).startswith("no TLS: ") for each in house.events()))


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_tls_1_2_and_1_3_are_spoken(house: House, papers: Papers, version: ssl.TLSVersion) -> None:
    with _handshake(house, papers, version, version) as sock:
        assert sock.version() == version.name.replace("_", ".")


@pytest.mark.filterwarnings("ignore:.*TLSv1_1 is deprecated:DeprecationWarning")
@pytest.mark.parametrize("ciphers", [None, "ECDHE-ECDSA-AES128-SHA"])
def test_older_versions_and_ciphers_are_not(house: House, papers: Papers, ciphers: str | None) -> None:
    """RFC 9325 3.1.1 and 4.2."""
    newest = ssl.TLSVersion.TLSv1_1 if ciphers is None else ssl.TLSVersion.TLSv1_2
    with pytest.raises(OSError):  # noqa: PT011  whose alert it is, OpenSSL words differently by version
        _handshake(house, papers, newest, newest, ciphers)


def _handshake(
    house: House, papers: Papers, oldest: ssl.TLSVersion, newest: ssl.TLSVersion, ciphers: str | None = None
) -> ssl.SSLSocket:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(papers.folder / "ca.pem")
    context.set_ciphers(f"{ciphers or 'DEFAULT'}:@SECLEVEL=0")
    context.minimum_version, context.maximum_version = oldest, newest
    sock = socket.create_connection(("127.0.0.1", house.port), timeout=3)
    try:
        return context.wrap_socket(sock, server_hostname="relay")
    except BaseException:
        sock.close()
        raise


def test_who_dribbles_a_handshake_is_ended_and_keeps_nobody_waiting(
    tmp_path: Path, papers: Papers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """T69: silent, dribbling and half-shaken connections, from strangers and from the modality's own address."""
    monkeypatch.setattr("fleet.relay.receive.connection.REQUEST_S", 0.5)
    with receiving(tmp_path / "spool", secure=make_server_context(papers.server())) as house:
        socks = []
        for number in range(120):
            sock = socket.socket()
            sock.bind((f"127.0.0.{1 + number % 40}", 0))
            sock.connect(("127.0.0.1", house.port))
            sock.send(b"\x16\x03\x01\x02\x00\x01"[: number % 7])
            socks.append(sock)
        assert len(house.receiver._connections) <= 41
        started = time.monotonic()
        with connect(house.port, papers.client()) as association:
            assert association.echo() == 0
        assert time.monotonic() - started < 1.0
        wait_for(lambda: not house.receiver._connections)
        for sock in socks:
            sock.close()


def test_a_peer_that_shook_hands_and_says_nothing_is_ended(
    tmp_path: Path, papers: Papers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fleet.relay.receive.connection.REQUEST_S", 0.5)
    with (
        receiving(tmp_path / "spool", secure=make_server_context(papers.server())) as house,
        _handshake(house, papers, ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3) as sock,
    ):
        assert sock.recv(100)[:1] == b"\7"  # A-ABORT, within TLS
        assert sock.recv(100) == b""


def test_a_reload_takes_the_new_certificate_and_a_bad_one_keeps_the_old(tmp_path: Path, papers: Papers) -> None:
    with sinking(Script()) as script:
        relay = Relay(tmp_path, script.port, receive={"tls": _document(papers.server())})
        relay.start()
        assert relay.process is not None
        try:
            with connect(relay.port, papers.client()) as association:
                (papers.folder / "relay.pem").write_text("no certificate")
                relay.process.send_signal(signal.SIGHUP)
                wait_for(lambda: any(each["event"] == "reload-refused" for each in relay.events()))
                reach(relay.port, papers.client())
                papers.write("relay", papers.authority, "renewed")
                relay.process.send_signal(signal.SIGHUP)
                wait_for(lambda: any(each["event"] == "reloaded" for each in relay.events()))
                assert association.store(parcel(tmp_path, make_data_set("1.2.5"), "1.2.5")) == 0  # the old one goes on
            with pytest.raises(AssociationFailed, match="Hostname mismatch"):
                connect(relay.port, papers.client())
            renewed = dataclasses.replace(papers.client(), server_name="renewed")
            reach(relay.port, renewed)
            wait_for(lambda: script.uids() == ["1.2.5"])
        finally:
            relay.kill()


def test_tls_beside_plain_dicom_on_two_ports(tmp_path: Path, papers: Papers) -> None:
    port = free_port()
    with sinking(Script()) as script:
        relay = Relay(tmp_path, script.port, receive={"tls": _document(papers.server(port=port))})
        relay.start()
        try:
            reach(relay.port, None)
            reach(port, papers.client())
            with pytest.raises(AssociationFailed):
                connect(port, None)
            with pytest.raises(AssociationFailed):
                connect(relay.port, papers.client())
        finally:
            relay.kill()


def test_what_cannot_be_presented_does_not_start(
    tmp_path: Path, papers: Papers, capsys: pytest.CaptureFixture[str]
) -> None:
    server = papers.server()
    assert check_server_tls(server) is None
    (papers.folder / "relay.key").chmod(0o644)
    assert "anybody can read or replace it; give it 0600" in str(check_server_tls(server))
    assert "there is no file /none.pem" in str(check_server_tls(dataclasses.replace(server, cert_file="/none.pem")))
    assert "cannot be read" in str(check_server_tls(dataclasses.replace(server, key_file="/none.key")))
    other = dataclasses.replace(server, key_file=str(papers.folder / "caller.key"))
    assert "cannot be used" in str(check_server_tls(other))
    assert "anybody can read" in str(check_tls(dataclasses.replace(papers.client("relay"))))
    path = tmp_path / "relay.json"
    path.write_text(json.dumps(make_document(tmp_path / "spool", receive={"tls": _document(other)})))
    assert main(["check", str(path)]) == 2
    assert "/receive/tls: the files" in capsys.readouterr().err


def test_a_destination_that_asks_for_a_certificate_gets_ours(tmp_path: Path, papers: Papers) -> None:
    context = make_server_context(papers.server(asks=True))
    with sinking(Script(tls=context)) as script:
        reach(script.port, papers.client("caller"))
        with pytest.raises(AssociationFailed):
            connect(script.port, papers.client())


def _document(tls: ReceiveTls) -> dict[str, Any]:
    return {key: value for key, value in dataclasses.asdict(tls).items() if key != "port" or value is not None}
