"""The fleet's own mapping, and the sites: what a file says for everything in it."""

from collections.abc import Iterator, Mapping
from typing import Any

from fleet.documents.values import Document
from fleet.inventory import model as m
from fleet.inventory.layers import Layers
from fleet.inventory.settings import Layer, labels_of
from fleet.inventory.typed import Typed, below


def load_fleet(typed: Typed) -> tuple[Mapping[str, Any], m.Origin]:
    """The one `fleet:` of the inventory and where it stands."""
    found: dict[str, Any] | None = None
    first = m.NO_ORIGIN
    for document in typed.documents.documents:
        value = typed.shared(document, "fleet")
        if not isinstance(value, dict):
            continue
        origin = m.Origin(document, ("fleet",))
        if found is not None:
            typed.twice("fleet", "fleet", origin, first)
            continue
        found, first = value, origin
    if found is None and typed.documents.documents and not typed.incomplete:
        text = "no file has `fleet:`; it stands once, with at least a name: `fleet: {name: my-hospital}`"
        typed.error("fleet-missing", text, m.Origin(typed.documents.documents[0]))
    return found or {}, first


class Sites:
    """The sites by name, joined over all files that speak of one."""

    def __init__(self, typed: Typed, layers: Layers) -> None:
        self.by_name: dict[str, m.Site] = {}
        self._typed = typed
        self._layers = layers
        self._said: dict[str, list[tuple[m.Origin, dict[str, Any]]]] = {}
        for document in typed.documents.documents:
            self._load(document)

    def _load(self, document: Document) -> None:
        """One file's say about its site; another file may add to it, not contradict it."""
        typed = self._typed
        name = typed.shared(document, "site")
        keys: tuple[str, ...] = ("external", "labels", "vars", "defaults")
        said = {key: value for key in keys if (value := typed.shared(document, key)) is not None}
        origin = m.Origin(document, ())
        if not isinstance(name, str):
            if said and not typed.is_broken(document, "site"):
                text = f"this file says {', '.join(said)} of a site, and not of which; put `site: NAME` at its top"
                typed.error("site-missing", text, origin, next(iter(said)))
            return
        for earlier, other in self._said.get(name, ()):
            self._check_agreement(name, (origin, said), (earlier, other))
        self._said.setdefault(name, []).append((origin, said))
        self._join(name, said, origin)
        self._add_layers(name, said, origin)

    def _join(self, name: str, said: dict[str, Any], origin: m.Origin) -> None:
        known = self.by_name.get(name)
        before = known or m.Site(name, origin=below(origin, "site"))
        self.by_name[name] = m.Site(
            name,
            before.external or said.get("external", False),
            labels_of(before.labels, said.get("labels", m.EMPTY)),
            {**before.vars, **said.get("vars", m.EMPTY)} or m.EMPTY,
            before.origin,
        )

    def _add_layers(self, name: str, said: dict[str, Any], origin: m.Origin) -> None:
        if "defaults" in said:
            self._layers.add_site(name, Layer("site", said["defaults"], below(origin, "defaults")))
        own: dict[str, Any] = {key: said[key] for key in ("labels", "vars") if key in said}
        if own:
            self._layers.add_site(name, Layer("site", own, origin))

    def _check_agreement(
        self, name: str, here: tuple[m.Origin, dict[str, Any]], there: tuple[m.Origin, dict[str, Any]]
    ) -> None:
        for steps in find_contradictions(there[1], here[1]):
            other = there[0].at(*steps)
            text = (
                f"{'.'.join(steps)} of site {name} differs from what {other} says; which one holds would hang on the"
                " files' names; keep one"
            )
            self._typed.error("site-contradiction", text, here[0], *steps, also=(other,), subjects=(name,))

    def name_for(self, document: Document, value: Mapping[str, Any], origin: m.Origin, what: str) -> str:
        """The site of something: its own, or its file's."""
        own, shared = value.get("site"), document.value.get("site")
        if own and shared and own != shared:
            text = f"{what} says site {own!r} in a file of site {shared!r}; move it to a file of its own site"
            self._typed.error("site-contradiction", text, origin, "site")
        name = own or shared
        if not isinstance(name, str):
            if not self._typed.is_broken(document, "site"):
                text = f"{what} has no site; give the file `site: NAME` at its top, or this one a `site`"
                self._typed.error("site-missing", text, origin)
            return ""
        if name not in self.by_name:
            self.by_name[name] = m.Site(name, origin=below(origin, "site"))
        return name


def find_contradictions(
    first: Mapping[str, Any], second: Mapping[str, Any], steps: tuple[str, ...] = ()
) -> Iterator[tuple[str, ...]]:
    """Where both say something and not the same; mappings are compared key by key."""
    for key in second:
        if key not in first:
            continue
        mine, theirs = first[key], second[key]
        if isinstance(mine, Mapping) and isinstance(theirs, Mapping):
            yield from find_contradictions(mine, theirs, (*steps, key))
        elif mine != theirs or type(mine) is not type(theirs):
            yield (*steps, key)
