"""The collector `http`: one request."""

import asyncio
import codecs
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlsplit

import httpx2
import orjson
from pydantic import AfterValidator, Field

from toban.collect.collector import Collector, ScrapeResult
from toban.collect.collectors.http.charsets import decode_page
from toban.collect.collectors.http.terminus import health_error
from toban.collect.tools import HasHttp
from toban.core.config_types import Address, Body, Duration, Secret
from toban.core.errors import BadQueryError, CollectError
from toban.core.http_client import (
    NAME_NOT_RESOLVED,
    NO_CONNECTION,
    RequestProgress,
    error_reason,
    follow_redirects,
    read_body_start,
    request_timeout,
)
from toban.core.matchers import compile_regex
from toban.core.ports import Clock
from toban.core.samples import gauge

STATUS: Final = gauge("probe_http_status_code", "Status code of the response.")
DURATION: Final = gauge("probe_duration_seconds", "Duration of the whole probe.", "seconds")
PHASES: Final = gauge(
    "probe_http_duration_seconds", "Duration of each phase of the request.", "seconds", labels=("phase",)
)
LENGTH: Final = gauge("probe_http_uncompressed_body_length", "Bytes of the body that were read, decompressed.")

MAX_BODY: Final = 1_000_000
"""Bytes of a body that are read."""

OK: Final = 200

EVENTS: Final = {
    "connection.connect_tcp": "connect",
    "connection.start_tls": "tls",
    "http11.receive_response_headers": "processing",
    "http11.receive_response_body": "transfer",
}
"""The HTTP client's trace events, and the phases as Prometheus' blackbox exporter calls them."""


def _expression(text: str) -> str:
    try:
        compile_regex(text)
    except BadQueryError as error:
        raise ValueError(str(error)) from error
    return text


Expression = Annotated[str, AfterValidator(_expression)]


