"""What a schedule says: who is on call, the coming weeks, and what is wrong with it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from toban.oncall.rotation import Shift
from toban.oncall.schedule import FixedShifts, Schedule, StoredOverride
from toban.oncall.service import GAPS_AHEAD, OnCallService
from toban.oncall.settings import OnCallSettings


@dataclass(frozen=True, slots=True)
class CalendarStatus:
    """A calendar: when it was read last, why not since then, and what in it is not understood."""

    layer: str
    read: datetime | None
    error: str
    warnings: Sequence[str]


@dataclass(frozen=True, slots=True)
class OnCallReport:
    """The schedule at a time, and the shifts of a period."""

    at: datetime
    timezone: str
    has_schedule: bool
    """Whether there are layers; without them everybody is always on call."""
    on_call: Sequence[str]
    next_on_call: Sequence[str]
    next_change: datetime | None
    layers: Sequence[tuple[str, Sequence[Shift]]]
    final: Sequence[Shift]
    gaps: Sequence[tuple[datetime, datetime]]
    """The periods of the 30 days after that time in which nobody is on call."""
    overrides: Sequence[StoredOverride]
    """Those that have not ended, by their start."""
    calendars: Sequence[CalendarStatus]
    unreachable: Sequence[str]
    """People without a channel that pages."""


def on_call_report(
    service: OnCallService, channels: Mapping[str, bool], at: datetime, start: datetime, end: datetime
) -> OnCallReport:
    """Return who is on call at a time, and the shifts between two; ``channels`` say whether each of them pages."""
    schedule, duty, settings = service.schedule, service.duty, service.settings
    return OnCallReport(
        at,
        service.zone.key,
        bool(settings.layers),
        duty.on_call(at),
        duty.next_on_call(at),
        duty.next_change(at),
        [(it.name, _cut(schedule, it.shifts(start, end), start, end)) for it in schedule.layers],
        schedule.shifts(start, end),
        schedule.gaps(at, at + GAPS_AHEAD) if settings.layers else (),
        sorted((it for it in service.overrides if it.ends > at), key=lambda it: (it.starts, it.id)),
        [
            CalendarStatus(it.name, it.copy.read if it.copy else None, it.error, it.warnings)
            for it in service.calendars.values()
        ],
        unreachable_people(settings, channels),
    )


def _cut(schedule: Schedule, shifts: Sequence[Shift], start: datetime, end: datetime) -> list[Shift]:
    """Return the shifts of one layer without overlaps, cut at the ends of a period."""
    return Schedule((FixedShifts("", tuple(shifts)),), (), schedule.people).shifts(start, end)


def unreachable_people(settings: OnCallSettings, channels: Mapping[str, bool]) -> list[str]:
    """Return the people without a channel that pages: nothing wakes them."""
    return [
        name
        for name, person in settings.people.items()
        if not any(channels.get(channel) for channel in person.channels)
    ]


def schedule_problems(
    schedule: Schedule, settings: OnCallSettings, channels: Mapping[str, bool], zone: ZoneInfo, now: datetime
) -> list[str]:
    """Return what is wrong with a schedule, as `toban check` says it."""
    problems = []
    if settings.layers:
        gaps = schedule.gaps(now, now + GAPS_AHEAD)
        total = sum((end - start for start, end in gaps), timedelta())
        if gaps:
            start, end = gaps[0]
            start, end = start.astimezone(zone), end.astimezone(zone)
            first = f"the first one from {start:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M %Z}"
            problems.append(
                f"nobody is on call for {total / timedelta(hours=1):.1f} h of the next {GAPS_AHEAD.days} days, {first}:"
                " steps of escalations go to whoever is next, then to `on_call.fallback`"
            )
    if nameless := unreachable_people(settings, channels):
        problems.append(
            f"no channel that pages: {', '.join(nameless)}: name one in `on_call.people.{nameless[0]}.channels`, or say"
            " `pages: true` of a channel that wakes them"
        )
    return problems
