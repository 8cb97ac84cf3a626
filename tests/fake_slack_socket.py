"""
A fake of Slack's Socket Mode.

    async with FakeSlackSocket() as slack:
        slack.api, slack.app_token                  # what a channel is given
        connection = await slack.connected()        # the next connection that got a hello
        await connection.deliver(envelope)          # returns when it is acknowledged, within three seconds
        await connection.disconnect("warning")

Made from Slack's documentation and SDKs, not recorded.
"""

import asyncio
import itertools
import json
from types import TracebackType
from typing import Any, Self

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

ACKNOWLEDGED_WITHIN = 3.0
"""Seconds after which Slack tells a person that a click did not work."""


class Connection:
    """One connection of a client."""

    def __init__(self, socket: WebSocket) -> None:
        self.acknowledged: list[str] = []
        self.ended = asyncio.Event()
        self._socket = socket
        self._changed = asyncio.Condition()

    async def send(self, frame: dict[str, Any]) -> None:
        """Send a frame."""
        await self._socket.send_text(json.dumps(frame))

    async def deliver(self, envelope: dict[str, Any]) -> None:
        """Send an envelope, and wait for its acknowledgement."""
        await self.send(envelope)
        async with asyncio.timeout(ACKNOWLEDGED_WITHIN), self._changed:
            await self._changed.wait_for(lambda: envelope["envelope_id"] in self.acknowledged)

    async def disconnect(self, reason: str) -> None:
        """Say that this connection will be closed."""
        await self.send({"type": "disconnect", "reason": reason, "debug_info": {"host": "applink-1"}})

    async def close(self, code: int = 1000) -> None:
        """Close it."""
        await self._socket.close(code)

    async def read(self) -> None:
        """Read acknowledgements until the client closes it."""
        try:
            while True:
                frame = json.loads(await self._socket.receive_text())
                async with self._changed:
                    self.acknowledged.append(frame["envelope_id"])
                    self._changed.notify_all()
        except WebSocketDisconnect:
            self.ended.set()


class FakeSlackSocket:
    """An app with Socket Mode, on a free port of this machine while the block lasts."""

    app_token = "xapp-1-A1-1234567890-abcdef"

    def __init__(self) -> None:
        self.num_connections: int | None = None
        """What hello says; default: as many as there are."""
        self.hello: dict[str, Any] | None = {"type": "hello", "connection_info": {"app_id": "A1"}}
        """The first frame; none is sent instead of None."""
        self.responses: list[Response] = []
        """The next responses of `apps.connections.open`, before it works."""
        self.is_silent = False
        """Whether `apps.connections.open` does not answer."""
        self.opens = 0
        self.open_now: list[Connection] = []
        self._tickets = itertools.count(1)
        self._unused: set[str] = set()
        self._connected: asyncio.Queue[Connection] = asyncio.Queue()
        routes = [
            Route("/api/apps.connections.open", self._open, methods=["POST"]),
            WebSocketRoute("/link/", self._link),
        ]
        config = uvicorn.Config(Starlette(routes=routes), "127.0.0.1", 0, ws="wsproto", log_config=None, lifespan="off")
        self._server = uvicorn.Server(config)

    async def __aenter__(self) -> Self:
        sockets = [self._server.config.bind_socket()]
        self._port = sockets[0].getsockname()[1]
        self.api = f"http://127.0.0.1:{self._port}/api"
        self._task = asyncio.create_task(self._server._serve(sockets))  # `serve` takes the signals of the process
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.should_exit = True
        self._server.force_exit = True
        await self._task

    async def connected(self) -> Connection:
        """Wait for the next connection."""
        async with asyncio.timeout(30):
            return await self._connected.get()

    async def _open(self, request: Request) -> Response:
        self.opens += 1
        if self.is_silent:
            await asyncio.Event().wait()
        if self.responses:
            return self.responses.pop(0)
        if request.headers.get("authorization") != f"Bearer {self.app_token}":
            return JSONResponse({"ok": False, "error": "not_allowed_token_type"})
        ticket = str(next(self._tickets))
        self._unused.add(ticket)
        return JSONResponse({"ok": True, "url": f"ws://127.0.0.1:{self._port}/link/?ticket={ticket}&app_id=A1"})

    async def _link(self, socket: WebSocket) -> None:
        ticket = socket.query_params.get("ticket", "")
        if ticket not in self._unused:
            await socket.close()  # before it is accepted: 403
            return
        self._unused.discard(ticket)
        await socket.accept()
        connection = Connection(socket)
        self.open_now.append(connection)
        if self.hello is not None:
            counted = self.num_connections or len(self.open_now)
            await connection.send({**self.hello, "num_connections": counted})
            self._connected.put_nowait(connection)
        try:
            await connection.read()
        finally:
            self.open_now.remove(connection)
