"""ssh_config as OpenSSH reads it: every case is asked of `ssh -G` too, which prints what ssh(1) makes of a file."""

import getpass
import shutil
import subprocess
from pathlib import Path

import pytest

from fleet.errors import HostError, UnreadableFile
from fleet.inventory.model import Host, SshSettings
from fleet.push.ssh.config import Person, SshConfig, any_of, parse_line, read_ssh_config
from fleet.push.ssh.hops import Hop, list_hops
from fleet.push.ssh.options import SshOptions

SSH = shutil.which("ssh")
needs_ssh = pytest.mark.skipif(SSH is None, reason="ssh is not installed (tests/debian-packages.txt)")
ME = getpass.getuser()

CASES = {
    "first-value-holds": "Host a*\n User one\nHost abc\n User two\n Port 2200\nHost *\n Port 1\n",
    "negation-outweighs": "Host * !abc\n User one\nHost *\n User two\n",
    "several-identities": "Host abc\n IdentityFile ~/one\n IdentityFile /two\nHost *\n IdentityFile ~/three\n",
    "certificate": "Host abc\n IdentityFile ~/one\n CertificateFile ~/one-special.pub\n IdentitiesOnly yes\n",
    "host-name-with-token": "Host abc\n HostName %h.example.org\n",
    "equals-and-quotes": 'Host = "abc"\n User="one"\n IdentityFile "/a b/c"\n',
    "comment-behind": "Host abc # mine\n User one # him\n Port 2200\n",
    "match-host": "Host abc\n HostName abc.example.org\nMatch host *.example.org\n User one\n",
    "match-original-host": "Match originalhost abc\n User one\nMatch originalhost other\n Port 1\n",
    "match-with-capitals": "Match Host other\n User wrong\nMatch HOST abc\n User right\n",
    "match-user": "Host abc\n User one\nMatch user one\n Port 2200\nMatch user two\n Port 1\n",
    "match-local-user": f"Match localuser {ME}\n User one\nMatch !localuser {ME}\n User two\n",
    "match-not": "Match !host abc\n User wrong\nMatch all\n User right\n",
    "match-final": "Match final host abc\n User late\nHost abc\n Port 2200\n",
    "match-two-criteria": "Match host abc user nobody\n Port 1\nMatch host abc user root\n Port 2\nHost *\n Port 3\n",
    "jumps": "Host abc\n ProxyJump one@a:2201,b\n",
    "no-jump": "Host abc\n ProxyJump none\nHost *\n ProxyJump a\n",
    "known-hosts": "Host abc\n UserKnownHostsFile /one /two\n HostKeyAlias pacs\n",
    "times": "Host abc\n ConnectTimeout 1m30s\n ServerAliveInterval 7\n ServerAliveCountMax 2\n",
    "question-mark": "Host a?c\n User one\n",
    "windows-lines": "Host abc\r\n User one\r\n",
    "nothing": "",
}
_ASKED = (
    "user hostname port identityfile certificatefile identitiesonly proxyjump userknownhostsfile hostkeyalias"
    " connecttimeout serveraliveinterval serveralivecountmax"
)


def read(folder: Path, text: str) -> SshConfig:
    path = folder / "config"
    path.write_text(text)
    return read_ssh_config([path], Person(ME, folder))


def ask_ssh(folder: Path, name: str = "abc") -> dict[str, list[str]]:
    """What ssh(1) makes of the file; a value is a line of words."""
    command = [str(SSH), "-G", "-F", str(folder / "config"), name]
    said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout
    found: dict[str, list[str]] = {}
    for line in said.splitlines():
        keyword, _, value = line.partition(" ")
        found.setdefault(keyword, []).append(value)
    return found


@needs_ssh
@pytest.mark.parametrize("case", CASES)
def test_every_case_means_what_ssh_makes_of_it(case: str, tmp_path: Path) -> None:
    section = read(tmp_path, CASES[case]).look_up(("abc",), person=Person(ME, tmp_path))
    theirs = ask_ssh(tmp_path)
    for keyword in _ASKED.split():
        if keyword in section.lists:
            assert list(section.lists[keyword]) == theirs[keyword], keyword
        elif keyword == "hostname" and "hostname" in section.words:
            assert section.words[keyword][0].replace("%h", "abc") == theirs[keyword][0]
        elif keyword in {"connecttimeout", "serveraliveinterval", "serveralivecountmax"} and keyword in section.words:
            assert str(section.number(keyword)) == theirs[keyword][0]
        elif keyword == "proxyjump" and section.one(keyword) == "none":
            assert keyword not in theirs
        elif keyword in section.words:
            assert " ".join(section.words[keyword]) == theirs[keyword][0], keyword
        else:  # then it is what ssh does by default
            assert theirs.get(keyword, ["none"])[0] not in {"one", "two", "2200", "1"}, keyword


