"""The relay's file: JSON, everything in it resolved, checked by the relay itself against `relay.schema.json`.

A text of the inventory serves every relay: `{{ var }}` is filled from the relay's variables here, once, and what
comes out is never read again as a template. `{Keyword}` becomes a part of its own, so that a value which holds
braces cannot turn into one.
"""

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from fleet.errors import Problem
from fleet.inventory.model import Entity, Inventory, Relay, Route, RouteDestination, Run
from fleet.secrets.secret import Secret
from fleet.targets.file_check import FileCheck
from fleet.targets.refusal import cannot_carry, cannot_do, unfit
from fleet.targets.text import explain_control

TARGET = "relay"
# Of ours alone, so that no package and no pip touches it; read by everybody, written by root.
PROGRAM_NAME = "fleet-relay.pyz"
PROGRAM_FOLDER = "/usr/local/lib/dicom-fleet"
PROGRAM = f"{PROGRAM_FOLDER}/{PROGRAM_NAME}"
PYTHON = "/usr/bin/python3"
USER = "fleet-relay"
CONFIG_FOLDER = "/etc/fleet"
TRUST_FOLDER = f"{CONFIG_FOLDER}/tls"
_VARIABLES_COME_FROM = ("fleet", "vars", "hosts", "entities")
_VARIABLE = re.compile(r"\{\{\s*([A-Za-z_][A-Za-z0-9_]{0,62})\s*\}\}")
_BROKEN = re.compile(r"\{\{|\}\}|\{%|\{#")
_KEYWORD = re.compile(r"\{([A-Z][A-Za-z0-9]{0,63})\}")


# A file is judged by the program that will read it: the one that is being put there, else the one that is there.
# The same holds for the certificates that it names: staged ones are looked at where they wait.
_CHECK = f"""\
python=@PYTHON@
program={PROGRAM}
staged={PROGRAM_FOLDER}/.fleet-stage/new/{PROGRAM_NAME}
[ ! -f "$staged" ] || program=$staged
[ -x "$python" ] || {{ echo "$python is not on this host"; exit 75; }}
[ -f "$program" ] || {{ echo "$program is not on this host"; exit 75; }}
check_config() {{
  : >"$2/edits"
  for file in {TRUST_FOLDER}/.fleet-stage/new/*; do
    [ ! -f "$file" ] || echo "s#\"{TRUST_FOLDER}/${{file##*/}}\"#\"$file\"#g" >>"$2/edits"
  done
  sed -f "$2/edits" "$1" >"$2/${{1##*/}}" || exit 75
  TMPDIR=$2 timeout -k 5 50 "$python" -I -B "$program" check "$2/${{1##*/}}"
}}
"""
_CHECK_CONFIG = _CHECK + 'check_config "$1" "$2"\n'
# A new program has to carry out every file that stays as it is; files that change are asked about by themselves.
_CHECK_PROGRAM = (
    _CHECK
    + f"""\
"$python" -I -B "$1" --help >/dev/null || {{ echo "$python does not run it"; exit 1; }}
status=0
for config in {CONFIG_FOLDER}/relay-*.json; do
  [ -f "$config" ] && [ ! -f "{CONFIG_FOLDER}/.fleet-stage/new/${{config##*/}}" ] || continue
  check_config "$config" "$2" || status=$?
done
exit $status
"""
)


def make_config_check(python: str) -> FileCheck:
    """Whether the relay's program, the new one where there is one, can carry out a file."""
    return FileCheck(f"{PROGRAM_NAME} check", _CHECK_CONFIG.replace("@PYTHON@", shlex.quote(python)))


def make_program_check(python: str) -> FileCheck:
    """Whether a program runs on the host, and can carry out the files that stay."""
    script = _CHECK_PROGRAM.replace("@PYTHON@", shlex.quote(python))
    return FileCheck(f"{PROGRAM_NAME} check of the files that stay", script)


def find_variables(text: str) -> tuple[str, ...]:
    """The variables that a text names."""
    return tuple(dict.fromkeys(_VARIABLE.findall(text)))


