"""Every verb's exit status: as desired 0, fleet could not 1, found wrong 2, pending 3, wrong usage 64."""

import subprocess
from pathlib import Path

import pytest

from fleet.cli import status
from fleet.errors import DeadlineExceeded, EmptySelection, HistoryError, HostError, NetworkError, UsageError
from tests.cli.conftest import box
from tests.cli.doors import Door, clean_environment, command
from tests.verify.peers import Peer
from tests.workflow.scenes import HEAD

INVALID = HEAD + "entities:\n  - {ae_title: ONE, kind: other, address: 127.0.0.1, prot: 104}\n"


def test_valid_is_0_and_says_so_in_one_line(boxes: Door) -> None:
    said = boxes("validate")
    assert (said.status, said.err) == (0, "")
    assert said.out == "test is valid (1 entity, 1 title, 1 site, 0 hosts)\n"


@pytest.mark.parametrize(
    "content", [INVALID.encode(), b"entities: [\n", b"\xff\xfe", b"a: 1\na: 2\n"], ids=["key", "yaml", "utf-8", "twice"]
)
@pytest.mark.parametrize("verb", ["validate", "plan", "verify", "render", "sheet", "apply", "run"])
def test_an_invalid_inventory_is_2_with_its_place_and_contacts_nobody(door: Door, verb: str, content: bytes) -> None:
    path = door.write("")
    path.write_bytes(content)
    more = {"sheet": ["all"], "apply": ["--yes"], "run": ["apply"]}.get(verb, [])
    said = door(verb, *more)
    assert said.status == 2
    assert "fleet.yml:" in said.out + said.err
    assert all(not host.log for host in door.machines.values())


@pytest.mark.parametrize(
    "verb", ["validate", "plan", "verify", "render", "sheet", "apply", "run", "trust", "title", "explain-value"]
)
def test_no_inventory_is_1_and_says_how_to_get_one(door: Door, verb: str) -> None:
    more = {"sheet": ["all"], "apply": ["--yes"], "run": ["apply"], "trust": ["h"], "title": ["X"]}
    said = door(verb, *more.get(verb, ["X.port"] if verb == "explain-value" else []))
    assert said.status == 1
    assert "no such inventory" in said.err
    assert "fleet init" in said.err


def test_a_plan_of_changes_is_3_and_of_none_0(hosts: Door) -> None:
    assert hosts("plan").status == 3
    assert hosts("apply", "--check").status == 3
    assert hosts("verify", "--drift", "-l", "all").status == 2  # nothing there listens: never an empty sweep
    assert hosts("apply", "--yes", "--hold-down", "0s").status == 0
    assert hosts("plan").status == 0


def test_drift_is_3_beside_a_sweep_that_answers(hosts: Door, good: Peer) -> None:
    hosts.write("entities:\n" + box("GOOD", good).replace("{", "{site: north, ", 1), "boxes.yml")
    assert hosts("verify").status == 0
    said = hosts("verify", "--drift")
    assert said.status == 3
    assert "north-1" in said.out


def test_an_unreachable_host_is_2_and_named_with_the_phase(hosts: Door) -> None:
    del hosts.machines["north-2"]
    for words in (["plan"], ["apply", "--yes"]):
        said = hosts(*words)
        assert said.status == 2
        assert "unreachable" in said.out
        assert "connect" in said.out


def test_an_entity_that_does_not_answer_is_2(boxes: Door, good: Peer) -> None:
    assert boxes("verify").status == 0
    good.close()
    said = boxes("verify")
    assert said.status == 2
    assert "GOOD" in said.out


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["plna"], "Did you mean 'plan'?"),
        (["verify", "--tiemout", "3"], "--timeout"),
        (["verify", "-l", ""], "--limit is empty"),
        (["verify", "--limit", "  "], "--limit is empty"),
        (["plan", "--limit="], "--limit is empty"),
        (["verify", "--timeout", "0"], "leaves no time"),
        (["verify", "--timeout", "soon"], "is no time"),
        (["verify", "--pause", "-1"], "is no time"),
        (["verify", "--calling", "SEVENTEEN_LETTERS"], "--calling"),
        (["verify", "--calling", "OTHER"], "verify.calling"),
        (["verify", "--max-associations", "0"], "--max-associations"),
        (["verify", "--targets", "x.csv", "--drift"], "--drift and --from"),
        (["verify", "--targets", "x.csv", "-l", "CT_1"], "shorter list"),
        (["apply"], "--yes"),
        (["apply", "--yes", "--serial", "0"], "serial"),
        (["apply", "--yes", "--serial", "25"], ""),
        (["apply", "--yes", "--serial", "a quarter"], "like 25%, or a number of hosts"),
        (["apply", "--yes", "--max-fail", "few"], "like 25%, or a number of hosts"),
        (["apply", "--yes", "--hold-down", "long"], "is no time"),
        (["apply", "plan.json", "--yes", "--adopt"], "`fleet plan`, where somebody sees"),
        (["apply", "plan.json", "--resume", "last"], "not both"),
        (["apply", "--resume", "last", "-l", "all"], "leave --limit out"),
        (["apply", "--yes", "--wait", "long"], "is no time"),
        (["plan", "--show", "plan.json", "--adopt"], "would make another"),
        (["plan", "--show", "plan.json", "-l", "all"], "would make another"),
        (["history", "last", "--head", "1:x"], "`fleet history verify`"),
        (["history", "verify", "--head", "x"], "64 hexadecimal"),
        (["plan", "-o", "xml"], "xml"),
        (["plan", "--forks", "0"], "--forks"),
        (["sheet"], "SELECTOR"),
        (["sheet", "all", "--done", "--firewall"], "--done stands alone"),
        (["schema", "inventroy"], "inventory, plan, playbook"),
        (["inventory"], "--list or --host"),
        (["echo", "127.0.0.1"], "no port"),
        (["echo", "127.0.0.1", "1o4"], "1o4"),
        (["echo", "127.0.0.1", "70000"], "70000"),
        (["echo", "--as", "A", "B", "104"], "come from the inventory"),
        (["echo", "127.0.0.1:104"], "fleet echo 127.0.0.1 104"),
        (["echo", "127.0.0.1", "104", "-aet"], "-aet"),
        (["sheet", "kind=modality", "site=north"], "quote a selector"),
        (["validate", "inventory"], "name the inventory with -i"),
        (["verify", "north-1"], "narrow to hosts or titles with -l"),
        (["plan", "-l", "site=north", "kind=other"], "quote a selector"),
        (["--history", "x"], "options stand behind their verb"),
        (["-i", "inventory"], "options stand behind their verb"),
        (["run"], "PLAYBOOK"),
        ([], "Usage"),
    ],
)
def test_wrong_usage_is_64_says_what_and_contacts_nobody(hosts: Door, words: list[str], says: str) -> None:
    plain = not words or words[0] in {"echo", "schema", "plna", "--history", "-i"}
    said = hosts.bare(*words) if plain else hosts(*words)
    if says:
        assert (said.status, says in said.err) == (64, True), said
        assert all(not host.log for host in hosts.machines.values())
    assert "Traceback" not in said.err


