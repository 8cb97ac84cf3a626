"""A drill: each week something fires on purpose, and whether everybody heard of it is seen."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

import structlog
from cronsim import CronSim
from sqlalchemy import Connection

from toban.core.errors import StateError
from toban.core.metric_registry import MetricRegistry
from toban.core.ports import Clock, HealthStatus
from toban.core.samples import gauge
from toban.notify.settings import Drill
from toban.state import audit_log
from toban.state.database import State
from toban.state.quarantine import readable_rows

log = structlog.get_logger("toban.notify")

DUE: Final = gauge("toban_drill_due", "Whether a drill runs that a channel must hear of (1) or not (0).")
OK: Final = gauge("toban_drill_ok", "Whether the last drill reached a channel (1) or not (0).")
TOOK: Final = gauge("toban_drill_duration_seconds", "How long the last drill took to reach a channel.", "seconds")

ALERT: Final = "toban_drill"
"""The shipped rule that fires while a drill runs."""

LIMIT: Final = timedelta(minutes=10)
"""How long a channel may take to hear of it."""

LOOK: Final = 5.0
"""Seconds between two looks whether it was heard."""

Told = Callable[[str, str, datetime], Awaitable[bool]]
"""Tells whether a channel took a message about an alert since a time."""


class DrillService:
    """
    Lets a rule fire at set times, and looks whether its message arrives.

    That goes the whole way of an alert: a number is read, stored, judged, told, decided about and sent. What the last
    drill came to is kept through restarts, for the rule `toban_drill_failed`.
    """

    name = "drill"

    def __init__(
        self,
        settings: Drill,
        channels: Sequence[str],
        zone: ZoneInfo,
        told: Told,
        state: State,
        clock: Clock,
        meters: MetricRegistry,
    ) -> None:
        self.channels = channels
        """The channels that must hear of it."""
        self._settings = settings
        self._zone = zone
        self._told = told
        self._state = state
        self._clock = clock
        self._meters = meters
        self._last: dict[str, str] = {}
        self._wanted = asyncio.Event()

    async def run(self) -> None:
        """Drill at the set times, and when somebody asks, until cancelled."""
        try:
            await self._state.transaction(self._restore)
        except StateError as error:
            log.warning("what the last drill came to is not known", error=str(error))
        while True:
            await self._rest()
            self._wanted.clear()
            await self.once()

    def start(self) -> None:
        """Drill now."""
        self._wanted.set()

    async def _rest(self) -> None:
        """Wait for the next time, or for somebody who asks."""
        wanted = asyncio.create_task(self._wanted.wait())
        waits: list[asyncio.Task[Any]] = [wanted]
        if self._settings.enabled:
            now = self._clock.now()
            due = next(iter(CronSim(self._settings.cron, now.astimezone(self._zone)))).astimezone(UTC)
            waits.append(asyncio.create_task(self._pause((due - now).total_seconds())))
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waits:
                task.cancel()

    async def _pause(self, seconds: float) -> None:
        await self._clock.sleep(seconds)

    async def once(self) -> None:
        """Drill: let it fire, wait until all have heard of it or the time is over, and keep what came of it."""
        if not self.channels:
            return
        began, waiting, took = self._clock.now(), list(self.channels), dict[str, float]()
        try:
            for channel in waiting:
                self._meters.set(DUE, 1, channel=channel)
            while waiting and self._clock.now() - began < LIMIT:
                await self._clock.sleep(LOOK)
                for channel in tuple(waiting):
                    if await self._has_heard(channel, began):
                        waiting.remove(channel)
                        took[channel] = (self._clock.now() - began).total_seconds()
        finally:
            for channel in self.channels:
                self._meters.set(DUE, 0, channel=channel)
        if waiting:
            log.error("a drill did not arrive", channels=waiting)
        outcome = {channel: f"{took[channel]:.0f}" if channel in took else "" for channel in self.channels}
        self._show(outcome)
        try:
            await self._state.transaction(lambda connection: self._keep(connection, outcome))
        except StateError as error:
            log.warning("what the drill came to is not kept", error=str(error))

    async def _has_heard(self, channel: str, since: datetime) -> bool:
        try:
            return await self._told(ALERT, channel, since)
        except StateError:
            return False  # state is away: that a message left from memory can't be seen

    def _show(self, outcome: dict[str, str]) -> None:
        self._last = outcome
        for channel, seconds in outcome.items():
            self._meters.set(OK, bool(seconds), channel=channel)
            if seconds:
                self._meters.set(TOOK, float(seconds), channel=channel)

    def _keep(self, connection: Connection, outcome: dict[str, str]) -> None:
        audit_log.record(connection, self.name, "drilled", self._clock.now(), reached=outcome)

    def _restore(self, connection: Connection) -> None:
        def reached(entry: audit_log.AuditEntry) -> dict[str, str]:
            told = entry.facts.get("reached", {})
            seconds = {channel: told[channel] for channel in self.channels if channel in told}
            return {channel: f"{float(it):.0f}" if it else "" for channel, it in seconds.items()}

        for outcome in readable_rows(
            connection, audit_log.AUDIT_LOG, audit_log.recent(connection, 1, self.name), reached
        ):
            self._show(outcome)

    def health(self) -> HealthStatus:
        """Say what the last drill came to."""
        missed = sorted(channel for channel, seconds in self._last.items() if not seconds)
        if missed:
            return HealthStatus(False, f"the last drill did not reach {', '.join(missed)}")
        if self._last:
            return HealthStatus(True, f"the last drill reached {', '.join(sorted(self._last))}")
        return HealthStatus(True, "none yet" if self._settings.enabled else "none is planned", self._settings.enabled)
