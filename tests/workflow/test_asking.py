"""Who answers, from here and through hosts; what a sweep that is cut off still knows."""

import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from itertools import count

from fleet.errors import NetworkError
from fleet.inventory.model import Host
from fleet.push.transport import ByteStream, Transport
from fleet.report.history.opening import open_history
from fleet.report.summary import RunReport
from fleet.verify.settings import SweepSettings
from fleet.verify.values import EchoResult, EchoTarget, Outcome
from fleet.workflow import asking
from fleet.workflow.asking import prove_hosts
from fleet.workflow.ledger import Ledger
from fleet.workflow.story import Story
from fleet.workflow.sweeping import Asking
from tests.push.fake_host import FakeHost
from tests.verify.peers import Counter, Peer, answer_well, read_pdu, replies, serving
from tests.workflow.scenes import HEAD, Scene, host_rows


@dataclass
class Stream:
    """A socket as push lends it."""

    sock: socket.socket

    def send(self, data: bytes, *, deadline_s: float) -> None:
        self.sock.sendall(data)

    def receive(self, limit_bytes: int, *, deadline_s: float) -> bytes:
        self.sock.settimeout(max(deadline_s, 0.01))
        try:
            return self.sock.recv(limit_bytes)
        except TimeoutError as error:
            raise NetworkError("nothing came", phase="tunnel") from error

    def close(self) -> None:
        self.sock.close()


@dataclass
class Tunnelling(FakeHost):
    """A host that lets us through: the channel is a socket of this machine; `refusal` is what sshd says instead."""

    refusal: str = ""
    asked: list[tuple[str, int]] = field(default_factory=list)

    def open_channel(self, address: str, port: int, *, deadline_s: float) -> ByteStream:
        self.asked.append((address, port))
        if self.refusal:
            raise NetworkError(self.refusal, phase="tunnel")
        return Stream(socket.create_connection((address, port), timeout=deadline_s))


@dataclass
class Machines:
    hosts: dict[str, FakeHost]

    def open_(self, host: Host, *, deadline_s: float) -> Transport:
        if host.name not in self.hosts:
            raise NetworkError(f"{host.name}: no answer", phase="connect")
        return self.hosts[host.name]


@contextmanager
def two_peers() -> Iterator[tuple[Peer, Peer]]:
    with serving(answer_well, "127.0.32.1") as good, serving(replies(), "127.0.32.2") as silent:
        yield good, silent


def box(title: str, peer: Peer, more: str = "") -> str:
    place = f"address: {peer.address}, port: {peer.port}"
    return f"  - {{ae_title: {title}, kind: other, {place}, provides: [verification]{more}}}\n"


def sweep(scene: Scene, asking: Asking | None = None, **more: object) -> RunReport:
    return scene.run(lambda story: story.verify(asking or Asking(), **more), "verify")  # type: ignore[arg-type]


def endings(report: RunReport) -> dict[str, str]:
    return {str(line.value("ae_title")): line.outcome for line in report.echoes}


def test_each_answer_is_told_and_recorded(scene: Scene) -> None:
    with two_peers() as (good, silent):
        scene.write(HEAD + "entities:\n" + box("GOOD", good) + box("MUTE", silent))
        report = sweep(scene)
    assert endings(report) == {"GOOD": "answered", "MUTE": "connection_lost"}
    assert report.exit_status == 2
    with scene.history() as history:
        assert sorted(line.outcome for line in history.echo_results("last")) == ["answered", "connection_lost"]


def test_an_ending_that_is_accepted_is_as_desired(scene: Scene) -> None:
    refusing = bytes.fromhex("030000000004") + bytes((0, 1, 1, 7))  # A-ASSOCIATE-RJ, PS3.8 table 9-21
    with serving(replies(refusing), "127.0.32.3") as peer:
        scene.write(HEAD + "entities:\n" + box("VENDOR", peer, ", verify: {accept: [association_rejected]}"))
        report = sweep(scene)
    assert (endings(report), report.exit_status) == ({"VENDOR": "association_rejected"}, 0)


def test_a_sweep_compares_itself_with_the_last_one(scene: Scene) -> None:
    with two_peers() as (good, _silent):
        scene.write(HEAD + "entities:\n" + box("GOOD", good))
        assert any("first sweep" in notice for notice in sweep(scene, compare="last").notices)
        assert "no change since run-1" in sweep(scene, compare="last").notices
    report = sweep(scene, compare="run-1")
    assert any(notice.startswith("newly failing: GOOD") for notice in report.notices)


