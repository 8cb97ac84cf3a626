"""Requests to an engine of log lines: bounded, limited in time, counted, and with errors in its words."""

import asyncio
from collections.abc import Mapping
from datetime import timedelta
from typing import Final

import httpx2

from toban.core.backoff import retry_after
from toban.core.errors import BadQueryError, QueryTimeoutError, StoreError
from toban.core.http_client import error_reason, read_body, read_body_start
from toban.core.metric_registry import MetricRegistry
from toban.core.ports import Clock
from toban.core.redaction import redact_url
from toban.core.samples import counter, histogram
from toban.core.text_limits import safe_text
from toban.instruments.metric_families import FINE_BUCKETS
from toban.logs.outside.settings import OutsideLogSettings

REQUESTS: Final = counter(
    "toban_log_outside_requests_total",
    "Requests to the outside log engine, by outcome: answered, rejected (4xx), failed (5xx, 429, no response).",
    labels=("engine", "outcome"),
)
SECONDS: Final = histogram(
    "toban_log_outside_request_duration_seconds",
    "Duration of requests to the outside log engine.",
    FINE_BUCKETS,
    "seconds",
    labels=("engine",),
)

MAX_RESPONSE: Final = 16 * 2**20
"""Bytes of a response; a longer one is an error."""

MAX_ERROR: Final = 2_000
"""Bytes of an error response that are read."""

LONGEST_PAUSE: Final = 60.0
"""Seconds that the engine can ask for at most before the next request."""


class OutsideRequests:
    """Sends requests to one engine. After it has asked to wait (Retry-After), requests fail at once until then."""

    def __init__(
        self, settings: OutsideLogSettings, http: httpx2.AsyncClient, clock: Clock, meters: MetricRegistry
    ) -> None:
        self.shown = f"{settings.kind} at {redact_url(settings.url)}"
        self._settings = settings
        self._url = settings.url.rstrip("/")
        self._headers = settings.headers_for_request()
        self._http = http
        self._clock = clock
        self._meters = meters
        self._paused_until = 0.0
        self._pause_reason = ""

    async def post(
        self,
        path: str,
        form: Mapping[str, str],
        time_limit: timedelta | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> bytes:
        """
        Return the body of a response.

        Raises ``BadQueryError`` for a query that the engine rejects, ``QueryTimeoutError``, ``ResponseTooLargeError``,
        and ``StoreError`` when its lines can't be read at the moment.
        """
        limit = min(time_limit or self._settings.timeout, self._settings.timeout).total_seconds()
        started = self._clock.monotonic()
        if started < self._paused_until:
            raise StoreError(self._pause_reason)
        outcome = "failed"
        try:
            async with asyncio.timeout(limit):
                body = await self._post(path, form, headers or {})
            outcome = "answered"
            return body
        except BadQueryError:
            outcome = "rejected"
            raise
        except TimeoutError as error:
            raise QueryTimeoutError(
                f"{self.shown} did not respond within {limit:g} s (logs.outside.timeout)"
            ) from error
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            reason = safe_text(error_reason(error), self._settings.secrets())
            raise StoreError(f"{self.shown} is unreachable: {reason}") from error
        finally:
            self._meters.add(REQUESTS, engine=self._settings.kind, outcome=outcome)
            self._meters.observe(SECONDS, self._clock.monotonic() - started, engine=self._settings.kind)

    async def _post(self, path: str, form: Mapping[str, str], headers: Mapping[str, str]) -> bytes:
        sent = {**self._headers, **headers}
        async with self._http.stream(
            "POST", f"{self._url}{path}", data=dict(form), headers=sent, timeout=None
        ) as response:
            if response.is_success:
                return await read_body(response, MAX_RESPONSE)
            start = await read_body_start(response, MAX_ERROR)
        text = safe_text(start.decode("utf-8", "replace"), self._settings.secrets())
        message = f"{self.shown} answered {response.status_code}{f': {text}' if text else ''}"
        if response.status_code in {401, 403}:
            raise StoreError(f"{message}: check logs.outside.auth and logs.outside.tenant")
        if response.status_code == 404:
            raise StoreError(f"{message}: is logs.outside.url that of a {self._settings.kind}, without a path?")
        if response.status_code in {400, 422}:
            raise BadQueryError(message)
        if response.status_code == 429:
            self._pause(message, response.headers.get("retry-after", ""))
        raise StoreError(message)

    def _pause(self, message: str, header: str) -> None:
        seconds = retry_after(header, self._clock.now())
        if seconds:
            self._paused_until = self._clock.monotonic() + min(seconds, LONGEST_PAUSE)
            self._pause_reason = message
