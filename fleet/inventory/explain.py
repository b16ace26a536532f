"""Where a value came from: each layer that spoke, with file and line, and which one won.

A question is `NAME.KEY[.KEY]`, where NAME is a title, an entity's name or a host; `NAME@HOST` asks of the
entity's instance on that host, whose settings stand between the site's and the entity's.
"""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from fleet.documents.packaged import read_schema
from fleet.errors import EmptySelection, did_you_mean
from fleet.inventory import model as m
from fleet.inventory.load import Loaded
from fleet.inventory.settings import Explanation, Layer, explain, merge_layers

_SSH = m.SshSettings()
_VERIFY = m.VerifySettings()
# What holds where no file says anything, in the words in which a file would say it.
_BUILT_IN_SSH: Mapping[str, Any] = {"user": _SSH.user, "port": _SSH.port, "become": _SSH.become}
_BUILT_IN_VERIFY: Mapping[str, Any] = {
    "calling": _VERIFY.calling,
    "timeouts": {
        field.name.removesuffix("_s"): f"{getattr(_VERIFY.timeouts, field.name):g}s" for field in fields(m.Timeouts)
    },
    "max_associations_per_host": _VERIFY.max_associations_per_host,
    "probe": _VERIFY.probe,
    "importance": _VERIFY.importance,
}
_BUILT_IN_ENTITY = Layer("built-in", {"verify": _BUILT_IN_VERIFY, "listens": True}, m.NO_ORIGIN)
_BUILT_IN_HOST = Layer("built-in", {"ssh": _BUILT_IN_SSH, "verify": _BUILT_IN_VERIFY, "retired": False}, m.NO_ORIGIN)
# What only the host's own mapping can say, and so is in no layer.
_OWN_KEYS_OF_HOSTS = ("address", "site", "host_keys", "redundancy_group", "retired")


def parse_question(inventory: m.Inventory, text: str) -> tuple[str, tuple[str, ...]]:
    """`NAME.KEY[.KEY]` as the name and the path; names may hold dots, so the longest known name is meant.

    Raises `EmptySelection` where no name is known.
    """
    parts = text.split(".")
    for length in range(len(parts) - 1, 0, -1):
        name = ".".join(parts[:length])
        if _is_known(inventory, name):
            return name, tuple(parts[length:])
    if _is_known(inventory, text):
        raise EmptySelection(f"{text!r} names no value; ask for one of its keys, such as {text}.verify")
    hint = _nearest_question(inventory, parts) or "; `fleet inventory --list` shows what there is"
    raise EmptySelection(f"{text!r} begins with no title, name or host{hint}")


def _nearest_question(inventory: m.Inventory, parts: Sequence[str]) -> str:
    """The same question of somebody who is there; the key stays as it was typed."""
    entities = [name for entity in inventory.entities for name in (*entity.titles, entity.name)]
    standing = [f"{entity.ae_title}@{each.host}" for entity in inventory.entities for each in entity.instances]
    known = (*entities, *inventory.hosts, *standing)
    lengths = range(len(parts) - 1, 0, -1) if len(parts) > 1 else (1,)
    hints = (did_you_mean(".".join(parts[:length]), known) for length in lengths)
    return next(filter(None, hints), "")


def _is_known(inventory: m.Inventory, name: str) -> bool:
    entity, _, host = name.rpartition("@")
    if entity and inventory.find_entity(entity) and host in inventory.hosts:
        return True
    return inventory.find_entity(name) is not None or name in inventory.hosts


def explain_value(loaded: Loaded, name: str, path: tuple[str, ...]) -> Explanation:
    """Which layers said something about a value, the lowest first, and what holds.

    Raises `EmptySelection` where nobody is called `name`, or no layer says anything of the value.
    """
    layers, entity = _layers(loaded, name)
    found = explain(layers, path)
    if found and found.said[-1][0] == "instance":
        return found
    if entity is not None and path == ("port",) and (standing := _standing_port(entity, layers, found)):
        return standing
    if found is None:
        raise EmptySelection(_unsaid(loaded.inventory, layers, name, path))
    if entity is not None and not entity.listens and path[0] in ("port", "provides"):
        note = "it says listens: false, so what it inherits of this does not hold"
        return Explanation(None, found.said, note)
    return found