def test_a_narrowed_sweep_hides_nobody_from_the_next_comparison(scene: Scene) -> None:
    with serving(answer_well, "127.0.32.8") as good, serving(answer_well, "127.0.32.9") as other:
        scene.write(HEAD + "entities:\n" + box("GOOD", good) + box("OTHER", other))
        sweep(scene)
        narrowed = scene.run(lambda story: story.verify(Asking(), compare="last"), "verify", limit="GOOD")
        whole = sweep(scene, compare="last")
    assert [notice for notice in narrowed.notices if "asked" in notice] == []
    assert "no change since run-1" in narrowed.notices
    assert "no change since run-2 and run-1" in whole.notices


FLOW = "flows:\n  - {{from: GATE, to: {to}, services: [verification]}}\n"


def gate(to: str, hosts: tuple[str, ...] = ("gate-1",)) -> str:
    places = ", ".join(f"{{host: {name}, port: 104}}" for name in hosts)
    head = HEAD + host_rows(hosts) + FLOW.format(to=to)
    return f"{head}entities:\n  - {{ae_title: GATE, kind: other, instances: [{places}]}}\n"


def ask_from_hosts(scene: Scene, machines: dict[str, FakeHost]) -> RunReport:
    @contextmanager
    def connect(_inventory: object) -> Iterator[Machines]:
        yield Machines(machines)

    scene.connect = connect  # type: ignore[method-assign]
    return sweep(scene, Asking(("hosts",)))


def test_a_flow_is_proven_through_its_own_host(scene: Scene) -> None:
    host = Tunnelling()
    with two_peers() as (good, _silent):
        scene.write(gate("PEER") + box("PEER", good))
        report = ask_from_hosts(scene, {"gate-1": host})
    (line,) = report.echoes
    assert (line.outcome, line.value("from"), line.value("calling")) == ("answered", "gate-1", "GATE")
    assert host.asked == [("127.0.32.1", good.port)]


def test_a_host_that_cannot_be_reached_answers_for_none_of_its_questions(scene: Scene) -> None:
    with two_peers() as (good, _silent):
        scene.write(gate("PEER") + box("PEER", good))
        report = ask_from_hosts(scene, {})
    assert (endings(report), report.exit_status) == ({"PEER": "unknown"}, 2)
    assert "could not be logged in to, so nobody asked" in str(report.echoes[0].value("detail"))


def test_what_sshd_says_of_a_channel_becomes_an_outcome(scene: Scene) -> None:
    words = {
        "open failed: administratively prohibited": "unknown",
        "open failed: Connection refused": "refused",
        "open failed: No route to host": "no_route",
        "open failed: Connection timed out": "connect_timeout",
    }
    with two_peers() as (good, _silent):
        scene.write(gate("PEER") + box("PEER", good))
        found = {said: endings(ask_from_hosts(scene, {"gate-1": Tunnelling(refusal=said)}))["PEER"] for said in words}
    assert found == words


def test_a_device_gets_one_association_at_a_time_whichever_hosts_ask_it(scene: Scene) -> None:  # T54
    counting = Counter()
    names = tuple(f"gate-{number}" for number in range(1, 6))
    with serving(counting, "127.0.32.4") as peer:
        scene.write(gate("PEER", names) + box("PEER", peer))
        report = ask_from_hosts(scene, {name: Tunnelling() for name in names})
    assert report.echo_counts == {"answered": 5}
    assert counting.most_at_once == 1


def test_from_a_host_that_is_none_of_ours_is_refused_before_anybody_is_asked(scene: Scene) -> None:
    with two_peers() as (good, _silent):
        scene.write(HEAD + host_rows(("gate-1",)) + "entities:\n" + box("GOOD", good))
        report = sweep(scene, Asking(("gaet-1",)))
        assert good.connections == 0
    assert report.exit_status == 2
    assert "did you mean 'gate-1'?" in report.findings[0].message


def test_from_hosts_without_a_flow_that_starts_there_is_no_empty_sweep(scene: Scene) -> None:
    with two_peers() as (good, _silent):
        scene.write(HEAD + host_rows(("gate-1",)) + "entities:\n" + box("GOOD", good))
        report = sweep(scene, Asking(("hosts",)))
    assert report.exit_status == 2
    assert "no flow starts at GOOD on a host of ours" in report.findings[0].message


