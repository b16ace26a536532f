"""The fast way of writing a result is the slow way's text, whatever a peer said."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from fleet.report.echo_json import format_echo_json
from fleet.report.summary import EchoLine
from tests.report.rows import echo

texts = st.one_of(st.none(), st.text(max_size=20))
seconds = st.one_of(st.none(), st.floats(0, 100).map(lambda value: round(value, 6)), st.just(0))


@given(st.data())
def test_a_result_is_written_as_json_dumps_would(data: st.DataObject) -> None:  # T53
    row: dict[str, Any] = dict(echo("A").row)
    for key in ("ae_title", "site", "host", "virtual_service", "address", "calling", "from", "outcome", "detail"):
        row[key] = data.draw(texts)
    row |= {"status": data.draw(st.sampled_from([None, 0, 0x0122])), "elapsed_s": data.draw(seconds)}
    row["phases"] = {key: data.draw(seconds) for key in row["phases"]}
    row["warnings"] = data.draw(st.lists(st.text(max_size=10), max_size=2))
    peer = {"implementation_class_uid": data.draw(texts), "implementation_version": "\x1b[31m", "max_pdu_bytes": 16384}
    row["peer"] = data.draw(st.sampled_from([None, peer]))
    line = EchoLine(row, True)
    assert format_echo_json(line.columns) == json.dumps(line.row)
