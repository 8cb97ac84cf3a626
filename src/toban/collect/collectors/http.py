"""One page, asked for as a customer's browser would."""

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

from toban.collect.charsets import decode_page
from toban.collect.collector import Collector, ScrapeResult
from toban.collect.terminus import health_error
from toban.collect.tools import CollectorTools
from toban.core.config_types import Address, Body, Duration, Secret
from toban.core.errors import BadQueryError, CollectError
from toban.core.http_client import (
    NO_CONNECTION,
    NO_NAME,
    RequestProgress,
    beginning,
    error_reason,
    follow_redirects,
    within,
)
from toban.core.matchers import compile_regex
from toban.core.ports import Clock
from toban.core.samples import gauge

STATUS: Final = gauge("probe_http_status_code", "The status of the last answer.")
DURATION: Final = gauge("probe_duration_seconds", "How long the whole answer took.", "seconds")
PHASES: Final = gauge("probe_http_duration_seconds", "How long each phase of the answer took.", "seconds")
LENGTH: Final = gauge("probe_http_uncompressed_body_length", "How many bytes of the body were read, after inflation.")

LONGEST: Final = 1_000_000
"""How many bytes of a body are read."""

OK: Final = 200

EVENTS: Final = {
    "connection.connect_tcp": "connect",
    "connection.start_tls": "tls",
    "http11.receive_response_headers": "processing",
    "http11.receive_response_body": "transfer",
}
"""What the client tells of its progress, in the words of Prometheus' blackbox exporter."""


def _expression(text: str) -> str:
    try:
        compile_regex(text)
    except BadQueryError as error:
        raise ValueError(str(error)) from error
    return text


Expression = Annotated[str, AfterValidator(_expression)]


class Http(Collector):
    """
    Ask for one page and measure the answer.

    It is down when the status is not expected, or when the body does not hold what it should: a GraphQL API that
    answers 200 with `errors` is down when `absent: errors` says so. When a health endpoint in Terminus' words
    complains, as those of NestJS programs do, the message names what is down.
    """

    kind: Literal["http"] = "http"

    url: Address
    """The page to ask for."""

    method: Literal["GET", "POST", "HEAD"] = "GET"

    headers: Mapping[str, Secret] = {}
    """Headers to send; `${NAME}` takes a value from the environment. A redirect takes none to another host."""

    body: Body | None = None
    """What to send: a text as it is, names with values as JSON."""

    status: frozenset[int] = frozenset()
    """The statuses that are well; any from 200 to 299 unless set."""

    redirects: bool = True
    """Whether to go on to where a redirect leads."""

    match: Expression | None = None
    """A regular expression (RE2) that the first megabyte of the body must contain, read in the charset that the page
    declares."""

    present: str | None = None
    """A field that the body's JSON must have, like `data.product.id`."""

    absent: str | None = None
    """A field that the body's JSON must not have, like `errors`."""

    empty: bool = False
    """Whether a 200 without a body is well."""

    timeout: Annotated[Duration, Field(gt=timedelta(0))] = timedelta(seconds=10)
    """How long an answer may take."""

    @property
    def default_instance(self) -> str:
        """The address without its query, which may hold what is nobody's business."""
        return self.url.partition("?")[0].partition("#")[0]

    async def collect(self, tools: CollectorTools) -> ScrapeResult:
        """Return the status and how long each phase took."""
        began = tools.clock.monotonic()
        try:
            async with within(self.timeout.total_seconds()) as progress:
                spent = Spent(tools.clock, progress)
                await self._resolve(spent)
                status, body, media = await self._ask(tools.http, spent)
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError, UnicodeError) as error:
            raise CollectError(f"{self._asked}: {error_reason(error)}") from error
        samples = [
            STATUS.sample(status),
            LENGTH.sample(len(body)),
            DURATION.sample(tools.clock.monotonic() - began),
            *(PHASES.sample(seconds, phase=phase) for phase, seconds in spent.phases.items()),
        ]
        return ScrapeResult(samples, error=self._trouble(status, body, media))

    @property
    def _asked(self) -> str:
        return f"http {self.name}: {self.method} {self.default_instance}"

    async def _resolve(self, spent: "Spent") -> None:
        """Look the name up beforehand: the client counts that with the connecting."""
        parts = urlsplit(self.url)
        spent.progress.stage = NO_NAME
        with spent.on("resolve"):
            await asyncio.get_running_loop().getaddrinfo(parts.hostname, parts.port or parts.scheme)
        spent.progress.stage = NO_CONNECTION

    async def _ask(self, client: httpx2.AsyncClient, spent: "Spent") -> tuple[int, bytes, str]:
        # A new connection each time: an old one would hide what customers meet.
        headers = {"connection": "close", **{name: value.get_secret_value() for name, value in self.headers.items()}}
        sent: dict[str, Any] = {"json": self.body} if isinstance(self.body, dict) else {"content": self.body}
        async with follow_redirects(
            client,
            self.method,
            self.url,
            headers=headers,
            redirects=self.redirects,
            timeout=spent.progress.timeout,
            extensions={"trace": spent.trace},
            **sent,
        ) as response:
            body = await beginning(response, LONGEST)
        return response.status_code, body, response.headers.get("content-type", "")

    def _trouble(self, status: int, body: bytes, media: str) -> str:
        """Say what is not as it should be; what the body says stays out of it, for it may be a customer's."""
        if status not in self.status if self.status else not 200 <= status < 300:
            said = health_error(_json(body))
            return f"answered {status}: {said}" if said else f"answered {status}"
        if not body and not self.empty and self.method != "HEAD" and status == OK:
            return f"answered {status} with an empty body: if that is meant, set `empty: true`"
        if self.match and not compile_regex(self.match).search(decode_page(body, media)):
            where = f"the first {LONGEST:,} bytes of the body" if len(body) >= LONGEST else "the body"
            return f"answered {status}, but nothing in {where} matches {self.match!r}"
        if self.present is None and self.absent is None:
            return ""
        found = _json(body)
        if found is None:
            return f"answered {status}, but the body is no JSON" + (" so far" if len(body) >= LONGEST else "")
        if self.absent and has(found, self.absent):
            return f"answered {status}, but with {self.absent!r}"
        if self.present and not has(found, self.present):
            return f"answered {status}, but without {self.present!r}"
        return ""


