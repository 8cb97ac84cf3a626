"""Backoff: the delay before a retry."""

import math
import re
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Final

RETRYABLE_STATUSES: Final = frozenset({408, 425, 429})
"""HTTP statuses below 500 after which a retry may succeed."""


def retry_delay(attempts: int, requested: float | None, jitter: float) -> timedelta:
    """
    Return the delay before the next attempt.

    It is one second, doubled with each attempt up to five minutes. A quarter of it is multiplied by ``jitter`` (0 to
    1), so that many senders do not retry at once. It is at least ``requested``, the receiver's Retry-After in seconds,
    and at most an hour.
    """
    delay = min(2.0 ** min(attempts - 1, 20), 300.0) * (0.75 + 0.25 * jitter)
    # Rounded up: never earlier than the receiver asked.
    return timedelta(microseconds=math.ceil(min(max(delay, requested or 0.0), 3600.0) * 1_000_000))


def retry_after(header: str, now: datetime) -> float | None:
    """Return the seconds of a header ``Retry-After``, which has seconds or a date; None if it is invalid."""
    text = header.strip()
    if re.fullmatch(r"[0-9]+(\.[0-9]+)?", text):  # a fraction is not allowed, and Discord sends one
        return min(float(text[:20]), 1e9)
    try:
        at = parsedate_to_datetime(text)
    except (ValueError, TypeError):
        return None
    return max(0.0, ((at if at.tzinfo else at.replace(tzinfo=UTC)) - now).total_seconds())
