"""The sweep's figures, each a ratio to something that ran beside it, in turn and on the same machine.

    python -m benchmarks.sweep [rate pynetdicom echoscu misbehaving scale ssh]     (without words: all of them)

What answers is `echo_responder.c`, what we are compared with `echo_client.c`; both are compiled where gcc is.
Everything is on loopback. Rounds of about one length are taken in turn and the best of each counts: what else the
machine does only ever slows a round down.
"""

import contextlib
import gc
import getpass
import resource
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from benchmarks.figures import Figure
from benchmarks.measure import fleet_command, run_once
from tests.push.ssh_server import SSHD, SshServer, run_sshd

FIRST_PORT, PORTS = 21_000, 200
TARGETS = 20_000
ROUNDS = 6
DCMTK_ECHOSCU = "/usr/bin/echoscu"  # by its path: pip's pynetdicom installs a script of the same name
SSH_HOSTS = 20
SSH_PEERS = 50


@dataclass(frozen=True, slots=True)
class Tools:
    """The two C programs."""

    responder: Path
    client: Path


def build_tools(folder: Path) -> Tools | None:
    """Compile them, once a folder; None where there is no gcc."""
    tools = Tools(folder / "echo_responder", folder / "echo_client")
    gcc = shutil.which("gcc")
    if gcc is None:
        return None
    for made in (tools.responder, tools.client):
        if not made.exists():
            source = Path(__file__).with_name(f"{made.name}.c")
            subprocess.run([gcc, "-O2", "-o", made, source], check=True, timeout=120)
    return tools


