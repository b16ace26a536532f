"""ssh_config(5) as OpenSSH reads it: sections in order, the first value of a keyword holds. No paramiko.

paramiko's own reader follows no `Include`, takes `Match Host x` (with a capital) for always true, runs what
`Match exec` says, and reads the environment by itself; so this one is ours, and the tests hold it to what
`ssh -G` prints. Nothing is ever run, and what is not honoured is said.
"""

import fnmatch
import glob
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from fleet.errors import UnreadableFile

_MAX_DEPTH = 16  # readconf.c: READCONF_MAX_DEPTH

# What this program does as the file says.
HONOURED: Final = frozenset(
    """certificatefile connecttimeout globalknownhostsfile hostkeyalias hostname identitiesonly identityagent
    identityfile port proxyjump serveralivecountmax serveraliveinterval user userknownhostsfile""".split()  # noqa: SIM905
)
# What makes no difference to a program that has no terminal, forwards nothing of its owner's, never types a
# password, and never learns a host key.
_WITHOUT_EFFECT = frozenset(
    """addkeystoagent batchmode checkhostip clearallforwardings controlpath controlpersist enableescapecommandline
    escapechar exitonforwardfailure fingerprinthash forwardagent forwardx11 forwardx11timeout forwardx11trusted
    gssapiauthentication gssapidelegatecredentials hashknownhosts ignoreunknown loglevel logverbose
    nohostauthenticationforlocalhost numberofpasswordprompts obscurekeystroketiming passwordauthentication
    kbdinteractiveauthentication challengeresponseauthentication preferredauthentications pubkeyauthentication
    requesttty sendenv tcpkeepalive updatehostkeys useroaming verifyhostkeydns visualhostkey""".split()  # noqa: SIM905
)
_NUMBERS: Final[Mapping[str, tuple[int, int]]] = {
    "port": (1, 65_535),
    "connecttimeout": (1, 86_400),
    "serveraliveinterval": (0, 86_400),
    "serveralivecountmax": (1, 1000),
}
_LISTS = {"identityfile", "certificatefile"}  # each further one is tried as well
_MANY_WORDS = {"userknownhostsfile", "globalknownhostsfile", "sendenv", "setenv"}
_BY_POLICY = {
    "proxycommand": "fleet starts no program to reach a host; say it as ProxyJump",
    "controlmaster": "fleet keeps a connection of its own for a run",
    "hostkeyalgorithms": "the host's own keys are compared with those that are pinned or known",
}


@dataclass(frozen=True, slots=True)
class Condition:
    """A `Host` or `Match` line; all criteria have to hold. `where` is its file and line."""

    kind: str  # host or match
    words: tuple[str, ...]
    where: str


@dataclass(frozen=True, slots=True)
class Directive:
    """One line with the sections that it lies in, the outermost first (an `Include` nests them)."""

    keyword: str
    words: tuple[str, ...]
    where: str
    conditions: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class Person:
    """Whose configuration it is: handed in, never looked up here."""

    user: str = ""
    home: Path | None = None
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Section:
    """What holds for one host: words by keyword, `lists` for what may be said several times."""

    words: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    lists: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    unheeded: tuple[str, ...] = ()  # a sentence for each line that applies and is not honoured
    heard_at: Mapping[str, str] = field(default_factory=dict)  # keyword → file and line

    def one(self, keyword: str) -> str | None:
        """The first word of a keyword, or None."""
        found = self.words.get(keyword)
        return found[0] if found else None

    def told_at(self, keyword: str) -> str:
        """Its file and line, for messages."""
        return self.heard_at.get(keyword, "ssh_config")

    def number(self, keyword: str) -> int | None:
        """A port, or seconds; None where nothing is said."""
        text = self.one(keyword)
        return None if text is None or text.lower() == "none" else parse_time(text)

    def flag(self, keyword: str) -> bool:
        """Whether it says yes."""
        return (self.one(keyword) or "no").lower() in {"yes", "true"}


@dataclass(frozen=True, slots=True)
class SshConfig:
    """The lines of a file and of all that it includes."""

    directives: tuple[Directive, ...] = ()

    def look_up(
        self, names: Sequence[str], *, address: str = "", user: str = "", person: Person | None = None
    ) -> Section:
        """What holds for a host: `names` are those that a `Host` pattern may mean (a person types any of them).

        `address` and `user` are given where they stand already, and then no line changes them.
        """
        search = _Search(tuple(name.lower() for name in names), address, user, person or Person())
        for is_final in (False, True):  # `Match final` looks at what the first pass found (ssh_config(5))
            search.run(self.directives, is_final=is_final)
        return search.section()


