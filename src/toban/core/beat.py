"""The one loop."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import NoReturn

from toban.core.meters import Meters
from toban.core.ports import Clock
from toban.core.samples import counter

BEATS = counter("toban_beats_total", "Rounds of a regular job.")
OVERRUNS = counter("toban_beats_overrun_total", "Rounds that were cut off because they took longer than the interval.")
SKIPPED = counter("toban_beats_skipped_total", "Rounds that did not take place because toban was held up.")


async def beat(
    name: str,
    every: timedelta,
    job: Callable[[], Awaitable[None]],
    *,
    clock: Clock,
    meters: Meters,
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
        meters.add(BEATS, name=name)
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