def find_keywords(text: str) -> tuple[str, ...]:
    """The elements whose values an edit's value takes in; what stands within `{{ }}` is a variable."""
    return tuple(dict.fromkeys(_KEYWORD.findall(_VARIABLE.sub("", text))))


def explain_text(text: str, variables: Mapping[str, Any]) -> str | None:
    """Why a text with `{{ var }}` cannot be filled; None where it can."""
    rest = _VARIABLE.sub("", text)
    if _BROKEN.search(rest):
        return "only `{{ name }}` is filled, without filters or expressions"
    for name in find_variables(text):
        if name not in variables:
            return f"the variable {name!r} is not defined for it (vars of fleet, site, host or entity)"
        if isinstance(variables[name], Secret):
            return f"the variable {name!r} is a secret, and a relay's file would hold it for everybody who runs it"
        if not isinstance(variables[name], str | int) or isinstance(variables[name], bool):
            return f"the variable {name!r} is no text"
    return None


def fill(text: str, variables: Mapping[str, Any]) -> str:
    """A text with its variables filled; raises `UnfitValue`."""
    reason = explain_text(text, variables)
    if reason:
        raise unfit(TARGET, f"the value {text!r}", reason)
    return _VARIABLE.sub(lambda found: str(variables[found[1]]), text)


def make_parts(text: str, variables: Mapping[str, Any]) -> list[dict[str, str]]:
    """An edit's value as parts: `{"text": …}` and `{"element": KEYWORD}`; variables are filled into texts only."""
    reason = explain_text(text, variables)
    if reason:
        raise unfit(TARGET, f"the value {text!r}", reason)
    parts: list[dict[str, str]] = []

    def add(piece: str) -> None:
        if piece and parts and "text" in parts[-1]:
            parts[-1]["text"] += piece
        elif piece:
            parts.append({"text": piece})

    position = 0
    for found in re.finditer(f"{_VARIABLE.pattern}|{_KEYWORD.pattern}", text):
        add(text[position : found.start()])
        position = found.end()
        if found[1]:
            add(str(variables[found[1]]))
        else:
            parts.append({"element": found[2]})
    add(text[position:])
    return parts


def select_relays(relays: Sequence[tuple[Relay, frozenset[str]]], entity: Entity) -> tuple[Relay, ...]:
    """The texts that are for an entity, given which entities each one selects."""
    return tuple(relay for relay, names in relays if entity.name in names)


def check_entity(entity: Entity, texts: Sequence[Relay], inventory: Inventory) -> Iterator[Problem]:
    """What a relay cannot carry of the texts that are for it."""
    run = entity.run
    if run is None:
        return
    subjects = (entity.ae_title,)
    yield from _check_tls(entity, run)
    if not texts:
        reason = "no `relays:` selects it, so it would take every image and send it nowhere; give it routes"
        yield cannot_carry(TARGET, f"{entity.ae_title} without a route", reason, run.location, subjects=subjects)
    if len({text.match for text in texts}) > 1:
        reason = "one text says match: all, another match: first; the relay has one rule for all its routes"
        yield cannot_carry(
            TARGET,
            f"two texts for {entity.ae_title}",
            reason,
            texts[1].location,
            also=(texts[0].location,),
            subjects=subjects,
        )
    names: dict[str, Route] = {}
    for text in texts:
        for route in text.routes:
            if route.name in names:
                reason = "its queue is kept by the route's name"
                yield cannot_carry(TARGET, f"two routes named {route.name!r} for {entity.ae_title}", reason,
                                   route.location, also=(names[route.name].location,), subjects=subjects)  # fmt: skip
            names.setdefault(route.name, route)
            yield from _check_route(entity, route, inventory.broken_keys.isdisjoint(_VARIABLES_COME_FROM))
    yield from _check_rates(entity, texts)
    yield from _check_commitment(entity, texts, inventory)


