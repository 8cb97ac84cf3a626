"""
Fly's log stream: https://fly.io/docs/monitoring/exporting-logs/.

It is a NATS subscription without history and without delivery guarantees, so gaps are counted.
"""

import asyncio
import random
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

import orjson
import structlog

from toban.core.backoff import retry_delay
from toban.core.errors import StoreError
from toban.core.failure_log import FailureLog
from toban.core.http_client import error_reason
from toban.core.log_levels import known_level
from toban.core.log_line import LogLevel, LogLine
from toban.core.metric_registry import MetricRegistry
from toban.core.ports import Clock, HealthStatus, LineSink
from toban.core.samples import counter, gauge
from toban.core.untyped_json import as_mapping, as_time
from toban.logs.line_parser import Reading, line_format

if TYPE_CHECKING:
    from nats.aio.client import Client
    from nats.aio.msg import Msg

    Session = Callable[[Client, "asyncio.Future[None]"], Awaitable[None]]

log = structlog.get_logger("toban.logs")

MESSAGES: Final = counter(
    "toban_fly_log_messages_total",
    "Messages of Fly's log stream, by outcome: accepted, rejected as unreadable, dropped.",
    labels=("outcome",),
)
GAPS: Final = counter("toban_fly_log_gaps_total", "How often Fly's log stream was disconnected.")
GAP_SECONDS: Final = counter(
    "toban_fly_log_gap_seconds_total", "Time during which Fly's log stream was disconnected.", "seconds"
)
CONNECTED: Final = gauge("toban_fly_log_connected", "Whether Fly's log stream is connected (1) or not (0).")

MAX_QUEUE: Final = 10_000
"""Messages that are queued; more are dropped and counted."""
BATCH: Final = 100
"""Messages that are parsed without a pause for other tasks."""
CONNECT_TIMEOUT: Final = 10
"""Seconds that connecting may take."""
PING_INTERVAL: Final = 20
"""Seconds between pings of the server."""
CLOCK_DIFFERENCE: Final = timedelta(minutes=1)
"""How far the time that a program writes may be from the one at which Fly read its line."""
UNHEALTHY_AFTER: Final = 300.0
"""Seconds without a connection after which the stream is unhealthy."""


class FlyLogConnection:
    """Connects to Fly's log stream."""

    def __init__(self, server: str, org: str, token: str) -> None:
        self.server = server
        self._credentials = (org, token)

    async def check(self) -> str:
        """Connect once without reading lines; return the error, or an empty text."""

        async def check(client: "Client", ended: "asyncio.Future[None]") -> None:
            await client.flush(CONNECT_TIMEOUT)

        return await self.run(check)

    async def run(self, session: "Session") -> str:
        """Run a session on a connection; return why the connection was lost, or an empty text if it was not."""
        from nats.aio.client import Client  # imported when it is needed: it is large
        from nats.errors import Error

        ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        errors: list[str] = []

        async def failed(error: Exception) -> None:
            errors.append(_reason(error))

        async def closed() -> None:
            if not ended.done():
                ended.set_result(None)

        org, token = self._credentials
        client = Client()
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                # The client's own reconnection has no backoff.
                await client.connect(
                    self.server,
                    user=org,
                    password=token,
                    allow_reconnect=False,
                    max_reconnect_attempts=1,
                    reconnect_time_wait=0,
                    connect_timeout=CONNECT_TIMEOUT,
                    ping_interval=PING_INTERVAL,
                    max_outstanding_pings=2,
                    error_cb=failed,
                    closed_cb=closed,
                    disconnected_cb=closed,
                )
            await session(client, ended)
            return (errors or ["the connection was closed"])[-1] if ended.done() else ""
        except (OSError, TimeoutError, ValueError, Error) as error:
            return (errors or [_reason(error)])[-1]
        finally:
            await client.close()


