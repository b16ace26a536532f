"""`fleet echo` takes what hands type that know dcmtk's echoscu, and tells the truth by its exit status."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pynetdicom import AE, evt

from fleet.dicom.items import PresentationContextAC
from fleet.dicom.pdu import AssociateAC
from tests.cli.doors import Door
from tests.verify.peers import ANSWER, RELEASED, Peer, answer_well, hang_after_accept, replies, serving
from tests.workflow.scenes import HEAD


class Server:
    """A real acceptor that knows its own title and counts what came."""

    def __init__(self) -> None:
        self.echoes = 0
        self.callers: list[str] = []
        self.proposed: list[list[int]] = []
        self.aborted = threading.Event()
        self.released = threading.Event()
        entity = AE(ae_title="ARCHIVE")
        entity.require_called_aet = True
        entity.add_supported_context("1.2.840.10008.1.1")
        handlers = [
            (evt.EVT_C_ECHO, self._echoed),
            (evt.EVT_REQUESTED, self._requested),
            (evt.EVT_ABORTED, lambda _: self.aborted.set()),
            (evt.EVT_RELEASED, lambda _: self.released.set()),
        ]
        self._server: Any = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
        self.port = str(self._server.server_address[1])

    def _echoed(self, _event: Any) -> int:
        self.echoes += 1
        return 0

    def _requested(self, event: Any) -> None:
        asked = event.assoc.requestor
        self.callers.append(asked.primitive.calling_ae_title)
        self.proposed.append(
            [len(each.transfer_syntax) for each in asked.primitive.presentation_context_definition_list]
        )

    def close(self) -> None:
        if self._server is None:
            return
        self._server.shutdown()
        self._server = None
        for thread in threading.enumerate():
            if thread.name.startswith("Acceptor"):  # pynetdicom's; another room's tests count what is left
                thread.join(10)


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.close()


def test_dcmtks_spelling_is_understood(door: Door, server: Server) -> None:
    times = ["-to", "5", "-ts", "5", "-ta", "5", "-td", "5", "-pdu", "32768"]
    said = door.bare("echo", "-aet", "CALLER", "-aec", "ARCHIVE", *times, "127.0.0.1", server.port)
    assert (said.status, said.err) == (0, "")
    assert said.out.startswith("answered: ARCHIVE at 127.0.0.1:")
    assert server.callers == ["CALLER"]


@pytest.mark.parametrize("option", ["-to", "-ts", "-ta", "-td"])
@pytest.mark.parametrize("typed", ["0", "-1", "0.0", "nan"])
def test_no_limit_is_refused_with_what_dcmtk_means_by_it(option: str, typed: str, door: Door) -> None:
    said = door.bare("echo", option, typed, "127.0.0.1", "1")
    assert said.status == 64
    assert (
        f"{option}: {typed} is no time to wait: dcmtk's 0 means without limit, and fleet bounds every wait" in said.err
    )


@pytest.mark.parametrize("words", [["-ta", "0.2"], ["-ts", "0.2"]])
def test_a_wait_for_an_association_ends_by_its_own_limit_or_by_the_sockets(door: Door, words: list[str]) -> None:
    with serving(hang_after_accept) as peer:
        said = door.bare("echo", *words, "127.0.0.1", str(peer.port))
    assert said.status == 2
    assert said.out.startswith("association_timeout: "), said.out


@pytest.mark.parametrize("words", [["--aetitle", "X", "--call", "ARCHIVE"], ["--aet", "X", "--aec", "ARCHIVE"]])
def test_the_long_names_and_the_older_ones_are_understood(door: Door, server: Server, words: list[str]) -> None:
    assert door.bare("echo", *words, "127.0.0.1", server.port).status == 0
    assert server.callers == ["X"]


def test_contexts_and_transfer_syntaxes_are_proposed_as_asked(door: Door, server: Server) -> None:
    said = door.bare("echo", "-aec", "ARCHIVE", "-ppc", "3", "-pts", "2", "-v", "127.0.0.1", server.port)
    assert said.status == 0
    assert server.proposed == [[2, 2, 2]]


def test_repeat_asks_as_often_over_one_association_and_tells_the_times(door: Door, server: Server) -> None:
    said = door.bare("echo", "-aec", "ARCHIVE", "--repeat", "5", "127.0.0.1", server.port)
    assert (server.echoes, len(server.callers)) == (5, 1)
    assert "5 echoes: min " in said.out


def test_abort_aborts_and_otherwise_the_association_is_released(door: Door, server: Server) -> None:
    assert door.bare("echo", "-aec", "ARCHIVE", "127.0.0.1", server.port).status == 0
    assert server.released.wait(5)
    assert door.bare("echo", "-aec", "ARCHIVE", "--abort", "127.0.0.1", server.port).status == 0
    assert server.aborted.wait(5)


def test_a_rejection_is_2_with_the_standards_words(door: Door, server: Server) -> None:
    said = door.bare("echo", "-aec", "SOMEBODY", "127.0.0.1", server.port)
    assert said.status == 2
    assert "association_rejected" in said.out
    assert "called" in said.out
    assert server.echoes == 0


def test_a_transfer_syntax_full_of_escapes_is_shown_and_not_obeyed(door: Door) -> None:  # T53
    context = PresentationContextAC(1, 0, "1.2\x1b[31m\r\nanswered: FAKE")
    with serving(replies(AssociateAC((context,)).encode(), ANSWER, RELEASED)) as peer:
        said = door.bare("echo", "-v", peer.address, str(peer.port))
    assert "accepted with 1.2\\x1b[31m\\x0d\\x0aanswered: FAKE\n" in said.out
    assert "\x1b" not in said.out


def test_as_many_transfer_syntaxes_are_proposed_as_can_be_asked_for(door: Door, server: Server) -> None:
    said = door.bare("echo", "-v", "-pts", "31", "-aec", "ARCHIVE", "127.0.0.1", server.port)
    assert len({line for line in said.out.splitlines() if "proposed" in line}) == 31


def test_verbose_shows_the_negotiation_and_debug_the_bytes(door: Door, server: Server) -> None:
    plain = door.bare("echo", "-aec", "ARCHIVE", "127.0.0.1", server.port).out
    verbose = door.bare("echo", "-v", "-aec", "ARCHIVE", "127.0.0.1", server.port).out
    debug = door.bare("echo", "-d", "-aec", "ARCHIVE", "127.0.0.1", server.port).out
    for line in ("context 1: 1.2.840.10008.1.1", "accepted with 1.2.840.10008.1.2", "their maximum PDU:", "PYNETDICOM"):
        assert line in verbose
        assert line not in plain
    assert "0000  01 00" in debug  # the A-ASSOCIATE-RQ, PS3.8 table 9-11
    assert "0000  01 00" not in verbose


@pytest.mark.parametrize(
    ("words", "lines"), [(["-q"], 0), (["-ll", "fatal"], 0), (["-ll", "error"], 1), (["-q", "-d"], 0)]
)
def test_how_much_is_said_is_dcmtks_choice(door: Door, server: Server, words: list[str], lines: int) -> None:
    said = door.bare("echo", *words, "-aec", "ARCHIVE", "127.0.0.1", server.port)
    assert (said.status, len(said.out.splitlines())) == (0, lines)
    assert ("context 1" in door.bare("echo", "-ll", "info", "-aec", "ARCHIVE", "127.0.0.1", server.port).out) is True


def test_tls_to_a_plain_port_says_so(door: Door, server: Server) -> None:
    said = door.bare("echo", "+tla", "-ic", "-aec", "ARCHIVE", "-to", "3", "-ta", "3", "127.0.0.1", server.port)
    assert said.status == 2
    assert "tls_failed" in said.out


def test_a_ca_file_that_is_not_there_is_wrong_usage(door: Door) -> None:
    said = door.bare("echo", "+tla", "+cf", "no-such.pem", "127.0.0.1", "104")
    assert (said.status, "no-such.pem" in said.err) == (64, True)


def test_a_ca_file_that_is_none_is_named_and_not_a_bug(door: Door, tmp_path: Path, server: Server) -> None:
    path = tmp_path / "ca.pem"
    path.write_text("this is no certificate\n", encoding="ascii")
    said = door.bare("echo", "+tla", "+cf", str(path), "127.0.0.1", server.port)
    assert said.status in {1, 2}
    assert "Traceback" not in said.err
    assert "ca.pem" in said.out + said.err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["-aet", "SEVENTEEN_LETTERS"], "-aet"),
        (["-aec", "   "], "-aec"),
        (["-aec", "A\\B"], "-aec"),
        (["-to", "0"], "-to"),
        (["-pdu", "10"], "-pdu"),
        (["-xyz"], "-x"),
        (["-rc"], "+tls or +tla"),
        (["+cs", "ECDHE-RSA-AES128-GCM-SHA256"], "+cs"),
        (["-tls", "-ic"], "-ic"),
    ],
)
def test_a_slip_is_64_names_the_option_and_asks_nobody(door: Door, words: list[str], says: str) -> None:
    with serving(answer_well) as peer:
        said = door.bare("echo", *words, peer.address, str(peer.port))
        assert (said.status, peer.connections) == (64, 0)
    assert says in said.err


def test_nobody_there_is_2_and_says_what_to_look_at(door: Door, server: Server) -> None:
    server.close()
    said = door.bare("echo", "-to", "2", "127.0.0.1", server.port)
    assert said.status == 2
    assert "refused" in said.out


def test_by_the_inventorys_names_the_place_and_the_title_are_looked_up(door: Door) -> None:
    heard: list[bytes] = []

    def answer(sock: Any) -> None:
        heard.append(sock.recv(74, 2))  # MSG_PEEK: the titles stand at fixed places, PS3.8 table 9-11
        answer_well(sock)

    with serving(answer, "127.0.33.9") as peer:
        door.write(_ward(peer))
        said = door.bare("echo", "-i", str(door.inventory), "--as", "WS_1", "PACS")
        assert door.bare("echo", "-i", str(door.inventory), "--as", "floor-1", "PACS").status == 0
        unknown = door.bare("echo", "-i", str(door.inventory), "--as", "WS_1", "PCAS")
        stranger = door.bare("echo", "-i", str(door.inventory), "--as", "WS_2", "PACS")
    assert (said.status, peer.connections >= 1) == (0, True)
    assert (heard[0][10:26], heard[0][26:42]) == (b"PACS".ljust(16), b"WS_1".ljust(16))
    assert heard[1][26:42] == b"WS_1S".ljust(16)  # a name calls under the title that stands for the flow's service
    assert (unknown.status, "PCAS" in unknown.err, "did you mean" in unknown.err) == (2, True, True)
    assert (stranger.status, "WS_2" in stranger.err) == (2, True)


def test_by_name_a_spared_device_is_asked_only_when_somebody_says_so(door: Door) -> None:
    with serving(answer_well, "127.0.33.9") as peer:
        row = f"  - {{ae_title: CT, kind: modality, address: {peer.address}, port: {peer.port},"
        door.write(HEAD + "entities:\n" + row + ' verify: {probe: never, reason: "restarts when asked"}}\n')
        words = ["echo", "-i", str(door.inventory), "--as", "FLEET_SCU", "CT"]
        spared = door.bare(*words)
        assert (spared.status, peer.connections) == (2, 0)
        assert "restarts when asked" in spared.err
        assert "--override" in spared.err
        assert door.bare(*words, "--override").status == 0


def _ward(peer: Peer) -> str:
    return (
        HEAD
        + "flows:\n  - {from: WS_1, to: PACS, services: [storage]}\n"
        + "entities:\n  - {ae_title: WS_1, name: floor-1, kind: workstation, address: 127.0.33.8, port: 104,"
        + " provides: [verification], also: [{ae_title: WS_1S, for: [storage]}]}\n"
        + f"  - {{ae_title: PACS, kind: archive, address: {peer.address}, port: {peer.port},"
        + " provides: [verification, storage]}\n"
    )


def test_echo_leaves_nothing_behind(door: Door, server: Server, tmp_path: Path) -> None:
    assert door.bare("echo", "-aec", "ARCHIVE", "127.0.0.1", server.port).status == 0
    assert not (tmp_path / "state").exists()  # echo keeps no history
