"""Cron schedules in a time zone."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Annotated, Final
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError
from pydantic import AfterValidator

SHORTHANDS: Final = {"@hourly": "0 * * * *", "@daily": "0 0 * * *", "@weekly": "0 0 * * 0", "@monthly": "0 0 1 * *"}


def _cron(text: str) -> str:
    cron = SHORTHANDS.get(text, text)
    try:
        CronSim(cron, datetime(2026, 1, 1, tzinfo=UTC))
    except CronSimError as error:
        raise ValueError(f"invalid cron schedule {text!r} ({error}): write it like `0 3 * * 1`") from error
    return cron


Schedule = Annotated[str, AfterValidator(_cron)]
"""A cron schedule: minutes, hours, days, months and weekdays; or @hourly, @daily, @weekly, @monthly."""


def occurrences(schedule: str, zone: ZoneInfo, after: datetime) -> Iterator[datetime]:
    """Yield the times of a schedule after a time, in UTC; a local time that occurs twice counts once."""
    for time in CronSim(schedule, after.astimezone(zone)):
        yield time.astimezone(UTC)


def next_occurrence(schedule: str, zone: ZoneInfo, after: datetime) -> datetime:
    """Return the first time of a schedule after a time, in UTC."""
    return next(occurrences(schedule, zone, after))