def hang(sock: socket.socket) -> None:
    """Take the question and answer nothing."""
    read_pdu(sock)
    read_pdu(sock)


def interrupt_when(condition: Callable[[], bool]) -> threading.Thread:
    """Ctrl-C, once something is true."""

    def wait() -> None:
        deadline = time.monotonic() + 10
        while not condition() and time.monotonic() < deadline:
            time.sleep(0.005)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    return thread


def test_an_interrupted_sweep_tells_and_records_what_it_had(scene: Scene) -> None:
    with serving(answer_well, "127.0.32.1") as good, serving(hang) as hung:
        scene.write(HEAD + "entities:\n" + box("GOOD", good) + box("HUNG", hung))
        interrupt_when(lambda: good.connections > 0 and hung.connections > 0 and _is_done(scene))
        report = sweep(scene)
    assert endings(report) == {"GOOD": "answered", "HUNG": "unknown"}
    assert report.exit_status == 1
    assert report.failure.startswith("interrupted")
    with scene.history() as history:
        assert len(history.echo_results("last")) == 2
        assert history.show_run("last").exit_status == 1


def _is_done(scene: Scene) -> bool:
    return any(getattr(event, "outcome", "") == "answered" for event in scene.events)


def test_a_run_that_is_killed_has_recorded_what_was_heard_until_a_second_before(scene: Scene) -> None:
    ticking = (scene.now + timedelta(seconds=2 * number) for number in count())
    seen: list[int] = []

    def verify(story: Story) -> None:
        story.ledger.echo(make_result("ONE"))
        story.ledger.keep_late_echoes()
        with scene.history() as history:
            seen.append(len(history.echo_results("last")))

    context = replace(scene.context(), clock=lambda: next(ticking))
    with open_history(context.history_file) as history:
        verify(Story(context, Ledger(context, history, "verify"), history, scene.connect))
        assert history.show_run("last").finished_at is None
    assert seen == [1]


def make_result(title: str) -> EchoResult:
    return EchoResult(EchoTarget(title, "127.0.0.1", 104, "FLEET_SCU"), Outcome.REFUSED)


def test_a_change_is_proven_also_where_policy_would_not_ask(scene: Scene) -> None:
    with serving(replies(), "127.0.30.1") as mute:
        text = host_rows(("north-1",)) + "entities:\n  - ae_title: PACS\n    kind: archive\n"
        text += f"    instances: [{{host: north-1, port: {mute.port}}}]\n"
        scene.write(HEAD + text + "    verify: {probe: never, reason: fragile}\n")
        reading = scene.reading()
        silent = prove_hosts(reading, scene.context(), tuple(reading.inventory.hosts.values()))
    assert silent["north-1"].startswith(f"after the change PACS at 127.0.30.1:{mute.port} ends as connection_lost")


def test_a_change_is_proven_through_the_host_that_reaches_it(scene: Scene) -> None:
    with serving(answer_well, "127.0.30.1") as good:
        text = host_rows(("north-1",)) + "entities:\n  - ae_title: PACS\n    kind: archive\n"
        text += f"    instances: [{{host: north-1, port: {good.port}}}]\n    verify: {{from: north-1}}\n"
        scene.write(HEAD.replace("[127.0.0.1]", "[127.0.0.1, 127.0.30.1]") + text)
        reading = scene.reading()
        hosts = tuple(reading.inventory.hosts.values())
        assert prove_hosts(reading, scene.context(), hosts, Machines({"north-1": Tunnelling()})) == {}
        refused = Machines({"north-1": Tunnelling(refusal="open failed: Connection refused")})
        assert "ends as refused" in prove_hosts(reading, scene.context(), hosts, refused)["north-1"]


def test_a_total_is_only_ever_tightened(scene: Scene) -> None:
    with two_peers() as (good, _silent):
        scene.write(HEAD + "entities:\n" + box("GOOD", good))
        reading = scene.reading()
        entities = reading.inventory.entities
        for total_s, expected_s in ((0.5, 0.5), (60.0, 2.0), (None, 2.0)):
            how = Asking(total_s=total_s, settings=SweepSettings())
            (result,) = asking.ask_entities(reading, scene.context(), entities, how)
            assert result.target.timeouts.total_s == expected_s
