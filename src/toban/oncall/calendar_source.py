"""On-call shifts of an iCalendar file (RFC 5545): a layer that somebody keeps elsewhere."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

from toban.core.errors import TobanError
from toban.core.wall_clock import first_instant, last_instant
from toban.oncall.rotation import Shift, midnight
from toban.oncall.schedule import FixedShifts, Schedule
from toban.oncall.settings import Person

MAX_BYTES: Final = 2**20
MAX_EVENTS: Final = 5_000
MAX_OCCURRENCES: Final = 300_000
"""Occurrences, from the first one on, that are counted to find those of now: 2,000 take about 10 ms."""
MAX_SHIFTS: Final = 5_000
MAX_WARNINGS: Final = 20

TOO_OFTEN: Final = frozenset({"SECONDLY", "MINUTELY"})

EXACT: Final = "X-TOBAN-EXACT"
"""Marks a duration in hours, which is exact; one in days is so many days of the wall clock (RFC 5545, 3.3.6)."""

_EXACT_DURATION: Final = re.compile(r"^(DURATION(?:;[^:\r\n]*)?:\+?PT[^\r\n]*)", re.MULTILINE | re.IGNORECASE)
_FOLDED: Final = re.compile(r"\r?\n[ \t]")
_LEVEL: Final = re.compile(r"\s*\[L(\d{1,2})\]\s*", re.IGNORECASE)


class CalendarError(TobanError):
    """A calendar can't be read."""


