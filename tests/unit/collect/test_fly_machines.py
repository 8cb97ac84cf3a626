"""Whether a machine on Fly is as it should be."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fake_fly import FakeFly
from tests.fakes import FakeClock
from toban.collect.fly_machines import Machine, volume_samples
from toban.core.errors import CollectError

BEGAN = datetime(2026, 3, 2, tzinfo=UTC)
AUTOSTOP = {"services": [{"autostop": "suspend"}]}


def machine(state="started", ended=None, **config):
    """Return a machine that came to a state, perhaps by an end of its program."""
    fly = FakeFly(FakeClock(BEGAN))
    told = fly.add("shop", "s1", **config)
    if ended is not None:
        fly.exit(told, state, **ended)
    fly.happen(told, "update", state)
    return Machine.read("shop", told)


@pytest.mark.parametrize(
    ("state", "ended", "config", "why"),
    [
        ("started", None, {}, ""),
        ("created", None, {}, ""),
        ("stopped", {"requested_stop": True}, {}, ""),
        ("suspended", {"requested_stop": True}, AUTOSTOP, ""),
        ("stopped", None, AUTOSTOP, ""),
        ("stopped", {}, AUTOSTOP, ""),
        ("stopped", {}, {"restart": {"policy": "no"}}, ""),
        ("stopped", None, {"standbys": ["s2"]}, ""),
        ("stopped", None, {}, "stopped after done"),
        ("stopped", {}, {}, "stopped after done"),
        ("stopped", {"exit_code": 1}, AUTOSTOP, "stopped after crash"),
        ("stopped", {"exit_code": 137, "oom_killed": True}, {}, "stopped after oom"),
        ("failed", None, {}, "failed"),
        ("starting", None, {}, "starting since 00:00 UTC"),
        ("replacing", None, {}, ""),
    ],
)
def test_a_machine_is_as_it_should_be_or_says_why_not(state, ended, config, why):
    """
    Ten minutes after it came to its state: rest that was asked for is well, an end that was not isn't.
    """
    assert machine(state, ended, **config).unwell(BEGAN + timedelta(minutes=10)) == why


@pytest.mark.parametrize(("state", "minutes"), [("starting", 5), ("updating", 10)])
def test_a_machine_may_be_on_its_way_for_some_minutes(state, minutes):
    """
    Then it is stuck.
    """
    one = machine(state)
    assert one.unwell(BEGAN + timedelta(minutes=minutes)) == ""
    assert one.unwell(BEGAN + timedelta(minutes=minutes, seconds=1)) == f"{state} since 00:00 UTC"


def test_what_is_there_for_one_command_is_no_machine_of_the_shop():
    """
    Nor is one that was destroyed.
    """
    assert machine().there
    assert not machine("destroyed").there
    assert not machine(metadata={"fly_process_group": "fly_app_release_command"}).there


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)
FIELDS = st.sampled_from(
    [
        "region",
        "image_ref",
        "config",
        "events",
        "checks",
        "host_status",
        "updated_at",
        "services",
        "metadata",
        "restart",
    ]
)


@given(
    st.dictionaries(FIELDS, JSON), st.dictionaries(FIELDS, JSON), st.lists(st.dictionaries(st.just("request"), JSON))
)
def test_whatever_stands_in_a_machine_it_can_be_read(fields, config, events):
    """
    The API is not versioned: what is strange is left out.
    """
    told = {
        "id": "s1",
        "state": "started",
        "config": config,
        "events": [{"type": "exit", **one} for one in events],
        **fields,
    }
    assert list(Machine.read("shop", told).samples(BEGAN))
    assert list(volume_samples("shop", fields)) == []


@pytest.mark.parametrize("told", [None, [], {}, {"id": 5, "state": "started"}, {"id": "s1"}])
def test_what_is_no_machine_is_none(told):
    """
    It has no name or no state.
    """
    with pytest.raises(CollectError, match="no machine"):
        Machine.read("shop", told)
