"""The on-call schedule: layers and overrides in, shifts out. Pure: no clock, no state."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Protocol
from zoneinfo import ZoneInfo

from toban.oncall.rotation import Rotation, Shift
from toban.oncall.settings import OnCallSettings


class ScheduleLayer(Protocol):
    """A layer of a schedule."""

    @property
    def name(self) -> str:
        """The name that is shown."""
        ...

    def shifts(self, start: datetime, end: datetime) -> list[Shift]:
        """Return the shifts that overlap a period, in order; they may overlap each other."""
        ...


@dataclass(frozen=True, slots=True)
class FixedShifts:
    """A layer whose shifts are written out, as in a calendar."""

    name: str
    written: tuple[Shift, ...] = ()

    def shifts(self, start: datetime, end: datetime) -> list[Shift]:
        """Return the shifts that overlap a period."""
        return [it for it in self.written if it.start < end and it.end > start]


@dataclass(frozen=True, slots=True)
class Override:
    """Somebody who is on call in a period: in place of one other person, or of everybody."""

    start: datetime
    end: datetime
    person: str
    instead_of: str = ""

    def applied(self, people: tuple[str, ...]) -> tuple[str, ...]:
        """Return who is on call after it, in place of some people."""
        if not self.instead_of:
            return (self.person,)
        return tuple(dict.fromkeys(self.person if it == self.instead_of else it for it in people))


@dataclass(frozen=True, slots=True)
class StoredOverride:
    """
    An override or a swap that somebody made.

    A swap is offered by ``instead_of``; ``person`` is empty until somebody takes it.
    """

    id: int
    starts: datetime
    ends: datetime
    decided: datetime
    """When it was made, or taken: a later one is applied after an earlier one."""
    person: str
    instead_of: str
    is_swap: bool
    created_by: str
    comment: str

    @property
    def is_open(self) -> bool:
        """Whether it is a swap that nobody has taken."""
        return self.is_swap and not self.person

    @property
    def override(self) -> Override:
        """What it means to the schedule."""
        return Override(self.starts, self.ends, self.person, self.instead_of)


@dataclass(frozen=True, slots=True)
class Schedule:
    """
    Layers, each above the one before it, and overrides above all, each applied after the one before it.

    In a gap of a layer the one below it shows through. ``people`` are those who can be on call: shifts and overrides of
    others do not count.
    """

    layers: tuple[ScheduleLayer, ...]
    overrides: tuple[Override, ...]
    people: frozenset[str]

    def shifts(self, start: datetime, end: datetime) -> list[Shift]:
        """Return who is on call in a period: in order, without overlaps, cut at its ends; without what is a gap."""
        layers = [_known(layer.shifts(start, end), self.people) for layer in self.layers]
        overrides = [it for it in self.overrides if it.start < end and it.end > start and it.person in self.people]
        cuts = {start, end}
        for layer in layers:
            cuts.update(at for it in layer for at in (it.start, it.end))
        cuts.update(at for it in overrides for at in (it.start, it.end))
        times = sorted(at for at in cuts if start <= at <= end)
        cursors = [_Cursor(layer) for layer in layers]
        found: list[Shift] = []
        for begins, ends in pairwise(times):
            on_layers = [cursor.people_at(begins) for cursor in cursors]
            people = next((it for it in reversed(on_layers) if it), ())
            for override in overrides:
                if override.start <= begins < override.end:
                    people = override.applied(people)
            if people:
                found.append(Shift(begins, ends, people))
        return _joined(found)

    def gaps(self, start: datetime, end: datetime) -> list[tuple[datetime, datetime]]:
        """Return the periods in which nobody is on call."""
        found, at = [], start
        for shift in self.shifts(start, end):
            if shift.start > at:
                found.append((at, shift.start))
            at = shift.end
        return [*found, (at, end)] if at < end else found


class _Cursor:
    """Walks along the shifts of a layer."""

    def __init__(self, shifts: Sequence[Shift]) -> None:
        self._coming = list(reversed(shifts))
        self._running: list[Shift] = []

    def people_at(self, at: datetime) -> tuple[str, ...]:
        """Return who is on call at a time, which is not before that of the last call."""
        while self._coming and self._coming[-1].start <= at:
            self._running.append(self._coming.pop())
        self._running = [it for it in self._running if it.end > at]
        return tuple(dict.fromkeys(person for it in self._running for person in it.people))


def _known(shifts: Iterable[Shift], people: Collection[str]) -> list[Shift]:
    """Return the shifts of people who can be on call, by their start."""
    found = [Shift(it.start, it.end, tuple(one for one in it.people if one in people)) for it in shifts]
    return sorted((it for it in found if it.people), key=lambda it: it.start)


def _joined(shifts: Iterable[Shift]) -> list[Shift]:
    """Join shifts of the same people that follow each other."""
    found: list[Shift] = []
    for shift in shifts:
        if found and found[-1].end == shift.start and found[-1].people == shift.people:
            found[-1] = Shift(found[-1].start, shift.end, shift.people)
        else:
            found.append(shift)
    return found


def schedule_of(
    settings: OnCallSettings,
    zone: ZoneInfo,
    overrides: Sequence[Override] = (),
    calendars: Mapping[int, Sequence[Shift]] | None = None,
) -> Schedule:
    """
    Return the schedule of some settings.

    ``overrides`` are those of state, above those of the settings; ``calendars`` has the shifts of the calendars by the
    numbers of their layers.
    """
    layers: list[ScheduleLayer] = []
    for number, layer in enumerate(settings.layers):
        name = settings.layer_name(number)
        if layer.calendar:
            layers.append(FixedShifts(name, tuple((calendars or {}).get(number, ()))))
        else:
            layers.append(Rotation.of(name, layer, zone))
    written = [Override(*it.period(zone), it.person, it.instead_of) for it in settings.overrides]
    return Schedule(tuple(layers), (*written, *overrides), frozenset(settings.people))
