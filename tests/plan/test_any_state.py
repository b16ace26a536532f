"""For any rendered and any observed state, what is in the way included: nothing is half done, the way back leads to
where it came from, and a plan that was kept fits exactly the states that it was made for."""

from copy import deepcopy
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from fleet.plan.conceal import Concealer
from fleet.plan.decide import make_handler_name
from fleet.plan.manifest import Manifest, ManifestFile
from fleet.plan.saved import (
    SavedPlan,
    digest_steps,
    find_moved,
    find_strange,
    format_saved_plan,
    parse_saved_plan,
    pin_host,
)
from fleet.plan.steps import CleanLeftover, MakeFolder
from fleet.push.apply import ApplySettings, Confirmation, apply_host
from fleet.push.observe import observe_host
from fleet.push.outcome import Outcome
from fleet.push.window import needs_way_back
from fleet.render.artifacts import RenderedHost
from tests.plan.test_properties import COMMANDS, MODES, OWNERS, PATHS, UNITS, plan_for, rendered_hosts
from tests.push.fake_host import FakeFile, FakeHost, FakeUnit

NOW = ApplySettings(hold_s=0, settle_s=0)
KEY = Concealer(b"a key of a test's own")
ACTIVE = ("active", "inactive", "failed", "activating", "deactivating", "reloading")
ENABLED = ("enabled", "disabled", "static", "indirect", "masked", "")
KINDS = ("file", "file", "file", "symlink", "directory", "other")
TOKENS = st.sampled_from(["0" * 64, "1" * 64, "-"])

seen_files = st.builds(
    FakeFile,
    st.sampled_from([b"one\n", b"two\n", b"\xff\x00", b""]),
    st.sampled_from(MODES),
    st.sampled_from(OWNERS),
    st.sampled_from(KINDS),
)


@st.composite
def any_hosts(draw: st.DrawFn) -> FakeHost:
    """Files of every kind, known to the manifest as they are, as they were, or not at all; units in every state."""
    host = FakeHost(files=draw(st.dictionaries(st.sampled_from(PATHS), seen_files, max_size=5)))
    host.folders |= set(draw(st.lists(st.sampled_from(["/etc/dcmtk", "/etc/dcmtk/deep", "/srv/x"]), max_size=3)))
    for unit in draw(st.lists(st.sampled_from(UNITS), max_size=3, unique=True)):
        host.units[unit] = FakeUnit(draw(st.sampled_from(ACTIVE)), draw(st.sampled_from(ENABLED)))
    names = [*UNITS, *map(make_handler_name, COMMANDS)]
    for name in draw(st.lists(st.sampled_from(names), max_size=3, unique=True)):
        host.started[name] = (draw(TOKENS), draw(TOKENS))
    known = {}
    for path in draw(st.lists(st.sampled_from(PATHS), max_size=4, unique=True)):
        digest = host.files[path].digest if path in host.files and draw(st.booleans()) else "0" * 64
        known[path] = ManifestFile(digest, 0o644, "root:root")
    ours = tuple(sorted(draw(st.lists(st.sampled_from(UNITS), max_size=2, unique=True))))
    host.manifest = draw(st.sampled_from([None, "torn"])) if not known and not ours else None
    if known or ours:
        host.own(Manifest(known, ours))
    host.leftover = draw(st.booleans())
    host.missing_users = set(draw(st.lists(st.sampled_from(["dcmtk"]), max_size=1)))
    return host


def state(host: FakeHost) -> tuple[object, ...]:
    return deepcopy((host.files, host.units, host.started, host.manifest))


@given(rendered_hosts(), any_hosts(), st.booleans())
@settings(max_examples=200, deadline=None)
def test_a_host_is_as_rendered_afterwards_or_exactly_as_before(
    rendered: RenderedHost, host: FakeHost, adopt: bool
) -> None:
    before = state(host)
    plan = plan_for(rendered, host, adopt=adopt)
    outcome = apply_host(plan, host, NOW).outcome
    if plan.problems:
        assert outcome is Outcome.REFUSED
        assert state(host) == before
        return
    assert outcome in {Outcome.CONVERGED, Outcome.UNCHANGED}
    for file in rendered.files:
        seen = host.files[file.path]
        assert (seen.kind, seen.content, seen.mode, seen.owner) == ("file", file.data, file.mode, file.owner)
    observed = observe_host(rendered, host, deadline_s=1)
    for service in rendered.services:
        assert observed.services[service.unit].is_active
        assert observed.services[service.unit].is_enabled
    assert plan_for(rendered, host, adopt=False).is_empty