def read_ssh_config(paths: Sequence[Path], person: Person) -> SshConfig:
    """The files in order of precedence, with what they include; UnreadableFile names file and line."""
    return SshConfig(tuple(line for path in paths for line in _read(path, (), person, 0)))


def _read(path: Path, outer: tuple[Condition, ...], person: Person, depth: int) -> Iterator[Directive]:
    if depth > _MAX_DEPTH:
        raise UnreadableFile(f"{path}: ssh_config includes itself; no host was contacted")
    try:
        text = path.read_text("utf-8", "surrogateescape")
    except OSError as error:
        raise UnreadableFile(f"{path} cannot be read: {error.strerror}; no host was contacted") from error
    inside = outer
    for number, line in enumerate(text.splitlines(), start=1):
        where = f"{path}:{number}"
        keyword, words = parse_line(line, where)
        if keyword in {"host", "match"}:
            inside = (*outer, Condition(keyword, words, where))
        elif keyword == "include":
            for included in _find_included(words, path, person):
                yield from _read(included, inside, person, depth + 1)
        elif keyword:
            _check_number(keyword, words[0], where)
            yield Directive(keyword, words, where, inside)


def _check_number(keyword: str, word: str, where: str) -> None:
    """As ssh, which refuses a file with such a line, whichever host it is for."""
    if keyword not in _NUMBERS or word.lower() == "none":
        return
    low, high = _NUMBERS[keyword]
    number = parse_time(word)
    if number is None or not low <= number <= high:
        raise UnreadableFile(f"{where}: {keyword} {word!r} is no number from {low} to {high}; no host was contacted")


def _find_included(words: Sequence[str], path: Path, person: Person) -> Iterator[Path]:
    """Globs, relative to ~/.ssh (or to /etc/ssh from there); one that matches nothing is no error."""
    home = person.home or Path("/nonexistent")
    below = path.parent if path.is_relative_to("/etc/ssh") else home / ".ssh"
    for word in words:
        pattern = str(home / word[2:]) if word.startswith("~/") else word
        found = sorted(glob.glob(pattern if pattern.startswith("/") else str(below / pattern)))  # noqa: PTH207  words
        yield from (Path(name) for name in found if Path(name).is_file())


_LINE = re.compile(r'\s*"?(?P<keyword>[A-Za-z0-9]+)"?(?:\s*=\s*|\s+)(?P<rest>.*)', re.ASCII)


def parse_line(line: str, where: str = "ssh_config") -> tuple[str, tuple[str, ...]]:
    """The keyword in small letters and its words; both empty for a line that says nothing."""
    if not line.strip() or line.lstrip().startswith("#"):
        return "", ()
    match = _LINE.fullmatch(line.rstrip())
    words = _split(match["rest"], where) if match else ()
    if match is None or not words:
        raise UnreadableFile(f"{where}: {line.strip()[:60]!r} says nothing; no host was contacted")
    return match["keyword"].lower(), words


def _split(text: str, where: str) -> tuple[str, ...]:
    """Words as ssh splits them: quotes of both kinds, a backslash before a quote or a space, `#` ends the line."""
    words: list[str] = []
    word: str | None = None
    quote = ""
    signs = iter(text)
    for sign in signs:
        if sign == "\\":
            following = next(signs, "")
            word = (word or "") + (following if following in {"\\", "'", '"', " "} else sign + following)
        elif quote:
            quote, word = ("", word) if sign == quote else (quote, (word or "") + sign)
        elif sign in "\"'":
            quote, word = sign, word or ""
        elif sign.isspace():
            words += [] if word is None else [word]
            word = None
        elif sign == "#" and word is None:
            break
        else:
            word = (word or "") + sign
    if quote:
        raise UnreadableFile(f"{where}: a quote is not closed; no host was contacted")
    return (*words, *([] if word is None else [word]))


