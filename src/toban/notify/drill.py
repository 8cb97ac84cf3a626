"""The drill: each week an alert fires on purpose, and its delivery is checked on every channel."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

import structlog
from sqlalchemy import Connection

from toban.core.actor import DRILL, Actor
from toban.core.errors import NotFoundError, StateError
from toban.core.metric_registry import MetricRegistry
from toban.core.ports import Clock, HealthStatus
from toban.core.samples import gauge
from toban.core.schedule import next_occurrence
from toban.core.wakeup import Wakeup
from toban.notify.settings import Drill
from toban.state import audit_log
from toban.state.audit_log import AuditEntry
from toban.state.database import State
from toban.state.quarantine import readable_rows

log = structlog.get_logger("toban.notify")

DUE: Final = gauge(
    "toban_drill_due", "Whether a drill is running that a channel must deliver (1) or not (0).", labels=("channel",)
)
OK: Final = gauge("toban_drill_ok", "Whether the last drill reached a channel (1) or not (0).", labels=("channel",))
TOOK: Final = gauge(
    "toban_drill_duration_seconds", "How long the last drill took to reach a channel.", "seconds", labels=("channel",)
)

ALERT: Final = "toban_drill"
"""The shipped rule that fires while a drill runs."""

LIMIT: Final = timedelta(minutes=10)
"""How long a channel may take to deliver it."""

CHECK_SECONDS: Final = 5.0
"""Seconds between two checks whether it was delivered."""

WasDelivered = Callable[[str, str, datetime], Awaitable[bool]]
"""Tells whether a channel accepted a message about an alert since a time."""


class DrillService:
    """
    Lets a rule fire at set times, and checks whether its notification is delivered.

    That goes the whole way of an alert: collection, storage, evaluation, event log, notification pipeline, delivery.
    The result of the last drill survives restarts, for the rule `toban_drill_failed`.
    """

    name = "drill"

    def __init__(
        self,
        settings: Drill,
        channels: Sequence[str],
        zone: ZoneInfo,
        was_delivered: WasDelivered,
        state: State,
        clock: Clock,
        meters: MetricRegistry,
    ) -> None:
        self.channels = channels
        """The channels that must deliver it."""
        self._settings = settings
        self._zone = zone
        self._was_delivered = was_delivered
        self._state = state
        self._clock = clock
        self._meters = meters
        self._last: dict[str, str] = {}
        self._requested = Wakeup(clock)

    async def run(self) -> None:
        """Run a drill at the scheduled times, and when somebody starts one, until cancelled."""
        try:
            await self._state.transaction(self._restore)
        except StateError as error:
            log.warning("result of the last drill not loaded", error=str(error))
        while True:
            await self._requested.wait(self._until_due())
            await self.once()

    async def start(self, actor: Actor) -> None:
        """Start a drill now. Raises ``NotFoundError`` where no channel must deliver it, ``StateError``."""
        if not self.channels:
            raise NotFoundError("no channel to reach with a drill: set notify.drill.channels, or configure a channel")
        entry = AuditEntry(self._clock.now(), actor, "started a drill", {"channels": list(self.channels)})
        await self._state.transaction(lambda connection: audit_log.record(connection, entry))
        self._requested.set()

    def _until_due(self) -> float | None:
        """Return how many seconds to wait for the next scheduled time; None where none is scheduled."""
        if not self._settings.enabled:
            return None
        now = self._clock.now()
        return (next_occurrence(self._settings.cron, self._zone, now) - now).total_seconds()

    async def once(self) -> None:
        """Run a drill: let it fire, wait until all channels delivered it or the time is over, store the result."""
        if not self.channels:
            return
        started, waiting, took = self._clock.now(), list(self.channels), dict[str, float]()
        try:
            for channel in waiting:
                self._meters.set(DUE, 1, channel=channel)
            while waiting and self._clock.now() - started < LIMIT:
                await self._clock.sleep(CHECK_SECONDS)
                for channel in tuple(waiting):
                    if await self._is_delivered(channel, started):
                        waiting.remove(channel)
                        took[channel] = (self._clock.now() - started).total_seconds()
        finally:
            for channel in self.channels:
                self._meters.set(DUE, 0, channel=channel)
        if waiting:
            log.error("drill not delivered", channels=waiting)
        result = {channel: f"{took[channel]:.0f}" if channel in took else "" for channel in self.channels}
        self._show(result)
        try:
            await self._state.transaction(lambda connection: self._store(connection, result))
        except StateError as error:
            log.warning("result of the drill not stored", error=str(error))

    async def _is_delivered(self, channel: str, since: datetime) -> bool:
        try:
            return await self._was_delivered(ALERT, channel, since)
        except StateError:
            return False  # deliveries from memory are not recorded

    def _show(self, result: dict[str, str]) -> None:
        self._last = result
        for channel, seconds in result.items():
            self._meters.set(OK, bool(seconds), channel=channel)
            if seconds:
                self._meters.set(TOOK, float(seconds), channel=channel)

    def _store(self, connection: Connection, result: dict[str, str]) -> None:
        audit_log.record(connection, AuditEntry(self._clock.now(), DRILL, "drilled", {"reached": result}))

    def _restore(self, connection: Connection) -> None:
        def reached(entry: AuditEntry) -> dict[str, str]:
            stored = entry.facts.get("reached", {})
            seconds = {channel: stored[channel] for channel in self.channels if channel in stored}
            return {channel: f"{float(it):.0f}" if it else "" for channel, it in seconds.items()}

        for result in readable_rows(
            connection, audit_log.AUDIT_LOG, audit_log.recent(connection, 1, actor=DRILL.name), reached
        ):
            self._show(result)

    def health(self) -> HealthStatus:
        """Return the result of the last drill."""
        missed = sorted(channel for channel, seconds in self._last.items() if not seconds)
        if missed:
            return HealthStatus(False, f"the last drill did not reach {', '.join(missed)}")
        if self._last:
            return HealthStatus(True, f"the last drill reached {', '.join(sorted(self._last))}")
        return HealthStatus(
            True, "no drill yet" if self._settings.enabled else "drills are disabled", self._settings.enabled
        )
