"""A plan as a value that can be kept: what was read on each host, what would be there, and what people were shown.

Pinned are digests, never contents: of the inventory's files, of what each host should hold, of every file, folder,
unit and record that was read there, and of the steps; what concerns hosts is keyed (see `conceal`). Whoever applies
it later reads and renders again and compares; so a saved plan is carried out by the same code as one that was just
made.
"""

import hashlib
import hmac
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, is_dataclass
from types import MappingProxyType
from typing import Any, Final

from fleet.errors import BrokenPlan
from fleet.plan.conceal import Concealer
from fleet.plan.manifest import format_manifest
from fleet.plan.state import FileKind, ObservedFile, ObservedHost
from fleet.plan.steps import FileState, HostPlan, RemoveFile, Step, WriteFile
from fleet.render.artifacts import RenderedHost

SCHEMA: Final = "fleet.plan/1"
FAMILY: Final = "fleet.plan/"
_ABSENT: Final = "absent"


@dataclass(frozen=True, slots=True)
class HostPin:
    """One host of a plan; `observed` is None where it could not be read, and then nothing is done there."""

    host: str
    rendered: str
    observed: Mapping[str, str] | None
    steps: str = ""


@dataclass(frozen=True, slots=True)
class SavedPlan:
    """What was decided, over which inventory, and the run report as people saw it (`fleet.run/1`)."""

    plan_id: str
    made_at: str
    made_by: str
    fleet: str
    key_id: str
    inventory_digest: str
    sources: Mapping[str, str]
    hosts: tuple[HostPin, ...]
    adopt: bool = False
    allow_removal: int = 0
    forget_hosts: tuple[str, ...] = ()
    report: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    seal: str = ""

    def is_sealed_by(self, concealer: Concealer) -> bool:
        """Whether all of it, permissions and what people are shown too, is what the owner of the key wrote."""
        return hmac.compare_digest(_seal(_body(self), concealer), self.seal)

    @property
    def digest(self) -> str:
        """One word for what was decided: the same decision over the same states has the same."""
        body = _body(self)
        decided = ("fleet", "inventory_digest", "sources", "permissions", "hosts")
        return _digest({name: body[name] for name in decided})

    @property
    def pins(self) -> Mapping[str, HostPin]:
        """By host."""
        return {pin.host: pin for pin in self.hosts}


# Pins ----------------------------------------------------------------------------------------------------


def pin_host(plan: HostPlan, observed: ObservedHost, concealer: Concealer) -> HostPin:
    """What is to be held against the host later."""
    seen = dict(list_observed(observed, concealer))
    rendered = digest_rendered(plan.rendered, concealer)
    return HostPin(plan.host, rendered, seen, digest_steps(plan.steps, concealer))


def pin_unread(rendered: RenderedHost, concealer: Concealer) -> HostPin:
    """A host that could not be read: there is nothing that a person could have looked at."""
    return HostPin(rendered.host, digest_rendered(rendered, concealer), None)


def list_observed(observed: ObservedHost, concealer: Concealer) -> Iterator[tuple[str, str]]:
    """Everything that decides a plan, as words by name. What moves by itself (free space, ports) is left out."""
    for path, seen in sorted(observed.files.items()):
        yield path, _describe_file(seen, concealer)
    for path, kind in sorted(observed.folders.items()):
        yield f"folder {path}", kind.value
    for unit, service in sorted(observed.services.items()):
        reload_owed = " needs-daemon-reload" if service.needs_daemon_reload else ""
        yield unit, f"{service.load} {service.active} {service.enabled or '-'}{reload_owed}"
    for name, started in sorted(observed.started.items()):
        yield f"started {name}", concealer.conceal(f"{started.restart_token} {started.reload_token}")
    manifest = format_manifest(observed.manifest) if observed.manifest is not None else observed.manifest_problem
    yield "what is ours", concealer.conceal(manifest)
    for what in ("programs", "users", "groups"):
        yield f"missing {what}", " ".join(sorted(getattr(observed.missing, what)))
    yield "systemctl", "yes" if observed.facts.has_systemctl else "no"
    yield "staged by a run that was cut off", "yes" if observed.leftover else "no"


def _describe_file(seen: ObservedFile, concealer: Concealer) -> str:
    if seen.kind is not FileKind.FILE:
        return seen.kind.value
    return f"file {concealer.conceal(seen.digest or '')} {seen.mode or 0:04o} {seen.owner or '-'}"


def find_moved(pin: HostPin, observed: ObservedHost, concealer: Concealer) -> tuple[str, ...]:
    """What is no longer as it was when the plan was made, in words; nothing where all of it is."""
    then, now = pin.observed or {}, dict(list_observed(observed, concealer))
    names = [name for name in {**then, **now} if then.get(name, _ABSENT) != now.get(name, _ABSENT)]
    return tuple(_describe_move(name, then.get(name, _ABSENT), now.get(name, _ABSENT)) for name in names)


def _describe_move(name: str, then: str, now: str) -> str:
    if then.startswith("file ") and now.startswith("file "):
        parts = zip(("content", "mode", "owner"), then.split()[1:], now.split()[1:], strict=False)
        return f"{name} has another {' and '.join(what for what, old, new in parts if old != new)}"
    if name.startswith(("started ", "what is ours")):
        return f"{name} is another"
    return f"{name} was {_short(then)}, is {_short(now)}"


def _short(word: str) -> str:
    return word.split(" ", maxsplit=1)[0] if word.startswith("file ") else word or "nothing"