@dataclass(frozen=True, slots=True)
class CalendarShifts:
    """The shifts of a calendar, without overlaps, and what in it is not understood."""

    shifts: tuple[Shift, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CalendarCopy:
    """The last good copy of a calendar, and when the calendar was read last."""

    key: str
    read: datetime
    etag: str
    content: str


def read_calendar(
    content: str, people: Mapping[str, Person], zone: ZoneInfo, start: datetime, end: datetime
) -> CalendarShifts:
    """
    Return the shifts of a calendar in a period; ``zone`` is that of times that have none. For use in a thread.

    Raises ``CalendarError``.
    """
    try:
        # They take 10 MB and half a second: only where a calendar is configured.
        import icalendar
        import recurring_ical_events
    except ImportError as error:
        raise CalendarError("it needs the libraries of iCalendar: install toban[ical]") from error
    text = _EXACT_DURATION.sub(rf"\1\r\n{EXACT}:TRUE", _FOLDED.sub("", content.removeprefix("\ufeff")))
    try:
        calendar = icalendar.Calendar.from_ical(text)
        warnings = list(_prepare(calendar, zone, end))
        found = recurring_ical_events.of(calendar, components=["VEVENT"]).between(start, end)
    except CalendarError:
        raise
    except Exception as error:  # the libraries raise whatever a broken calendar leads to
        raise CalendarError(f"it is no valid iCalendar: {str(error)[:200] or type(error).__name__}") from error
    names = _names(people)
    levels: dict[int, list[Shift]] = {}
    for event in found[:MAX_SHIFTS]:
        if str(event.get("STATUS", "")).upper() == "CANCELLED":
            continue
        begins, ends = _period(event, zone)
        level, who = _who(event, names)
        if who:
            levels.setdefault(level, []).append(Shift(begins, ends, who))
        else:
            title = str(event.get("SUMMARY", ""))[:60]
            warnings.append(f"{title!r} on {begins.astimezone(zone):%Y-%m-%d} names nobody of on_call.people")
    layers = tuple(FixedShifts(f"L{level}", tuple(levels[level])) for level in sorted(levels))
    shifts = Schedule(layers, (), frozenset(people)).shifts(start, end)
    return CalendarShifts(tuple(shifts), tuple(dict.fromkeys(warnings))[:MAX_WARNINGS])


def _prepare(calendar: Any, zone: ZoneInfo, end: datetime) -> Iterator[str]:
    """Repair what the library would misunderstand, and yield warnings. Raises ``CalendarError`` for too much."""
    events = calendar.walk("VEVENT")
    if len(events) > MAX_EVENTS:
        raise CalendarError(f"it has {len(events)} events: at most {MAX_EVENTS} are read")
    total = 0.0
    for event in list(events):
        starts = _time_of(event.get("DTSTART"))
        if starts is None:
            calendar.subcomponents = [it for it in calendar.subcomponents if it is not event]
            yield f"event {str(event.get('SUMMARY', ''))[:60]!r} has no valid DTSTART"
            continue
        for name in ("DTSTART", "DTEND", "RECURRENCE-ID"):
            yield from _with_known_zone(event, name, zone)
        total += sum(_occurrences(rule, starts, end) for rule in _rules(event))
        if total > MAX_OCCURRENCES:
            raise CalendarError(f"its events recur more than {MAX_OCCURRENCES:,} times until {end:%Y-%m-%d}")


def _with_known_zone(event: Any, name: str, zone: ZoneInfo) -> Iterator[str]:
    """Give a time whose zone nobody knows the schedule's, and warn of it."""
    found = event.get(name)
    at, named = _time_of(found), getattr(found, "params", {}).get("TZID")
    if named and isinstance(at, datetime) and at.tzinfo is None:
        found.dt = at.replace(tzinfo=zone)
        yield f"unknown time zone {str(named)[:60]!r}: {zone.key} is used"


def _time_of(value: Any) -> date | None:
    """Return the time of a property; nothing for one that is missing or broken."""
    try:
        found = value.dt
    except (AttributeError, ValueError):
        return None
    return found if isinstance(found, date) else None


def _rules(event: Any) -> list[Any]:
    rules = event.get("RRULE", [])
    return list(rules) if isinstance(rules, list) else [rules]


def _occurrences(rule: Mapping[str, Sequence[Any]], starts: date, end: datetime) -> float:
    """Return about how many occurrences of a rule are counted until a time. Raises ``CalendarError`` for too many."""
    often = str((rule.get("FREQ") or [""])[0]).upper()
    if often in TOO_OFTEN or any(len(rule.get(name) or ()) > 1 for name in ("BYMINUTE", "BYSECOND")):
        raise CalendarError(f"an event recurs {often or 'too often'}: at most once an hour is read")
    first = datetime(starts.year, starts.month, starts.day, tzinfo=end.tzinfo)
    days = max((end - first) / timedelta(days=1), 0)
    return days * max(24 if often == "HOURLY" else 1, len(rule.get("BYHOUR") or ()))


def _period(event: Any, zone: ZoneInfo) -> tuple[datetime, datetime]:
    """Return when an occurrence begins and ends, never at the same time."""
    starts = event["DTSTART"].dt
    ends = event["DTEND"].dt if "DTEND" in event else starts
    if not isinstance(starts, datetime):
        last = ends if not isinstance(ends, datetime) and ends > starts else starts + timedelta(days=1)
        return midnight(starts, zone), midnight(last, zone)
    if not isinstance(ends, datetime):
        ends = starts
    nominal = ends.replace(tzinfo=None) - starts.replace(tzinfo=None)
    begin = _instant(starts, zone, first=True)
    end = begin + nominal if EXACT in event else _instant(ends, zone, first=False)
    if end <= begin:
        # Clocks are set forward over it, or it has no length: it lasts as long as it says, at least a minute.
        end = begin + max(nominal, timedelta(minutes=1))
    return begin, end


def _instant(at: datetime, zone: ZoneInfo, *, first: bool) -> datetime:
    """Return the first or the last instant of a time on the wall clock; one without a zone is in the schedule's."""
    known = at.tzinfo or zone
    if not isinstance(known, ZoneInfo):
        return at.astimezone(zone)
    return (first_instant if first else last_instant)(at.date(), at.time(), known)


def _names(people: Mapping[str, Person]) -> list[tuple[str, str]]:
    """Return what may name a person in a calendar, the longest first, each with the person."""
    names = [
        (name.casefold(), key)
        for key, person in people.items()
        for name in (key, person.title, person.email)
        if name.strip()
    ]
    return sorted(dict.fromkeys(names), key=lambda it: -len(it[0]))


def _who(event: Any, names: Iterable[tuple[str, str]]) -> tuple[int, tuple[str, ...]]:
    """Return the level of an event, by a prefix like `[L2]`, and the people whom it names."""
    summary = str(event.get("SUMMARY", ""))
    prefix = _LEVEL.match(summary)
    level = int(prefix[1]) if prefix else 0
    attendees = event.get("ATTENDEE", [])
    invited = attendees if isinstance(attendees, list) else [attendees]
    texts = (
        summary[prefix.end() :] if prefix else summary,
        str(event.get("DESCRIPTION", "")),
        " ".join(re.sub("(?i)^mailto:", "", str(it)) for it in invited),
    )
    return level, next((found for text in texts if (found := _named(text, names))), ())


def _places(text: str, name: str) -> list[int]:
    """Return where a name stands in a text: as a word of its own, or anywhere if it is no ASCII."""
    found, at = list[int](), text.find(name)
    while at >= 0:
        before, after = text[at - 1 : at] if at else "", text[at + len(name) : at + len(name) + 1]
        # Japanese has no spaces between words.
        joins = before.isalnum() or after.isalnum() or before in {*"_@.-"} or after in {*"_@-"}
        if not joins or not name.isascii():
            found.append(at)
        at = text.find(name, at + len(name) if found and found[-1] == at else at + 1)
    return found


def _named(text: str, names: Iterable[tuple[str, str]]) -> tuple[str, ...]:
    """Return the people whom a text names, in its order; a name inside a longer one that is known does not count."""
    rest, found = text.casefold(), list[tuple[int, str]]()
    for name, person in names:
        for at in _places(rest, name):
            found.append((at, person))
            rest = rest[:at] + "\0" * len(name) + rest[at + len(name) :]
    return tuple(dict.fromkeys(person for _, person in sorted(found)))
