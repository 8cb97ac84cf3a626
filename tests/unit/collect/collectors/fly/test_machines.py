"""Machines of Fly's API: whether their state is wanted, and their samples."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fake_fly import FakeFly
from tests.fakes import FakeClock
from toban.collect.collectors.fly.machines import Machine, volume_samples
from toban.core.errors import CollectError

BEGAN = datetime(2026, 3, 2, tzinfo=UTC)
AUTOSTOP = {"services": [{"autostop": "suspend"}]}


def machine(state="started", ended=None, **config):
    """Return a machine that came to a state, perhaps by an end of its program."""
    fly = FakeFly(FakeClock(BEGAN))
    expected = fly.add("shop", "s1", **config)
    if ended is not None:
        fly.exit(expected, state, **ended)
    fly.happen(expected, "update", state)
    return Machine.parse("shop", expected)


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
def test_an_unwanted_state_has_a_reason(state, ended, config, why):
    """
    Ten minutes after the change: a requested stop is wanted, an unexpected exit is not.
    """
    assert machine(state, ended, **config).unwanted_state(BEGAN + timedelta(minutes=10)) == why


@pytest.mark.parametrize(("state", "minutes"), [("starting", 5), ("updating", 10)])
def test_machine_may_be_in_transition_for_some_minutes(state, minutes):
    """
    Then it is stuck.
    """
    one = machine(state)
    assert one.unwanted_state(BEGAN + timedelta(minutes=minutes)) == ""
    assert one.unwanted_state(BEGAN + timedelta(minutes=minutes, seconds=1)) == f"{state} since 00:00 UTC"


def test_one_off_and_destroyed_machines_are_not_monitored():
    assert machine().is_monitored
    assert not machine("destroyed").is_monitored
    assert not machine(metadata={"fly_process_group": "fly_app_release_command"}).is_monitored


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
def test_unknown_fields_of_a_machine_are_ignored(fields, config, events):
    """
    The API is not versioned: what is strange is left out.
    """
    expected = {
        "id": "s1",
        "state": "started",
        "config": config,
        "events": [{"type": "exit", **one} for one in events],
        **fields,
    }
    assert list(Machine.parse("shop", expected).samples(BEGAN))
    assert list(volume_samples("shop", fields)) == []


@pytest.mark.parametrize("expected", [None, [], {}, {"id": 5, "state": "started"}, {"id": "s1"}])
def test_item_without_id_or_state_is_refused(expected):
    with pytest.raises(CollectError, match="no machine"):
        Machine.parse("shop", expected)
