"""A sink sends log lines elsewhere."""

import asyncio
import gzip
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, ClassVar, Final

import httpx2
import orjson

from toban.core.backoff import RETRYABLE_STATUSES, retry_after
from toban.core.config_types import Duration
from toban.core.connection_check import ConnectionCheck
from toban.core.errors import DeliveryError, ResponseTooLargeError
from toban.core.http_client import error_reason, read_body_start, request_timeout
from toban.core.log_line import LogLevel
from toban.core.plugins import Plugin, PluginRegistry
from toban.core.ports import Clock
from toban.core.redaction import redact_url
from toban.core.text_limits import safe_text
from toban.logs.line_store import StoredLine

MAX_RESPONSE: Final = 2**20
"""Bytes of a response that are read: a bulk request is answered line by line."""

CHECK_SECONDS: Final = 10.0
"""Seconds that `toban check` waits for a receiver."""

REMEDIES: Final = {
    401: ": check the key or the password",
    403: ": check what the key or the user may do",
    404: ": check the URL: it is that of the server, without a path",
    429: ": the service has too many requests: try again later",
}
"""What to do, by status."""

WAITING_STATUSES: Final = frozenset({401, 403, 404, 405, 407})
"""Statuses below 500 that are no fault of the lines: they wait until somebody mends the settings."""


class UnansweredError(DeliveryError):
    """No response said whether the receiver has the lines."""


class LinesRejectedError(Exception):
    """The receiver will never take these lines as they are, at least one of them; ``reason`` says why, in a word."""

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class SinkTools:
    """What every sink may use."""

    http: httpx2.AsyncClient
    clock: Clock


class Sink(Plugin, ABC):
    """Sends lines to one place, in the order of their numbers."""

    max_lines: ClassVar[int] = 500
    """How many lines go at once."""

    max_age: ClassVar[timedelta | None] = None
    """How old a line may be for the receiver to take it."""

    level: LogLevel = LogLevel.DEBUG
    """Lines of this level and more severe ones are sent."""

    timeout: Duration = timedelta(seconds=30)
    """How long the receiver may take to respond."""

    @abstractmethod
    async def ship(self, lines: Sequence[StoredLine], tools: SinkTools) -> Mapping[str, int]:
        """
        Send lines; return how many of them the receiver rejected, by reason: the others it has.

        Raises ``DeliveryError`` when it may work later, and ``LinesRejectedError`` when the lines, or one of them, will
        never be taken: then they are sent in smaller parts.
        """

    @abstractmethod
    async def check_connection(self, tools: SinkTools) -> ConnectionCheck:
        """Try it as far as that goes without sending a line, for `toban check`. Raises nothing of its own."""

    async def close(self) -> None:
        """Close what it has opened."""
        return


@dataclass(frozen=True, slots=True)
class SinkRequest:
    """A request that holds lines; its body is compressed when it is sent."""

    url: str
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    content_type: str = "application/json"


@dataclass(frozen=True, slots=True)
class SinkProbe:
    """
    A request that stores nothing, and what its success proves.

    ``understood`` are statuses with which the receiver says that it knows the sender, and why it does nothing: what its
    response must contain then, for a proxy has other reasons.
    """

    request: SinkRequest
    proves: str
    method: str = "POST"
    understood: Mapping[int, str] = field(default_factory=dict)


