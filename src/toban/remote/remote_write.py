"""Remote write: sends appended samples to a remote engine."""

import asyncio
import random
from collections.abc import Sequence
from datetime import datetime
from typing import Final

import httpx2
import structlog

from toban.core.backoff import RETRYABLE_STATUSES, retry_after, retry_delay
from toban.core.errors import DeliveryError, StoreError
from toban.core.failure_log import FailureLog
from toban.core.http_client import error_reason, read_body_start
from toban.core.metric_registry import MetricRegistry
from toban.core.ports import Clock, HealthStatus, SampleLog
from toban.core.redaction import redact_url
from toban.core.samples import Batch, counter, gauge, moment
from toban.remote.remote_write_model import HEADERS
from toban.remote.settings import RemoteSettings

log = structlog.get_logger("toban.remote")

SENT: Final = counter("toban_remote_write_samples_total", "Samples that the remote engine accepted.")
REJECTED: Final = counter(
    "toban_remote_write_samples_failed_total", "Samples in requests that the remote engine rejected."
)
DROPPED: Final = counter(
    "toban_remote_write_samples_dropped_total",
    "Samples that became too old or too many before they could be sent.",
)
LAG: Final = gauge("toban_remote_write_lag_seconds", "Age of the oldest sample that was not sent yet.", "seconds")

REQUEST_SAMPLES: Final = 10_000
"""How many samples go into one request, as a rule."""

IDLE: Final = 1.0
"""Seconds between two checks for something to send."""

REQUEST_SECONDS: Final = 30.0
"""Seconds that a request may take."""

ERROR_BYTES: Final = 200
"""How many bytes of an error response are read and shown."""

LATE: Final = 120
"""Seconds after which waiting samples are reported."""


class EmptySampleLog:
    """A ``SampleLog`` without samples."""

    dropped = 0

    def pending(self, samples: int) -> list[tuple[int, Batch]]:
        """Return nothing."""
        return []

    def commit(self, sequence: int) -> None:
        """Do nothing: nothing was sent."""


class RemoteWriteService:
    """
    Sends appended samples by remote write, in order, from a cursor in the store.

    While the remote engine does not respond, samples wait in the store; what it rejects permanently is logged, counted
    and skipped.
    """

    name = "remote"

    def __init__(
        self,
        settings: RemoteSettings,
        source: SampleLog,
        http: httpx2.AsyncClient,
        clock: Clock,
        meters: MetricRegistry,
    ) -> None:
        self._url = settings.write_url or ""
        self._shown = redact_url(self._url)
        self._headers = HEADERS | settings.auth.headers_for_request()
        self._source = source
        self._http = http
        self._clock = clock
        self._meters = meters
        from toban.remote.remote_write_protobuf import Encoder

        self._encoder = Encoder(settings.labels)
        self._failure = FailureLog(log, "remote write failed, samples wait", "remote write recovered", url=self._shown)
        self._rejection = ""
        self._oldest: datetime | None = None
        self._attempts = 0
        self._dropped = 0

    async def run(self) -> None:
        """Send until cancelled."""
        while True:
            await self._clock.sleep(await self.once())

    async def once(self) -> float:
        """Send one request of pending samples; return how many seconds to wait for the next."""
        try:
            pending = await asyncio.to_thread(self._source.pending, REQUEST_SAMPLES)
            self._update_lag(pending)
            if not pending:
                return IDLE
            body, count = await asyncio.to_thread(self._encoder.encode, [batch for _, batch in pending])
            if count:
                self._count(await self.send(body), count)
            await asyncio.to_thread(self._source.commit, pending[-1][0])
        except StoreError as error:
            # What was sent counts as sent; the store reports its own health.
            log.debug("remote write cursor not readable or writable", error=str(error))
            return IDLE
        except DeliveryError as error:
            self._attempts += 1
            self._failure.failed(str(error))
            wait = retry_delay(self._attempts, error.after, random.random())  # noqa: S311  # spreading retries is no secret
            return min(wait.total_seconds(), 60.0) if error.after is None else wait.total_seconds()
        self._failure.succeeded()
        self._attempts = 0
        return 0.0

    def health(self) -> HealthStatus:
        """Return whether samples are sent, and since when they wait."""
        since = f"samples wait since {self._oldest:%Y-%m-%d %H:%M:%S} UTC" if self._oldest else ""
        if error := self._failure.error:
            return HealthStatus(False, f"{error}; {since}")
        if self._oldest and (self._clock.now() - self._oldest).total_seconds() > LATE:
            return HealthStatus(True, f"catching up: {since}")
        if self._rejection:
            return HealthStatus(True, f"samples are sent; some were rejected: {self._rejection}")
        return HealthStatus(True, "samples are sent without delay")

    async def send(self, body: bytes) -> str:
        """
        Send a request; return the error when the engine rejects it permanently, an empty text when it accepts it.

        Raises ``DeliveryError`` when it may work later.
        """
        try:
            async with (
                asyncio.timeout(REQUEST_SECONDS),
                self._http.stream(
                    "POST", self._url, content=body, headers=self._headers, timeout=REQUEST_SECONDS
                ) as response,
            ):
                if response.is_success:
                    return ""
                excerpt = (await read_body_start(response, ERROR_BYTES)).decode(errors="replace")
        except (httpx2.HTTPError, httpx2.InvalidURL, TimeoutError) as error:
            raise DeliveryError(f"remote write: {self._shown}: {error_reason(error)}") from error
        status, text = response.status_code, " ".join(excerpt.split())
        message = f"{self._shown} answered {status}{f': {text}' if text else ''}"
        # A wrong URL or key is no fault of these samples: they wait until somebody fixes it.
        if status >= 500 or status in RETRYABLE_STATUSES or 300 <= status < 400 or status in {401, 403, 404, 405}:
            after = retry_after(response.headers.get("retry-after", ""), self._clock.now())
            raise DeliveryError(f"remote write: {message}", after=after)
        return message

    async def check_connection(self) -> str:
        """Send a request without samples; return the error, or an empty text."""
        try:
            return await self.send(self._encoder.encode([])[0])
        except DeliveryError as error:
            return str(error)

    def _count(self, rejection: str, samples: int) -> None:
        self._meters.add(REJECTED if rejection else SENT, samples)
        if rejection and not self._rejection:
            log.warning("samples rejected", error=rejection)
        self._rejection = rejection

    def _update_lag(self, pending: Sequence[tuple[int, Batch]]) -> None:
        self._oldest = moment(min(batch.at for _, batch in pending)) if pending else None
        lag = (self._clock.now() - self._oldest).total_seconds() if self._oldest else 0.0
        self._meters.set(LAG, max(0.0, lag))
        dropped = self._source.dropped
        self._meters.add(DROPPED, dropped - self._dropped)
        if dropped > self._dropped:
            log.warning("samples dropped before they could be sent", samples=dropped - self._dropped)
        self._dropped = dropped
