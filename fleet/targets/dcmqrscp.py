"""dcmtk's archive, dcmqrscp 3.6.x: a file of three tables, read by lines into buffers of 512 bytes.

What its reader does with a value that it cannot carry is to accept it and reject the peer afterwards, or to
cut the line and lose those behind the cut: hence everything is refused or split here. Peers are found by
exact title and address; a C-MOVE goes to the first row of the title that an AE's own list holds, then to the
first of the HostTable.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from fleet.errors import Problem
from fleet.inventory.model import Entity
from fleet.inventory.peers import Peer
from fleet.targets.file_check import FileCheck
from fleet.targets.refusal import cannot_carry, cannot_do, unfit
from fleet.targets.text import explain_control

TARGET = "dcmqrscp"
PROGRAM = "/usr/bin/dcmqrscp"
MAX_LINE_BYTES = 400  # the reader's buffer holds 511; the rest of a longer line is read as a new row
# The words of its grammar; a group called ANY opens an archive to everyone.
RESERVED = frozenset({"ANY", "BEGIN", "END", "HostTable", "AETable", "VendorTable", "R", "RW", "W", "WR"})
# tcpmux (RFC 1078): nothing in a hospital listens there, so a C-MOVE to a peer that does not listen ends at once.
NO_PORT = 1
NOBODY = ("FLEET_NOBODY", "0.0.0.0")  # noqa: S104 - an address that no association can come from
MAX_STUDIES = 500
MAX_STUDY_BYTES = 1024 * 1024 * 1024
_ADDRESS = re.compile(r"[A-Za-z0-9._-]{1,253}", re.ASCII)
_WORD = re.compile(r"[!#-&*+\-./0-9:;<>-~]+", re.ASCII)  # what is printable, without its separators and quotes
_SIZE = re.compile(r"([1-9][0-9]*)(kb|mb|gb)")
_FACTORS = {"kb": 1024, "mb": 1024**2, "gb": 1024**3}
_OWN_OPTIONS = ("-c", "--config", "-s", "--single-process", "-dhl", "--disable-host-lookup", "--allow-shutdown")

# dcmqrscp has no dry run. It is started on a port of its own network namespace where the kernel lets us (else on
# a spare one), its storage areas replaced by an empty folder; alive after a second means that it read the file.
CHECK = FileCheck(
    "dcmqrscp on a spare port",
    """\
command -v /usr/bin/dcmqrscp >/dev/null || { echo 'dcmqrscp is not on this host'; exit 75; }
mkdir -p "$2/area" || exit 75
sed "/^AETable BEGIN/,/^AETable END/ s# /[^ ]* # $2/area #" "$1" >"$2/check.cfg" || exit 75
apart=
if unshare -n true 2>/dev/null; then apart='unshare -n'; fi
for try in 1 2 3; do
  port=$((20000 + ($$ + try * 7919) % 20000))
  $apart timeout -k 1 10 /usr/bin/dcmqrscp -s -dhl -c "$2/check.cfg" "$port" >"$2/said" 2>&1 &
  child=$!
  sleep 1
  if kill -0 "$child" 2>/dev/null; then
    kill -TERM "$child" 2>/dev/null
    wait "$child" 2>/dev/null
    exit 0
  fi
  wait "$child"
  status=$?
  grep -q -e 'already in use' -e 'insufficient privileges' "$2/said" || break
  status=75