class HttpSink(Sink, ABC):
    """Sends lines by HTTP: 413 makes the parts smaller, 408, 425, 429, 5xx and silence are tried again."""

    max_bytes: ClassVar[int] = 4_000_000
    """Bytes of a body before it is compressed."""

    compresses: ClassVar[bool] = True
    """Whether the receiver takes gzip."""

    @abstractmethod
    def request(self, lines: Sequence[StoredLine]) -> SinkRequest:
        """Return the request for lines."""

    @abstractmethod
    def probe(self) -> SinkProbe | str:
        """Return the request that tries the receiver; where it has none, what is known without one."""

    @abstractmethod
    def secrets(self) -> Sequence[str]:
        """Return what no error may show."""

    async def check_connection(self, tools: SinkTools) -> ConnectionCheck:
        """Send the request that stores nothing."""
        probe = self.probe()
        if isinstance(probe, str):
            return ConnectionCheck(ok=True, message=probe)
        request, shown = probe.request, redact_url(probe.request.url)
        seconds = min(self.timeout.total_seconds(), CHECK_SECONDS)
        sent = {**({"content-type": request.content_type} if request.body else {}), **request.headers}
        try:
            async with (
                request_timeout(seconds) as progress,
                tools.http.stream(
                    probe.method,
                    request.url,
                    content=request.body or None,
                    headers=sent,
                    timeout=progress.timeout,
                    extensions={"trace": progress.trace},
                ) as response,
            ):
                received = await read_body_start(response, 500)
        except (httpx2.HTTPError, httpx2.InvalidURL, TimeoutError) as error:
            reason = safe_text(error_reason(error), self.secrets())
            return ConnectionCheck(ok=False, message=f"{shown}: {reason}: check the address")
        content = received.decode("utf-8", "replace")
        is_understood = any(response.status_code == it and part in content for it, part in probe.understood.items())
        if response.is_success or is_understood:
            return ConnectionCheck(ok=True, message=probe.proves)
        text = safe_text(content, self.secrets())
        answered = f"{shown} answered {response.status_code}{f': {text}' if text else ''}"
        return ConnectionCheck(ok=False, message=f"{answered}{REMEDIES.get(response.status_code, '')}")

    def rejected(self, response: Any, lines: Sequence[StoredLine]) -> Mapping[str, int]:
        """
        Return how many lines a successful response rejects, by reason. Raises like ``ship``.

        ``response`` is its body, read as JSON; nothing where it is none.
        """
        return {}

    async def ship(self, lines: Sequence[StoredLine], tools: SinkTools) -> Mapping[str, int]:
        """Send lines."""
        request = await asyncio.to_thread(self.request, lines)
        if len(request.body) > self.max_bytes:
            raise LinesRejectedError(f"{self.name}: the lines have {len(request.body)} bytes", "too_large")
        sent = {"content-type": request.content_type, **request.headers}
        body = request.body
        if self.compresses:
            body = await asyncio.to_thread(gzip.compress, request.body, 5)
            sent["content-encoding"] = "gzip"
        seconds = self.timeout.total_seconds()
        shown = redact_url(request.url)
        try:
            async with (
                asyncio.timeout(seconds),
                tools.http.stream("POST", request.url, content=body, headers=sent, timeout=seconds) as response,
            ):
                received = await read_body_start(response, MAX_RESPONSE)
        except (httpx2.HTTPError, httpx2.InvalidURL, TimeoutError, ResponseTooLargeError) as error:
            is_sent = not isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout | httpx2.InvalidURL)
            failure = UnansweredError if is_sent else DeliveryError
            raise failure(f"{shown}: {safe_text(error_reason(error), self.secrets())}") from None
        if response.is_success:
            return self.rejected(_json(received), lines)
        text = safe_text(received[:500].decode("utf-8", "replace"), self.secrets())
        message = f"{shown} answered {response.status_code}{f': {text}' if text else ''}"
        if response.status_code == 413:
            raise LinesRejectedError(message, "too_large")
        is_retryable = response.status_code in RETRYABLE_STATUSES | WAITING_STATUSES
        if response.status_code >= 500 or response.status_code < 400 or is_retryable:
            headers = response.headers
            # Datadog says in how many seconds its limit begins anew.
            wait = headers.get("retry-after") or headers.get("x-ratelimit-reset") or ""
            raise DeliveryError(message, after=retry_after(wait, tools.clock.now()))
        raise LinesRejectedError(message, "rejected")


def _json(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except ValueError:
        return None


SINKS: Final = PluginRegistry("toban.logs.sinks", Sink, "log sink")  # type: ignore[type-abstract]  # kinds are subclasses
