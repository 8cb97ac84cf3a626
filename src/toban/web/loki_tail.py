"""Loki's tail: lines as they are stored, by WebSocket."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final

import orjson
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Match
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect

from toban.access.permissions import Permission
from toban.core.errors import BadQueryError, TobanError
from toban.core.ports import Clock
from toban.logs.line_feed import LineFeed, NewLines
from toban.logs.logql.parser import parse_log_query
from toban.logs.logql.search import FoundLine, LineSearch
from toban.logs.logql.syntax_tree import LogQuery
from toban.logs.tiered_log_engine import TieredLogEngine
from toban.web.endpoint import Endpoint, is_still_permitted, permissions, principal, unauthorized
from toban.web.loki_api import query_error
from toban.web.loki_json import streams, value
from toban.web.loki_parameters import MILLISECOND, LokiParameters
from toban.web.query_parameters import QueryParameters

MAX_DELAY: Final = timedelta(seconds=5)
"""How long lines may be delayed; they are not, for they come in the order in which they are stored."""


class LokiTail:
    """Streams the newest lines that a query finds, then new ones."""

    def __init__(self, engine: TieredLogEngine, feed: LineFeed, clock: Clock) -> None:
        self._engine = engine
        self._feed = feed
        self._clock = clock
        self._ended = False

    def routes(self) -> list[Endpoint]:
        """Return the routes."""
        return [_SocketEndpoint("/loki/api/v1/tail", self)]

    def end(self) -> None:
        """End all streams, for other services take the place of these; clients connect again."""
        self._ended = True

    async def open(self, socket: WebSocket) -> None:
        """Send lines until the client disconnects."""
        try:
            parameters = LokiParameters(QueryParameters(socket.query_params.multi_items()), self._clock.now())
            query = parse_log_query(parameters.text("query"))
            if (parameters.duration("delay_for") or MAX_DELAY) > MAX_DELAY:
                raise BadQueryError("delay_for can't be greater than 5")
            wanted = self._history(parameters, query)
            with self._feed.subscribe(query) as subscription:
                # Subscribed before the search: no line is lost between the two.
                history = (await self._engine.lines(wanted)).lines
                await socket.accept()
                await self._send_until_closed(socket, history, subscription.new_lines())
        except TobanError as error:
            await socket.send_denial_response(query_error(error))

    def _history(self, parameters: LokiParameters, query: LogQuery) -> LineSearch:
        start, end = parameters.range()
        return LineSearch(query, start // MILLISECOND, -(-end // MILLISECOND) + 1, parameters.limit())

    async def _send_until_closed(self, socket: WebSocket, history: Sequence[FoundLine], news: Any) -> None:
        sending = asyncio.ensure_future(self._send(socket, history, news))
        closing = asyncio.ensure_future(_closed(socket))
        try:
            await asyncio.wait({sending, closing}, return_when=asyncio.FIRST_COMPLETED)
            if sending.done():
                sending.result()
                await socket.close(1001)
        except WebSocketDisconnect:
            return
        finally:
            sending.cancel()
            closing.cancel()

    async def _send(self, socket: WebSocket, history: Sequence[FoundLine], news: Any) -> None:
        known = {line.position.number for line in history}
        if history:
            await socket.send_text(_frame(NewLines(history[::-1])))
        async for some in news:
            if self._ended or not is_still_permitted(socket, Permission.LOGS):
                return
            lines = [line for line in some.lines if line.position.number not in known]
            if lines or some.dropped:
                await socket.send_text(_frame(NewLines(lines, some.dropped)))


class _SocketEndpoint(Endpoint):
    """A route that answers WebSockets; any other request is told so."""

    def __init__(self, path: str, tail: LokiTail) -> None:
        super().__init__(path, _upgrade_required, Permission.LOGS)
        self._tail = tail

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Tell whether a request is for this route."""
        is_socket = scope["type"] == "websocket"
        return super().matches({**scope, "type": "http", "method": "GET"} if is_socket else scope)

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Open a WebSocket, or refuse a client without permission."""
        if scope["type"] != "websocket":
            await super().handle(scope, receive, send)
            return
        socket = WebSocket(scope, receive, send)
        if self.permission in permissions(socket):
            await self._tail.open(socket)
            return
        client = principal(socket)
        text = f"{client.actor} has no permission to {self.permission} here\n"
        await socket.send_denial_response(PlainTextResponse(text, 403) if client.is_authenticated else unauthorized())


async def _upgrade_required(request: Request) -> Response:
    return PlainTextResponse("this path is a WebSocket\n", 400)


async def _closed(socket: WebSocket) -> None:
    while (await socket.receive())["type"] != "websocket.disconnect":
        pass


def _frame(news: NewLines) -> str:
    """Return lines as Loki's tail sends them; of lost lines only how many there are is known."""
    found = [
        {"stream": dict(labels), "values": [value(line, categorize=False) for line in lines]}
        for labels, lines in streams(news.lines, categorize=False).items()
    ]
    frame: dict[str, Any] = {"streams": found}
    if news.dropped:
        frame["dropped_entries"] = [{"labels": {"dropped": str(news.dropped)}, "timestamp": "0"}]
    return orjson.dumps(frame).decode()
