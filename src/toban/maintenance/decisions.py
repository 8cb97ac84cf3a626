"""When a task runs, in which mode, and what keeps it from that. Pure: what is known in, a decision out."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from toban.core.alerts import Alert
from toban.core.schedule import next_occurrence, occurrences
from toban.maintenance.run import FAILURES, MaintenanceRun, RunState
from toban.maintenance.task import Mode, Task

AFTER_DEPLOY: Final = timedelta(minutes=10)
"""How long after a deploy nothing starts by itself."""
FRESH: Final = timedelta(hours=6)
"""How long a critical alert keeps tasks from starting: an older one is a state that somebody lives with."""
WEEK: Final = timedelta(days=7)
MAX_FAILURES: Final = 2
"""Failures in a week, without a success since, after which a task only says what it would do."""


@dataclass(frozen=True, slots=True)
class Conditions:
    """
    What is known when a task is about to start or to do its next step.

    ``doubts`` are why toban does not trust what it knows; ``deployed`` is when something was deployed last; ``firing``
    are the critical alerts that fire.
    """

    now: datetime
    is_stopped: bool = False
    doubts: str = ""
    deployed: datetime | None = None
    firing: Sequence[Alert] = ()


@dataclass(frozen=True, slots=True)
class Due:
    """The time of a schedule for which a task is to start now, and an earlier one that is missed for good."""

    at: datetime | None = None
    missed: datetime | None = None


def due(task: Task, zone: ZoneInfo, handled: datetime, now: datetime) -> Due:
    """
    Return what is due: of several times only the newest, and none that is too late.

    ``handled`` is the last time of its schedule that was run or skipped, or when the schedule began.
    """
    if task.mode is Mode.OFF:
        return Due()
    at = missed = None
    for it in occurrences(task.cron, zone, max(handled, now - WEEK)):
        if it > now:
            break
        if now - it > task.may_start_late:
            missed = it
        else:
            at = it
    return Due(at, missed)


def next_start(task: Task, zone: ZoneInfo, now: datetime) -> datetime | None:
    """Return the next time of a task's schedule."""
    return None if task.mode is Mode.OFF else next_occurrence(task.cron, zone, now)


def is_dry(task: Task, runs: Sequence[MaintenanceRun], now: datetime) -> tuple[bool, str]:
    """
    Return whether a scheduled run of a task is dry, and why where its mode does not say so.

    ``runs`` are those of this task, oldest first.
    """
    if task.mode is Mode.DRY:
        return True, ""
    failures = 0
    for run in runs:
        if run.state is RunState.SUCCEEDED:
            failures = 0
        elif run.state in FAILURES and not run.by and run.started > now - WEEK:
            failures += 1
    if failures >= MAX_FAILURES:
        return True, f"it failed {failures} times in a week: `toban maintenance run {task.name}` runs it by hand"
    return False, ""


def reason_to_wait(task: Task, conditions: Conditions, running: Sequence[MaintenanceRun]) -> str:
    """Return why a task must not start by itself now; empty where it may. ``running`` are the runs that go on."""
    busy = next((it for it in running if it.target == task.target or it.task == task.name), None)
    if busy:
        return f"{busy.task} runs"
    if conditions.is_stopped:
        return "automation is stopped"
    if conditions.doubts:
        return conditions.doubts
    if conditions.deployed and conditions.now < conditions.deployed + AFTER_DEPLOY:
        return f"something was deployed at {conditions.deployed:%H:%M} UTC"
    return _alarm(task, conditions, conditions.now - FRESH)


def reason_to_stop(task: Task, conditions: Conditions, run: MaintenanceRun) -> str:
    """Return why a run must not go on; empty where it may. What a person has started, only the stop switch ends."""
    if conditions.is_stopped:
        return "automation is stopped"
    return "" if run.by else _alarm(task, conditions, run.started)


def _alarm(task: Task, conditions: Conditions, since: datetime) -> str:
    """Return which critical alert that is no effect of the task has begun since a time."""
    for alert in conditions.firing:
        if alert.name not in task.mutes and (alert.fired or alert.starts) > since:
            return f"{alert.name} fires since {alert.fired or alert.starts:%H:%M} UTC"
    return ""
