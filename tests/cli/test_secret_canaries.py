"""No verb and no failure writes a secret anywhere: every byte that the program writes is searched for planted ones.

Terminal, history, state folder, temporary files: only the folder that `render -d` was given holds secrets, 0600.
"""

import os
import re
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from fleet.cli import opening
from fleet.cli.main import main
from fleet.errors import HostError, NetworkError
from fleet.inventory.model import Inventory
from fleet.plan.veil import Veil
from fleet.push.transport import Connector
from fleet.render.artifacts import RenderedFile
from fleet.secrets.vault import Vault
from fleet.workflow import story
from tests.cli.canaries import (
    AUTH_PASS,
    OLD_AUTH_PASS,
    OLD_KEEPALIVED,
    OLD_TEAM_FILE,
    OLD_WORD,
    PASSPHRASE,
    VARIABLE,
    Planted,
    find_leaks,
    plant,
    read_tree,
)
from tests.push.fake_host import FakeConnector, FakeFile, FakeHost, FakeUnit
from tests.push.local_host import LocalTransport, make_root

PLAYBOOK = "- name: all of it\n  hosts: all\n  steps: [validate, plan, {apply: {hold_down: 0s}}, verify]\n"


@dataclass
class Watch:
    """A program whose every output is kept."""

    planted: Planted
    root: Path
    monkeypatch: pytest.MonkeyPatch
    capfd: pytest.CaptureFixture[str]
    connector: Connector
    said: dict[str, bytes] = field(default_factory=dict)

    def __call__(self, *words: str, opened: bool = True) -> tuple[int, str]:
        @contextmanager
        def connect(_inventory: Inventory, **_more: object) -> Iterator[Connector]:
            yield self.connector

        self.monkeypatch.setattr(opening, "open_connector", connect)
        options = ["-i", str(self.planted.inventory), "--history", str(self.watched / "history.sqlite")]
        options += ["--vault-password-file", str(self.planted.password_file)] if opened else []
        self.capfd.readouterr()
        status = main([words[0], *options, *words[1:]])
        seen = self.capfd.readouterr()
        self.said[f"{len(self.said)} {' '.join(words)}"] = (seen.out + seen.err).encode()
        return status, seen.out + seen.err

    @property
    def watched(self) -> Path:
        return self.root / "watched"

    def leaks(self, but: tuple[Path, ...] = ()) -> list[str]:
        """Canaries in what was said and in what was written."""
        return find_leaks(self.planted.canaries, self.said | read_tree(self.watched, but))


@pytest.fixture
def planted(tmp_path: Path) -> Planted:
    return plant(tmp_path)


@pytest.fixture
def fakes() -> dict[str, FakeHost]:
    """Two hosts; one holds older files with older secrets."""
    units = ("haproxy.service", "keepalived.service")
    hosts = {name: FakeHost(units={unit: FakeUnit() for unit in units}) for name in ("h1", "h2")}
    hosts["h1"].files |= {
        "/etc/keepalived/keepalived.conf": FakeFile(OLD_KEEPALIVED.encode(), 0o644),
        "/etc/gateway.conf": FakeFile(OLD_TEAM_FILE.encode(), 0o640),
        "/etc/fleet/tls/relay-GATE.inline.key": FakeFile(f"{OLD_WORD}\n".encode(), 0o600),
    }
    return hosts


