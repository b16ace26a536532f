"""Where a value came from: each layer that spoke, with file and line, and which one won.

A question is `NAME.KEY[.KEY]`, where NAME is a title, an entity's name or a host; `NAME@HOST` asks of the
entity's instance on that host, whose settings stand between the site's and the entity's.
"""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from fleet.errors import EmptySelection
from fleet.inventory import model as m
from fleet.inventory.load import Loaded
from fleet.inventory.settings import Explanation, Layer, explain

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
    raise EmptySelection(f"{text!r} begins with no title, name or host; `fleet inventory --list` shows what there is")


def _is_known(inventory: m.Inventory, name: str) -> bool:
    entity, _, host = name.rpartition("@")
    if entity and inventory.find_entity(entity) and host in inventory.hosts:
        return True
    return inventory.find_entity(name) is not None or name in inventory.hosts


def explain_value(loaded: Loaded, name: str, path: tuple[str, ...]) -> Explanation:
    """Which layers said something about a value, the lowest first, and what holds.

    Raises `EmptySelection` where nobody is called `name`, or no layer says anything of the value.
    """
    layers, ignored = _layers(loaded, name)
    found = explain(layers, path)
    if found is None:
        raise EmptySelection(f"{name} has no {'.'.join(path)}: no file says it, and it has no value of its own accord")
    if path[0] in ignored:
        return Explanation(None, found.said, ignored[path[0]])
    return found


def _layers(loaded: Loaded, name: str) -> tuple[tuple[Layer, ...], Mapping[str, str]]:
    """The layers of an entity, an instance or a host, and the keys that are ignored there, with why."""
    inventory = loaded.inventory
    entity = inventory.find_entity(name)
    if entity is not None:
        return (_BUILT_IN_ENTITY, *loaded.layers.of_entity(entity)), _ignored(entity)
    if name in inventory.hosts:
        return (_BUILT_IN_HOST, *loaded.layers.of_host(name), _own(inventory.hosts[name])), m.EMPTY
    title, _, host = name.rpartition("@")
    entity = inventory.find_entity(title)
    if entity is None or host not in {instance.host for instance in entity.instances}:
        raise EmptySelection(f"{name!r} is no title, name or host, and no instance NAME@HOST of one")
    return (_BUILT_IN_ENTITY, *loaded.layers.of_entity(entity, host)), _ignored(entity)


def _ignored(entity: m.Entity) -> Mapping[str, str]:
    if not entity.listens:
        reason = "ignored: it says listens: false, so what it inherits of this does not hold"
        return {"port": reason, "provides": reason}
    if entity.tls and entity.tls.port and entity.port == entity.tls.port:
        return {"port": f"ignored: tls.port ({entity.tls.port}) stands for it"}
    return m.EMPTY


def _own(host: m.Host) -> Layer:
    """What a host alone can say of itself."""
    raw: Any = host.origin.document.value["hosts"][host.name] if host.origin.document else {}
    return Layer("host", {key: raw[key] for key in _OWN_KEYS_OF_HOSTS if key in raw}, host.origin)