@contextlib.contextmanager
def responding(tools: Tools) -> Iterator[None]:
    """The responder, listening."""
    command = [str(tools.responder), str(FIRST_PORT), str(PORTS)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == b"ready\n", "the responder found its ports taken"
            yield
        finally:
            process.kill()


def make_lines(count: int) -> Iterator[str]:
    """Targets on addresses of their own, so that the brake for one address is not what is measured."""
    for number in range(count):
        address = f"127.{1 + number // 62_500}.{number // 250 % 250}.{1 + number % 250}"
        yield f"AE{number},{address},{FIRST_PORT + number % PORTS}\n"


def write_targets(path: Path, lines: Iterator[str]) -> Path:
    """A list for `fleet verify --targets`."""
    path.write_text("".join(lines), encoding="ascii")
    return path


def run_client(tools: Tools, count: int = TARGETS) -> float:
    """Dialogues a second of the C client."""
    command = [str(word) for word in (tools.client, count, 200, FIRST_PORT, PORTS)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return float(done.stdout)


def sweep_recorded(folder: Path, count: int) -> float:
    """Dialogues a second with results kept and recorded in a history, in this process."""
    from fleet.report.history.opening import open_history
    from fleet.verify.values import Timeouts
    from fleet.workflow.context import Context
    from fleet.workflow.ledger import Ledger
    from fleet.workflow.listed import ListedSweep, read_targets
    from fleet.workflow.sweeping import Asking

    targets = read_targets(write_targets(folder / "listed.csv", make_lines(count)), "FLEET_SCU", Timeouts())
    path = folder / f"history-{time.monotonic_ns()}.sqlite"
    context = Context(folder, path)
    gc.set_threshold(200_000, 20, 100)  # as the console script has it
    with open_history(path) as history, Ledger(context, history, "verify") as ledger:
        started = time.perf_counter()
        ListedSweep(context, ledger, history).verify(targets, Asking())
        report = ledger.finish()
        seconds = time.perf_counter() - started
    assert report.echo_counts == {"answered": count}, report.echo_counts
    return count / seconds


def measure_rate(folder: Path) -> Iterator[Figure]:
    """Against the C client: with results and history, and as a whole process that writes JSON."""
    tools = build_tools(folder)
    if tools is None:
        return
    listed = write_targets(folder / "targets.csv", make_lines(TARGETS))
    rounds: list[tuple[float, float, float]] = []
    with responding(tools):
        for number in range(ROUNDS):
            recorded = sweep_recorded(folder, TARGETS)
            client = run_client(tools, 3 * TARGETS)  # as long as ours: a moment's quiet must not favour the shorter
            words = ("verify", "--targets", str(listed), "-o", "json", "--history", str(folder / f"{number}.sqlite"))
            rounds.append((client, recorded, TARGETS / run_once(fleet_command(*words)).wall_s))
    client, recorded, whole = (max(column) for column in zip(*rounds, strict=True))
    yield Figure(
        f"C-ECHO to a C client's {client:.0f}/s, results and history included",
        recorded / client,
        0.4,
        "×",
        at_least=True,
    )
    yield Figure("the same as a whole process with -o json", whole / client, 0.3, "×", at_least=True)


def compare_rates(folder: Path, ask: Callable[[int], bool], count: int) -> tuple[float, float]:
    """The best of three rounds, taken in turn: ours, and 16 at a time of another way to ask."""
    rounds = []
    for _ in range(3):
        ours = sweep_recorded(folder, TARGETS)
        started = time.perf_counter()
        with ThreadPoolExecutor(16) as pool:
            answers = list(pool.map(ask, range(count)))
        assert all(answers)
        rounds.append((ours, count / (time.perf_counter() - started)))
    return max(ours for ours, _ in rounds), max(theirs for _, theirs in rounds)


def measure_pynetdicom(folder: Path) -> Iterator[Figure]:
    """Against pynetdicom in 16 threads, each association with its release."""
    tools = build_tools(folder)
    if tools is None:
        return
    from pynetdicom import AE

    def ask(number: int) -> bool:
        entity = AE("BENCH")
        entity.add_requested_context("1.2.840.10008.1.1")
        association = entity.associate("127.0.0.1", FIRST_PORT + number % PORTS, ae_title="ANY-SCP")
        answered = association.is_established and association.send_c_echo().Status == 0
        association.release()
        return bool(answered)

    with responding(tools):
        ours, theirs = compare_rates(folder, ask, 400)
    yield Figure(f"C-ECHO to pynetdicom's {theirs:.0f}/s in 16 threads", ours / theirs, 35, "×", at_least=True)


def measure_echoscu(folder: Path) -> Iterator[Figure]:
    """Against a pool of 16 of dcmtk's echoscu."""
    tools = build_tools(folder)
    if tools is None or not Path(DCMTK_ECHOSCU).exists():
        return

    def ask(number: int) -> bool:
        command = [DCMTK_ECHOSCU, "-to", "5", "-ta", "5", "-td", "5", "127.0.0.1", str(FIRST_PORT + number % PORTS)]
        return subprocess.run(command, capture_output=True, timeout=30, check=False).returncode == 0

    with responding(tools):
        ours, theirs = compare_rates(folder, ask, 150)
    yield Figure(f"C-ECHO to {theirs:.0f}/s of 16 echoscu at once", ours / theirs, 80, "×", at_least=True)


@contextlib.contextmanager
def misbehaving() -> Iterator[tuple[int, int, int, int]]:
    """Ports of every loopback address that refuse, swallow, accept and hang, and talk garbage."""
    with contextlib.ExitStack() as stack:
        refusing, swallowing, hanging, babbling = (stack.enter_context(socket.socket()) for _ in range(4))
        for listener in (refusing, swallowing, hanging, babbling):
            listener.bind(("0.0.0.0", 0))  # noqa: S104  every address of 127.0.0.0/8
        swallowing.listen(0)
        for _ in range(4):  # a full queue: the kernel drops what else wants in (listen(2))
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(("127.0.0.1", swallowing.getsockname()[1]))
        hanging.listen(4096)
        babbling.listen(4096)
        held: list[socket.socket] = []

        def babble() -> None:
            with contextlib.suppress(OSError):
                while True:
                    stranger, _ = babbling.accept()
                    stranger.sendall(b"\xde\xad\xbe\xef" * 8)
                    held.append(stranger)

        threading.Thread(target=babble, daemon=True).start()
        yield tuple(each.getsockname()[1] for each in (refusing, swallowing, hanging, babbling))
        babbling.shutdown(socket.SHUT_RDWR)
        for each in held:
            each.close()


def measure_misbehaving(folder: Path) -> Iterator[Figure]:
    """10,000 targets, a tenth of which refuse, swallow, hang or babble; 500 at once."""
    tools = build_tools(folder)
    if tools is None:
        return
    from fleet.verify.values import Timeouts

    with responding(tools), misbehaving() as ports:
        lines = list(make_lines(10_000))
        for number in range(0, len(lines), 10):
            title, address, _ = lines[number].split(",")
            lines[number] = f"{title},{address},{ports[number // 10 % 4]}\n"
        listed = write_targets(folder / "tenth.csv", iter(lines))
        words = ("verify", "--targets", str(listed), "-q", "--max-associations", "500")
        started = time.perf_counter()
        command = fleet_command(*words, "--history", str(folder / "tenth.sqlite"))
        done = subprocess.run(command, capture_output=True, timeout=120, check=False)
        seconds = time.perf_counter() - started
    assert done.returncode == 2, done.stderr
    counts = count_results(folder / "tenth.sqlite")
    expected = {"answered": 9000, "refused": 250, "connect_timeout": 250, "association_timeout": 250, "not_dicom": 250}
    assert counts == expected, counts
    total_s = Timeouts().total_s
    yield Figure("10,000 targets, a tenth of them misbehaving, 500 at once", seconds, total_s + 2, "s")


def count_results(path: Path) -> dict[str, int]:
    """What the last run's results in a history were."""
    from fleet.report.history.opening import open_history
    from fleet.report.summary import count_outcomes

    with open_history(path) as history:
        return dict(count_outcomes(line.outcome for line in history.echo_results("last")))


def measure_scale(folder: Path) -> Iterator[Figure]:
    """100,000 targets as a whole process, against 20,000."""
    tools = build_tools(folder)
    if tools is None:
        return
    with responding(tools):
        costs = []
        for count in (20_000, 100_000):
            listed = write_targets(folder / f"{count}.csv", make_lines(count))
            history = str(folder / f"{count}.sqlite")
            words = ("verify", "--targets", str(listed), "-o", "json", "--history", history)
            costs.append(run_once(fleet_command(*words)))
    small, large = costs
    yield Figure("100,000 targets to 20,000, CPU, for each target", large.cpu_s / small.cpu_s / 5, 1.2, "×")
    yield Figure("memory of 100,000 targets", large.peak_bytes / 1e6, 300, "MB")


def write_tunnelled_fleet(folder: Path, servers: Sequence[SshServer]) -> Path:
    """An inventory of hosts on loopback, each with a source that calls every peer."""
    lines = ["fleet:", "  name: tunnels", f"  defaults: {{ssh: {{user: {getpass.getuser()}, become: none}}}}"]
    lines += [
        'flows:\n  - {from: "kind=workstation", to: "kind=archive", services: [storage]}',
        "site: bench",
        "hosts:",
    ]
    for number in range(SSH_HOSTS):
        server = servers[number % len(servers)]
        login = f"ssh: {{port: {server.port}, identity_file: {server.identity_file}}}"
        place = f"address: 127.77.{number % len(servers)}.{1 + number}"
        lines.append(f'  bench-{number:02}: {{{place}, {login}, host_keys: ["{server.host_key}"]}}')
    lines.append("entities:")
    for number in range(SSH_HOSTS):
        place = f"instances: [{{host: bench-{number:02}, port: 11112}}], run: {{engine: none}}"
        lines.append(f"  - {{ae_title: ASKS_{number:02}, kind: workstation, provides: [verification], {place}}}")
    for number in range(SSH_PEERS):
        place = f"address: 127.78.0.{1 + number}, port: {FIRST_PORT + number}"
        lines.append(f"  - {{ae_title: PEER_{number:02}, kind: archive, provides: [verification, storage], {place},")
        lines.append("     verify: {max_associations_per_host: 20}}")
    inventory = folder / "tunnels"
    inventory.mkdir(exist_ok=True)
    (inventory / "fleet.yml").write_text("\n".join(lines) + "\n", encoding="ascii")
    return inventory


def measure_ssh(folder: Path) -> Iterator[Figure]:
    """Through real sshd on loopback: every flow of 20 hosts asked from its own host."""
    tools = build_tools(folder)
    if tools is None or SSHD is None:
        return
    with contextlib.ExitStack() as stack:
        stack.enter_context(responding(tools))
        servers = []
        for server in range(2):  # an sshd listens on 16 addresses at most
            mine = [f"127.77.{server}.{1 + number}" for number in range(SSH_HOSTS) if number % 2 == server]
            extra = "".join(f"ListenAddress {address}\n" for address in mine) + "MaxSessions 100\n"
            servers.append(stack.enter_context(run_sshd(folder / f"sshd-{server}", extra=extra)))
        inventory = write_tunnelled_fleet(folder, servers)
        history = folder / "ssh.sqlite"
        words = ("verify", "--from", "hosts", "-i", str(inventory), "-o", "json", "--history", str(history))
        seconds = min(run_once(fleet_command(*words)).wall_s for _ in range(3))
    counts = count_results(history)
    assert counts == {"answered": SSH_HOSTS * SSH_PEERS}, counts
    rate = SSH_HOSTS * SSH_PEERS / seconds
    yield Figure("echoes through SSH over 20 hosts, logins included", rate, 300, "/s", at_least=True)


Measure = Callable[[Path], Iterator[Figure]]
BENCHMARKS: dict[str, Measure] = {
    "rate": measure_rate,
    "pynetdicom": measure_pynetdicom,
    "echoscu": measure_echoscu,
    "misbehaving": measure_misbehaving,
    "scale": measure_scale,
    "ssh": measure_ssh,
}


def main() -> int:
    """Run those that are named and print their rows; exit status 1 when a bound is missed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 4096)), hard))
    missed = False
    with tempfile.TemporaryDirectory(prefix="fleet-sweep-") as folder:
        for name in sys.argv[1:] or BENCHMARKS:
            for figure in BENCHMARKS[name](Path(folder)):
                print(figure, flush=True)
                missed = missed or not figure.is_met
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
