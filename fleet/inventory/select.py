"""Selectors: `kind=archive site=north, !NORTH_WS*, 'AN AE'`.

A selector is titles, host names, group names, globs and `key=value` terms over name, site, kind, modality and
label keys; a space means *and*, a comma *or*, a leading `!` *not*; one that is, whole, a title or a name means
that; `'…'` quotes. The same text can be asked of entities and of hosts: a host has the titles, kinds and
modalities of what runs on it, an entity the host names of its instances. Matching nothing is an error, never
an empty run.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from fnmatch import translate

from fleet.errors import EmptySelection, did_you_mean
from fleet.inventory.model import KINDS, Entity, Host, Inventory

_TERM = re.compile(r"\s*(,)|\s*(!?)((?:'[^']*'|[^\s,'])+)")
_SPACED = re.compile(r"\S\s+=|=\s+\S")
_GLOB = re.compile(r"[*?\[]")
_KEYS = ("name", "site", "kind", "modality")

Indices = frozenset[int]


class _Universe:
    """Things with words (titles, names) and attributes, found through indices."""

    def __init__(self, size: int) -> None:
        self.all: Indices = frozenset(range(size))
        self.words: dict[str, set[int]] = defaultdict(set)
        self.attributes: dict[str, dict[str, set[int]]] = defaultdict(lambda: defaultdict(set))

    def add(self, index: int, words: Iterable[str], attributes: Iterable[tuple[str, str | None]]) -> None:
        """Make thing number `index` findable."""
        for word in words:
            self.words[word].add(index)
        for key, value in attributes:
            if value is not None:
                self.attributes[key][value].add(index)

    def match_word(self, pattern: str) -> Indices:
        """Things that bear a word, or one that the glob matches."""
        return _match(self.words, pattern)

    def match_attribute(self, key: str, pattern: str) -> Indices:
        """Things whose attribute has a value that the pattern matches."""
        return _match(self.attributes.get(key, {}), pattern)


def _match(table: dict[str, set[int]], pattern: str) -> Indices:
    if pattern in table:
        return frozenset(table[pattern])
    if not _GLOB.search(pattern):
        return frozenset()
    matches = re.compile(translate(pattern)).match
    return frozenset(index for word, found in table.items() if matches(word) for index in found)


def _entity_universe(inventory: Inventory) -> _Universe:
    universe = _Universe(len(inventory.entities))
    for index, entity in enumerate(inventory.entities):
        hosts = [instance.host for instance in entity.instances]
        attributes = [
            ("site", entity.site),
            ("kind", entity.kind),
            ("modality", entity.modality),
            ("name", entity.name),
        ]
        attributes += [("name", title) for title in entity.titles]
        universe.add(index, {*entity.titles, entity.name, *hosts}, [*attributes, *entity.labels.items()])
    return universe


def _host_universe(inventory: Inventory) -> _Universe:
    universe = _Universe(len(inventory.hosts))
    for index, host in enumerate(inventory.hosts.values()):
        words = {host.name}
        attributes: list[tuple[str, str | None]] = [
            ("name", host.name),
            ("site", host.site),
            *host.labels.items(),
        ]
        for entity, _ in inventory.instances_by_host.get(host.name, ()):
            words |= {*entity.titles, entity.name}
            attributes += [("kind", entity.kind), ("modality", entity.modality), ("name", entity.name)]
        universe.add(index, words, attributes)
    return universe


class Selectors:
    """Answers selectors over one inventory; indices are built once, on the first question of each kind."""

    def __init__(self, inventory: Inventory) -> None:
        self._inventory = inventory
        self._hosts_in_order = tuple(inventory.hosts.values())
        self._universes: dict[str, _Universe] = {}
        self._known: dict[tuple[str, str], Indices] = {}

    def entities(self, text: str) -> tuple[Entity, ...]:
        """The entities that `text` selects, in file order. Raises `EmptySelection`."""
        return tuple(self._inventory.entities[index] for index in sorted(self._select("entities", text)))

    def hosts(self, text: str) -> tuple[Host, ...]:
        """The hosts of ours that `text` selects, in file order. Raises `EmptySelection`."""
        return tuple(self._hosts_in_order[index] for index in sorted(self._select("hosts", text)))

    def matches_nothing(self, text: str) -> str | None:
        """Why `text` selects neither entities nor hosts, in words; None where it selects something."""
        try:
            found = self._evaluate("entities", text, ()) or self._evaluate("hosts", text, ())
        except EmptySelection as error:
            return str(error)
        return None if found else self._nothing("entities or hosts", text)

    def _select(self, kind: str, text: str) -> Indices:
        found = self._evaluate(kind, text, ())
        if not found:
            raise EmptySelection(self._nothing(kind, text))
        return found

    def _nothing(self, kind: str, text: str) -> str:
        hints = "".join(f"; {hint}" for hint in self._list_strange_values(text))
        return (
            f"the selector {text!r} matches no {kind}{hints}; nothing was done; `fleet inventory --list` shows what"
            " there is"
        )

    def _list_strange_values(self, text: str) -> Iterator[str]:
        """The terms whose key is known and whose value nothing bears, with what was probably meant."""
        for found in _TERM.finditer(text):
            key, equals, value = (found[3] or "").partition("=")
            key, bare = key.removeprefix("label."), value.replace("'", "")
            tables = [self._universe(each).attributes.get(key, {}) for each in ("entities", "hosts")]
            known = sorted({*tables[0], *tables[1]})
            if equals and known and not any(_match(table, bare) for table in tables):
                there = f"{', '.join(known[:8])}{' …' if len(known) > 8 else ''}"
                yield f"nothing has {key}={bare}{did_you_mean(bare, known) or f'; there are {there}'}"

    def _universe(self, kind: str) -> _Universe:
        if kind not in self._universes:
            make = _entity_universe if kind == "entities" else _host_universe
            self._universes[kind] = make(self._inventory)
        return self._universes[kind]

    def _evaluate(self, kind: str, text: str, inside: tuple[str, ...]) -> Indices:
        key = (kind, text)
        if key not in self._known:
            self._known[key] = self._parse(kind, text, inside)
        return self._known[key]

    def _parse(self, kind: str, text: str, inside: tuple[str, ...]) -> Indices:
        universe = self._universe(kind)
        whole = text.strip()
        if whole in universe.words:
            return universe.match_word(whole)
        result: set[int] = set()
        current: Indices | None = None
        position = 0
        while position < len(whole):
            found = _TERM.match(whole, position)
            if found is None or found.end() == position:
                raise EmptySelection(f"the selector {text!r} has an unclosed quote; nothing was done")
            position = found.end()
            if found[1]:
                result |= self._required(current, text)
                current = None
                continue
            matched = self._term(kind, found[3], text, inside)
            matched = universe.all - matched if found[2] else matched
            current = matched if current is None else current & matched
        return frozenset(result | self._required(current, text))

    @staticmethod
    def _required(current: Indices | None, text: str) -> Indices:
        if current is None:
            raise EmptySelection(f"the selector {text!r} lacks a term beside a comma; nothing was done")
        return current

    def _term(self, kind: str, term: str, text: str, inside: tuple[str, ...]) -> Indices:
        universe = self._universe(kind)
        bare = term.replace("'", "")
        quoted = term.startswith("'")
        key, equals, value = ("", "", "") if quoted else term.partition("=")
        if equals and (self._is_known_key(key) or bare not in universe.words):
            return self._attribute(kind, key, value, text)
        if bare in universe.words:
            return universe.match_word(bare)
        if bare == "all" and not quoted:
            return universe.all
        if bare in self._inventory.groups and not quoted:
            return self._group(kind, bare, inside)
        matched = frozenset() if quoted else universe.match_word(bare)
        if not matched and not self._is_known_word(term):
            raise EmptySelection(
                f"{bare!r} in the selector {text!r} is no title, host, name or group, and as a pattern it matches"
                f" nothing{self._term_hint(bare, text) or did_you_mean(bare, universe.words)}"
            )
        return matched

    def _term_hint(self, bare: str, text: str) -> str:
        """A `key=value` that was typed with spaces around its sign, or with a colon for it."""
        key, colon, value = bare.partition(":")
        if colon and value and self._is_known_key(key):
            return f"; did you mean '{key}={value}'?"
        return "; write key=value without spaces" if _SPACED.search(text) else ""

    def _group(self, kind: str, name: str, inside: tuple[str, ...]) -> Indices:
        if name in inside:
            way = " → ".join((*inside, name))
            raise EmptySelection(f"the group {name!r} contains itself ({way}); nothing was done")
        return self._evaluate(kind, self._inventory.groups[name], (*inside, name))

    def _is_known_word(self, term: str) -> bool:
        """Whether it means something among the others (a host where entities are asked for), or is typed but broken."""
        bare = term.replace("'", "")
        if bare in self._inventory.left_out:
            return True
        universes = [self._universe(kind) for kind in ("entities", "hosts")]
        if term.startswith("'"):
            return any(bare in universe.words for universe in universes)
        return any(universe.match_word(bare) for universe in universes)

    def _is_known_key(self, key: str) -> bool:
        key = key.removeprefix("label.")
        return key in _KEYS or any(key in self._universe(each).attributes for each in ("entities", "hosts"))

    def _attribute(self, kind: str, key: str, value: str, text: str) -> Indices:
        key = key.removeprefix("label.")
        bare = value.replace("'", "")
        if not self._is_known_key(key):
            labels = {label for each in ("entities", "hosts") for label in self._universe(each).attributes}
            hint = "; write key=value without spaces" if not key else did_you_mean(key, sorted({*_KEYS, *labels}))
            raise EmptySelection(
                f"{key!r} in the selector {text!r} is none of {', '.join(_KEYS)}, nor a label of anything{hint}"
            )
        self._check_closed(key, bare, text)
        if value.startswith("'"):
            return frozenset(self._universe(kind).attributes.get(key, {}).get(bare, ()))
        return self._universe(kind).match_attribute(key, bare)

    def _check_closed(self, key: str, value: str, text: str) -> None:
        """A kind or a site that cannot be is a slip, also where another term of the selector matches."""
        known = {"kind": KINDS, "site": tuple(self._inventory.sites)}.get(key)
        if known is None or value in known or _GLOB.search(value) or (key == "site" and self._inventory.incomplete):
            return
        hint = did_you_mean(value, known) if value else f": write {key}=… without spaces"
        raise EmptySelection(f"{value!r} in the selector {text!r} is no {key}{hint}; there are {', '.join(known)}")


def find_host(inventory: Inventory, name: str) -> Host:
    """The host of this very name. Raises `EmptySelection`."""
    if name not in inventory.hosts:
        known = sorted(inventory.hosts)
        hint = did_you_mean(name, known) or f"; there are: {', '.join(known) or 'none'}"
        raise EmptySelection(f"{name!r} is no host of this inventory{hint}")
    return inventory.hosts[name]
