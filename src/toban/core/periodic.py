"""The one loop."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import NoReturn

from toban.core.metric_registry import MetricRegistry
from toban.core.ports import Clock
from toban.core.samples import counter

RUNS = counter("toban_job_runs_total", "Rounds of a regular job.")
OVERRUNS = counter("toban_job_timeouts_total", "Rounds that were cut off because they took longer than the interval.")
SKIPPED = counter("toban_job_missed_runs_total", "Rounds that did not take place because toban was held up.")


def raise_if_cancelled() -> None:
    """
    End this task if it was cancelled and what it awaited dropped that, as `asyncio.wait_for` of Python 3.11 may.

    Every loop that does not end by itself asks it once a round.
    """
    task = asyncio.current_task()
    if task and task.cancelling():
        raise asyncio.CancelledError


async def run_periodically(
    name: str,
    every: timedelta,
    job: Callable[[], Awaitable[None]],
    *,
    clock: Clock,
    meters: MetricRegistry,
    overrun: Callable[[], Awaitable[None]] | None = None,
) -> NoReturn:
    """
    Do a job every so often: at once, never twice at the same time, never longer than its interval.

    Rounds keep to a fixed grid on the monotonic clock. A round that outlasts the interval is cut off (``overrun`` is
    then called) and counted; rounds that were missed altogether are counted and not made up for.
    What the job raises goes through: trouble it expects is its own to handle.
    """
    interval = every.total_seconds()
    due = clock.monotonic()
    while True:
        raise_if_cancelled()
        meters.add(RUNS, name=name)
        limit = asyncio.timeout(interval)
        try:
            async with limit:
                await job()
        except TimeoutError:
            if not limit.expired():
                raise
            meters.add(OVERRUNS, name=name)
            if overrun:
                await overrun()
        due += interval
        late = clock.monotonic() - due
        if late >= interval:
            missed = int(late // interval)
            meters.add(SKIPPED, missed, name=name)
            due += missed * interval
        await clock.sleep(max(0.0, due - clock.monotonic()))
