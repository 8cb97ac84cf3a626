"""
Fly's stream of logs: https://fly.io/docs/monitoring/exporting-logs/.

It is NATS, without history and without a promise: what is not taken at once is gone, so gaps are counted.
"""

import asyncio
import random
import re
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import orjson
import structlog

from toban.core.backoff import retry_delay
from toban.core.http_client import error_reason
from toban.core.log_line import LogLevel, LogLine
from toban.core.metric_registry import MetricRegistry
from toban.core.ports import Clock, HealthStatus, LineSink
from toban.core.samples import counter, gauge
from toban.core.untyped_json import as_mapping, as_time

if TYPE_CHECKING:
    from nats.aio.client import Client
    from nats.aio.msg import Msg

    Use = Callable[[Client, "asyncio.Future[None]"], Awaitable[None]]

log = structlog.get_logger("toban.logs")

MESSAGES: Final = counter("toban_fly_log_messages_total", "Messages of Fly's log stream: taken, unreadable, dropped.")
GAPS: Final = counter("toban_fly_log_gaps_total", "How often Fly's log stream broke off.")
GAP_SECONDS: Final = counter("toban_fly_log_gap_seconds_total", "Time without Fly's log stream.", "seconds")
CONNECTED: Final = gauge("toban_fly_log_connected", "Whether Fly's log stream is there (1) or not (0).")

ROOM: Final = 10_000
"""Messages that may wait; what comes then is dropped, and counted."""
SLICE: Final = 100
"""Messages that are read before others may have a turn."""
PATIENCE: Final = 10
"""Seconds that connecting may take."""
ALIVE: Final = 20
"""Seconds between questions whether the other side is still there."""
AWAY: Final = 300.0
"""Seconds without the stream after which toban is not well."""

ANSI: Final = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")

LEVELS: Final = {
    **{level.value: level for level in LogLevel},
    **dict.fromkeys(("fatal", "panic", "critical", "err"), LogLevel.ERROR),
    "warning": LogLevel.WARN,
    "notice": LogLevel.INFO,
    "trace": LogLevel.DEBUG,
    "silly": LogLevel.DEBUG,
}
PINO: Final = ((50, LogLevel.ERROR), (40, LogLevel.WARN), (30, LogLevel.INFO))
"""Pino writes its levels as numbers."""
PARTS: Final = frozenset({"level", "message", "msg", "context", "stack", "trace", "timestamp", "time", "category"})
"""What of a program's own JSON is a part of the line itself."""