def _json(body: bytes) -> object:
    """Return what a body's JSON says, or nothing where it is none."""
    try:
        found: object = orjson.loads(body.removeprefix(codecs.BOM_UTF8))
    except ValueError:
        return None
    return found


class Spent:
    """How long each phase of an answer took, redirects added up."""

    def __init__(self, clock: Clock, progress: RequestProgress) -> None:
        self.phases: dict[str, float] = {}
        self.progress = progress
        self._clock = clock
        self._began: dict[str, float] = {}

    @contextmanager
    def on(self, phase: str) -> Iterator[None]:
        """Measure a phase for as long as the block lasts."""
        began = self._clock.monotonic()
        yield
        self.add(phase, self._clock.monotonic() - began)

    async def trace(self, event: str, info: Mapping[str, Any]) -> None:
        """Take what the client tells: `connection.connect_tcp.started` and the like."""
        await self.progress.trace(event, info)
        what, _, how = event.rpartition(".")
        phase = EVENTS.get(what)
        if phase and how == "started":
            self._began[phase] = self._clock.monotonic()
        elif phase and phase in self._began:
            self.add(phase, self._clock.monotonic() - self._began.pop(phase))

    def add(self, phase: str, seconds: float) -> None:
        """Add to a phase."""
        self.phases[phase] = self.phases.get(phase, 0.0) + seconds


def has(found: object, path: str) -> bool:
    """Tell whether JSON has a field and it is not null; steps are separated by dots, a number steps into a list."""
    for step in path.split("."):
        if isinstance(found, dict) and step in found:
            found = found[step]
        elif isinstance(found, list) and step.isdecimal() and int(step) < len(found):
            found = found[int(step)]
        else:
            return False
    return found is not None