class Http(Collector):
    """
    Send one request and measure the response.

    The target is down when the status is not expected, or when the body does not contain what it should: a GraphQL API
    that returns 200 with `errors` is down with `absent: errors`. When a health endpoint returns an error in the format
    of Terminus, as NestJS programs do, the message names what is down.
    """

    kind: Literal["http"] = "http"

    url: Address
    """Address to request."""

    method: Literal["GET", "POST", "HEAD"] = "GET"
    """HTTP method of the request."""

    headers: Mapping[str, Secret] = {}
    """Headers to send; `${NAME}` is read from the environment. A redirect to another host gets none."""

    body: Body | None = None
    """Body to send: a text as it is, a mapping as JSON."""

    status: frozenset[int] = frozenset()
    """Expected status codes; by default any from 200 to 299."""

    redirects: bool = True
    """Whether to follow redirects."""

    match: Expression | None = None
    """A regular expression (RE2) that must match in the first megabyte of the body, decoded by the charset that the
    page declares."""

    present: str | None = None
    """A field that the body's JSON must have, like `data.product.id`."""

    absent: str | None = None
    """A field that the body's JSON must not have, like `errors`."""

    empty: bool = False
    """Whether a 200 without a body is expected."""

    timeout: Annotated[Duration, Field(gt=timedelta(0))] = timedelta(seconds=10)
    """Timeout of the request."""

    @property
    def default_instance(self) -> str:
        """The address without its query, which may contain secrets."""
        return self.url.partition("?")[0].partition("#")[0]

    async def collect(self, tools: HasHttp) -> ScrapeResult:
        """Return the status and the duration of each phase."""
        started = tools.clock.monotonic()
        try:
            async with request_timeout(self.timeout.total_seconds()) as progress:
                phases = Phases(tools.clock, progress)
                await self._resolve(phases)
                status, body, media_type = await self._request(tools.http, phases)
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError, UnicodeError) as error:
            raise CollectError(f"{self._context}: {error_reason(error)}") from error
        samples = [
            STATUS.sample(status),
            LENGTH.sample(len(body)),
            DURATION.sample(tools.clock.monotonic() - started),
            *(PHASES.sample(seconds, phase=phase) for phase, seconds in phases.seconds.items()),
        ]
        return ScrapeResult(samples, error=self._error(status, body, media_type))

    @property
    def _context(self) -> str:
        return f"http {self.name}: {self.method} {self.default_instance}"

    async def _resolve(self, phases: "Phases") -> None:
        """Resolve the name beforehand: the client counts that as part of connecting."""
        parts = urlsplit(self.url)
        phases.progress.stage = NAME_NOT_RESOLVED
        with phases.measure("resolve"):
            await asyncio.get_running_loop().getaddrinfo(parts.hostname, parts.port or parts.scheme)
        phases.progress.stage = NO_CONNECTION

    async def _request(self, client: httpx2.AsyncClient, phases: "Phases") -> tuple[int, bytes, str]:
        # A new connection each time: a kept one would hide problems that customers have.
        headers = {"connection": "close", **{name: value.get_secret_value() for name, value in self.headers.items()}}
        content: dict[str, Any] = {"json": self.body} if isinstance(self.body, dict) else {"content": self.body}
        async with follow_redirects(
            client,
            self.method,
            self.url,
            headers=headers,
            redirects=self.redirects,
            timeout=phases.progress.timeout,
            extensions={"trace": phases.trace},
            **content,
        ) as response:
            body = await read_body_start(response, MAX_BODY)
        return response.status_code, body, response.headers.get("content-type", "")

    def _error(self, status: int, body: bytes, media_type: str) -> str:
        """Return what is not as expected; without anything of the body, which may be personal data."""
        if status not in self.status if self.status else not 200 <= status < 300:
            error = health_error(_json(body))
            return f"answered {status}: {error}" if error else f"answered {status}"
        if not body and not self.empty and self.method != "HEAD" and status == OK:
            return f"answered {status} with an empty body: if that is meant, set `empty: true`"
        if self.match and not compile_regex(self.match).search(decode_page(body, media_type)):
            where = f"the first {MAX_BODY:,} bytes of the body" if len(body) >= MAX_BODY else "the body"
            return f"answered {status}, but nothing in {where} matches {self.match!r}"
        if self.present is None and self.absent is None:
            return ""
        found = _json(body)
        if found is None:
            return f"answered {status}, but the body is not JSON" + (" so far" if len(body) >= MAX_BODY else "")
        if self.absent and has(found, self.absent):
            return f"answered {status}, but with {self.absent!r}"
        if self.present and not has(found, self.present):
            return f"answered {status}, but without {self.present!r}"
        return ""


def _json(body: bytes) -> object:
    """Return a body's JSON, None where it is not JSON."""
    try:
        found: object = orjson.loads(body.removeprefix(codecs.BOM_UTF8))
    except ValueError:
        return None
    return found


class Phases:
    """The duration of each phase of a request, redirects included."""

    def __init__(self, clock: Clock, progress: RequestProgress) -> None:
        self.seconds: dict[str, float] = {}
        self.progress = progress
        self._clock = clock
        self._started: dict[str, float] = {}

    @contextmanager
    def measure(self, phase: str) -> Iterator[None]:
        """Measure the block as a phase."""
        started = self._clock.monotonic()
        yield
        self.add(phase, self._clock.monotonic() - started)

    async def trace(self, event: str, info: Mapping[str, Any]) -> None:
        """Receive a trace event of the client, like `connection.connect_tcp.started`."""
        await self.progress.trace(event, info)
        operation, _, progress = event.rpartition(".")
        phase = EVENTS.get(operation)
        if phase and progress == "started":
            self._started[phase] = self._clock.monotonic()
        elif phase and phase in self._started:
            self.add(phase, self._clock.monotonic() - self._started.pop(phase))

    def add(self, phase: str, seconds: float) -> None:
        """Add seconds to a phase."""
        self.seconds[phase] = self.seconds.get(phase, 0.0) + seconds


def has(found: object, path: str) -> bool:
    """Return whether JSON has a field that is not null; a path has dots, and numbers for the items of lists."""
    for step in path.split("."):
        if isinstance(found, dict) and step in found:
            found = found[step]
        elif isinstance(found, list) and step.isdecimal() and int(step) < len(found):
            found = found[int(step)]
        else:
            return False
    return found is not None
