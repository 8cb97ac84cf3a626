"""The on-call schedule as it is now: settings, overrides and swaps from state, calendars."""

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

import httpx2
import structlog
from sqlalchemy import Connection

from toban.core.errors import StateError
from toban.core.failure_log import FailureLog
from toban.core.metric_registry import MetricRegistry
from toban.core.periodic import run_periodically
from toban.core.ports import Clock, HealthStatus
from toban.core.samples import gauge
from toban.oncall import repository
from toban.oncall.calendar_reader import CalendarReader
from toban.oncall.calendar_source import CalendarCopy
from toban.oncall.duty import AlwaysOnDuty, Duty, ScheduledDuty
from toban.oncall.schedule import Schedule, StoredOverride, schedule_of
from toban.oncall.settings import OnCallSettings
from toban.state.database import State

log = structlog.get_logger("toban.oncall")

INTERVAL: Final = timedelta(minutes=1)
GAPS_AHEAD: Final = timedelta(days=30)
"""How far ahead gaps are looked for."""
RETENTION: Final = timedelta(days=400)
"""How long overrides are kept after they have ended."""
PRUNE_INTERVAL: Final = timedelta(hours=6)
SHOWN: Final = timedelta(days=35)
"""How long those that have ended belong to the schedule that is shown."""

NEXT_GAP: Final = gauge(
    "toban_oncall_next_gap_seconds",
    "Seconds until nobody is on call; absent where that does not happen within 30 days.",
    "seconds",
)
CALENDAR_AGE: Final = gauge(
    "toban_oncall_calendar_age_seconds",
    "Seconds since an on-call calendar was read successfully.",
    "seconds",
    labels=("layer",),
)


class OnCallService:
    """
    Keeps the schedule of one configuration up to date, and measures its gaps.

    While state is unavailable the overrides that it knows stay in force.
    """

    name = "on-call schedule"

    def __init__(
        self,
        settings: OnCallSettings,
        zone: ZoneInfo,
        state: State,
        http: httpx2.AsyncClient,
        clock: Clock,
        meters: MetricRegistry,
    ) -> None:
        self.settings = settings
        self.zone = zone
        self._state = state
        self._http = http
        self._clock = clock
        self._meters = meters
        self.calendars = calendar_readers(settings, zone)
        self.overrides: Sequence[StoredOverride] = ()
        self.schedule = schedule_of(settings, zone)
        self._pruned: datetime | None = None
        self._calendar_shifts: dict[int, tuple[object, ...]] = {}
        self._failure = FailureLog(log, "on-call overrides not read from state", "on-call overrides read again")
        self.duty: Duty = ScheduledDuty(lambda: self.schedule) if settings.layers else AlwaysOnDuty(settings.people)

    async def load(self) -> None:
        """Read the overrides and the copies of calendars from state."""
        if not self.settings.layers:
            return
        now = self._clock.now()

        def work(connection: Connection) -> tuple[Sequence[StoredOverride], Sequence[CalendarCopy]]:
            overrides = repository.overrides(connection, now - SHOWN)
            keys = [it.key for it in self.calendars.values()]
            return overrides, repository.calendars(connection, keys) if keys else ()

        try:
            overrides, copies = await self._state.transaction(work)
        except StateError as error:
            self._failure.failed(str(error))
            return
        self._failure.succeeded()
        by_key = {it.key: it for it in copies}
        for reader in self.calendars.values():
            if copy := by_key.get(reader.key):
                await reader.restore(copy, now)
        self._build(overrides, now)

    def _build(self, overrides: Sequence[StoredOverride], now: datetime) -> None:
        """Make the schedule anew, if something of it has changed."""
        shifts = {number: reader.shifts(now) for number, reader in self.calendars.items()}
        if overrides == self.overrides and shifts == self._calendar_shifts:
            return
        self.overrides, self._calendar_shifts = overrides, dict(shifts)
        in_force = [it.override for it in overrides if not it.is_open]
        self.schedule = schedule_of(self.settings, self.zone, in_force, shifts)

    async def run(self) -> None:
        """Keep the schedule up to date until cancelled."""
        await run_periodically(self.name, INTERVAL, self.once, clock=self._clock, meters=self._meters)

    async def once(self) -> None:
        """Read the calendars that are due and the overrides, and measure."""
        if not self.settings.layers:
            return
        now = self._clock.now()
        readers = list(self.calendars.values())
        was_read = await asyncio.gather(*(reader.read(self._http, now) for reader in readers))
        copies = [it.copy for it, is_read in zip(readers, was_read, strict=True) if is_read and it.copy]
        is_due = self._pruned is None or now - self._pruned >= PRUNE_INTERVAL
        if copies or is_due:
            await self._store(copies, now, prune=is_due)
        await self.load()
        self._build(self.overrides, now)
        self._measure(now)

    async def _store(self, copies: Sequence[CalendarCopy], now: datetime, *, prune: bool) -> None:
        keys = [it.key for it in self.calendars.values()]

        def work(connection: Connection) -> None:
            known = {it.key: it.content for it in repository.calendars(connection, keys)}
            for copy in copies:
                if known.get(copy.key) == copy.content:
                    repository.note_calendar_read(connection, copy.key, copy.read)
                else:
                    repository.save_calendar(connection, copy)
            if prune:
                repository.delete_calendars(connection, keys)
                repository.prune(connection, now - RETENTION)

        try:
            await self._state.transaction(work)
        except StateError as error:
            self._failure.failed(str(error))
            return
        self._pruned = now if prune else self._pruned

    def _measure(self, now: datetime) -> None:
        gap = next(iter(self.schedule.gaps(now, now + GAPS_AHEAD)), None)
        if gap:
            self._meters.set(NEXT_GAP, (gap[0] - now).total_seconds())
        else:
            self._meters.remove(NEXT_GAP)
        for reader in self.calendars.values():
            if reader.copy:
                self._meters.set(CALENDAR_AGE, (now - reader.copy.read).total_seconds(), layer=reader.name)

    def health(self) -> HealthStatus:
        """Return whether the schedule is what its sources say."""
        if not self.settings.layers:
            return HealthStatus(True, "no schedule: everybody is always on call (on_call.layers)", False)
        now = self._clock.now()
        if problem := next(filter(None, (it.problem(now) for it in self.calendars.values())), ""):
            return HealthStatus(False, problem)
        if self._failure.error:
            return HealthStatus(False, f"state unavailable, the known overrides stay in force: {self._failure.error}")
        people = ", ".join(self.duty.on_call(now))
        return HealthStatus(True, f"on call: {people}" if people else "nobody is on call")


def calendar_readers(settings: OnCallSettings, zone: ZoneInfo) -> dict[int, CalendarReader]:
    """Return the readers of the calendars of a schedule, by the numbers of their layers."""
    return {
        number: CalendarReader(settings.layer_name(number), layer, settings.people, zone, has_layer_below=number > 0)
        for number, layer in enumerate(settings.layers)
        if layer.calendar
    }


async def read_schedule(
    settings: OnCallSettings, zone: ZoneInfo, http: httpx2.AsyncClient, now: datetime
) -> tuple[Schedule, list[str]]:
    """Return the schedule of some settings without state, and what is wrong with its calendars."""
    readers = calendar_readers(settings, zone)
    await asyncio.gather(*(reader.read(http, now) for reader in readers.values()))
    problems = [problem for it in readers.values() for problem in (it.problem(now), *it.warnings) if problem]
    return schedule_of(settings, zone, (), {number: it.shifts(now) for number, it in readers.items()}), problems