class FlyLogStream:
    """
    Reads the lines of some apps, and reconnects with backoff when the connection is lost.

    Lines of toban itself are left out.
    """

    name = "fly logs"

    def __init__(
        self,
        connection: FlyLogConnection,
        apps: Sequence[str],
        own_app: str,
        lines: LineSink,
        clock: Clock,
        meters: MetricRegistry,
    ) -> None:
        self._connection = connection
        self._subjects = [f"logs.{app}.>" for app in apps] or ["logs.>"]
        self._own_app = own_app
        self._lines = lines
        self._clock = clock
        self._meters = meters
        self._queue: deque[bytes] = deque()
        self._queued = asyncio.Event()
        self._disconnected_at: float | None = clock.monotonic()
        self._failure = FailureLog(log, "log stream disconnected", "log stream connected", server=connection.server)
        self._attempts = 0
        self._was_connected = False
        for outcome in ("accepted", "rejected", "dropped"):
            meters.add(MESSAGES, 0, outcome=outcome)

    async def run(self) -> None:
        """Read lines until cancelled."""
        while True:
            self._meters.set(CONNECTED, 0)
            self._attempts += 1
            self._failure.failed(await self._connection.run(self._receive))
            await self._clock.sleep(retry_delay(self._attempts, None, random.random()).total_seconds())  # noqa: S311  # spreading retries is no secret

    def health(self) -> HealthStatus:
        """Return whether the stream is connected; it is unhealthy after a while without connection."""
        if self._disconnected_at is None:
            return HealthStatus(True, f"Fly's log stream at {self._connection.server} is connected")
        seconds = self._clock.monotonic() - self._disconnected_at
        error = self._failure.error or "not connected yet"
        message = f"log stream of {self._connection.server} disconnected for {seconds:.0f} s: {error}"
        return HealthStatus(seconds < UNHEALTHY_AFTER, message)

    async def _receive(self, client: "Client", ended: "asyncio.Future[None]") -> None:
        """Receive lines until the connection has ended."""
        for subject in self._subjects:
            await client.subscribe(subject, cb=self._enqueue)
        await client.flush(CONNECT_TIMEOUT)
        self._record_connected()
        try:
            async with asyncio.TaskGroup() as group:
                parsing = group.create_task(self._parse_queue(), name=self.name)
                await ended
                parsing.cancel()
        finally:
            self._disconnected_at = self._clock.monotonic()

    def _record_connected(self) -> None:
        """Record the connection, and the gap before it; there is none before the first connection."""
        if self._was_connected and self._disconnected_at is not None:
            self._meters.add(GAPS)
            self._meters.add(GAP_SECONDS, self._clock.monotonic() - self._disconnected_at)
        if self._failure.error:
            self._failure.succeeded()
        else:
            log.info("log stream connected", server=self._connection.server)
        self._was_connected = True
        self._disconnected_at, self._attempts = None, 0
        self._meters.set(CONNECTED, 1)

    async def _enqueue(self, message: "Msg") -> None:
        """Queue a message."""
        if len(self._queue) >= MAX_QUEUE:
            self._meters.add(MESSAGES, outcome="dropped")
            return
        self._queue.append(message.data)
        self._queued.set()

    async def _parse_queue(self) -> None:
        while True:
            await self._queued.wait()
            messages = [self._queue.popleft() for _ in range(min(BATCH, len(self._queue)))]
            if not self._queue:
                self._queued.clear()
            await self._store(messages)

    async def _store(self, messages: Sequence[bytes]) -> None:
        lines, rejected = list[LogLine](), 0
        for data in messages:
            line = parse_message(data, self._clock.now())
            rejected += line is None
            if line and line.service != self._own_app:
                lines.append(line)
        self._meters.add(MESSAGES, rejected, outcome="rejected")
        try:
            await self._lines.append(lines, "fly")
        except StoreError:
            # The stream repeats nothing: what can't be stored is lost.
            self._meters.add(MESSAGES, len(lines), outcome="dropped")
        else:
            self._meters.add(MESSAGES, len(messages) - rejected, outcome="accepted")


def _reason(error: BaseException) -> str:
    """Return the reason of an error, without the credentials that a server's message may repeat."""
    reason = error_reason(error).strip("'\"")
    return "shop.fly_org or shop.fly_token is wrong" if "authorization" in reason.lower() else reason[:200]


def parse_message(data: bytes, now: datetime) -> LogLine | None:
    """
    Return the line in a message of the stream, or None when there is none.

    The program's own line is a text in it, in any format.
    """
    try:
        content = orjson.loads(data)
    except ValueError:
        return None
    if not isinstance(content, dict) or not isinstance(content.get("message"), str):
        return None
    fly = as_mapping(content.get("fly"))
    app = as_mapping(fly.get("app"))
    provider = str(as_mapping(content.get("event")).get("provider") or "app")
    line = line_format().parse(content["message"], Reading(now))
    read_at = as_time(content.get("timestamp")) or now
    # What the program says itself is the time that its copies have, from a file or by OpenTelemetry. A time without
    # zone may be hours off.
    is_time_exact = line.is_time_exact and line.at is not None and abs(line.at - read_at) < CLOCK_DIFFERENCE
    return LogLine(
        at=line.at if line.at and is_time_exact else read_at,
        level=line.level or known_level(as_mapping(content.get("log")).get("level")) or LogLevel.INFO,
        message=line.message,
        # Lines of Fly itself have no context of a program.
        context=line.context or ("" if provider == "app" else f"fly {provider}"),
        service=str(app.get("name", "")),
        environment=line.environment,
        instance=str(app.get("instance", "")),
        category=line.category,
        trace=line.trace,
        trace_id=line.trace_id,
        facts={**line.facts, **({"region": fly["region"]} if "region" in fly else {})},
        is_time_exact=is_time_exact,
    )
