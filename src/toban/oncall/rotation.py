"""Rotations: people take turns on the wall clock of a time zone."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from functools import cached_property
from typing import Final, Self
from zoneinfo import ZoneInfo

from toban.core.wall_clock import first_instant, last_instant
from toban.oncall.schedule_settings import WEEKDAYS, Layer, Restriction

WEEK: Final = timedelta(weeks=1)
DAY: Final = timedelta(days=1)
HOUR: Final = timedelta(hours=1)
MARGIN: Final = timedelta(days=2)
"""How far the wall clock may be from UTC, and a day longer than 24 hours."""

EPOCH: Final = datetime(2024, 1, 1)  # wall-clock time
"""A Monday: turns without a first day are counted from here."""

Period = tuple[datetime, datetime]


@dataclass(frozen=True, slots=True)
class Shift:
    """People who are on call together, from a time on and before another."""

    start: datetime
    end: datetime
    people: tuple[str, ...]


@dataclass(frozen=True)
class Rotation:
    """
    People who take turns: naive times are on the wall clock of its zone.

    A shift begins at the first instant at which clocks show its start, and ends at the last one at which they show its
    end: where clocks are set back two shifts overlap, and never is there a gap between them.
    """

    name: str
    turns: tuple[tuple[str, ...], ...]
    every: timedelta
    anchor: datetime
    """When turn 0 begins, or would have begun before ``begins``."""
    begins: datetime | None
    until: datetime | None
    restrictions: tuple[Restriction, ...]
    zone: ZoneInfo

    @classmethod
    def of(cls, name: str, layer: Layer, zone: ZoneInfo) -> Self:
        """Return the rotation of a layer."""
        at = layer.handoff_time
        first = datetime.combine(layer.starts or EPOCH.date(), at)
        back = (first.weekday() - WEEKDAYS.index(layer.handoff_day)) % 7 if layer.handoff_day else 0
        anchor = first - timedelta(days=back) + timedelta(days=back) // layer.every * layer.every
        return cls(
            name,
            layer.people,
            layer.every,
            anchor,
            first if layer.starts else None,
            datetime.combine(layer.until, at) if layer.until else None,
            layer.restrictions,
            zone,
        )

    def shifts(self, start: datetime, end: datetime) -> list[Shift]:
        """Return the shifts that overlap a period, in order."""
        first = math.floor((_wall(start, self.zone) - MARGIN - self.anchor) / self.every)
        last = math.ceil((_wall(end, self.zone) + MARGIN - self.anchor) / self.every)
        found = []
        for number in range(first, last):
            for begins, ends in self._worked_periods(number):
                begin = first_instant(begins.date(), begins.time(), self.zone)
                stop = last_instant(ends.date(), ends.time(), self.zone)
                # A period that clocks are set forward over has no length.
                if begin < stop and begin < end and stop > start:
                    found.append(Shift(begin, stop, self._people(number)))
        return sorted(found, key=lambda it: (it.start, it.end))

    def _people(self, number: int) -> tuple[str, ...]:
        return self.turns[self._turns_before(number) % len(self.turns)]

    def _worked_periods(self, number: int) -> Iterator[Period]:
        """Yield the parts of a turn, on the wall clock, in which the layer applies."""
        begins, ends = self._turn(number)
        begins = max(begins, self.begins) if self.begins else begins
        ends = min(ends, self.until) if self.until else ends
        if begins < ends:
            yield from _restricted(self.restrictions, begins, ends)

    def _turn(self, number: int) -> Period:
        begins = self.anchor + number * self.every
        return begins, begins + self.every

    def _turns_before(self, number: int) -> int:
        """Return how many turns before one were worked: those in which the layer never applies are not counted."""
        cycles, place = divmod(number, len(self._cycle) - 1)
        return cycles * self._cycle[-1] + self._cycle[place] - (self._is_first_cut_off and number > 0)

    @cached_property
    def _cycle(self) -> Sequence[int]:
        """How many turns before each one of a cycle are worked: it begins again when turns and weeks coincide."""
        length = math.lcm(self.every // HOUR, WEEK // HOUR) * HOUR // self.every
        counts = [0]
        for number in range(length):
            counts.append(counts[-1] + any(True for _ in _restricted(self.restrictions, *self._turn(number))))
        return counts

    @cached_property
    def _is_first_cut_off(self) -> bool:
        """Whether nothing is left of the first turn's work, because the rotation begins later in it."""
        return self._cycle[1] == 1 and self.begins is not None and not any(True for _ in self._worked_periods(0))


def _restricted(restrictions: Sequence[Restriction], begins: datetime, ends: datetime) -> Iterator[Period]:
    """Yield the parts of a period on the wall clock that restrictions allow."""
    if not restrictions:
        yield begins, ends
        return
    day: date = begins.date() - DAY
    while day <= ends.date():
        for one in restrictions:
            if WEEKDAYS[day.weekday()] in one.days:
                last_day = day if one.ends > one.starts else day + DAY
                start, end = datetime.combine(day, one.starts), datetime.combine(last_day, one.ends)
                if max(start, begins) < min(end, ends):
                    yield max(start, begins), min(end, ends)
        day += DAY


def _wall(at: datetime, zone: ZoneInfo) -> datetime:
    """Return what clocks of a zone show at a time."""
    return at.astimezone(zone).replace(tzinfo=None)


def midnight(day: date, zone: ZoneInfo) -> datetime:
    """Return when a day begins in a zone."""
    return first_instant(day, time(), zone)
