"""When maintenance tasks run, and what keeps them from that."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fake_maintenance import Sweep
from toban.core.alerts import Alert, AlertStatus
from toban.core.labels import Labels
from toban.maintenance.decisions import Conditions, due, is_dry, next_start, reason_to_stop, reason_to_wait
from toban.maintenance.run import MaintenanceRun, RunState
from toban.maintenance.task import Mode

UTC_ZONE, BERLIN = ZoneInfo("UTC"), ZoneInfo("Europe/Berlin")
NOW = datetime(2026, 3, 10, 3, 0, tzinfo=UTC)
LATE = timedelta(hours=2)


def run_of(
    state: RunState, days_ago: float, by: str = "", target: str = "rooms", task: str = "sweep"
) -> MaintenanceRun:
    at = NOW - timedelta(days=days_ago)
    return MaintenanceRun(1, task, "sweep", target, state, at, "me", at, by=by)


def critical(name: str, hours_ago: float) -> Alert:
    at = NOW - timedelta(hours=hours_ago)
    return Alert(Labels(alertname=name, severity="critical"), {}, AlertStatus.FIRING, at, at)


def test_a_time_is_due_when_it_has_come_and_once():
    task, before = Sweep(), NOW - timedelta(hours=20)
    assert due(task, UTC_ZONE, before, NOW - timedelta(seconds=1)).at is None
    assert due(task, UTC_ZONE, before, NOW).at == NOW
    assert due(task, UTC_ZONE, NOW, NOW + timedelta(hours=1)).at is None


def test_what_is_too_late_is_missed_and_what_is_a_little_late_is_not():
    task, before = Sweep(), NOW - timedelta(hours=20)
    assert due(task, UTC_ZONE, before, NOW + LATE).at == NOW
    found = due(task, UTC_ZONE, before, NOW + LATE + timedelta(seconds=1))
    assert (found.at, found.missed) == (None, NOW)


def test_a_task_that_is_off_is_never_due():
    task = Sweep(mode=Mode.OFF)
    assert due(task, UTC_ZONE, NOW - timedelta(days=3), NOW).at is None
    assert next_start(task, UTC_ZONE, NOW) is None


@settings(max_examples=15)
@given(
    minutes=st.lists(st.integers(1, 300), min_size=1, max_size=60), hour=st.integers(0, 23), minute=st.integers(0, 59)
)
def test_each_day_is_run_once_through_both_clock_changes(minutes: list[int], hour: int, minute: int):
    task = Sweep(cron=f"{minute} {hour} * * *")
    for start in (datetime(2026, 3, 27, 12, tzinfo=UTC), datetime(2026, 10, 23, 12, tzinfo=UTC)):
        now, handled, days = start, start, []
        # However long the service takes between two looks, up to an hour at a time, each day has its run.
        for step in range(400):
            now += timedelta(minutes=min(60, minutes[step % len(minutes)]))
            found = due(task, BERLIN, handled, now)
            assert found.missed is None
            if found.at:
                handled = found.at
                days.append(found.at.astimezone(BERLIN).date())
        assert days == sorted(set(days))
        assert len(days) >= (days[-1] - days[0]).days + 1 if days else True


def test_two_failures_in_a_week_make_a_task_dry_until_it_has_succeeded():
    failed = [run_of(RunState.FAILED, 3), run_of(RunState.INTERRUPTED, 1)]
    assert is_dry(Sweep(), failed, NOW)[0]
    assert "toban maintenance run sweep" in is_dry(Sweep(), failed, NOW)[1]
    assert not is_dry(Sweep(), [*failed, run_of(RunState.SUCCEEDED, 0.5, by="ann")], NOW)[0]
    assert not is_dry(Sweep(), [run_of(RunState.FAILED, 9), run_of(RunState.FAILED, 1)], NOW)[0]


def test_a_task_whose_mode_is_dry_is_dry_without_a_reason():
    assert is_dry(Sweep(mode=Mode.DRY), [], NOW) == (True, "")


@pytest.mark.parametrize(
    ("conditions", "reason"),
    [
        (Conditions(NOW), ""),
        (Conditions(NOW, is_stopped=True), "automation is stopped"),
        (Conditions(NOW, doubts="state is unavailable"), "state is unavailable"),
        (Conditions(NOW, deployed=NOW - timedelta(minutes=9)), "something was deployed at 02:51 UTC"),
        (Conditions(NOW, deployed=NOW - timedelta(minutes=11)), ""),
        (Conditions(NOW, firing=[critical("application_down", 1)]), "application_down fires since 02:00 UTC"),
        (Conditions(NOW, firing=[critical("application_down", 30)]), ""),
        (Conditions(NOW, firing=[critical("dust", 1)]), ""),
    ],
)
def test_what_keeps_a_task_from_starting_is_named(conditions: Conditions, reason: str):
    assert reason_to_wait(Sweep(), conditions, []) == reason


def test_a_target_is_worked_on_by_one_task_at_a_time():
    assert reason_to_wait(Sweep(), Conditions(NOW), [run_of(RunState.RUNNING, 0, task="mop")]) == "mop runs"
    assert not reason_to_wait(Sweep(), Conditions(NOW), [run_of(RunState.RUNNING, 0, target="garden", task="mow")])


def test_a_critical_alert_that_begins_meanwhile_stops_what_the_schedule_started():
    started = run_of(RunState.RUNNING, 0.5)
    during = Conditions(NOW, firing=[critical("application_down", 1)])
    assert reason_to_stop(Sweep(), during, started) == "application_down fires since 02:00 UTC"
    assert not reason_to_stop(Sweep(), Conditions(NOW, firing=[critical("application_down", 13)]), started)
    by_hand = run_of(RunState.RUNNING, 0.5, by="ann")
    assert not reason_to_stop(Sweep(), during, by_hand)
    assert reason_to_stop(Sweep(), Conditions(NOW, is_stopped=True), by_hand) == "automation is stopped"
