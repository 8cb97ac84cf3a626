"""A person's shifts as an iCalendar feed (RFC 5545)."""

import hashlib
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from toban.oncall.rotation import Shift
from toban.oncall.schedule import Schedule

AHEAD: Final = timedelta(days=180)
BACK: Final = timedelta(days=15)
LINE_BYTES: Final = 75


def calendar_feed(schedule: Schedule, person: str, name: str, now: datetime, language: str = "en") -> str:
    """Return the shifts of a person, 15 days back and 180 days ahead; ``name`` is shown."""
    title = f"当番: {name}" if language == "ja" else f"On call: {name}"
    lines = [
        "BEGIN:VCALENDAR",
        "VERSION:2.0",
        "PRODID:-//toban//on-call//EN",
        "CALSCALE:GREGORIAN",
        f"X-WR-CALNAME:{_escaped(title)}",
        "REFRESH-INTERVAL;VALUE=DURATION:PT1H",
    ]
    # From a fixed day of the month on: where a shift without an end is cut, its UID stays the same.
    first = (now - BACK).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    for start, end in own_shifts(schedule.shifts(first, now + AHEAD), person):
        if end <= now - BACK:
            continue
        uid = hashlib.sha256(f"{person} {start:%Y%m%dT%H%M%SZ}".encode()).hexdigest()[:32]
        lines += [
            "BEGIN:VEVENT",
            f"UID:{uid}@toban",
            f"DTSTAMP:{_utc(now)}",
            f"DTSTART:{_utc(start)}",
            f"DTEND:{_utc(end)}",
            f"SUMMARY:{_escaped(title)}",
            "TRANSP:TRANSPARENT",
            "END:VEVENT",
        ]
    return "".join(f"{folded}\r\n" for line in [*lines, "END:VCALENDAR"] for folded in _folded(line))


def own_shifts(shifts: Iterable[Shift], person: str) -> Sequence[tuple[datetime, datetime]]:
    """Return when a person is on call, with whomever else."""
    found: list[tuple[datetime, datetime]] = []
    for shift in shifts:
        if person in shift.people:
            if found and found[-1][1] == shift.start:
                found[-1] = found[-1][0], shift.end
            else:
                found.append((shift.start, shift.end))
    return found


def _utc(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y%m%dT%H%M%SZ}"


def _escaped(text: str) -> str:
    for plain, escaped in (("\\", "\\\\"), (";", "\\;"), (",", "\\,"), ("\r", ""), ("\n", "\\n")):
        text = text.replace(plain, escaped)
    return text


def _folded(line: str) -> list[str]:
    """Fold a line into lines of 75 bytes at most, between characters."""
    parts, part = [], ""
    for sign in line:
        if len((part + sign).encode()) > LINE_BYTES:
            parts.append(part)
            part = " "
        part += sign
    return [*parts, part]
