"""Taking a member out of its virtual services for the time of a change, and putting it back: what is asked of the
hosts. In which order, and what has to be proven in between, is `workflow.draining`'s business."""

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address

from fleet.errors import HostError
from fleet.push.script import Script, decode_text, format_call, format_call_with, format_script, parse_reply
from fleet.push.transport import Transport

PHASE = "drain"


@dataclass(frozen=True, slots=True)
class Drain:
    """A member that is to be out: `token` names this time, `lasts_s` is when a host ends it by itself.

    `servers` are its names in HAProxy (service, server), `addresses` those that health checks ask for; `partners`
    must not be out at the same time.
    """

    member: str
    token: str
    lasts_s: int
    partners: tuple[str, ...] = ()
    servers: tuple[tuple[str, str], ...] = ()
    addresses: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class DrainReport:
    """`refused` is why nothing was done; `busy` the partner that is out already, and whose doing that is. `moves`:
    keepalived there lets go of an address when it is told to."""

    refused: str = ""
    busy: tuple[str, str] | None = None
    moves: bool = False


@dataclass(frozen=True, slots=True)
class Traffic:
    """What goes through a host: connections to its own servers and through its virtual addresses, and which of
    these it holds."""

    here: int = 0
    through: int = 0
    held: frozenset[str] = frozenset()


def take_out(transport: Transport, drain: Drain, *, itself: bool, deadline_s: float) -> DrainReport:
    """Let this host send the member nothing new; with `itself` it is the member, and lets its addresses go."""
    late = format_script("drain", [format_call("undrain_late", drain.member, drain.token)])
    words = (drain.member, drain.token, drain.lasts_s, *drain.partners)
    calls = ["drain_begin", format_call_with(late.encode("ascii"), "drain_claim", *words)]
    calls.append(format_call("drain_servers", *(f"{service}/{server}" for service, server in drain.servers)))
    calls.append(format_call("drain_addresses", *drain.addresses))
    calls += ["drain_self"] if itself else []
    calls += ['[ -n "$failed" ] || drain_apply', "drain_end"]
    lines = _run(transport, "drain", calls, drain, deadline_s)
    busy = next(((words[1], words[2]) for words in lines if words[0] == "partner" and len(words) == 3), None)
    refused = next((decode_text(words[1], PHASE) for words in lines if words[0] == "refused"), "")
    broken = next((decode_text(words[1], PHASE) for words in lines if words[0] == "broken"), "")
    if broken:
        refused = f"HAProxy could not be reloaded: {broken}"
    if not (busy or refused) and ["failed"] in lines:
        refused = "the host did not say why"
    return DrainReport(refused, busy, ["self", "yes"] in lines)


def put_back(transport: Transport, drain: Drain, *, deadline_s: float) -> str:
    """Let the member serve again; why HAProxy could not be reloaded, or nothing."""
    calls = ["drain_begin", format_call("put_back_member", drain.member, drain.token), "drain_end"]
    lines = _run(transport, "put-back", calls, drain, deadline_s)
    return next((decode_text(words[1], PHASE) for words in lines if words[0] == "broken"), "")


def observe_traffic(
    transport: Transport,
    here: Sequence[int],
    through: Sequence[int],
    addresses: Sequence[str],
    *,
    deadline_s: float,
) -> Traffic:
    """What goes through the host now; raises FleetError."""
    by_word = {_address_word(address): address for address in addresses}
    calls = ["begin", format_call("look_open", "here", *(f"{port:04X}" for port in here))]
    calls.append(format_call("look_open", "through", *(f"{port:04X}" for port in through)))
    calls += [format_call("look_held", *by_word), "say end"]
    lines = _run(transport, "traffic", calls, None, deadline_s)
    counts = {words[1]: int(words[2]) for words in lines if words[0] == "open" and words[2:] and words[2].isdigit()}
    held = next((words[1:] for words in lines if words[0] == "held"), [])
    return Traffic(
        counts.get("here", 0), counts.get("through", 0), frozenset(by_word[word] for word in held if word in by_word)
    )


def _address_word(address: str) -> str:
    """As the kernel writes it: IPv4 with dots, IPv6 as 32 digits."""
    parsed = ip_address(address)
    return str(parsed) if parsed.version == 4 else parsed.exploded.replace(":", "")


def _run(transport: Transport, verb: str, calls: list[str], request: object, deadline_s: float) -> list[list[str]]:
    script = Script(verb, format_script("drain", calls), request)
    result = transport.run_script(script, deadline_s=deadline_s)
    lines = parse_reply(result.stdout, PHASE, stderr=result.stderr, status=result.status)
    if any(len(words) < 2 for words in lines if words[0] in {"refused", "broken", "open"}):
        raise HostError("the host's answer is garbled", phase=PHASE)
    return lines
