"""Numbers on their way to the outside engine."""

import asyncio
import random
from collections.abc import Sequence
from datetime import datetime
from typing import Final

import httpx2
import structlog

from toban.core.backoff import AGAIN, retry_after, retry_delay
from toban.core.errors import DeliveryError, StoreError
from toban.core.http_client import beginning, error_reason
from toban.core.metric_registry import MetricRegistry
from toban.core.ports import Clock, HealthStatus, SampleLog
from toban.core.redaction import redact_url
from toban.core.samples import Batch, counter, gauge, moment
from toban.remote.remote_write_model import HEADERS
from toban.remote.settings import RemoteSettings

log = structlog.get_logger("toban.remote")

SENT: Final = counter("toban_remote_write_samples_total", "Numbers that the outside engine took.")
REFUSED: Final = counter(
    "toban_remote_write_samples_failed_total", "Numbers in requests that the outside engine refused."
)
OVERTAKEN: Final = counter(
    "toban_remote_write_samples_dropped_total", "Numbers that got too old or too many before they could be sent."
)
BEHIND: Final = gauge(
    "toban_remote_write_lag_seconds", "How old the oldest number is that was not sent yet.", "seconds"
)

AT_ONCE: Final = 10_000
"""How many samples go into one request, as a rule."""

IDLE: Final = 1.0
"""Seconds between two looks for something to send."""

PATIENCE: Final = 30.0
"""Seconds that a request may take."""

SAID: Final = 200
"""How many bytes of a refusal are read and told."""

LATE: Final = 120
"""Seconds after which waiting numbers are no longer usual."""


class EmptySampleLog:
    """A ``SampleLog`` in which nothing waits."""

    dropped = 0

    def pending(self, samples: int) -> list[tuple[int, Batch]]:
        """Return nothing."""
        return []

    def commit(self, turn: int) -> None:
        """Nothing was passed on."""


class RemoteWriteService:
    """
    Sends what is appended by remote write, in order, from a cursor in the store.

    While the outside engine does not answer, numbers wait where they are; what it refuses for good is told, counted and
    passed over.
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
        self._trouble = ""
        self._refusal = ""
        self._oldest: datetime | None = None
        self._tries = 0
        self._overtaken = 0

    async def run(self) -> None:
        """Send until cancelled."""
        while True:
            await self._clock.sleep(await self.once())

    async def once(self) -> float:
        """Send what waits, one request of it; return how many seconds to rest."""
        try:
            waiting = await asyncio.to_thread(self._source.pending, AT_ONCE)
            self._note(waiting)
            if not waiting:
                return IDLE
            body, many = await asyncio.to_thread(self._encoder.encode, [batch for _, batch in waiting])
            if many:
                self._count(await self.send(body), many)
            await asyncio.to_thread(self._source.commit, waiting[-1][0])
        except StoreError as error:
            # What was sent counts as sent; the store says how it is.
            log.debug("the cursor could not be read or written", error=str(error))
            return IDLE
        except DeliveryError as error:
            self._tries += 1
            if not self._trouble:
                log.warning("numbers wait", error=str(error))
            self._trouble = str(error)
            wait = retry_delay(self._tries, error.after, random.random())  # noqa: S311  # spreading retries is no secret
            return min(wait.total_seconds(), 60.0) if error.after is None else wait.total_seconds()
        if self._trouble:
            log.info("numbers are taken again")
        self._trouble, self._tries = "", 0
        return 0.0

    def health(self) -> HealthStatus:
        """Say whether numbers leave, and since when they wait."""
        since = f"numbers wait since {self._oldest:%Y-%m-%d %H:%M:%S} UTC" if self._oldest else ""
        if self._trouble:
            return HealthStatus(False, f"{self._trouble}; {since}")
        if self._oldest and (self._clock.now() - self._oldest).total_seconds() > LATE:
            return HealthStatus(True, f"catching up: {since}")
        if self._refusal:
            return HealthStatus(True, f"numbers leave; some were refused: {self._refusal}")
        return HealthStatus(True, "numbers leave as they come")

    async def send(self, body: bytes) -> str:
        """
        Send a request; return what the engine says when it refuses it for good, nothing when it took it.

        Raises ``DeliveryError`` when it may work later.
        """
        try:
            async with (
                asyncio.timeout(PATIENCE),
                self._http.stream("POST", self._url, content=body, headers=self._headers, timeout=PATIENCE) as response,
            ):
                if response.is_success:
                    return ""
                words = (await beginning(response, SAID)).decode(errors="replace")
        except (httpx2.HTTPError, httpx2.InvalidURL, TimeoutError) as error:
            raise DeliveryError(f"remote write: {self._shown}: {error_reason(error)}") from error
        status, said = response.status_code, " ".join(words.split())
        trouble = f"{self._shown} answered {status}{f': {said}' if said else ''}"
        # A wrong address or key is no fault of these numbers: they wait until somebody mends it.
        if status >= 500 or status in AGAIN or 300 <= status < 400 or status in {401, 403, 404, 405}:
            after = retry_after(response.headers.get("retry-after", ""), self._clock.now())
            raise DeliveryError(f"remote write: {trouble}", after=after)
        return trouble

    async def check_connection(self) -> str:
        """Send a request without numbers; return what is wrong, or nothing."""
        try:
            return await self.send(self._encoder.encode([])[0])
        except DeliveryError as error:
            return str(error)

    def _count(self, refusal: str, many: int) -> None:
        self._meters.add(REFUSED if refusal else SENT, many)
        if refusal and not self._refusal:
            log.warning("numbers were refused", error=refusal)
        self._refusal = refusal

    def _note(self, waiting: Sequence[tuple[int, Batch]]) -> None:
        self._oldest = moment(min(batch.at for _, batch in waiting)) if waiting else None
        behind = (self._clock.now() - self._oldest).total_seconds() if self._oldest else 0.0
        self._meters.set(BEHIND, max(0.0, behind))
        overtaken = self._source.dropped
        self._meters.add(OVERTAKEN, overtaken - self._overtaken)
        if overtaken > self._overtaken:
            log.warning("numbers were let go of before they could be sent", samples=overtaken - self._overtaken)
        self._overtaken = overtaken