@dataclass(slots=True)
class _Search:
    """One look-up on its way through the file; lives only inside `look_up`."""

    names: tuple[str, ...]
    address: str
    user: str
    person: Person
    words: dict[str, tuple[str, ...]] = field(default_factory=dict)
    lists: dict[str, list[str]] = field(default_factory=dict)
    unheeded: dict[str, None] = field(default_factory=dict)
    heard_at: dict[str, str] = field(default_factory=dict)

    def run(self, directives: Sequence[Directive], *, is_final: bool) -> None:
        judged: dict[str, bool] = {}
        for line in directives:
            if not all(self._holds(each, judged, is_final=is_final) for each in line.conditions):
                continue
            if line.keyword in _LISTS:
                known = self.lists.setdefault(line.keyword, [])
                known += [word for word in line.words[:1] if word not in known]
                self.heard_at.setdefault(line.keyword, line.where)
            elif line.keyword not in self.words:
                self.words[line.keyword] = line.words if line.keyword in _MANY_WORDS else line.words[:1]
                self.heard_at[line.keyword] = line.where
                self._remark(line)

    def _remark(self, line: Directive) -> None:
        """What applies and is not honoured."""
        keyword, word = line.keyword, line.words[0].lower()
        if keyword == "stricthostkeychecking":
            if word not in {"yes", "ask", "true"}:
                self._unheed(line.where, f"StrictHostKeyChecking {word} is not honoured: an unknown key is refused")
        elif keyword not in HONOURED and keyword not in _WITHOUT_EFFECT and word not in {"none", "no", "false"}:
            reason = _BY_POLICY.get(keyword, "fleet does not know what it does")
            self._unheed(line.where, f"{keyword} is not honoured: {reason}")

    def _unheed(self, where: str, text: str) -> None:
        self.unheeded[f"{where}: {text}"] = None

    def _holds(self, condition: Condition, judged: dict[str, bool], *, is_final: bool) -> bool:
        """Judged once in a pass, when its section begins, as ssh does."""
        if condition.where not in judged:
            judged[condition.where] = (
                any_of(condition.words, self.names) if condition.kind == "host" else self._match(condition, is_final)
            )
        return judged[condition.where]

    def _match(self, condition: Condition, is_final: bool) -> bool:
        words = iter(condition.words)
        for word in words:
            name, equals, value = word.partition("=")
            is_meant = not name.startswith("!")
            name = name.lstrip("!").lower()
            if name == "all":
                continue
            if name in {"final", "canonical"}:
                found: bool | None = is_final if name == "final" else False
            else:
                found = self._criterion(name, value if equals else next(words, ""), condition.where)
            if found is None or found is not is_meant:
                return False
        return True

    def _criterion(self, name: str, value: str, where: str) -> bool | None:
        """Whether it holds; None for one that is never asked: then the section never applies."""
        patterns = tuple(value.split(","))
        match name:
            case "host":
                known = self.address or (self.words.get("hostname") or ("",))[0]
                return any_of(patterns, (known.lower(),) if known else self.names)
            case "originalhost":
                return any_of(patterns, self.names)
            case "user":
                user = self.user or (self.words.get("user") or (self.person.user,))[0]
                return any_of(patterns, (user,), fold=False)
            case "localuser":
                return any_of(patterns, (self.person.user,), fold=False)
            case _:
                reason = "fleet runs nothing that a file names" if name == "exec" else "fleet cannot tell"
                self._unheed(where, f"`Match {name}` is not honoured: {reason}; its section is passed over")
                return None

    def section(self) -> Section:
        lists = {keyword: tuple(found) for keyword, found in self.lists.items()}
        return Section(dict(self.words), lists, tuple(self.unheeded), dict(self.heard_at))


def any_of(patterns: Sequence[str], names: Sequence[str], *, fold: bool = True) -> bool:
    """Patterns as in ssh_config(5): `*`, `?`, and a `!` that outweighs all others. Any of the names may be meant."""
    found = False
    for written in patterns:
        pattern = (written.lower() if fold else written).replace("[", "[[]")
        if pattern.startswith("!"):
            if any(fnmatch.fnmatchcase(name, pattern[1:]) for name in names):
                return False
        elif any(fnmatch.fnmatchcase(name, pattern) for name in names):
            found = True
    return found


_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


def parse_time(text: str) -> int | None:
    """Seconds, as in sshd_config(5) TIME FORMATS: 90, 90s, 1m30s."""
    parts = re.findall(r"([0-9]{1,9})([smhdw]?)", text.lower())
    if not parts or "".join(number + unit for number, unit in parts) != text.lower():
        return None
    return sum(int(number) * _UNITS[unit] for number, unit in parts)
