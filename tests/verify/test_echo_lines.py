"""The line of a result is the one that its JSON object would give."""

import pytest

from fleet.report.summary import EchoLine
from fleet.verify.values import EchoResult, EchoTarget, Outcome, PeerInfo, Phases, is_alive
from fleet.workflow.echo_lines import make_echo_line

TARGET = EchoTarget("A", "127.0.0.1", 104, "F", site="s", host="h", virtual_service="v", source="north-1")
RESULTS = (
    EchoResult(TARGET, Outcome.REFUSED, detail="no"),
    EchoResult(
        TARGET,
        Outcome.ANSWERED,
        0,
        "x",
        ("slow", "old \x1b"),
        2,
        PeerInfo("1.2", "V\x1b", 16384),
        12,
        Phases(0.0, 0.1234567, None, 0.2, 0.3, 0.4),
        1.23456789,
    ),
    EchoResult(TARGET, Outcome.SKIPPED_POLICY, attempts=0),
)


@pytest.mark.parametrize("result", RESULTS)
def test_a_line_is_what_its_json_object_would_give(result: EchoResult) -> None:
    assert make_echo_line(result) == EchoLine(result.to_json(), is_alive(result))
