"""The configuration that holds now, and what follows from it: what to read of an instance, where it goes.

A configuration with something that is not built is refused here, by name. A relay that starts does all it was told.
"""

import importlib
import importlib.util
import socket
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from fleet.dicom.keywords import find_tag
from fleet.relay.forward.outbound import Parcel
from fleet.relay.forward.senders import make_plain_parcel, read_data_set_offset
from fleet.relay.route.decide import check_schedules, decide
from fleet.relay.secure import check_server_tls, check_tls
from fleet.relay.spool.files import hash_file
from fleet.relay.spool.records import Task
from fleet.relay.telling import Teller
from fleet.relay.values import (
    Config,
    Decision,
    Quarantine,
    ReceivedInstance,
    Route,
    StudyFacts,
    Transformed,
    needs_transform,
)

_RESOLVERS: Final = 16
Transform = Callable[[Path, Path, Route, bytes], Transformed | Quarantine]


def load_transform() -> Any:
    """The module of transformations, which brings a DICOM library along; None where that is not installed."""
    if importlib.util.find_spec("pydicom") is None:
        return None
    return importlib.import_module("fleet.relay.transform.steps")


def check_built(config: Config, transform: Any) -> tuple[str, ...]:
    """What of a configuration this relay cannot do; each is a reason not to start."""
    problems = [
        f"/destinations/{name}/tls: {sentence}"
        for name, destination in config.destinations.items()
        if destination.tls is not None and (sentence := check_tls(destination.tls)) is not None
    ]
    if config.receive_tls is not None and (sentence := check_server_tls(config.receive_tls)) is not None:
        problems.append(f"/receive/tls: {sentence}")
    for index, route in enumerate(config.routes):
        keywords = (*route.when.elements, *route.when.study_has)
        problems += [
            f"/routes/{index}/when: {each} is no keyword of PS3.6" for each in keywords if find_tag(each) is None
        ]
        if needs_transform(route) and transform is None:
            problems.append(f"/routes/{index}: require, deidentify and edit are not available in this installation")
        elif needs_transform(route):
            problems += [f"/routes/{index}: {sentence}" for sentence in transform.check_transform(route)]
    return tuple(problems)


def judge_schedules(config: Config, now: datetime) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Errors and warnings about opening hours."""
    sentences = check_schedules(config.routes, now)
    warnings = tuple(each for each in sentences if each.startswith("warning: "))
    return tuple(each for each in sentences if each not in warnings), warnings


def resolve_names(names: Iterable[str]) -> dict[str, frozenset[str]]:
    """The addresses of callers' names; one that cannot be resolved has none, and is not taken."""
    wanted = tuple(set(names))
    with ThreadPoolExecutor(_RESOLVERS, "resolve") as pool:  # a resolver that is away takes its time for each name
        return dict(zip(wanted, pool.map(_resolve, wanted), strict=True))


def _resolve(name: str) -> frozenset[str]:
    try:
        return frozenset(str(found[4][0]) for found in socket.getaddrinfo(name, None, type=socket.SOCK_STREAM))
    except (OSError, UnicodeError):  # a name may also be none (idna)
        return frozenset()


@dataclass(frozen=True, slots=True)
class Rules:
    """What the committer and the forwarders ask, for one configuration."""

    config: Config
    tell: Teller
    key: bytes
    work: Path
    transform: Transform | None
    clock: Callable[[], float] = time.time

    @property
    def wanted(self) -> Mapping[str, int]:
        """The elements that routes ask about, with their tags."""
        asked = {each for route in self.config.routes for each in (*route.when.elements, *route.when.study_has)}
        return {keyword: tag for keyword in asked if (tag := find_tag(keyword)) is not None}

    def decide(self, instance: ReceivedInstance, study: StudyFacts) -> Sequence[Decision]:
        """Where an instance goes; an instance that the rules cannot digest is kept without a route."""
        try:
            now = datetime.fromtimestamp(self.clock(), UTC)
            return decide(self.config.match, self.config.routes, instance, study, now)
        except Exception as error:  # noqa: BLE001  one odd instance must not keep a batch of others from the disk
            self.tell("not-decided", spool_id=instance.spool_id, error=type(error).__name__)
            return ()

    def prepare(self, task: Task) -> Parcel | Quarantine:
        """What goes out for a task: the file as it came, or what the route's steps made of it (T74, T75).

        Raises OSError where this machine, not the instance, is at fault.
        """
        route = self.config.route(task.route)
        if route is None:
            return Quarantine("its route is not in the configuration any more")
        if not needs_transform(route):
            return make_plain_parcel(task)
        if self.transform is None:
            return Quarantine("its route has steps that are not available in this installation")
        try:
            return self._transform(task, route, self.transform)
        except OSError:  # the machine's own fault (disk full, no descriptors), not the instance's: later again
            raise
        except Exception as error:  # noqa: BLE001  whatever fails here, the original must not go on
            return Quarantine(f"a step of its route failed ({type(error).__name__})")

    def _transform(self, task: Task, route: Route, transform: Transform) -> Parcel | Quarantine:
        if hash_file(task.instance.path) != task.sha256:
            return Quarantine("its file is not what was received: the hash differs")
        made = self.work / f"{task.instance.spool_id}-{task.task_id}.dcm"
        made.unlink(missing_ok=True)
        found = transform(task.instance.path, made, route, self.key)
        if isinstance(found, Quarantine):
            made.unlink(missing_ok=True)
            return found
        return Parcel(
            made,
            read_data_set_offset(made),
            made.stat().st_size,
            None,
            found.sop_class_uid,
            found.sop_instance_uid,
            found.transfer_syntax_uid,
        )


def uses_key(config: Config) -> bool:
    """Whether a route's stand-ins follow from the spool's key."""
    return any(route.deidentify is not None for route in config.routes)
