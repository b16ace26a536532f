"""The way back from a stand-in: only for who says why, only while the original is kept, and written down."""

import json
import os
from pathlib import Path

import pytest

from fleet.errors import UsageError
from fleet.relay.__main__ import main
from fleet.relay.operate.reidentify import Question, read_questions, reidentify
from fleet.relay.spool.queue import Spool
from fleet.relay.transform.keys import Pseudonyms
from tests.relay.configs import make_route
from tests.relay.house import make_data_set
from tests.relay.process import relaying, wait_for
from tests.relay.sink import Script, sinking
from tests.relay.test_forward import Bench
from tests.relay.test_receive import parcel

KEY = bytes(range(32))
NAMES = Pseudonyms(KEY)


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    with sinking(Script()) as script:
        return Bench(tmp_path, script, 3).spool


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (NAMES.uid("1.2.3"), {"study": "1.2.3"}),
        (NAMES.uid("1.2.3.2"), {"study": "1.2.3", "instance": "1.2.3.2"}),
        (NAMES.text("PatientName", "PLANTED^NAME"), {"study": "1.2.3"}),
    ],
)
def test_a_stand_in_leads_back_to_its_original(spool: Spool, asked: str, expected: dict[str, str]) -> None:
    found = reidentify(spool, KEY, Question(asked, 1000, "an incidental finding"), 5.0)
    assert expected.items() <= found[0].items()
    assert found[0]["PatientName"] == "PLANTED^NAME"
    assert read_questions(spool) == [
        {"at": 5.0, "user_id": 1000, "reason": "an incidental finding", "asked": asked, "found": len(found)}
    ]


def test_another_key_or_what_nobody_has_finds_nothing_and_is_written_down_too(spool: Spool) -> None:
    assert reidentify(spool, bytes(32), Question(NAMES.uid("1.2.3"), 0, "why"), 5.0) == []
    assert reidentify(spool, KEY, Question("1.2.3", 0, "the original is no stand-in"), 5.0) == []
    assert [row["found"] for row in read_questions(spool)] == [0, 0]


def test_who_does_not_say_why_is_told_nothing(spool: Spool) -> None:
    with pytest.raises(UsageError, match="say why"):
        reidentify(spool, KEY, Question(NAMES.uid("1.2.3"), 0, " "), 5.0)
    assert read_questions(spool) == []


def test_what_arrived_under_a_stand_in_is_found_by_the_verb(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # T73: the answer goes to the one who asked, and into no log
    routes = [make_route(deidentify={"profile": "basic", "options": [], "pseudonyms": []})]
    with sinking(Script()) as script, relaying(tmp_path, script.port, routes=routes) as relay:
        with relay.connect() as association:
            assert association.store(parcel(tmp_path, make_data_set("1.2.40"), "1.2.40")) == 0
        wait_for(lambda: len(script.received) == 1)
        [shown] = script.uids()
        assert shown != "1.2.40"
        assert main(["reidentify", str(relay.config), shown]) == 64
        assert "say why, by --reason" in capsys.readouterr().err
        assert main(["reidentify", str(relay.config), "1.2.3.4", "--reason", "a slip"]) == 0
        said = capsys.readouterr()
        assert (said.out, "nothing that the spool still holds" in said.err) == ("", True)
        assert main(["reidentify", str(relay.config), shown, "--reason", "call back"]) == 0
        assert json.loads(capsys.readouterr().out)["instance"] == "1.2.40"
        assert main(["reidentify", str(relay.config)]) == 0
        rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        assert [(each["user_id"], each["reason"]) for each in rows] == [
            (os.geteuid(), "a slip"),
            (os.geteuid(), "call back"),
        ]
        wait_for(lambda: any(each["event"] == "reidentified" for each in relay.events()))
        log = relay.log.read_text()
    assert "PLANTED" not in log
    assert "1.2.40" not in log
