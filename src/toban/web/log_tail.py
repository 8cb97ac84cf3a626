"""Follows the log by server-sent events."""

from collections.abc import AsyncIterator

import orjson
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse

from toban.access.permissions import Permission
from toban.core.errors import QueryError
from toban.core.log_line import LogLevel
from toban.core.ports import Clock
from toban.logs.line_feed import LineFeed
from toban.logs.logql.syntax_tree import LogQuery
from toban.web.api.logs import line_model, log_query
from toban.web.endpoint import Endpoint, is_still_permitted
from toban.web.live_updates import HEADERS, KEEP_ALIVE


class LogTail:
    """
    Streams lines as they are stored.

    Each event is a line as `GET /api/logs` returns it; an event ``dropped`` has the number of lines that the reader
    lost because it was too slow, at most.
    """

    def __init__(self, feed: LineFeed, clock: Clock) -> None:
        self._feed = feed
        self._clock = clock
        self._ended = False

    def routes(self) -> list[Endpoint]:
        """Return the routes."""
        return [Endpoint("/logs/tail", self.tail, Permission.LOGS)]

    def end(self) -> None:
        """End all streams, for other services take the place of these; browsers connect again."""
        self._ended = True

    async def tail(self, request: Request) -> Response:
        """Return the stream of lines that a search finds, with the parameters of `GET /api/logs`."""
        asked = request.query_params
        level = asked.get("level") or LogLevel.DEBUG.value
        if level not in set(LogLevel):
            return PlainTextResponse(f"unknown level {level[:50]!r}: use {', '.join(LogLevel)}\n", 400)
        try:
            query = log_query(
                asked.get("query", ""),
                LogLevel(level),
                asked.get("service", ""),
                asked.get("context", ""),
                asked.get("text", ""),
            )
        except QueryError as error:
            return PlainTextResponse(f"{error}\n", 400)
        if self._feed.is_full:
            return PlainTextResponse("too many readers follow the log\n", 503, {"retry-after": "30"})
        return StreamingResponse(self._events(request, query), media_type="text/event-stream", headers=HEADERS)

    async def _events(self, request: Request, query: LogQuery) -> AsyncIterator[bytes]:
        with self._feed.subscribe(query) as subscription:
            sent = self._clock.monotonic()
            yield b"retry: 2000\n\n"
            async for news in subscription.new_lines():
                if self._ended or not is_still_permitted(request, Permission.LOGS):
                    return
                now = self._clock.monotonic()
                if news.dropped:
                    yield b"event: dropped\ndata: %d\n\n" % news.dropped
                if news.lines:
                    lines = [orjson.dumps(line_model(line).model_dump(mode="json")) for line in news.lines]
                    yield b"".join(b"data: %s\n\n" % line for line in lines)
                elif now - sent >= KEEP_ALIVE:
                    yield b":\n\n"
                else:
                    continue
                sent = now