done
sed -n -e 's/^[EF]: /dcmqrscp: /p' -e 's/^CONFIG Error: /dcmqrscp: /p' "$2/said" | head -n 10
[ "$status" -eq 0 ] && status=1
exit "$status"
""",
)


def explain_title(title: str) -> str | None:
    """Why a title cannot stand in the file; None where it can."""
    if _WORD.fullmatch(title) and title not in RESERVED:
        return None
    control = explain_control(title)
    if control:
        return control
    for character in title:
        if character in " ,=":
            return f"{character!r} separates values in dcmqrscp.cfg; the row loads and the peer is then rejected"
        if character in "\"'()":
            return f"{character!r} is a quote in dcmqrscp.cfg and cannot be escaped"
        if not character.isascii():
            return f"{character!a} is not ASCII"
    if title in RESERVED:
        return "the word belongs to the grammar of dcmqrscp.cfg"
    return None


def explain_own_title(title: str) -> str | None:
    """Why a title cannot begin a row of the AETable; None where it can."""
    return "a row that begins with '#' is a comment" if title.startswith("#") else explain_title(title)


def explain_address(address: str) -> str | None:
    """Why an address cannot stand in the host column; None where it can."""
    if ":" in address:
        return "dcmtk before 3.6.9 speaks IPv4 only"
    return None if _ADDRESS.fullmatch(address) else "it is neither an IPv4 address nor a plain name"


def quote(value: object) -> str:
    """One word of a row; raises `UnfitValue` where the reader could not give it back."""
    text = str(value)
    if _WORD.fullmatch(text):
        return text
    reason = "it is empty" if not text else explain_control(text)
    reason = reason or "spaces, commas, '=', quotes, parentheses and what is not ASCII cannot stand in a row"
    raise unfit(TARGET, f"the value {text!r}", reason)


def count_bytes(size: str) -> int:
    """Bytes of `4096mb`; 0 for what is no size."""
    found = _SIZE.fullmatch(size)
    return int(found[1]) * _FACTORS[found[2]] if found else 0


@dataclass(frozen=True, slots=True)
class HostRow:
    """A row of the HostTable: a peer at one address, under a symbolic name of ours."""

    symbol: str
    ae_title: str
    address: str
    port: int


@dataclass(frozen=True, slots=True)
class Group:
    """A row of the HostTable that names other rows."""

    symbol: str
    members: tuple[str, ...]


def make_symbol(ae_title: str, number: int) -> str:
    """The symbolic name of a title's row; `ae_` keeps it apart from groups and from the grammar's words (T03)."""
    return f"ae_{ae_title}/{number}"


def chain_groups(name: str, symbols: Sequence[str]) -> tuple[Group, ...]:
    """Groups of groups until one names all, in order, no line longer than is read; the last one is the whole."""
    groups: list[Group] = []
    level, members = 1, list(symbols)
    while True:
        chunks = list(_chunk(members))
        if len(chunks) == 1:
            return (*groups, Group(f"fleet_{name}", chunks[0]))
        made = [Group(f"fleet_{name}/{level}.{number}", chunk) for number, chunk in enumerate(chunks, start=1)]
        groups += made
        members = [group.symbol for group in made]
        level += 1


def _chunk(symbols: Iterable[str]) -> Iterator[tuple[str, ...]]:
    chunk: list[str] = []
    size = 0
    for symbol in symbols:
        cost = len(symbol.encode()) + 2
        if chunk and size + cost > MAX_LINE_BYTES - 64:  # 64: the group's own name
            yield tuple(chunk)
            chunk, size = [], 0
        chunk.append(symbol)
        size += cost
    yield tuple(chunk)


def check_entity(entity: Entity, callers: Sequence[Peer]) -> Iterator[Problem]:
    """What dcmqrscp cannot carry of an entity that it serves, and of those who may call it."""
    yield from _check_own(entity)
    for peer in callers:
        reasons = [(f"the {peer.role}'s title {peer.ae_title!r}", explain_title(peer.ae_title))]
        reasons += [(f"the address {each!r} of {peer.ae_title}", explain_address(each)) for each in peer.sources]
        if peer.address is not None and peer.address not in peer.sources:
            reasons.append((f"the address {peer.address!r} of {peer.ae_title}", explain_address(peer.address)))
        for what, reason in reasons:
            if reason is not None:
                at = peer.entity.at("ae_title") if peer.entity else entity.location
                where = f"{what} in the HostTable of {entity.ae_title}"
                yield cannot_carry(TARGET, where, reason, at, also=(entity.location,), subjects=(peer.ae_title,))


def _check_own(entity: Entity) -> Iterator[Problem]:
    run = entity.run
    if run is None:
        return
    for title in entity.titles:
        reason = explain_own_title(title)
        if reason:
            yield cannot_carry(
                TARGET, f"the title {title!r} in its AETable", reason, entity.at("ae_title"), subjects=(title,)
            )
    for further in entity.also:
        ports = {instance.port for instance in entity.instances}
        if further.listens and further.port is not None and ports != {further.port}:
            reason = f"one process listens on one port, and that of {entity.ae_title} is another"
            yield cannot_carry(
                TARGET,
                f"the port {further.port} of {further.ae_title}",
                reason,
                further.location,
                subjects=(entity.ae_title,),
            )
    size = run.settings.get("max_bytes_per_study")
    if isinstance(size, str) and count_bytes(size) > MAX_STUDY_BYTES:
        reason = "above 1024mb it cuts the quota in silence, and deletes earlier than you think"
        yield cannot_carry(
            TARGET, f"max_bytes_per_study: {size}", reason, run.at("max_bytes_per_study"), subjects=(entity.ae_title,)
        )
    if isinstance(size, str) and 0 < count_bytes(size) < 1024**2:
        what = (
            f"would delete images of {entity.ae_title} as soon as a study has {size}: it answers success to the sender "
            "and drops the oldest; set max_bytes_per_study to what the largest study needs"
        )
        yield cannot_do(TARGET, what, run.at("max_bytes_per_study"), subjects=(entity.ae_title,))
    for option in run.settings.get("options", ()):
        if option in _OWN_OPTIONS:
            reason = "fleet sets this itself, or it would let the network shut the archive down"
            yield cannot_carry(TARGET, f"the option {option!r}", reason, run.at("options"), subjects=(entity.ae_title,))