@pytest.fixture
def watch(
    tmp_path: Path,
    planted: Planted,
    fakes: dict[str, FakeHost],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> Watch:
    temporary = tmp_path / "watched" / "tmp"
    temporary.mkdir()
    for name in ("TMPDIR", "XDG_STATE_HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, str(temporary))
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    # What a run puts into a temporary folder and takes away again is searched before it goes.
    monkeypatch.setattr(tempfile.TemporaryDirectory, "cleanup", lambda _self: None)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FLEET_VAULT_PASSWORD_FILE", raising=False)
    return Watch(planted, tmp_path, monkeypatch, capfd, FakeConnector(fakes))


# T39
def test_the_verbs_that_look_write_no_secret(watch: Watch) -> None:
    ran = {
        words: watch(*words)
        for words in [
            ("validate",),
            ("validate", "-o", "json"),
            ("render",),
            ("render", "-o", "json"),
            ("plan", "--adopt"),
            ("plan", "--adopt", "-vvv"),
            ("plan", "--adopt", "-o", "json"),
            ("plan", "--adopt", "-o", "junit"),
            ("apply", "--adopt", "--check"),
            ("verify", "--drift"),
            ("verify", "-o", "json"),
            ("verify", "-o", "csv"),
            ("verify", "-o", "junit"),
            ("verify", "--from", "hosts"),
            ("inventory", "--list"),
            ("inventory", "--host", "h1"),
            ("explain-value", "h1.vars.token"),
            ("explain-value", "h1.vars.deep", "-o", "json"),
            ("sheet", "all", "-o", "html"),
            ("sheet", "all", "--firewall"),
            ("history",),
            ("report",),
            ("audit",),
            ("doctor",),
        ]
    }
    assert watch.leaks() == []
    assert ran["validate",][0] == 0, ran["validate",]
    assert ran["render",][0] == 0, ran["render",]
    assert ran["plan", "--adopt"][0] == 3, ran["plan", "--adopt"]


# T39
def test_a_diff_shows_that_a_secret_changes_and_hides_what_it_cannot_vouch_for(watch: Watch) -> None:
    _, told = watch("plan", "--adopt")
    lines = [line.strip() for line in told.splitlines()]
    assert any(line.startswith("-token = <secret ") for line in lines)
    assert any(line.startswith("+token = <secret ") for line in lines)
    assert any(line.startswith("+more = <secret ") and line.endswith("> # end") for line in lines)
    assert any(line.startswith("-") and "auth_pass <secret " in line for line in lines)
    assert any("not shown: it may hold a secret" in line for line in lines)
    assert "name = h1" in told
    _, again = watch("plan", "--adopt")
    assert [line for line in again.splitlines() if "<secret" in line] == [
        line for line in told.splitlines() if "<secret" in line
    ]


# T39
def test_what_is_applied_is_in_clear_on_the_host_and_nowhere_else(watch: Watch, fakes: dict[str, FakeHost]) -> None:
    status, told = watch("apply", "--adopt", "--yes", "--hold-down", "0s", "--no-confirm", "-vv")
    assert VARIABLE.encode() in fakes["h1"].files["/etc/gateway.conf"].content, told
    assert AUTH_PASS.encode() in fakes["h1"].files["/etc/keepalived/keepalived.conf"].content
    key = fakes["h1"].files["/etc/fleet/tls/relay-GATE.inline.key"]
    assert (key.mode, key.owner, b"PRIVATE KEY" in key.content) == (0o600, "fleet-relay:fleet-relay", True)
    assert not any("tls" in path for path in fakes["h2"].files)
    watch("plan", "-vvv")
    watch("plan", "--out", str(watch.watched / "saved.plan"))
    watch("plan", "--show", str(watch.watched / "saved.plan"))
    assert (watch.watched / "saved.plan").exists()
    watch("history", "verify")
    assert any("journal" in path for path in read_tree(watch.watched))
    watch("history", "last")
    watch("report")
    assert watch.leaks() == []
    assert status in {0, 2}


# T39
def test_a_folder_gets_real_files_that_nobody_else_reads(watch: Watch) -> None:
    folder = watch.root / "watched" / "rendered"
    assert watch("render", "-d", str(folder))[0] == 0
    team = folder / "h1" / "etc" / "gateway.conf"
    assert VARIABLE in team.read_text()
    holders = [Path(path) for path, data in read_tree(folder).items() if find_leaks(watch.planted.canaries, {"": data})]
    assert team in holders
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in holders)
    assert watch.leaks(but=(folder,)) == []


def _say(word: str) -> HostError:
    return HostError(f"the host said: {word} and {OLD_AUTH_PASS[:0]}more", phase="stage")


# T39
@pytest.mark.parametrize("phase", ["observe", "stage", "switch", "confirm"])
@pytest.mark.parametrize("verbosity", ["-q", "-v", "-vvvv"])
def test_a_host_that_prints_a_secret_back_is_not_quoted(
    watch: Watch, fakes: dict[str, FakeHost], phase: str, verbosity: str
) -> None:
    fakes["h1"].failures[phase] = _say(f"{VARIABLE} {AUTH_PASS} {VARIABLE.encode().hex()}")
    status, _ = watch("apply", "--adopt", "--yes", "--hold-down", "0s", verbosity)
    watch("plan", "-o", "json", verbosity)
    watch("history", "last")
    assert watch.leaks() == []
    assert status == 2


# T39
@pytest.mark.parametrize("verb", [("plan",), ("verify",), ("apply", "--yes"), ("run", "PLAYBOOK")])
def test_an_unreachable_host_and_a_playbook_tell_no_secret(watch: Watch, fakes: dict[str, FakeHost], verb: Any) -> None:
    (watch.watched / "p.yml").write_text(PLAYBOOK)
    fakes["h2"].failures["open"] = NetworkError(f"banner: {VARIABLE}", phase="connect")
    watch(*[str(watch.watched / "p.yml") if word == "PLAYBOOK" else word for word in verb])
    assert watch.leaks() == []


# T39
@pytest.mark.parametrize("form", ["text", "json"])
@pytest.mark.parametrize("verb", ["plan", "render", "verify", "validate"])
def test_a_bug_with_a_secret_in_its_hands_leaves_a_traceback_without_it(watch: Watch, verb: str, form: str) -> None:
    def fail(given: Any, *_more: object, **_named: object) -> None:
        token = getattr(given, "inventory", given).hosts["h1"].vars["token"]
        raise RuntimeError(f"planted: {token} {token.reveal()}") from ValueError(token.reveal())

    watch.monkeypatch.setattr(story, "plan_hosts", fail)
    watch.monkeypatch.setattr(story, "ask_entities", fail)
    for call in ("render.render_hosts", "validate.format_validity", "validate._document"):
        watch.monkeypatch.setattr(f"fleet.cli.{call}", fail)
    status, told = watch(verb, "-o", form)
    assert (status, "planted: ***" in told, "this is a bug in fleet" in told) == (1, True, True)
    watch("history", "last")
    assert watch.leaks() == []


# T39
def test_wrong_and_missing_passwords_and_damaged_values_tell_no_secret(watch: Watch) -> None:
    assert watch("validate", opened=False)[0] == 0
    assert "5 secret values not opened" in watch("validate", opened=False)[1]
    for verb in (("render",), ("plan",), ("apply", "--yes")):
        status, told = watch(*verb, opened=False)
        assert (status, "secret-not-opened" in told, "nothing was contacted" in told) == (2, True, True)
    status, told = watch("render", opened=False)
    assert "fleet: no vault password was given (--vault-password-file FILE), and " in told
    assert re.search(r"fleet\.yml:\d+:\d+: error\[secret-not-opened\]", told)
    watch("verify", opened=False)
    wrong = watch.root / "outside" / "wrong"
    wrong.write_text(f"{PASSPHRASE[::-1]}-no\n")
    status, told = watch("validate", "--vault-password-file", str(wrong), opened=False)
    assert (status, told.count("error[vault-password]")) == (2, 5)
    path = watch.planted.inventory / "fleet.yml"
    path.write_text(path.read_text().replace("3", "z", 40))
    watch("validate")
    watch("plan")
    assert watch.leaks() == []


# T39
def test_a_check_and_a_handler_that_print_the_file_are_masked(watch: Watch) -> None:
    """The real scripts by a real shell: what a team's commands print comes back as evidence."""
    text = (watch.planted.inventory / "fleet.yml").read_text()
    head, files = text.split("certificates:")[0], text[text.index("files:") :]
    entity = "entities: [{ae_title: BOX, kind: other, address: 127.0.0.9, port: 1}]\n"
    roots = {name: make_root(watch.root / name) for name in ("h1", "h2")}
    (roots["h1"] / "etc" / "gateway.conf").write_text(OLD_TEAM_FILE)

    class Local:
        def open_(self, host: Any, *, deadline_s: float) -> LocalTransport:
            return LocalTransport(roots[host.name])

    watch.connector = Local()
    for number, change in enumerate(("exit 0", "exit 1", "cat {}; exit 75")):
        changed = files.replace("exit 0", change).replace(
            'handler: "cat', 'handler: "false; cat' if number else 'handler: "cat'
        )
        (watch.planted.inventory / "fleet.yml").write_text(head + entity + changed)
        watch("apply", "--adopt", "--yes", "--hold-down", "0s", "--no-confirm", "--no-way-back", "-vvv")
        watch("plan", "--adopt", "-vvv")
        (watch.planted.inventory / "team.j2").write_text(f"# {number}\ntoken = {{{{ vars.token | line }}}}\n")
    (watch.planted.inventory / "fleet.yml").write_text(head + entity)
    _, removing = watch("plan")
    watch("apply", "--yes", "--hold-down", "0s", "--no-confirm", "--no-way-back")
    watch("history", "last")
    assert "remove /etc/gateway.conf" in removing
    assert watch.leaks() == []


# T39
def test_secrets_are_in_no_process_s_words_or_environment(watch: Watch) -> None:
    """Whatever is started while secrets are open is looked at: its words, and what it inherits."""
    import subprocess

    seen: dict[str, bytes] = {}
    start = subprocess.Popen.__init__

    def look(self: Any, arguments: Any, *more: Any, **named: Any) -> None:
        environment = named.get("env") or os.environ
        seen[f"process {len(seen)}"] = repr((arguments, dict(environment))).encode()
        start(self, arguments, *more, **named)

    watch.monkeypatch.setattr(subprocess.Popen, "__init__", look)
    test_a_check_and_a_handler_that_print_the_file_are_masked(watch)
    assert seen
    assert find_leaks(watch.planted.canaries, seen) == []


# The samples: the search can fail -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "leak",
    [
        lambda word: word.encode(),
        lambda word: word.encode().hex().encode(),
        lambda word: __import__("base64").b64encode(b"x" + word.encode() + b"yz"),
        lambda word: word[::-1].encode(),
    ],
)
def test_the_search_finds_a_secret_in_each_form(leak: Callable[[str], bytes]) -> None:
    assert find_leaks({"a": VARIABLE}, {"b": b"around " + leak(VARIABLE) + b" it"}) == ["a in b"]


def test_the_search_finds_what_an_unmasked_diff_and_rendering_would_show(watch: Watch) -> None:
    watch.monkeypatch.setattr(Veil, "covers", lambda *_: False)
    watch.monkeypatch.setattr(RenderedFile, "masked", property(lambda self: self.content))
    watch("plan", "--adopt")
    watch("render")
    found = " ".join(watch.leaks())
    assert all(name in found for name in ("variable", "listed", "auth_pass", "old word", "key inline", "key in_file"))
    assert "passphrase" not in found


def test_the_search_finds_what_an_unmasked_host_would_put_into_history(
    watch: Watch, fakes: dict[str, FakeHost]
) -> None:
    watch.monkeypatch.setattr(Vault, "mask", lambda _self, text: text)
    fakes["h1"].failures["observe"] = _say(VARIABLE)
    watch("plan", "--adopt")
    assert any(leak.startswith("variable in") and "history.sqlite" in leak for leak in watch.leaks())
