"""Times as loggers write them."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from typing import Final

from toban.logs.line_parser import Reading

OLDEST: Final = datetime(2000, 1, 1, tzinfo=UTC)
MOST_AHEAD: Final = timedelta(days=1)
"""How far a time may be in the future, because of a clock or a zone that is wrong."""

NUMERIC: Final = re.compile(
    r"(\d{1,4})([/.-])(\d{1,2})\2(\d{1,4}),?\s(\d{1,2}):(\d{2})(?::(\d{2})(?:[.,](\d{1,9}))?)?(?:\s?([AaPp])\.?[Mm]\.?)?"
)
"""What `toLocaleString` returns: the order of day, month and year depends on the locale."""

JAVASCRIPT: Final = re.compile(
    r"[A-Z][a-z]{2},? (?:([A-Z][a-z]{2}) (\d{1,2})|(\d{1,2}) ([A-Z][a-z]{2})) (\d{4}) (\d\d):(\d\d):(\d\d)"
    r" GMT(?:([+-]\d\d)(\d\d))?(?: \(.{0,100}\))?"
)
"""What `toString` and `toUTCString` of a date return."""

MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

EPOCH_UNITS: Final = ((10**17, 10**9), (10**14, 10**6), (10**11, 10**3), (0, 1))
"""Numbers from which on a time is in nanoseconds, microseconds, milliseconds, seconds; and how many are a second."""


def parse_timestamp(value: object, reading: Reading) -> datetime | None:
    """
    Return a time in UTC, None when it is none, before 2000 or in the future.

    A time without zone is one of ``reading.zone``. One without seconds is in its minute the time of reading.
    """
    try:
        at = _parsed(value, reading)
        at = at.astimezone(UTC) if at else None
    except (ValueError, OverflowError, OSError):
        return None
    return at if at and OLDEST <= at <= reading.at + MOST_AHEAD else None


def _parsed(value: object, reading: Reading) -> datetime | None:
    if isinstance(value, int | float):
        return _since_epoch(value) if not isinstance(value, bool) else None
    if not isinstance(value, str):
        return None
    text = value.strip()
    if text.isdecimal():
        return _since_epoch(int(text[:30]))
    try:
        return _in_zone(datetime.fromisoformat(text), reading)
    except ValueError:
        pass
    if found := NUMERIC.fullmatch(text):
        return _nearest(found, reading)
    return _javascript(found) if (found := JAVASCRIPT.fullmatch(text)) else None


def _since_epoch(value: float) -> datetime:
    unit = next((per_second for least, per_second in EPOCH_UNITS if value >= least), 1)
    return datetime.fromtimestamp(value / unit, UTC)


def _in_zone(at: datetime, reading: Reading) -> datetime:
    """Return a time with a zone; of a local time that there are two, the one that has passed when it is read."""
    if at.tzinfo:
        return at
    first, second = (at.replace(tzinfo=reading.zone, fold=fold).astimezone(UTC) for fold in (0, 1))
    return second if first < second <= reading.at else first


def _nearest(found: re.Match[str], reading: Reading) -> datetime | None:
    """Return the time that is nearest to the time of reading, of all orders of day, month and year."""
    candidates = list(_candidates(found, reading))
    at = min(candidates, key=lambda at: abs(reading.at - at), default=None)
    if at and not found[7] and timedelta(0) <= reading.at - at < timedelta(minutes=1):
        return reading.at
    return at


def _candidates(found: re.Match[str], reading: Reading) -> Iterator[datetime]:
    one, _, two, three, hour, minute, second, fraction, half = found.groups()
    hours = int(hour) % 12 + (12 if half in "Pp" else 0) if half else int(hour)
    microseconds = int((fraction or "0").ljust(6, "0")[:6])
    for year, month, day in ((three, one, two), (three, two, one), (one, two, three)):
        century = 2000 if len(year) <= 2 else 0
        try:
            at = datetime(century + int(year), int(month), int(day), hours, int(minute), int(second or 0), microseconds)
        except ValueError:
            continue
        yield _in_zone(at, reading)


def _javascript(found: re.Match[str]) -> datetime:
    month, day, other_day, other_month, year, hour, minute, second, hours, minutes = found.groups()
    number = MONTHS.index(month or other_month) + 1
    offset = timedelta(hours=int(hours or 0), minutes=int(f"{(hours or '+')[0]}{minutes or 0}"))
    at = datetime(int(year), number, int(day or other_day), int(hour), int(minute), int(second))
    return at.replace(tzinfo=timezone(offset))