@needs_ssh
def test_included_files_lie_in_the_section_that_includes_them(tmp_path: Path) -> None:
    for number, text in enumerate(("Host abc\n Port 2201\n", "User inside\n")):
        (tmp_path / f"{number}.conf").write_text(text)
    text = f"Include {tmp_path}/[0-9].conf\nHost other\n Include {tmp_path}/0.conf\n User wrong\nHost *\n User late\n"
    section = read(tmp_path, text).look_up(("abc",))
    theirs = ask_ssh(tmp_path)
    assert (section.number("port"), section.one("user")) == (2201, "inside")
    assert (theirs["port"], theirs["user"]) == (["2201"], ["inside"])
    section = read(tmp_path, f"Host other\n Include {tmp_path}/0.conf\nHost *\n User late\n").look_up(("abc",))
    assert (section.number("port"), section.one("user")) == (None, "late")
    assert ask_ssh(tmp_path)["port"] == ["22"]


def test_a_file_that_includes_itself_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnreadableFile, match="includes itself"):
        read(tmp_path, f"Include {tmp_path}/config\n")


def test_match_exec_runs_nothing_and_its_section_never_applies(tmp_path: Path) -> None:
    for sign in ("", "!"):
        config = read(tmp_path, f'Match host abc {sign}exec "touch {tmp_path}/ran"\n User wrong\nHost *\n User right\n')
        section = config.look_up(("abc",))
        assert section.one("user") == "right"
        (said,) = section.unheeded
        assert said.startswith(f"{tmp_path}/config:1: `Match exec` is not honoured: fleet runs nothing")
    assert not (tmp_path / "ran").exists()


def test_what_is_not_honoured_is_said_once_and_only_where_it_applies(tmp_path: Path) -> None:
    text = (
        "Host abc\n ProxyCommand nc %h %p\n ControlMaster auto\n Ciphers aes256-ctr\n ForwardAgent yes\n"
        "Host *\n StrictHostKeyChecking no\n SendEnv LANG\n ProxyCommand none\n"
    )
    config = read(tmp_path, text)
    said = [sentence.split(": ", 1)[1] for sentence in config.look_up(("abc",)).unheeded]
    assert [sentence.split(" ")[0].lower() for sentence in said] == [
        "proxycommand",
        "controlmaster",
        "ciphers",
        "stricthostkeychecking",
    ]
    assert [text.split(" ")[1] for text in config.look_up(("other",)).unheeded] == ["StrictHostKeyChecking"]
    told: list[str] = []
    options = SshOptions(config=config, remark=told.append)
    list_hops(Host("abc", "10.0.0.1", "n"), {}, options)
    assert len(told) == 4


@pytest.mark.parametrize("text", ["Port abc\n", "Port 0\n", "ConnectTimeout soon\n", 'User "open\n', "User\n"])
def test_a_line_that_ssh_would_refuse_is_named(text: str, tmp_path: Path) -> None:
    with pytest.raises(UnreadableFile, match=r"config:2: .*no host was contacted"):
        read(tmp_path, "Host *\n" + text)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(UnreadableFile, match="No such file"):
        read_ssh_config([tmp_path / "none"], Person())


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("Host a b", ("host", ("a", "b"))),
        ("Host=a", ("host", ("a",))),
        ("  # Host a", ("", ())),
        (r"IdentityFile /a\ b", ("identityfile", ("/a b",))),
        ("IdentityFile 'it is'", ("identityfile", ("it is",))),
        ("User a#b", ("user", ("a#b",))),
    ],
)
def test_lines_are_split_as_ssh_splits_them(line: str, words: tuple[str, tuple[str, ...]]) -> None:
    assert parse_line(line) == words


def test_a_bracket_in_a_pattern_stands_for_itself() -> None:
    assert not any_of(("[ab]c",), ("ac",))


def resolve(text: str, host: Host, folder: Path, hosts: dict[str, Host] | None = None) -> tuple[Hop, ...]:
    person = Person(ME, folder, {"KEYS": "/keys"})
    options = SshOptions(config=read(folder, text), home=folder, person=person, agent_socket="/agent")
    return list_hops(host, hosts or {}, options)


def test_the_inventory_outweighs_ssh_config_and_that_outweighs_what_is_usual(tmp_path: Path) -> None:
    text = "Host north\n User configured\n Port 2200\n HostName elsewhere\n IdentityFile ~/configured\n"
    bare = Host("north", "10.0.0.1", "n")
    (hop,) = resolve(text, bare, tmp_path)
    assert (hop.user, hop.port, hop.address) == ("configured", 2200, "10.0.0.1")
    assert hop.identities.files == (tmp_path / "configured",)
    typed = Host("north", "10.0.0.1", "n", SshSettings("fleet", 22, None, "~/typed", given=frozenset({"user", "port"})))
    (hop,) = resolve(text, typed, tmp_path)
    assert (hop.user, hop.port) == ("fleet", 22)
    assert hop.identities.files == (tmp_path / "typed",)
    assert hop.identities.demanded
    (hop,) = resolve("", bare, tmp_path)
    assert (hop.user, hop.port) == ("fleet", 22)