@given(rendered_hosts(), any_hosts())
@settings(max_examples=150, deadline=None)
def test_the_way_back_leads_exactly_to_where_it_came_from(rendered: RenderedHost, host: FakeHost) -> None:
    before = state(host)
    plan = plan_for(rendered, host)
    answers = iter(["silent"])
    confirmation = Confirmation(30.0, lambda _host: next(answers, ""), prove_s=0)
    outcome = apply_host(plan, host, replace(NOW, confirmation=confirmation)).outcome
    if plan.problems or plan.is_empty:
        assert outcome in {Outcome.REFUSED, Outcome.UNCHANGED}
        assert state(host) == before
    elif needs_way_back(plan):
        assert outcome is Outcome.ROLLED_BACK
        assert state(host) == before
        again = plan_for(rendered, host).steps  # folders stay, and what another run had staged is gone
        assert again == tuple(step for step in plan.steps if not isinstance(step, CleanLeftover | MakeFolder))


@given(rendered_hosts(), any_hosts())
@settings(max_examples=100, deadline=None)
def test_a_plan_that_is_kept_and_read_again_fits_the_host_that_it_was_made_for(
    rendered: RenderedHost, host: FakeHost
) -> None:
    observed = observe_host(rendered, host, deadline_s=1)
    plan = plan_for(rendered, host)
    saved = SavedPlan("run-1", "", "", "test", KEY.key_id, "0" * 64, {}, (pin_host(plan, observed, KEY),))
    read = parse_saved_plan(format_saved_plan(saved))
    assert read == saved
    assert read.digest == saved.digest
    (pin,) = read.hosts
    assert find_moved(pin, observe_host(rendered, host, deadline_s=1), KEY) == ()
    assert pin.steps == digest_steps(plan_for(rendered, host).steps, KEY)
    text = format_saved_plan(saved)
    plain = {*(seen.digest for seen in host.files.values()), *(file.digest for file in rendered.files)}
    assert not any(digest in text for digest in plain), "a digest that is not keyed"


@given(rendered_hosts(), any_hosts(), any_hosts())
@settings(max_examples=300, deadline=None)
def test_where_nothing_moved_on_the_same_would_be_done(rendered: RenderedHost, one: FakeHost, other: FakeHost) -> None:
    """What is pinned is enough: two states that a kept plan cannot tell apart have the same plan."""
    mixed = deepcopy(one)
    mixed.files = {**one.files, **{path: file for path, file in other.files.items() if path > "/etc/e"}}
    mixed.units = {**one.units, **dict(list(other.units.items())[:1])}
    for seen in (other, mixed):
        first, second = plan_for(rendered, one), plan_for(rendered, seen)
        pin = pin_host(first, observe_host(rendered, one, deadline_s=1), KEY)
        if not find_moved(pin, observe_host(rendered, seen, deadline_s=1), KEY):
            assert (first.steps, first.problems) == (second.steps, second.problems)


@given(rendered_hosts(), any_hosts(), st.integers(0, 10))
@settings(max_examples=150, deadline=None)
def test_a_run_that_was_cut_off_after_any_file_finds_nothing_strange_but_a_hand_does(
    rendered: RenderedHost, host: FakeHost, cut: int
) -> None:
    plan = plan_for(rendered, host)
    if plan.problems:
        return
    pin = pin_host(plan, observe_host(rendered, host, deadline_s=1), KEY)
    for index, step in list(enumerate(plan.steps))[:cut]:
        host._do(index, step)
    observed = observe_host(rendered, host, deadline_s=1)
    assert find_strange(pin, plan, observed, KEY) == ()
    for file in rendered.files:
        host.files[file.path] = FakeFile(b"by hand\n")
        assert find_strange(pin, plan, observe_host(rendered, host, deadline_s=1), KEY)
