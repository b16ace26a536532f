"""The smallest question to a host: can we log in, does a script run, as whom."""

from fleet.errors import HostError
from fleet.push.script import Script, parse_reply, read_program
from fleet.push.transport import Transport


def make_ping_script() -> Script:
    """Says hello and the user's number."""
    text = f'{read_program("prelude")}\n__run() {{\nbegin\nsay "uid $uid"\nsay end\n}}\n__run </dev/null\nexit 0\n'
    return Script("ping", text)


def ping_host(transport: Transport, *, deadline_s: float, become: bool | None = None) -> int:
    """The user number that scripts run as (0 with sudo); raises FleetError."""
    result = transport.run_script(make_ping_script(), deadline_s=deadline_s, become=become)
    for words in parse_reply(result.stdout, "login", stderr=result.stderr, status=result.status):
        if words[0] == "uid" and len(words) == 2 and words[1].isdigit():
            return int(words[1])
    raise HostError("the host did not say who we are", phase="login")
