"""Tasks whose route or destination is in the configuration no more: decided anew, or shown with the reason."""

from pathlib import Path
from typing import Any

import pytest

from fleet.relay.operate import ledger
from fleet.relay.operate.strays import count_unrouted, settle_strays
from fleet.relay.route.decide import decide
from fleet.relay.spool.pieces import Pace
from fleet.relay.spool.queue import Bound, Spool
from fleet.relay.spool.records import Decide
from fleet.relay.values import Config, Decision, ReceivedInstance, StudyFacts
from tests.relay.configs import make_destination, make_route
from tests.relay.house import make_config
from tests.relay.test_spool import make_stored, to_archive

GONE = "is not in the configuration any more"


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "spool")


def configure(spool: Spool, *routes: dict[str, Any]) -> Config:
    """A configuration of these routes, and of the destinations that they name."""
    titles = {each["ae_title"] for route in routes for each in (*route["primary"], *route["optional"])}
    places = {title: make_destination(title) for title in titles}
    return make_config(spool.folder, routes=list(routes), destinations=places)


def deciding(config: Config) -> Decide:
    from datetime import UTC, datetime

    at = datetime(2026, 11, 21, tzinfo=UTC)
    return lambda instance, study: decide(config.match, config.routes, instance, study, at)


def settle(spool: Spool, config: Config) -> list[tuple[str, str | None, int]]:
    found = settle_strays(spool, config, 10.0)
    ledger.ask_again(spool)
    spool.redecide(20.0, deciding(config))
    return [(each.route, each.destination, each.tasks) for each in found]


def to(title: str) -> dict[str, Any]:
    return {"ae_title": title, "during": None, "backup_after_s": None}


def shown(spool: Spool) -> list[tuple[Any, ...]]:
    return spool.read("SELECT route, destination, role, state FROM tasks ORDER BY id")


def test_nothing_is_done_where_all_is_in_the_configuration(spool: Spool) -> None:
    spool.add([make_stored(spool, "a")], to_archive)
    assert settle_strays(spool, configure(spool, make_route()), 10.0) == []


def test_a_study_goes_to_the_destination_that_its_route_has_now_and_so_does_what_comes_later(spool: Spool) -> None:
    spool.add([make_stored(spool, "a", "1.1"), make_stored(spool, "b", "1.2", "bb")], to_archive)
    spool.record_delivered(spool.claim("ARCHIVE", 5, 1)[0], 6.0)
    config = configure(spool, make_route(to="OTHER"))
    assert settle(spool, config) == [("all", "ARCHIVE", 1)]
    assert [task.instance.spool_id for task in spool.claim("OTHER", 30, 5)] == ["b"]
    spool.add([make_stored(spool, "c", "1.3", "cc")], deciding(config))
    assert len(spool.claim("OTHER", 30, 5)) == 2
    assert spool.read("SELECT destination FROM choices") == [("OTHER",)], "its backup is measured by that one"


def test_what_another_route_takes_now_goes_there_and_the_rest_is_unrouted_until_its_route_is_back(spool: Spool) -> None:
    spool.add([make_stored(spool, "a")], to_archive)
    renamed = configure(spool, make_route("renamed"))
    elsewhere = configure(spool, make_route("mr", when={"modality": ["MR"]}))
    assert settle(spool, elsewhere) == [("all", "ARCHIVE", 1)]
    assert count_unrouted(spool) == [{"route": "all", "why": f"its route all {GONE}", "tasks": 1}]
    assert settle(spool, elsewhere) == []
    assert len(count_unrouted(spool)) == 1
    assert settle(spool, renamed) == []
    assert shown(spool) == [("renamed", "ARCHIVE", "primary", "queued")]


def test_what_waits_for_the_hour_of_a_route_that_is_gone_is_unrouted(spool: Spool) -> None:
    def hold(_instance: ReceivedInstance, _study: StudyFacts) -> tuple[Decision, ...]:
        return (Decision("all", "send", "ARCHIVE"), Decision("night", "hold", until=1e9))

    spool.add([make_stored(spool, "a")], hold)
    assert settle(spool, configure(spool, make_route())) == [("night", None, 1)]
    assert shown(spool) == [("all", "ARCHIVE", "primary", "queued"), ("night", None, "primary", "unrouted")]


def test_a_further_copy_goes_to_the_one_that_took_its_place_or_is_shown(spool: Spool) -> None:
    def both(_instance: ReceivedInstance, _study: StudyFacts) -> tuple[Decision, ...]:
        return (
            Decision("all", "send", "ARCHIVE"), Decision("all", "send", "KEPT", "optional"),
            Decision("all", "send", "COPY", "optional"),
        )  # fmt: skip

    spool.add([make_stored(spool, "a")], both)
    assert settle(spool, configure(spool, make_route(optional=[to("KEPT")]))) == [("all", "COPY", 1)]
    gone = f"its destination COPY {GONE}"
    assert count_unrouted(spool) == [{"route": "all", "why": gone, "tasks": 1}]
    assert settle(spool, configure(spool, make_route(optional=[to("KEPT"), to("NEW")]))) == []
    assert ("all", "NEW", "optional", "queued") in shown(spool)
    assert len(shown(spool)) == 3


def test_what_is_on_its_way_is_looked_at_again_and_its_answer_counts(spool: Spool) -> None:
    spool.add([make_stored(spool, "a", "1.1"), make_stored(spool, "b", "1.2", "bb")], to_archive)
    first, second = spool.claim("ARCHIVE", 5, 5)
    assert spool.hands.begin(first)
    config = configure(spool, make_route(to="OTHER"))
    [found] = settle_strays(spool, config, 10.0)
    assert (found.tasks, found.left) == (1, 1)
    assert not spool.hands.begin(second)
    spool.record_delivered(first, 11.0)
    spool.hands.end(first)
    assert settle_strays(spool, config, 12.0) == []
    spool.redecide(20.0, deciding(config))
    assert [task.instance.spool_id for task in spool.claim("OTHER", 30, 5)] == ["b"]


def test_many_are_settled_in_pieces(spool: Spool) -> None:
    breaths: list[float] = []
    many = [make_stored(spool, f"{number}", f"1.{number}", f"{number}") for number in range(2500)]
    spool.add(many, to_archive)
    counted = iter(range(100_000))
    pace = Pace(Bound(999.5, lambda: float(next(counted))), breaths.append)
    [found] = settle_strays(spool, configure(spool, make_route(to="OTHER")), 10.0, pace)
    assert (found.tasks, len(breaths)) == (2500, 2)
