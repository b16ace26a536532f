"""Which hops lead to a host, and what is known of each: the inventory first, then ssh_config, then what is usual.

Pure, but for the person's configuration that was read before. No paramiko.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from fleet.errors import HostError
from fleet.inventory.model import Host, SshSettings
from fleet.push.address import check_ssh_words, check_words, parse_jump
from fleet.push.ssh.config import Section
from fleet.push.ssh.options import SshOptions

_MAX_HOPS = 9
_ALIVE_S, _ALIVE_COUNT = 15, 3


@dataclass(frozen=True, slots=True)
class Identities:
    """What may be offered at a login, in order; `demanded` files have to be there and are the only ones."""

    files: tuple[Path, ...] = ()
    certificates: tuple[Path, ...] = ()
    demanded: bool = False
    named: bool = False  # somebody named the files: they come before what else the agent holds
    only: bool = False  # of the agent's keys those alone that are among the files
    agent_socket: str | None = None


@dataclass(frozen=True, slots=True)
class Hop:
    """One login on the way: a jump, or the host itself."""

    name: str
    address: str
    port: int
    user: str
    pinned: tuple[str, ...] = ()
    key_name: str | None = None  # HostKeyAlias: what it is called in known_hosts files
    known_hosts: tuple[Path, ...] = ()
    identities: Identities = Identities()
    connect_s: float | None = None
    alive_s: int = _ALIVE_S
    alive_count: int = _ALIVE_COUNT

    @property
    def where(self) -> str:
        """For messages."""
        return f"{self.name} ({self.address} port {self.port})"


@dataclass(frozen=True, slots=True)
class _Goal:
    """A hop before the configuration was asked; `is_listed` when it is a host of the inventory."""

    host: Host
    is_listed: bool = True


def list_hops(host: Host, hosts: Mapping[str, Host], options: SshOptions) -> tuple[Hop, ...]:
    """Every login on the way to a host, the host last; HostError (phase `plan`) where there can be no way."""
    check_ssh_words(host)
    return tuple(_way_to(_Goal(host), hosts, options, ()))


def _way_to(goal: _Goal, hosts: Mapping[str, Host], options: SshOptions, behind: tuple[str, ...]) -> list[Hop]:
    seen = (*behind, goal.host.name)
    if goal.host.name in behind or len(seen) > _MAX_HOPS:
        raise HostError(f"{seen[0]}: its jumps go round in a circle or are too many", phase="plan")
    section = _look_up(goal, options)
    hop = _make_hop(goal, section, options)
    goals = [_find_jump(text, goal.host, hop, hosts) for text in _list_jumps(goal, section, hop)]
    if not goals:
        return [hop]
    # As ssh -J: the first hop's own jumps lead to it; the others are reached through the one before.
    way = _way_to(goals[0], hosts, options, seen)
    way += [_make_hop(each, _look_up(each, options), options) for each in goals[1:]]
    if len({each.name for each in (*way, hop)}) <= len(way) or len(way) >= _MAX_HOPS:
        raise HostError(f"{goal.host.name}: its jumps go round in a circle or are too many", phase="plan")
    return [*way, hop]


def _look_up(goal: _Goal, options: SshOptions) -> Section:
    host = goal.host
    names = (host.name, host.address) if goal.is_listed else (host.address,)
    user = host.ssh.user if "user" in host.ssh.given else ""
    address = host.address if goal.is_listed else ""
    section = options.config.look_up(names, address=address, user=user, person=options.person)
    for text in section.unheeded:
        options.remark(text)
    return section


def _list_jumps(goal: _Goal, section: Section, hop: Hop) -> tuple[str, ...]:
    if goal.host.ssh.jump is not None:
        return goal.host.ssh.jumps
    said = section.one("proxyjump")
    if said is None or said.lower() == "none":
        return ()
    values = {"h": hop.address, "p": str(hop.port), "r": hop.user, "n": goal.host.address, "%": "%"}
    return tuple(_expand(said, values, section, "proxyjump").split(","))


def _find_jump(text: str, behind: Host, hop: Hop, hosts: Mapping[str, Host]) -> _Goal:
    """A host of the inventory, or whatever ssh_config or the name service makes of a name."""
    if text in hosts:
        return _Goal(hosts[text])
    jump = parse_jump(text, behind.name)
    listed = hosts.get(jump.name)
    ssh = listed.ssh if listed else SshSettings(hop.user, identity_file=behind.ssh.identity_file)
    if jump.user:
        ssh = replace(ssh, user=jump.user, given=ssh.given | {"user"})
    if jump.port:
        ssh = replace(ssh, port=jump.port, given=ssh.given | {"port"})
    if listed:
        return _Goal(replace(listed, ssh=ssh))
    return _Goal(Host(name=text, address=jump.name, site=behind.site, ssh=ssh), is_listed=False)


def _make_hop(goal: _Goal, section: Section, options: SshOptions) -> Hop:
    host, ssh = goal.host, goal.host.ssh
    user = ssh.user if "user" in ssh.given else section.one("user") or ssh.user
    said_port = section.number("port")
    port = ssh.port if "port" in ssh.given or said_port is None else said_port
    address = host.address
    if not goal.is_listed and (named := section.one("hostname")):
        address = _expand(named, {"h": host.address, "%": "%"}, section, "hostname")
    check_words(host.name, address, user, port)
    alias = section.one("hostkeyalias")
    values = {
        "%": "%",
        "d": str(options.home or ""),
        "h": address,
        "k": alias or host.address,
        "n": host.address,
        "p": str(port),
        "r": user,
        "u": options.person.user,
    }
    alive_s, count = section.number("serveraliveinterval"), section.number("serveralivecountmax")
    return Hop(
        host.name,
        address,
        port,
        user,
        host.host_keys,
        alias,
        _list_known_hosts(section, values, options),
        _list_identities(goal, section, values, options),
        section.number("connecttimeout"),
        _ALIVE_S if alive_s is None else alive_s,
        count or _ALIVE_COUNT,
    )


def _list_known_hosts(section: Section, values: Mapping[str, str], options: SshOptions) -> tuple[Path, ...]:
    """UserKnownHostsFile and GlobalKnownHostsFile take the place of the usual ones (ssh_config(5))."""
    found: list[Path] = []
    said = [section.words.get(keyword) for keyword in ("userknownhostsfile", "globalknownhostsfile")]
    for keyword, words in zip(("userknownhostsfile", "globalknownhostsfile"), said, strict=True):
        found += [_path(word, values, section, options, keyword) for word in words or () if word.lower() != "none"]
    if said[0] is None:
        found = [*options.known_hosts, *found]
    return tuple(found)


def _list_identities(goal: _Goal, section: Section, values: Mapping[str, str], options: SshOptions) -> Identities:
    agent = _find_agent(section, values, options)
    certificates = tuple(
        _path(word, values, section, options, "certificatefile")
        for word in section.lists.get("certificatefile", ())
        if word.lower() != "none"
    )
    named = goal.host.ssh.identity_file
    said = tuple(word for word in section.lists.get("identityfile", ()) if word.lower() != "none")
    if named is not None and (goal.is_listed or not said):
        home = options.home
        path = home / named[2:] if home is not None and named.startswith("~/") else Path(named)
        return Identities((path,), certificates, demanded=True, named=True, only=True, agent_socket=agent)
    files = tuple(_path(word, values, section, options, "identityfile") for word in said)
    only = section.flag("identitiesonly")
    if "identityfile" not in section.lists:
        files = options.identity_files
    return Identities(files, certificates, named=bool(said), only=only, agent_socket=agent)


def _find_agent(section: Section, values: Mapping[str, str], options: SshOptions) -> str | None:
    said = section.one("identityagent")
    if said is None or said == "SSH_AUTH_SOCK":
        return options.agent_socket
    if said.lower() == "none":
        return None
    if said.startswith("$") and not said.startswith("${"):
        return options.person.environment.get(said[1:])
    return str(_path(said, values, section, options, "identityagent"))


def _path(word: str, values: Mapping[str, str], section: Section, options: SshOptions, keyword: str) -> Path:
    environment = options.person.environment

    def look_up(match: re.Match[str]) -> str:
        if match[1] not in environment:
            raise HostError(f"{section.told_at(keyword)}: the environment has no {match[1]}", phase="plan")
        return environment[match[1]]

    text = re.sub(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}", look_up, _expand(word, values, section, keyword))
    return options.home / text[2:] if options.home is not None and text.startswith("~/") else Path(text)


def _expand(text: str, values: Mapping[str, str], section: Section, keyword: str) -> str:
    """Tokens as in ssh_config(5) TOKENS, of those that can be known."""

    def look_up(match: re.Match[str]) -> str:
        if match[1] not in values:
            where = section.told_at(keyword)
            known = " ".join(f"%{each}" for each in sorted(values))
            raise HostError(f"{where}: {keyword} holds {match[0]!r}; fleet knows {known}", phase="plan")
        return values[match[1]]

    return re.sub(r"%(.?)", look_up, text)


def list_names(hop: Hop) -> Sequence[str]:
    """What a hop is called in known_hosts files: with the port where it is not the usual one, an alias without."""
    if hop.key_name is not None:
        return (hop.key_name,)
    return (hop.address if hop.port == 22 else f"[{hop.address}]:{hop.port}",)
