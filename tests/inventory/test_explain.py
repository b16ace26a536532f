"""Every layer that spoke is named with its line, and the one that won."""

from pathlib import Path

import pytest

from fleet.errors import EmptySelection
from fleet.inventory.explain import explain_value, parse_question
from fleet.inventory.load import Loaded
from tests.inventory.reading import read_files

FLEET = """\
fleet:
  name: a
  defaults:
    ssh: {user: fleet-user}
    verify: {calling: ASKER, probe: always}
    kinds:
      modality: {port: 104, verify: {probe: never, reason: "patients"}, labels: {tier: edge}}
  vars: {a: 1, b: 1}
"""
NORTH = """\
site: north
labels: {code: N}
vars: {b: 2}
defaults: {verify: {timeouts: {acse: 7s}}}
hosts:
  h.one: {address: 10.0.0.1, verify: {importance: none}, vars: {b: 3}, ssh: {port: 2222}}
entities:
  - {ae_title: CT, kind: modality, address: a, verify: {probe: always}}
  - {ae_title: US, kind: modality, address: b, listens: false}
  - {ae_title: SAFE, kind: modality, address: c, tls: {port: 2762}}
  - {ae_title: A.B, name: odd.name, kind: other, instances: [{host: h.one, port: 1}]}
"""


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    root = tmp_path_factory.mktemp("explain")
    reading = read_files(root, {"fleet.yml": FLEET, "north.yml": NORTH})
    assert reading.problems == ()
    return reading.loaded


@pytest.mark.parametrize(
    ("question", "value", "said"),
    [
        ("CT.verify.probe", "always", "built-in, fleet fleet.yml:5:37, kind fleet.yml:7:45, entity north.yml:8:64"),
        ("CT.verify.timeouts.acse", "7s", "built-in, site north.yml:4:38"),
        ("CT.verify.timeouts.connect", "5s", "built-in"),
        ("CT.port", 104, "kind fleet.yml:7:24"),
        ("CT.vars.b", 2, "fleet fleet.yml:8:19, site north.yml:3:11"),
        ("CT.labels.code", "N", "site north.yml:2:16"),
        ("CT.labels.tier", "edge", "kind fleet.yml:7:88"),
        ("CT.kind", "modality", "entity north.yml:8:26"),
        ("odd.name.vars.b", 2, "fleet fleet.yml:8:19, site north.yml:3:11"),
        ("A.B@h.one.vars.b", 3, "fleet fleet.yml:8:19, site north.yml:3:11, host north.yml:6:68"),
        ("A.B@h.one.verify.importance", "none", "built-in, host north.yml:6:51"),
        ("A.B.verify.importance", "page", "built-in"),
        ("h.one.ssh.port", 2222, "built-in, host north.yml:6:84"),
        ("h.one.ssh.user", "fleet-user", "built-in, fleet fleet.yml:4:17"),
        ("h.one.address", "10.0.0.1", "host north.yml:6:20"),
        ("SAFE.port", 2762, "kind fleet.yml:7:24, entity (tls.port) north.yml:10:62"),
        ("A.B@h.one.port", 1, "instance north.yml:11:82"),
        ("A.B@h.one.address", "10.0.0.1", "host north.yml:6:20"),
        ("US.port", None, "kind fleet.yml:7:24"),
    ],
)
def test_a_value_is_explained(loaded: Loaded, question: str, value: object, said: str) -> None:
    found = explain_value(loaded, *parse_question(loaded.inventory, question))
    told = [f"{name} {Path(at).name}" if (at := str(origin.at())) else name for name, _, origin in found.said]
    assert (found.value, ", ".join(told)) == (value, said)


def test_a_reason_that_travelled_away_is_not_what_holds(loaded: Loaded) -> None:
    found = explain_value(loaded, "CT", ("verify", "reason"))
    assert [value for _, value, _ in found.said] == ["patients"]
    assert found.value is None


def test_what_is_ignored_says_why(loaded: Loaded) -> None:
    assert "listens: false" in explain_value(loaded, "US", ("port",)).note
    assert "tls.port" in explain_value(loaded, "SAFE", ("port",)).note


@pytest.mark.parametrize(
    "question", ["NOBODY.port", "CT", "CT@h.one.port", "CT.nosuch", "h.one.port", "A.B@nosuch.vars"]
)
def test_a_question_that_cannot_be_answered_says_why(loaded: Loaded, question: str) -> None:
    with pytest.raises(EmptySelection, match=r"no |names no value"):
        explain_value(loaded, *parse_question(loaded.inventory, question))


@pytest.mark.parametrize(
    ("question", "hint"),
    [
        ("A.B@h.one.prot", "did you mean port?"),
        ("CT.verify.timeouts.conect", "did you mean verify.timeouts.connect?"),
        ("CT.verify.timeout.connect", "did you mean verify.timeouts.connect?"),
        ("h.one.adress", "did you mean address?"),
        ("CTT.port", "did you mean 'CT'?"),
        ("h.onee.ssh.port", "did you mean 'h.one'?"),
        ("A.B@h.two.port", "did you mean 'A.B@h.one'?"),
        ("NOBODY.port", "`fleet inventory --list`"),
        ("A.B.port", "ask A.B@h.one.port"),
    ],
)
def test_a_slip_in_a_question_is_told_what_could_be_asked(loaded: Loaded, question: str, hint: str) -> None:
    with pytest.raises(EmptySelection) as told:
        explain_value(loaded, *parse_question(loaded.inventory, question))
    assert hint in str(told.value)


def test_every_value_of_every_entity_is_what_its_explanation_says(loaded: Loaded) -> None:
    for entity in loaded.inventory.entities:
        assert explain_value(loaded, entity.name, ("verify", "calling")).value == entity.verify.calling
        assert explain_value(loaded, entity.name, ("verify", "probe")).value == entity.verify.probe
        assert explain_value(loaded, entity.name, ("vars",)).value == dict(entity.vars)
