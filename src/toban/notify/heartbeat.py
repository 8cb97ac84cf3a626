"""Who watches toban: an address that misses it when it is silent."""

from collections.abc import Callable
from datetime import datetime
from typing import Final

import httpx2
import structlog

from toban.core.http_client import error_reason, within
from toban.core.metric_registry import MetricRegistry
from toban.core.periodic import run_periodically
from toban.core.ports import Clock, HealthStatus
from toban.core.samples import counter
from toban.notify.settings import Heartbeat

log = structlog.get_logger("toban.notify")

PATIENCE: Final = 10.0
"""Seconds in which it must answer."""

BEATS: Final = counter("toban_heartbeats_total", "Heartbeats by how they ended.")


class HeartbeatService:
    """
    Asks an outside address regularly, but only while all is as it should be: ``missing`` names what is not.

    A heartbeat that leaves although nobody is judged or told would be a lie.
    """

    name = "heartbeat"

    def __init__(
        self,
        settings: Heartbeat,
        missing: Callable[[], str],
        http: httpx2.AsyncClient,
        clock: Clock,
        meters: MetricRegistry,
    ) -> None:
        self._settings = settings
        self._missing = missing
        self._http = http
        self._clock = clock
        self._meters = meters
        self._last: datetime | None = None
        self._trouble = ""

    async def run(self) -> None:
        """Beat until cancelled."""
        await run_periodically(self.name, self._settings.interval, self.once, clock=self._clock, meters=self._meters)

    async def once(self) -> None:
        """Beat once, or hold the beat back and say why."""
        trouble = self._missing()
        outcome = "held back"
        if not trouble:
            outcome, trouble = await self._asked()
        if trouble and trouble != self._trouble:
            log.warning("no heartbeat", why=trouble)
        self._trouble = trouble
        self._meters.add(BEATS, outcome=outcome)

    async def _asked(self) -> tuple[str, str]:
        try:
            # What it says beside its status is not read.
            async with (
                within(PATIENCE) as progress,
                self._http.stream(
                    "GET", self._settings.url, timeout=progress.timeout, extensions={"trace": progress.trace}
                ) as response,
            ):
                pass
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError) as error:
            return "failed", error_reason(error)
        if not response.is_success:
            return "failed", f"answered {response.status_code}"
        self._last = self._clock.now()
        return "sent", ""

    def health(self) -> HealthStatus:
        """Say when it last left, or why it does not."""
        if self._trouble:
            return HealthStatus(False, f"no heartbeat leaves: {self._trouble}")
        return HealthStatus(True, f"left at {self._last:%H:%M:%S} UTC" if self._last else "not yet")
