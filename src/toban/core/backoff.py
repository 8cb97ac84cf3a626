"""When something that did not work is tried again."""

import math
import re
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Final

AGAIN: Final = frozenset({408, 425, 429})
"""Statuses of HTTP below 500 after which another try may end otherwise."""


def retry_delay(tries: int, asked: float | None, chance: float) -> timedelta:
    """
    Return how long to wait before the next try.

    One second, doubled with each try up to five minutes, of which up to a quarter is left to ``chance`` (0 to 1) so
    that many senders don't come back at once; never sooner than the receiver asked, but no later than an hour.
    """
    usual = min(2.0 ** min(tries - 1, 20), 300.0) * (0.75 + 0.25 * chance)
    # Rounded up: a microsecond too soon is too soon.
    return timedelta(microseconds=math.ceil(min(max(usual, asked or 0.0), 3600.0) * 1_000_000))


def retry_after(said: str, now: datetime) -> float | None:
    """Return how many seconds a header ``Retry-After`` asks to wait: it says so in seconds, or as a date."""
    said = said.strip()
    if re.fullmatch(r"[0-9]+(\.[0-9]+)?", said):  # a fraction is not allowed, and Discord sends one
        return min(float(said[:20]), 1e9)
    try:
        at = parsedate_to_datetime(said)
    except (ValueError, TypeError):
        return None
    return max(0.0, ((at if at.tzinfo else at.replace(tzinfo=UTC)) - now).total_seconds())
