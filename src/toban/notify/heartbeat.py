"""The heartbeat: a dead man's switch outside raises the alarm when toban no longer works."""

from collections.abc import Callable
from datetime import datetime
from typing import Final

import httpx2
import structlog

from toban.core.failure_log import FailureLog
from toban.core.http_client import error_reason, request_timeout
from toban.core.metric_registry import MetricRegistry
from toban.core.periodic import run_periodically
from toban.core.ports import Clock, HealthStatus
from toban.core.samples import counter
from toban.notify.settings import Heartbeat

log = structlog.get_logger("toban.notify")

RESPONSE_SECONDS: Final = 10.0
"""Seconds in which the URL must respond."""

HEARTBEATS: Final = counter(
    "toban_heartbeats_total", "Heartbeats by outcome (sent, failed, suppressed).", labels=("outcome",)
)


class HeartbeatService:
    """Requests an outside URL regularly, but only while toban works: ``missing`` names what does not."""

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
        self._failure = FailureLog(log, "heartbeat not sent", "heartbeat sent again")

    async def run(self) -> None:
        """Send heartbeats until cancelled."""
        await run_periodically(self.name, self._settings.interval, self.once, clock=self._clock, meters=self._meters)

    async def once(self) -> None:
        """Send a heartbeat, or hold it back and say why."""
        outcome, error = "suppressed", self._missing()
        if not error:
            outcome, error = await self._send()
        if error:
            self._failure.failed(error)
        else:
            self._failure.succeeded()
        self._meters.add(HEARTBEATS, outcome=outcome)

    async def _send(self) -> tuple[str, str]:
        try:
            # The body of the response is not read.
            async with (
                request_timeout(RESPONSE_SECONDS) as progress,
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
        """Return when the last heartbeat was sent, or why none is."""
        if error := self._failure.error:
            return HealthStatus(False, f"heartbeat not sent: {error}")
        return HealthStatus(True, f"sent at {self._last:%H:%M:%S} UTC" if self._last else "no heartbeat yet")
