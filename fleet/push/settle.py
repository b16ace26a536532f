"""What a run that is over left on a host is brought to its end, before somebody goes on with it."""

from dataclasses import dataclass, field

from fleet.errors import FleetError, HostError
from fleet.push.clock import Clock, SystemClock
from fleet.push.lock import Claim, Lease, encode_owner, parse_lease
from fleet.push.script import Script, decode_text, format_call, format_script, parse_reply
from fleet.push.transport import Transport

PHASE = "settle"
_EVERY_S = 1.0
_WORDS = {
    "nothing": "",
    "cleaned": "what it had staged is removed",
    "confirmed": "its change was confirmed, and stays",
    "undone": "its change was never confirmed, and was put back",
}


@dataclass(frozen=True, slots=True)
class SettleSettings:
    """Who settles, how long one question may take, and how long a script that still runs there is waited for."""

    claim: Claim
    deadline_s: float = 120.0
    wait_s: float = 180.0
    clock: Clock = field(default_factory=SystemClock)


def settle_host(transport: Transport, run_id: str, settings: SettleSettings) -> str:
    """What was done there, in words; nothing where the run had left nothing. Raises FleetError."""
    until = settings.clock.monotonic_s() + settings.wait_s
    while True:
        lease, word, said = _ask(transport, run_id, settings)
        if lease is None:
            if word == "undone" and " reverted " not in f"{said} ":
                raise HostError(
                    f"its change was never confirmed, and putting it back did not succeed ({said})", phase=PHASE
                )
            return _WORDS[word]
        if lease.run_id != run_id or settings.clock.monotonic_s() >= until:
            raise HostError(f"it is locked by {lease.describe()}", phase=PHASE)
        settings.clock.sleep(_EVERY_S)


def _ask(transport: Transport, run_id: str, settings: SettleSettings) -> tuple[Lease | None, str, str]:
    token = f"{settings.claim.run_id}.settle"
    call = format_call("settle_run", run_id, token, encode_owner(settings.claim.owner))
    script = Script("settle", format_script("window", [call], "lock", "arm"), run_id)
    result = transport.run_script(script, deadline_s=settings.deadline_s)
    for words in parse_reply(result.stdout, PHASE, stderr=result.stderr, status=result.status):
        if words[0] == "locked":
            if words[1:] == ["free"]:  # somebody was faster, and is done already
                return None, "nothing", ""
            return parse_lease(words[1:]), "", ""
        if words[0] == "settled" and len(words) == 3 and words[1] in _WORDS:
            return None, words[1], decode_text(words[2], PHASE)
    raise HostError("the host's answer is garbled: it does not say what it settled", phase=PHASE)


def try_settle(transport: Transport, run_id: str, settings: SettleSettings) -> tuple[str, bool]:
    """The same, an error as words: whoever goes on meets it again, and it counts there."""
    try:
        return settle_host(transport, run_id, settings), True
    except FleetError as error:
        return str(error), False
