"""Slack's Socket Mode: clicks without a public address. https://docs.slack.dev/apis/events-api/using-socket-mode."""

import asyncio
import random
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any, Final

import httpx2
import orjson
import structlog
from httpx2.websockets import AsyncWebSocketSession, HTTPXWSException

from toban.answers import slack
from toban.answers.service import AnswerService
from toban.core.backoff import retry_delay
from toban.core.errors import DeliveryError, StateError
from toban.core.failure_log import FailureLog
from toban.core.metric_registry import MetricRegistry
from toban.core.ports import Clock, HealthStatus
from toban.core.samples import gauge
from toban.core.text_limits import safe_text
from toban.core.untyped_json import as_mapping
from toban.notify.channel import ChannelTools
from toban.notify.channels.slack import Slack
from toban.notify.http_delivery import secret_parts

log = structlog.get_logger("toban.answers")

MAX_MESSAGE_BYTES: Final = 4 * 2**20
"""A click carries its whole message: the default of 64 KiB would end the connection."""
PING_INTERVAL: Final = 10.0
PONG_TIMEOUT: Final = 20.0
"""Seconds without a pong after which a connection is dead: how long nobody clicked says nothing."""
HELLO_TIMEOUT: Final = 30.0
OVERLAP: Final = 10.0
"""Seconds in which a connection that is replaced is still read."""
MOST_EXPECTED: Final = 4
"""Connections that Slack may count: two copies of toban, each with an old and a new one."""

CONNECTED: Final = gauge(
    "toban_slack_connections", "Connections that Slack counts for the app, dead ones too.", labels=("channel",)
)


class Ending(StrEnum):
    """Why another connection is needed."""

    REPLACED = "replaced"
    """Slack will close it soon: the next one is opened first."""
    ENDED = "ended"
    DISABLED = "disabled"
    """Socket Mode is switched off, or the token is not valid: only people can change that."""


class SlackSocket:
    """
    Keeps a connection to Slack, and passes on what people do.

    Each envelope is acknowledged after it is written down, and before it is executed: Slack waits three seconds and
    sends no click again.
    """

    def __init__(
        self,
        channel: Slack,
        tools: Callable[[], ChannelTools],
        answers: AnswerService,
        http: httpx2.AsyncClient,
        clock: Clock,
        meters: MetricRegistry,
    ) -> None:
        self.name = f"slack socket {channel.name}"
        self._channel = channel
        self._tools = tools
        self._answers = answers
        self._http = http
        self._clock = clock
        self._meters = meters
        self._failure = FailureLog(log, "Slack not connected", "Slack connected again", channel=channel.name)
        self._connections: set[asyncio.Task[None]] = set()
        self._counted = 0
        self._is_disabled = False

    async def run(self) -> None:
        """Stay connected until cancelled."""
        try:
            while True:
                leaving: asyncio.Future[Ending] = asyncio.get_running_loop().create_future()
                task = asyncio.create_task(self._connection(leaving), name=self.name)
                self._connections.add(task)
                task.add_done_callback(self._connections.discard)
                ending = await leaving
                if ending is Ending.DISABLED:
                    self._is_disabled = True
                    await asyncio.Event().wait()  # a reload with other settings makes another one
                if ending is Ending.ENDED:
                    await self._clock.sleep(self._delay())
        finally:
            for task in self._connections:
                task.cancel()
            await asyncio.gather(*self._connections, return_exceptions=True)

    def _delay(self) -> float:
        return retry_delay(max(self._failure.failures, 1), None, random.random()).total_seconds()  # noqa: S311  # jitter

    async def _connection(self, leaving: "asyncio.Future[Ending]") -> None:
        """Live one connection; say by ``leaving`` when another one is needed."""
        ending, url = Ending.ENDED, ""
        try:
            url = await self._channel.socket_url(self._tools())
            async with self._http.websocket(
                url,
                max_message_size_bytes=MAX_MESSAGE_BYTES,
                keepalive_ping_interval_seconds=PING_INTERVAL,
                keepalive_ping_timeout_seconds=PONG_TIMEOUT,
            ) as session:
                ending = await self._read(session, leaving)
        except* DeliveryError as group:
            (error,) = _leaves(group)
            self._failure.failed(str(error))
            ending = Ending.DISABLED if isinstance(error, DeliveryError) and error.permanent else Ending.ENDED
        except* (HTTPXWSException, httpx2.HTTPError, TimeoutError, ValueError) as group:
            causes = "; ".join(f"{type(it).__name__} {it}".strip() for it in _leaves(group))
            if not leaving.done():
                self._failure.failed(safe_text(f"{self._channel.name}: {causes}", secret_parts(url)))
        finally:
            if not leaving.done():
                leaving.set_result(ending)

    async def _read(self, session: AsyncWebSocketSession, leaving: "asyncio.Future[Ending]") -> Ending:
        """Read a connection until it ends."""
        hello = as_mapping(orjson.loads(await session.receive_text(timeout=HELLO_TIMEOUT)))
        if hello.get("type") != "hello":
            raise ValueError(f"the first frame is no hello but {str(hello.get('type'))[:50]!r}")
        self._greeted(hello)
        while True:
            frame = as_mapping(orjson.loads(await session.receive_text(OVERLAP if leaving.done() else None)))
            if frame.get("type") == "disconnect":
                reason = str(frame.get("reason", ""))[:50]
                log.debug("Slack ends the connection", channel=self._channel.name, reason=reason)
                if reason == "link_disabled":
                    self._failure.failed("Socket Mode is switched off for the app: switch it on, then reload toban")
                    return Ending.DISABLED
                if reason == "too_many_websockets":
                    return Ending.REPLACED  # closed before the next one is opened
                if not leaving.done():
                    leaving.set_result(Ending.REPLACED)
            elif frame.get("envelope_id"):
                await self._receive(session, frame)

    def _greeted(self, hello: Mapping[str, Any]) -> None:
        self._failure.succeeded()
        counted = hello.get("num_connections")
        self._counted = counted if isinstance(counted, int) else 0
        self._meters.set(CONNECTED, self._counted, channel=self._channel.name)
        if self._counted > MOST_EXPECTED:
            log.warning("Slack counts dead connections", channel=self._channel.name, connections=self._counted)

    async def _receive(self, session: AsyncWebSocketSession, envelope: Mapping[str, Any]) -> None:
        payload = as_mapping(envelope.get("payload"))
        if envelope.get("type") == "slash_commands":
            payload = {**payload, "type": "slash_commands"}
        key = slack.idempotency_key(payload)
        try:
            if key:
                await self._answers.receive(self._channel.name, key, slack.kept_fields(payload))
        except StateError as error:
            # Without an acknowledgement Slack tells the person that it did not work.
            log.warning("answer not written", channel=self._channel.name, error=str(error))
            return
        await session.send_text(orjson.dumps({"envelope_id": envelope["envelope_id"]}).decode())

    def health(self) -> HealthStatus:
        """Return whether people can answer from Slack."""
        if self._is_disabled or self._failure.error:
            return HealthStatus(False, f"people can't answer from Slack: {self._failure.error}")
        if self._counted > MOST_EXPECTED:
            text = f"Slack counts {self._counted} connections: it sends clicks to dead ones; renew the app-level token"
            return HealthStatus(False, text)
        return HealthStatus(True, "connected to Slack" if self._counted else "connecting to Slack")


def _leaves(group: BaseException) -> list[BaseException]:
    """Return the errors in a group of groups."""
    if isinstance(group, BaseExceptionGroup):
        return [leaf for it in group.exceptions for leaf in _leaves(it)]
    return [group]
