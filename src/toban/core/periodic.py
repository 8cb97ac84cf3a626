"""Periodic tasks."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import NoReturn

from toban.core.metric_registry import MetricRegistry
from toban.core.ports import Clock
from toban.core.samples import counter

RUNS = counter("toban_job_runs_total", "Runs of a periodic task.", labels=("name",))
TIMEOUTS = counter(
    "toban_job_timeouts_total", "Runs that were cancelled because they took longer than the interval.", labels=("name",)
)
MISSED = counter("toban_job_missed_runs_total", "Runs that were missed because toban was blocked.", labels=("name",))


def raise_if_cancelled() -> None:
    """
    End this task if it was cancelled and what it awaited swallowed that, as `asyncio.wait_for` of Python 3.11 may.

    Every endless loop calls it once in each iteration.
    """
    task = asyncio.current_task()
    if task and task.cancelling():
        raise asyncio.CancelledError


async def run_periodically(
    name: str,
    interval: timedelta,
    job: Callable[[], Awaitable[None]],
    *,
    clock: Clock,
    meters: MetricRegistry,
    on_timeout: Callable[[], Awaitable[None]] | None = None,
) -> NoReturn:
    """
    Run a job at an interval: the first time at once, never twice at the same time, never longer than the interval.

    Runs keep to a fixed grid on the monotonic clock. A run that outlasts the interval is cancelled and counted, and
    ``on_timeout`` is called; missed runs are counted and not made up for.
    What the job raises ends the task: errors that it expects are its own to handle.
    """
    seconds = interval.total_seconds()
    due = clock.monotonic()
    while True:
        raise_if_cancelled()
        meters.add(RUNS, name=name)
        limit = asyncio.timeout(seconds)
        try:
            async with limit:
                await job()
        except TimeoutError:
            if not limit.expired():
                raise
            meters.add(TIMEOUTS, name=name)
            if on_timeout:
                await on_timeout()
        due += seconds
        late = clock.monotonic() - due
        if late >= seconds:
            missed = int(late // seconds)
            meters.add(MISSED, missed, name=name)
            due += missed * seconds
        await clock.sleep(max(0.0, due - clock.monotonic()))