def _check_route(entity: Entity, route: Route, knows_variables: bool) -> Iterator[Problem]:
    variables = [(instance.host, instance.vars) for instance in entity.instances]
    fields = [(target.ae_title, target.location) for target in (*route.primary, *route.optional)]
    fields += [
        (str(edit["value"]), route.at("edit", index, "value"))
        for index, edit in enumerate(route.edit)
        if isinstance(edit.get("value"), str)
    ]
    for text, at in fields:
        for host, known in variables:
            reason = explain_text(text, known)
            if reason and not knows_variables and any(name not in known for name in find_variables(text)):
                break  # it may be among what was left out as broken, which is told
            if reason:
                what = f"{text!r} in route {route.name} of {entity.ae_title} on {host}"
                yield cannot_carry(TARGET, what, reason, at, also=(entity.location,), subjects=(entity.ae_title,))
                break
            control = explain_control(fill(text, known))
            if control:
                what = f"{text!r} in route {route.name} of {entity.ae_title} on {host}"
                yield cannot_carry(TARGET, what, control, at, also=(entity.location,), subjects=(entity.ae_title,))
                break


def _check_rates(entity: Entity, texts: Sequence[Relay]) -> Iterator[Problem]:
    """Rates are a destination's, whatever route leads there: those that say any have to say the same."""
    for instance in entity.instances:
        said: dict[str, RouteDestination] = {}
        for text in texts:
            for route in text.routes:
                for each in (*route.primary, *route.optional):
                    if not each.rates or explain_text(each.ae_title, instance.vars) is not None:
                        continue
                    first = said.setdefault(fill(each.ae_title, instance.vars), each)
                    if first.rates != each.rates:
                        what = f"different `rates` of {each.ae_title} in two routes of {entity.ae_title}"
                        reason = "they are the destination's, whatever route leads there: say them once, or the same"
                        at, also = each.at("rates"), (first.at("rates"),)
                        yield cannot_carry(TARGET, what, reason, at, also=also, subjects=(entity.ae_title,))
                        return


def _check_commitment(entity: Entity, texts: Sequence[Relay], inventory: Inventory) -> Iterator[Problem]:
    """Asked in vain, nothing would ever count as delivered, and the spool would fill."""
    for instance in entity.instances:
        for text in texts:
            for route in text.routes:
                for each in (*route.primary, *route.optional):
                    if not each.commitment or explain_text(each.ae_title, instance.vars) is not None:
                        continue
                    peer = inventory.find_entity(fill(each.ae_title, instance.vars))
                    if peer is not None and "storage-commitment" not in peer.provides:
                        what = f"`commitment` of {peer.ae_title} in route {route.name} of {entity.ae_title}"
                        reason = "it does not provide storage-commitment, so nothing would ever count as delivered"
                        at, also = each.at("commitment"), (peer.location,)
                        yield cannot_carry(TARGET, what, reason, at, also=also, subjects=(entity.ae_title,))
                        return


def _check_tls(entity: Entity, run: Run) -> Iterator[Problem]:
    """What it serves and what others are told of it are one thing: TLS, or plain DICOM."""
    serving, subjects = run.settings.get("tls"), (entity.ae_title,)
    if entity.tls is not None and serving is None:
        reason = "it would listen in plain DICOM while everybody is told TLS; add `run: {tls: {certificate: NAME}}`"
        yield cannot_carry(TARGET, f"tls of {entity.ae_title}", reason, entity.at("tls"), subjects=subjects)
    if serving is None:
        return
    if entity.tls is None:
        reason = "callers and probes would be told plain DICOM; give the entity `tls: {verify: {ca, name}}`"
        yield cannot_carry(TARGET, f"run.tls of {entity.ae_title} alone", reason, run.at("tls"), subjects=subjects)
        return
    for instance in entity.instances:
        if entity.tls.port not in {None, instance.port}:
            reason = "it listens at one port, where it speaks TLS alone; make them one, or leave tls.port out"
            what = f"tls.port {entity.tls.port} of {entity.ae_title} beside port {instance.port} on {instance.host}"
            yield cannot_carry(TARGET, what, reason, entity.at("tls", "port"), subjects=subjects)
    if "callers_ca" in serving and entity.tls.present is None:
        what = (
            f"asks every caller of {entity.ae_title} for a certificate (callers_ca), and fleet's own probes show none: "
            "give the entity `tls: {present: NAME}`, or it will not answer them"
        )
        yield cannot_do(TARGET, what, run.at("tls", "callers_ca"), subjects=subjects)