def test_a_section_may_mean_a_host_by_its_name_or_by_its_address(tmp_path: Path) -> None:
    host = Host("north", "10.0.0.1", "n")
    assert resolve("Host 10.0.*\n User one\n", host, tmp_path)[0].user == "one"
    assert resolve("Host north\n User one\n", host, tmp_path)[0].user == "one"
    assert resolve("Host 10.0.* !north\n User one\n", host, tmp_path)[0].user == "fleet"


def test_jumps_come_from_the_inventory_or_from_ssh_config_and_have_sections_of_their_own(tmp_path: Path) -> None:
    text = (
        "Host gate\n HostName gate.example.org\n User keeper\n Port 2201\n ProxyJump outer\nHost abc\n ProxyJump gate\n"
    )
    hosts = {"bastion": Host("bastion", "10.0.9.1", "n", SshSettings("boss"))}
    by_config = resolve(text, Host("abc", "10.0.0.1", "n"), tmp_path, hosts)
    assert [(hop.user, hop.address, hop.port) for hop in by_config] == [
        ("keeper", "outer", 22),
        ("keeper", "gate.example.org", 2201),
        ("fleet", "10.0.0.1", 22),
    ]
    chosen = Host("abc", "10.0.0.1", "n", SshSettings("fleet", jump="bastion,gate,root@10.0.9.3:2203"))
    by_inventory = resolve(text, chosen, tmp_path, hosts)
    # A hop that is reached through the one before needs no way of its own, as with ssh -J.
    assert [(hop.user, hop.address, hop.port) for hop in by_inventory] == [
        ("boss", "10.0.9.1", 22),
        ("keeper", "gate.example.org", 2201),
        ("root", "10.0.9.3", 2203),
        ("fleet", "10.0.0.1", 22),
    ]


def test_a_jump_by_the_name_of_a_host_may_be_another_user(tmp_path: Path) -> None:
    hosts = {"bastion": Host("bastion", "10.0.9.1", "n", SshSettings("boss"), ("ssh-ed25519 AAAA",))}
    host = Host("abc", "10.0.0.1", "n", SshSettings("fleet", jump="other@bastion:2222"))
    jump = resolve("", host, tmp_path, hosts)[0]
    assert (jump.user, jump.address, jump.port, jump.pinned) == ("other", "10.0.9.1", 2222, ("ssh-ed25519 AAAA",))


@pytest.mark.parametrize("jump", ["a,b,a", "abc", "a,,b", "a b", "-oProxyCommand=x", "a;id"])
def test_jumps_that_cannot_be_are_refused_before_anything_is_contacted(jump: str, tmp_path: Path) -> None:  # T22
    with pytest.raises(HostError) as caught:
        resolve("", Host("abc", "10.0.0.1", "n", SshSettings("fleet", jump=jump)), tmp_path)
    assert caught.value.phase == "plan"


def test_an_ssh_config_cannot_smuggle_in_an_option(tmp_path: Path) -> None:  # T22
    for text in ("User -oX\n", "User a;b\n", "ProxyJump -oProxyCommand=touch\n", "HostName -x\nProxyJump x\n"):
        config = "Host abc x\n " + text.replace("\n", "\n ")
        with pytest.raises(HostError):
            resolve(config, Host("abc", "10.0.0.1", "n"), tmp_path)


def test_tokens_and_variables_are_filled(tmp_path: Path) -> None:
    text = (
        "Host abc\n User one\n IdentityFile %d/%r@%h:%p%%\n IdentityFile ${KEYS}/a\n IdentityAgent none\n"
        " UserKnownHostsFile ~/%k\n HostKeyAlias pacs\n"
    )
    (hop,) = resolve(text, Host("abc", "10.0.0.1", "n"), tmp_path)
    assert [str(path) for path in hop.identities.files] == [f"{tmp_path}/one@10.0.0.1:22%", "/keys/a"]
    assert hop.identities.agent_socket is None
    assert (hop.known_hosts, hop.key_name) == ((tmp_path / "pacs",), "pacs")
    for wrong in ("IdentityFile %C\n", "IdentityFile ${NOWHERE}/a\n"):
        with pytest.raises(HostError, match="config:2"):
            resolve("Host abc\n" + wrong, Host("abc", "10.0.0.1", "n"), tmp_path)


def test_the_agent_is_where_the_file_says(tmp_path: Path) -> None:
    for word, socket in (("SSH_AUTH_SOCK", "/agent"), ("$KEYS", "/keys"), ("~/mine", f"{tmp_path}/mine")):
        (hop,) = resolve(f"IdentityAgent {word}\n", Host("abc", "10.0.0.1", "n"), tmp_path)
        assert hop.identities.agent_socket == socket