def find_strange(pin: HostPin, plan: HostPlan, observed: ObservedHost, concealer: Concealer) -> tuple[str, ...]:
    """After a run that was cut off on this host: files that hold neither what it found nor what it was to write."""
    then, wanted = pin.observed or {}, {file.path: file for file in plan.rendered.files}
    strange = []
    for path, seen in sorted(observed.files.items()):
        now = _describe_file(seen, concealer)
        file = wanted.get(path)
        states = (
            [ObservedFile(path, FileKind.FILE, file.digest, file.mode, owner) for owner in (file.owner, None)]
            if file
            else []
        )
        ours = {_describe_file(state, concealer) for state in states} or {_ABSENT}
        if now != then.get(path, _ABSENT) and now not in ours:
            strange.append(_describe_move(path, then.get(path, _ABSENT), now))
    return tuple(strange)


def digest_rendered(rendered: RenderedHost, concealer: Concealer) -> str:
    """One word for what a host should hold: contents by their digests alone."""
    files = [
        [file.path, file.digest, file.mode, file.owner, _plain(file.check), file.restarts, file.reloads, file.handler]
        for file in rendered.files
    ]
    whole = {"files": files, "services": _plain(rendered.services), "needs": _plain(rendered.needs)}
    return concealer.conceal(_digest(whole))


def digest_steps(steps: tuple[Step, ...], concealer: Concealer) -> str:
    """One word for what would be done, in its order."""
    return concealer.conceal(
        _digest({"steps": [[type(step).__name__, _plain(_without_content(step))] for step in steps]})
    )


def _without_content(step: Step) -> Mapping[str, Any]:
    told = {name: getattr(step, name) for name in step.__dataclass_fields__}
    if isinstance(step, WriteFile | RemoveFile):
        return {name: _plain_state(value) if isinstance(value, FileState) else value for name, value in told.items()}
    return told


def _plain_state(state: FileState) -> tuple[Any, ...]:
    return state.digest, state.mode, state.owner


def _plain(value: Any) -> Any:
    """Plain data of frozen values."""
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, Mapping):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(each) for each in value]
    return value


# The file ------------------------------------------------------------------------------------------------


def format_saved_plan(plan: SavedPlan, concealer: Concealer | None = None) -> str:
    """The file's text: one JSON document, its checksum in it, and the seal of whoever has a key."""
    body = _body(plan)
    body |= {"seal": _seal(body, concealer) if concealer is not None else plan.seal}
    return json.dumps({**body, "checksum": _digest(body)}, indent=1, allow_nan=False) + "\n"


def parse_saved_plan(text: str) -> SavedPlan:
    """The plan in a file. Raises `BrokenPlan` for what is not, word by word, what fleet wrote (T44)."""
    try:
        document = json.loads(text, object_pairs_hook=_without_doubles)
    except (ValueError, RecursionError) as error:
        raise BrokenPlan(f"it is torn, or no saved plan at all: {error}") from error
    schema = document.get("schema") if isinstance(document, dict) else None
    if not isinstance(schema, str) or not schema.startswith(FAMILY):
        raise BrokenPlan("it is no saved plan")
    if schema != SCHEMA:
        raise BrokenPlan(f"it is a {schema!r}, and this fleet knows {SCHEMA!r}: use the fleet that wrote it")
    checksum = document.pop("checksum", None)
    if checksum != _digest(document):
        raise BrokenPlan("it is not as fleet wrote it: its checksum does not fit, so it was edited or is torn")
    try:
        plan = _plan(document)
        if {**_body(plan), "seal": plan.seal} != document:
            raise BrokenPlan("there is something in it that no fleet of this version writes")
        return plan
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BrokenPlan(f"something is missing in it: {error}") from error


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice")
    return found


def _body(plan: SavedPlan) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "plan_id": plan.plan_id,
        "made_at": plan.made_at,
        "made_by": plan.made_by,
        "fleet": plan.fleet,
        "key_id": plan.key_id,
        "inventory_digest": plan.inventory_digest,
        "sources": dict(plan.sources),
        "permissions": {
            "adopt": plan.adopt,
            "allow_removal": plan.allow_removal,
            "forget_hosts": list(plan.forget_hosts),
        },
        "hosts": [
            {"host": pin.host, "rendered": pin.rendered, "observed": pin.observed and dict(pin.observed)}
            | {"steps": pin.steps}
            for pin in plan.hosts
        ],
        "report": dict(plan.report),
    }


def _plan(document: Mapping[str, Any]) -> SavedPlan:
    allowed = document["permissions"]
    return SavedPlan(
        plan_id=document["plan_id"],
        made_at=document["made_at"],
        made_by=document["made_by"],
        fleet=document["fleet"],
        key_id=document["key_id"],
        inventory_digest=document["inventory_digest"],
        sources=document["sources"],
        hosts=tuple(HostPin(row["host"], row["rendered"], row["observed"], row["steps"]) for row in document["hosts"]),
        adopt=allowed["adopt"],
        allow_removal=allowed["allow_removal"],
        forget_hosts=tuple(allowed["forget_hosts"]),
        report=document["report"],
        seal=document["seal"],
    )


def _seal(body: Mapping[str, Any], concealer: Concealer) -> str:
    return concealer.conceal(f"saved plan {_digest(body)}")


def _digest(value: Mapping[str, Any]) -> str:
    text = json.dumps(value, allow_nan=False, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
