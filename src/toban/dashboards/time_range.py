"""Time ranges in Grafana's grammar: `now-6h`, `now/d`, `now-1d/d`, milliseconds since the epoch, ISO 8601."""

import calendar
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
MONTHS: Final = {"M": 1, "Q": 3, "y": 12}
LONGEST: Final = timedelta(days=3_660)
"""The longest range."""

MAX_TEXT: Final = 60
"""How long the text of a time may be."""

RELATIVE: Final = re.compile(r"now((?:[+-]\d{1,6}[smhdwMQy])*)(?:/([smhdwMQy]))?((?:[+-]\d{1,6}[smhdwMQy])*)")
SHIFT: Final = re.compile(r"([+-])(\d+)([smhdwMQy])")

STEPS: Final = (
    *(timedelta(seconds=it) for it in (15, 30)),
    *(timedelta(minutes=it) for it in (1, 2, 5, 10, 15, 30)),
    *(timedelta(hours=it) for it in (1, 2, 3, 6, 12)),
    *(timedelta(days=it) for it in (1, 2, 7, 30)),
)
"""The steps of a range query: points of neighbouring ranges lie on the same grid."""


class TimeRangeError(ValueError):
    """A text is not a time, or two are not a range."""


@dataclass(frozen=True, slots=True)
class TimeRange:
    """A range of time, and the distance between two points in it."""

    begin: datetime
    end: datetime
    step: timedelta


def parse_range(begin: str, end: str, now: datetime, zone: ZoneInfo, points: int) -> TimeRange:
    """
    Return the range between two times, with a step at which it has no more than so many points.

    ``begin`` is rounded down and ``end`` up, in a time zone. Raises ``TimeRangeError``.
    """
    first, last = parse_time(begin, now, zone), parse_time(end, now, zone, is_end=True)
    if last <= first:
        raise TimeRangeError(f"the range ends ({end}) before it begins ({begin})")
    if last - first > LONGEST:
        raise TimeRangeError(f"the range is longer than {LONGEST.days} days")
    step = next((it for it in STEPS if (last - first) / it <= points), STEPS[-1])
    return TimeRange(first, last, step)


def parse_time(text: str, now: datetime, zone: ZoneInfo, *, is_end: bool = False) -> datetime:
    """Return a time in UTC; ``is_end`` rounds up: `now/d` is the end of the day. Raises ``TimeRangeError``."""
    try:
        if len(text) > MAX_TEXT:
            raise ValueError("too long")
        if found := RELATIVE.fullmatch(text):
            at = _shifted(now.astimezone(zone), found[1])
            if found[2]:
                at = _floor(at, found[2])
                if is_end:
                    at = _shift(at, 1, found[2])
            return _shifted(at, found[3]).astimezone(UTC)
        if re.fullmatch(r"\d{10,16}", text):
            return datetime.fromtimestamp(int(text) / 1000, UTC)
        at = datetime.fromisoformat(text)
        return (at if at.tzinfo else at.replace(tzinfo=zone)).astimezone(UTC)
    except (ValueError, OverflowError, OSError) as error:
        remedy = "write it like now-6h, now/d, 2026-11-29T18:00 or in milliseconds since 1970"
        raise TimeRangeError(f"{text[:MAX_TEXT]!r} is no time: {remedy}") from error


def _shifted(at: datetime, shifts: str) -> datetime:
    for sign, number, unit in SHIFT.findall(shifts):
        at = _shift(at, int(f"{sign}{number}"), unit)
    return at


def _shift(at: datetime, number: int, unit: str) -> datetime:
    """Move a time: days and longer by the calendar of its zone, shorter units by seconds that pass."""
    if unit in MONTHS:
        month = at.year * 12 + at.month - 1 + number * MONTHS[unit]
        year, index = divmod(month, 12)
        day = min(at.day, calendar.monthrange(year, index + 1)[1])
        return at.replace(year=year, month=index + 1, day=day)
    if unit in "dw":
        return at + timedelta(**{UNITS[unit]: number})
    return (at.astimezone(UTC) + timedelta(**{UNITS[unit]: number})).astimezone(at.tzinfo)


def _floor(at: datetime, unit: str) -> datetime:
    """Return the begin of a minute, hour, day, week (Monday), month, quarter or year."""
    if unit == "s":
        return at.replace(microsecond=0)
    if unit == "m":
        return at.replace(second=0, microsecond=0)
    if unit == "h":
        return at.replace(minute=0, second=0, microsecond=0)
    day = at.replace(hour=0, minute=0, second=0, microsecond=0)
    if unit == "w":
        return day - timedelta(days=day.weekday())
    if unit == "M":
        return day.replace(day=1)
    if unit == "Q":
        return day.replace(month=(day.month - 1) // 3 * 3 + 1, day=1)
    return day if unit == "d" else day.replace(month=1, day=1)