class FlyLogStream:
    """
    Takes the lines of some apps while it runs, and connects again when the stream breaks off.

    Between two tries lies a growing pause. What toban itself writes is left out.
    """

    name = "fly logs"

    def __init__(
        self,
        server: str,
        org: str,
        token: str,
        apps: Sequence[str],
        own: str,
        lines: LineSink,
        clock: Clock,
        meters: MetricRegistry,
    ) -> None:
        self.server = server
        self._shown = (org, token)
        self._subjects = [f"logs.{app}.>" for app in apps] or ["logs.>"]
        self._own = own
        self._lines = lines
        self._clock = clock
        self._meters = meters
        self._waiting: deque[bytes] = deque()
        self._something = asyncio.Event()
        self._away: float | None = clock.monotonic()
        self._trouble = "it was not there yet"
        self._tries = 0
        self._heard = False
        for outcome in ("taken", "unreadable", "dropped"):
            meters.add(MESSAGES, 0, outcome=outcome)

    async def run(self) -> None:
        """Take lines until cancelled."""
        while True:
            self._meters.set(CONNECTED, 0)
            self._tries += 1
            trouble = await self._connected(self._taking)
            if trouble != self._trouble:
                log.warning("no log stream", why=trouble)
            self._trouble = trouble
            await self._clock.sleep(retry_delay(self._tries, None, random.random()).total_seconds())  # noqa: S311  # spreading tries is no secret

    def health(self) -> HealthStatus:
        """Tell whether the stream is there; for a while it may be away."""
        if self._away is None:
            return HealthStatus(True, f"Fly's log stream at {self.server} is there")
        away = self._clock.monotonic() - self._away
        return HealthStatus(away < AWAY, f"no log stream from {self.server} for {away:.0f} s: {self._trouble}")

    async def check_connection(self) -> str:
        """Connect once and take nothing; return what is wrong, or nothing."""

        async def enough(client: "Client", over: "asyncio.Future[None]") -> None:
            await client.flush(PATIENCE)

        return await self._connected(enough)

    async def _connected(self, use: "Use") -> str:
        """Connect and use the stream until it breaks off; return why it did, nothing when it was used up."""
        from nats.aio.client import Client  # as large as it is, it comes when it is needed
        from nats.errors import Error

        over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        troubles: list[str] = []

        async def troubled(error: Exception) -> None:
            troubles.append(self._told(error))

        async def closed() -> None:
            if not over.done():
                over.set_result(None)

        org, token = self._shown
        client = Client()
        try:
            async with asyncio.timeout(PATIENCE):
                # It would try again by itself, every two seconds for ever.
                await client.connect(
                    self.server,
                    user=org,
                    password=token,
                    allow_reconnect=False,
                    max_reconnect_attempts=1,
                    reconnect_time_wait=0,
                    connect_timeout=PATIENCE,
                    ping_interval=ALIVE,
                    max_outstanding_pings=2,
                    error_cb=troubled,
                    closed_cb=closed,
                    disconnected_cb=closed,
                )
            await use(client, over)
            return (troubles or ["the connection was closed"])[-1] if over.done() else ""
        except (OSError, TimeoutError, ValueError, Error) as error:
            return (troubles or [self._told(error)])[-1]
        finally:
            await client.close()

    async def _taking(self, client: "Client", over: "asyncio.Future[None]") -> None:
        """Take lines until it is over."""
        for subject in self._subjects:
            await client.subscribe(subject, cb=self._come)
        await client.flush(PATIENCE)
        self._begun()
        try:
            async with asyncio.TaskGroup() as group:
                reading = group.create_task(self._reading(), name=self.name)
                await over
                reading.cancel()
        finally:
            self._away = self._clock.monotonic()

    def _begun(self) -> None:
        """Note that the stream is there, and for how long it was not; before the first time nothing was missed."""
        if self._heard and self._away is not None:
            self._meters.add(GAPS)
            self._meters.add(GAP_SECONDS, self._clock.monotonic() - self._away)
        log.info("log stream is there", server=self.server, tries=self._tries)
        self._heard = True
        self._away, self._tries, self._trouble = None, 0, ""
        self._meters.set(CONNECTED, 1)

    async def _come(self, message: "Msg") -> None:
        """Let a message wait to be read."""
        if len(self._waiting) >= ROOM:
            self._meters.add(MESSAGES, outcome="dropped")
            return
        self._waiting.append(message.data)
        self._something.set()

    async def _reading(self) -> None:
        while True:
            await self._something.wait()
            found = [self._waiting.popleft() for _ in range(min(SLICE, len(self._waiting)))]
            if not self._waiting:
                self._something.clear()
            self._write(found)
            await asyncio.sleep(0)

    def _write(self, found: Sequence[bytes]) -> None:
        lines = list[LogLine]()
        for data in found:
            line = parse_message(data, self._clock.now())
            self._meters.add(MESSAGES, outcome="taken" if line else "unreadable")
            if line and line.service != self._own:
                lines.append(line)
        self._lines.write(lines)

    def _told(self, error: BaseException) -> str:
        """Return what is wrong; what a server says may hold what it was shown."""
        said = error_reason(error).strip("'\"")
        return "the organisation or its token is not right" if "authorization" in said.lower() else said[:200]


@dataclass(frozen=True, slots=True)
class _Spoken:
    """What a program's own line says."""

    message: str
    level: LogLevel | None = None
    context: str = ""
    trace: str = ""
    category: str = ""
    facts: Mapping[str, object] | None = None


def parse_message(data: bytes, now: datetime) -> LogLine | None:
    """
    Return the line that a message of the stream holds; nothing where it holds none.

    What the program wrote is a text in it, and where that is JSON it is read a second time.
    """
    try:
        told = orjson.loads(data)
    except ValueError:
        return None
    if not isinstance(told, dict) or not isinstance(told.get("message"), str):
        return None
    fly = as_mapping(told.get("fly"))
    app = as_mapping(fly.get("app"))
    provider = str(as_mapping(told.get("event")).get("provider") or "app")
    spoken = _spoken(told["message"])
    return LogLine(
        at=as_time(told.get("timestamp")) or now,
        level=spoken.level or _level(as_mapping(told.get("log")).get("level")) or LogLevel.INFO,
        message=spoken.message,
        # What Fly itself says of a machine has no context of the program's.
        context=spoken.context or ("" if provider == "app" else f"fly {provider}"),
        service=str(app.get("name", "")),
        instance=str(app.get("instance", "")),
        category=spoken.category,
        trace=spoken.trace,
        facts={**(spoken.facts or {}), **({"region": fly["region"]} if "region" in fly else {})},
    )


def _spoken(text: str) -> _Spoken:
    text = ANSI.sub("", text).rstrip()
    if not text.startswith("{"):
        return _Spoken(text)
    try:
        told = orjson.loads(text)
    except ValueError:
        return _Spoken(text)
    message = told.get("message", told.get("msg"))
    if not isinstance(message, str):
        return _Spoken(text, _level(told.get("level")))
    category = told.get("category")
    return _Spoken(
        message,
        _level(told.get("level")),
        str(told.get("context") or ""),
        str(told.get("stack") or told.get("trace") or ""),
        category if category in {"business", "security", "performance"} else "",
        {name: value for name, value in told.items() if name not in PARTS},
    )


def _level(told: Any) -> LogLevel | None:
    if isinstance(told, int):
        return next((level for least, level in PINO if told >= least), LogLevel.DEBUG)
    return LEVELS.get(str(told).lower())
