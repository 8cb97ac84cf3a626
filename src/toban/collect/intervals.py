"""When something that is read less often than its collector runs is due again."""

from datetime import timedelta
from typing import Final

LOAD_DIVISOR: Final = 200
"""A query may use one part in so many of the server's time."""


def is_due(last: float | None, interval: timedelta, collection_interval: timedelta, now: float) -> bool:
    """
    Return whether what was read last at a time (monotonic seconds), if ever, is due again.

    The slack is half a collection interval: what is due every minute is read at every second collection of 30 s, not
    at every third.
    """
    return last is None or now - last >= (interval - collection_interval / 2).total_seconds()


def backed_off(interval: timedelta, seconds: float) -> timedelta:
    """
    Return the interval of a query that took so many seconds: at least ``interval``.

    It takes at most half a percent of the server's time: a query of one second runs again after 200 at the earliest.
    """
    return max(interval, timedelta(seconds=seconds * LOAD_DIVISOR))