def _layers(loaded: Loaded, name: str) -> tuple[tuple[Layer, ...], m.Entity | None]:
    """The layers of an entity, an instance or a host, and the entity if it is one."""
    inventory = loaded.inventory
    entity = inventory.find_entity(name)
    if entity is not None:
        return (_BUILT_IN_ENTITY, *loaded.layers.of_entity(entity)), entity
    if name in inventory.hosts:
        return (_BUILT_IN_HOST, *loaded.layers.of_host(name), _own(inventory.hosts[name])), None
    title, _, host = name.rpartition("@")
    entity = inventory.find_entity(title)
    instance = next((each for each in entity.instances if each.host == host), None) if entity else None
    if entity is None or instance is None:
        raise EmptySelection(f"{name!r} is no title, name or host, and no instance NAME@HOST of one")
    return (_BUILT_IN_ENTITY, *loaded.layers.of_entity(entity, host), *_instance(inventory, instance)), entity


def _instance(inventory: m.Inventory, instance: m.Instance) -> tuple[Layer, ...]:
    """What an instance has of its host, and what it says itself."""
    host = inventory.hosts.get(instance.host)
    of_host = (Layer("host", {"address": host.address}, host.origin),) if host else ()
    raw: Any = instance.origin.document.value if instance.origin.document else {}
    for step in instance.origin.steps:
        raw = raw[step]
    return (*of_host, Layer("instance", raw, instance.origin))


def _unsaid(inventory: m.Inventory, layers: tuple[Layer, ...], name: str, path: tuple[str, ...]) -> str:
    """Why there is no answer: a slip in the question, a value of the instances, or nobody said it."""
    entity = inventory.find_entity(name)
    if entity is not None and entity.instances and path[0] in ("port", "address"):
        questions = ", ".join(f"{name}@{each.host}.{'.'.join(path)}" for each in entity.instances[:3])
        return f"{name} has no {path[0]} of its own, each of its instances has one; ask {questions}"
    text = f"{name} has no {'.'.join(path)}: no file says it, and fleet has no value of its own for it"
    kind = "host" if entity is None and name in inventory.hosts else "entity"
    for depth, key in enumerate(path):
        known = {*_keys_of_schema(kind, path[:depth]), *_keys_said(layers, path[:depth])}
        if key not in known:  # what comes after a slip is not judged
            meant = difflib.get_close_matches(key, sorted(known), n=1)
            return text + "".join(
                f"; did you mean {'.'.join((*path[:depth], each, *path[depth + 1 :]))}?" for each in meant
            )
    return text


def _keys_said(layers: tuple[Layer, ...], path: tuple[str, ...]) -> tuple[str, ...]:
    value: Any = merge_layers(layers)
    for key in path:
        value = value.get(key) if isinstance(value, Mapping) else None
    return tuple(str(key) for key in value) if isinstance(value, Mapping) else ()


def _keys_of_schema(kind: str, path: tuple[str, ...]) -> tuple[str, ...]:
    """The keys that a file may say there, whether or not one does."""
    definitions = read_schema("inventory")["$defs"]
    here: Any = definitions[kind]
    for key in path:
        here = here.get("properties", {}).get(key, {})
        here = definitions[here["$ref"].rsplit("/", 1)[1]] if "$ref" in here else here
    return tuple(here.get("properties", {}))


def _standing_port(entity: m.Entity, layers: tuple[Layer, ...], found: Explanation | None) -> Explanation | None:
    """The TLS port, where it stands for `port`: it comes before what is inherited, not before an own port."""
    secure = explain(layers, ("tls", "port"))
    if secure is None or entity.port != secure.value or (found and found.said[-1][0] == "entity"):
        return None
    said = ((f"{name} (tls.port)", value, origin) for name, value, origin in secure.said)
    return Explanation(entity.port, (*(found.said if found else ()), *said), "tls.port stands for port")


def _own(host: m.Host) -> Layer:
    """What a host alone can say of itself."""
    raw: Any = host.origin.document.value["hosts"][host.name] if host.origin.document else {}
    return Layer("host", {key: raw[key] for key in _OWN_KEYS_OF_HOSTS if key in raw}, host.origin)
