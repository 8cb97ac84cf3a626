"""Settings of the on-call schedule: layers of turns or calendars, and overrides."""

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from importlib.util import find_spec
from typing import Annotated, Final, Self
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema, model_validator

from toban.core.config_types import Duration, SecretAddress, Section
from toban.core.wall_clock import first_instant, last_instant

WEEKDAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")

MAX_LAYERS: Final = 20
MAX_TURNS: Final = 100
MAX_OVERRIDES: Final = 200
MAX_CLOSED: Final = 200

_HOUR: Final = timedelta(hours=1)
_CLOCK: Final = re.compile(r"([0-9]{1,2}):([0-9]{2})(?::00)?")
_YEARLY: Final = re.compile(r"(\d{2})-(\d{2})", re.ASCII)
_HANDOFF: Final = re.compile(r"(?:([a-z]{3}) )?([0-9]{1,2}):([0-9]{2})")


@dataclass(frozen=True, slots=True)
class ClosedDays:
    """Days without work, from the first to the last one: dates, or of each year, as `MM-DD`."""

    first: str
    last: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the days that a text like `12-29..01-03` names. Raises ``ValueError``."""
        begin, dots, end = (it.strip() for it in text.partition(".."))
        first, last = _date_text(begin, text), _date_text(end if dots else begin, text)
        if len(first) != len(last):
            raise ValueError(f"invalid days {text!r:.60}: both ends need a year, or none")
        if len(first) > len("12-31") and last < first:
            raise ValueError(f"invalid days {text!r:.60}: the last one is before the first")
        return cls(first, last)

    def __contains__(self, day: date) -> bool:
        """Tell whether a day is one of them; those of each year may go beyond its end."""
        named = day.isoformat()[-len(self.first) :]
        if self.first <= self.last:
            return self.first <= named <= self.last
        return named >= self.first or named <= self.last


def _date_text(text: str, whole: str) -> str:
    """Return one end of some days, checked."""
    found = _YEARLY.fullmatch(text)
    try:
        # In a leap year, so that 29 February is a day.
        date(2024, int(found[1]), int(found[2])) if found else date.fromisoformat(text)
        return text
    except ValueError as error:
        known = '2026-08-10, 2026-08-10..2026-08-16, "12-31" or "12-29..01-03"'
        raise ValueError(f"invalid days {whole!r:.60}: write them like {known}") from error


def _clock_time(value: object) -> object:
    if isinstance(value, int):
        raise ValueError('a time of day needs quotes: "09:00"')  # noqa: TRY004  # YAML 1.1 reads 09:00 as a number
    if isinstance(value, time):
        return value
    found = _CLOCK.fullmatch(value.strip()) if isinstance(value, str) else None
    if not found or int(found[1]) > 23 or int(found[2]) > 59:
        raise ValueError(f'invalid time of day {value!r:.60}: write it like "09:00"')
    return time(int(found[1]), int(found[2]))


def _wall_time(value: object) -> object:
    try:
        return value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
    except ValueError as error:
        raise ValueError(f"invalid time {value!r:.60}: write it like 2026-08-10T18:00") from error


def _day(value: object) -> object:
    try:
        return value if isinstance(value, date) and not isinstance(value, datetime) else date.fromisoformat(str(value))
    except ValueError as error:
        raise ValueError(f"invalid day {value!r:.60}: write it like 2026-01-05") from error


def _closed(value: object) -> object:
    """Read days without work; what YAML reads as a day is one."""
    text = value.isoformat() if isinstance(value, date) and not isinstance(value, datetime) else value
    if isinstance(text, str):
        ClosedDays.parse(text)
    return text


def _turn(value: object) -> object:
    """Read a turn of one person as that of a list of one."""
    if isinstance(value, str):
        return (str(value),)
    if not isinstance(value, list | tuple) or not value or not all(isinstance(it, str) for it in value):
        raise ValueError("must be a person, or a list of people who are on call together, like [hana, jonas]")
    return tuple(str(it) for it in value)


def _weekdays(value: object) -> object:
    """Read weekdays as `mon-fri`, `mon,wed` or a list of these."""
    parts = value.split(",") if isinstance(value, str) else value
    if not isinstance(parts, list | tuple):
        return value
    days: list[str] = []
    for part in parts:
        first, _, last = str(part).strip().lower().partition("-")
        if first not in WEEKDAYS or (last and last not in WEEKDAYS):
            raise ValueError(f"invalid weekdays {part!r}: write them like mon-fri, or mon, wed, sat")
        place = WEEKDAYS.index(first)
        count = (WEEKDAYS.index(last) - place) % 7 + 1 if last else 1
        days += [WEEKDAYS[(place + step) % 7] for step in range(count)]
    return tuple(dict.fromkeys(days))


Weekdays = Annotated[tuple[str, ...], BeforeValidator(_weekdays)]
"""Days of the week, like `mon-fri`."""

TimeOfDay = Annotated[time, BeforeValidator(_clock_time)]
"""A time of day, like `"09:00"`."""

Day = Annotated[date, BeforeValidator(_day)]
"""A day, like `2026-01-05`."""

Closed = Annotated[str, BeforeValidator(_closed)]
"""Days without work: `2026-08-10`, `2026-08-10..2026-08-16`, or of each year `"12-31"`, `"12-29..01-03"`."""

WallTime = Annotated[datetime, BeforeValidator(_wall_time)]
"""A time like `2026-08-10T18:00`, on the wall clock where it has no zone."""

Turn = Annotated[
    tuple[str, ...],
    BeforeValidator(_turn),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}),
]
"""Who is on call in a turn: one person, or several together."""


def parse_handoff(text: str) -> tuple[str, time]:
    """Return the weekday, if any, and the time of day of a hand-off like `mon 10:00`. Raises ``ValueError``."""
    found = _HANDOFF.fullmatch(text.strip().lower())
    if not found or (found[1] and found[1] not in WEEKDAYS) or int(found[2]) > 23 or int(found[3]) > 59:
        raise ValueError(f'invalid hand-off {text!r}: write it like "10:00" or "mon 10:00"')
    return found[1] or "", time(int(found[2]), int(found[3]))


def _handoff(text: str) -> str:
    if text:
        parse_handoff(text)
    return text


class Restriction(Section):
    """When a layer applies."""

    days: Weekdays = WEEKDAYS
    """The days of the week on which it begins, like `mon-fri`."""

    starts: TimeOfDay = Field(default=time(), alias="from")
    """The time of day at which it begins, like `"18:00"`."""

    ends: TimeOfDay = Field(default=time(), alias="to")
    """When it ends: on the next day, unless that is later than `from`."""

    @model_validator(mode="after")
    def _names_a_day(self) -> "Restriction":
        if not self.days:
            raise ValueError("`days` must name a day")
        return self

    def holds(self, at: datetime) -> bool:
        """Tell whether a time on the wall clock, without a zone, lies in it."""
        for day in (at.date(), at.date() - timedelta(days=1)):
            begins, ends = datetime.combine(day, self.starts), datetime.combine(day, self.ends)
            if WEEKDAYS[day.weekday()] in self.days and begins <= at < (
                ends if self.ends > self.starts else ends + timedelta(days=1)
            ):
                return True
        return False


class Layer(Section):
    """People who take turns, or a calendar. A later layer has precedence over an earlier one."""

    name: str = Field(default="", max_length=100)
    """The name that is shown; default: its number."""

    people: tuple[Turn, ...] = Field(default=(), max_length=MAX_TURNS)
    """Who takes turns, in this order; those in an inner list are on call together."""

    every: Duration = timedelta(weeks=1)
    """How long a turn lasts on the clock, like `1w`, `1d` or `12h`: whole hours."""

    handoff: Annotated[str, AfterValidator(_handoff)] = ""
    """When turns begin, like `"mon 10:00"` or `"09:00"`; default: when the first restriction begins, else 09:00."""

    starts: Day | None = Field(default=None, alias="from")
    """The day of the first turn: it begins at the hand-off time of this day. Needed where people take turns."""

    until: Day | None = None
    """The day on which the layer ends, at the hand-off time: the day on which its next version begins."""

    restrictions: tuple[Restriction, ...] = Field(default=(), max_length=20)
    """When it applies; default: always. Turns in which it never applies are not counted."""

    calendar: SecretAddress | None = None
    """The address of an iCalendar file that says who is on call, in place of `people`; needs `toban[ical]`."""

    interval: Duration = timedelta(minutes=10)
    """How often the calendar is read."""

    @model_validator(mode="after")
    def _has_turns_or_a_calendar(self) -> "Layer":
        if bool(self.people) == (self.calendar is not None):
            raise ValueError("give either `people` or a `calendar`")
        if self.every < _HOUR or self.every % _HOUR or self.every > timedelta(weeks=53):
            raise ValueError("`every` must be whole hours, at most 53 weeks")
        if len(self.people) > 1 and self.starts is None:
            raise ValueError("`from` is missing: the day of the first turn, like 2026-01-05")
        if self.starts and self.until and self.until <= self.starts:
            raise ValueError("`until` must be later than `from`")
        if self.calendar and find_spec("recurring_ical_events") is None:
            raise ValueError("`calendar` needs the libraries of iCalendar: install toban[ical]")
        if self.calendar and self.interval < timedelta(minutes=1):
            raise ValueError("`interval` must be at least 1m")
        if self.calendar and (self.restrictions or self.handoff or self.starts or self.until):
            raise ValueError("a `calendar` says itself when people are on call")
        return self

    @property
    def handoff_time(self) -> time:
        """The time of day at which turns begin."""
        if self.handoff:
            return parse_handoff(self.handoff)[1]
        return self.restrictions[0].starts if self.restrictions else time(9)

    @property
    def handoff_day(self) -> str:
        """The day of the week on which turns begin; empty for that of `from`."""
        return parse_handoff(self.handoff)[0] if self.handoff else ""


class OverrideSetting(Section):
    """Somebody who is on call in place of whom the layers say."""

    person: str
    """Who is on call."""

    starts: WallTime = Field(alias="from")
    """From when, like `2026-08-10T18:00`, in the zone of `on_call`."""

    ends: WallTime = Field(alias="to")
    """Until when."""

    instead_of: str = ""
    """Whom they replace; default: everybody."""

    @model_validator(mode="after")
    def _ends_after_it_starts(self) -> "OverrideSetting":
        if (self.starts.tzinfo is None) != (self.ends.tzinfo is None) or self.ends <= self.starts:
            raise ValueError("`to` must be later than `from`")
        if self.instead_of == self.person:
            raise ValueError("nobody stands in for themselves")
        return self

    def period(self, zone: ZoneInfo) -> tuple[datetime, datetime]:
        """Return when it begins and ends, in UTC."""
        return wall_period(self.starts, self.ends, zone)


def wall_period(starts: datetime, ends: datetime, zone: ZoneInfo) -> tuple[datetime, datetime]:
    """Return the instants of a period; times without a zone are on the wall clock: it ends at the last such instant."""
    return (
        starts.astimezone(UTC) if starts.tzinfo else first_instant(starts.date(), starts.time(), zone),
        ends.astimezone(UTC) if ends.tzinfo else last_instant(ends.date(), ends.time(), zone),
    )