@pytest.mark.parametrize("words", [["plan"], ["apply", "--yes"], ["render"], ["verify"], ["sheet", "all"], ["doctor"]])
def test_a_selector_that_matches_nothing_is_2_and_contacts_nobody(hosts: Door, words: list[str]) -> None:
    said = hosts(words[0], "-l", "nroth-1", *words[1:])
    assert said.status == 2
    assert "nroth-1" in said.err
    assert all(not host.log for host in hosts.machines.values())


@pytest.mark.parametrize(
    ("content", "says"), [(b"", "empty"), (b"no database at all", ""), (b"SQLite format 3\x00" + bytes(50), "torn")]
)
@pytest.mark.parametrize("words", [["plan"], ["apply", "--yes"], ["verify"], ["history"], ["report"], ["sheet", "all"]])
def test_a_torn_history_is_1_and_nothing_is_done(
    hosts: Door, words: list[str], content: bytes, says: str
) -> None:  # T44
    hosts.history.write_bytes(content)
    said = hosts(*words)
    assert said.status == 1
    assert "history.sqlite" in said.err
    assert says in said.err
    assert all(not host.log for host in hosts.machines.values())
    assert hosts.history.read_bytes() == content


@pytest.mark.parametrize("words", [["history"], ["report"], ["plan", "-l", "@failed"], ["render", "-l", "@failed"]])
def test_no_history_yet_is_1_where_it_is_what_was_asked_for(hosts: Door, words: list[str]) -> None:
    assert hosts(*words).status == 1


def test_a_playbook_that_is_none_is_2_and_one_that_is_not_there_1(hosts: Door, tmp_path: Path) -> None:
    path = tmp_path / "mine.yml"
    path.write_text("- {name: mine, hosts: all, steps: [aplly]}\n", encoding="utf-8")
    said = hosts("run", str(path))
    assert (said.status, "mine.yml:1" in said.err) == (2, True)
    gone = hosts("run", "aplly")
    assert (gone.status, "did you mean 'apply'?" in gone.err) == (1, True)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (UsageError("so"), 64),
        (EmptySelection("so"), 2),
        (NetworkError("so", phase="connect"), 2),
        (HostError("so", phase="observe"), 2),
        (DeadlineExceeded("so", phase="observe"), 2),
        (HistoryError("so"), 1),
        (PermissionError(13, "denied"), 1),
        (RuntimeError("a bug"), 1),
    ],
)
def test_an_error_costs_what_it_is_about(error: Exception, expected: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert status.status_of(error) == expected
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith(("fleet: ", "RuntimeError"))
    assert ("report the lines above" in said.err) == isinstance(error, RuntimeError)


@pytest.mark.parametrize("verb", [("apply",), ("unlock", "north-1")])
def test_a_stdin_that_is_closed_is_nobody_to_ask(hosts: Door, verb: tuple[str, ...]) -> None:
    """As cron, or a script with `<&-`, leaves it: wrong usage, and no bug."""
    line = 'exec "$@" <&-'
    done = subprocess.run(
        ["sh", "-c", line, "sh", *command(*hosts.typed(*verb))],
        cwd=hosts.root,
        env=clean_environment(hosts.root),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, "bug" in done.stderr) == ((64, False) if verb == ("apply",) else (2, False)), done


def test_an_error_that_quotes_a_stranger_does_nothing_to_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:  # T40
    assert status.status_of(NetworkError("h said: \x1b]0;owned\x07\u202e\x9b\nsecond line", phase="handshake")) == 2
    assert capsys.readouterr().err == "fleet: h said: \\x1b]0;owned\\x07\\u202e\\x9b\nsecond line\n"
