"""HTTP on one connection, with limits on headers, pipelined requests, and time."""

import asyncio
import pwd
import socket
import struct
from typing import Any, Final, cast

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from toban.core.metric_registry import MetricRegistry
from toban.core.samples import counter

ABORTED: Final = counter(
    "toban_http_connections_aborted_total",
    "HTTP connections that were aborted because of the client, by reason.",
    labels=("reason",),
)

HEAD_BYTES: Final = 65_536
"""Bytes of a request's line and headers, or of chunk sizes and trailers of its body."""

MAX_HEADERS: Final = 100

PIPELINED: Final = 16
"""How many requests may be sent before the response to the first of them."""

HEAD_SECONDS: Final = 10.0
"""Seconds until a connection must have sent a request's headers."""

LINGER_SECONDS: Final = 2.0
"""Seconds for which reading goes on after an early response: after an immediate close the client might never see it."""

READING_SECONDS: Final = 30.0
"""Seconds in which the client must have read something of a response."""

PEER_USER: Final = "peer_user"
"""Under what `scope["state"]` names the user at the other end of a Unix socket."""

_CREDENTIALS: Final = struct.Struct("3i")
"""The process, user and group of SO_PEERCRED: unix(7)."""


def peer_user(connection: Any) -> str:
    """Return the user of the process at the other end of a Unix socket; empty where the system has no such option."""
    if connection is None or connection.family != socket.AF_UNIX or not hasattr(socket, "SO_PEERCRED"):
        return ""
    _, uid, _ = _CREDENTIALS.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


class _Lingering:
    """The transport of a response: closing waits for the rest of the body, so that the client reads the response."""

    def __init__(self, protocol: "HttpProtocol") -> None:
        self._protocol = protocol
        self._request = protocol.cycle
        self.write = protocol.transport.write
        self.is_closing = protocol.transport.is_closing

    def close(self) -> None:
        if self._request.more_body:
            self._protocol.leave()
        else:
            self._protocol.transport.close()


class HttpProtocol(HttpToolsProtocol):
    """uvicorn's protocol, which aborts connections whose clients are too slow or send too much."""

    def __init__(self, *given: Any, meters: MetricRegistry, **named: Any) -> None:
        super().__init__(*given, **named)
        self._meters = meters
        self._since = self.loop.time()
        self._head: asyncio.TimerHandle | None = None
        self._stalled: asyncio.TimerHandle | None = None
        self._undigested = 0
        """Bytes since the last complete part of a request."""
        self._refusal: tuple[int, str] | None = None
        self._leaving = False
        self._upgraded = False
        self._peer = ""

    @property
    def waits_since(self) -> float | None:
        """Since when toban waits for the client, in the loop's time; nothing while it handles a request."""
        request = self._request
        return None if request and not request.more_body and not self.flow.write_paused else self._since

    @property
    def _request(self) -> RequestResponseCycle | None:
        """The request that is being handled."""
        newest: RequestResponseCycle | None = self.cycle
        return newest if newest and not newest.response_complete else None

    def abort(self, reason: str) -> None:
        """Abort the connection."""
        self._meters.add(ABORTED, 1, reason=reason)
        self.connections.discard(self)
        self.transport.abort()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn does
        """Start waiting for a request."""
        super().connection_made(transport)
        self._peer = peer_user(transport.get_extra_info("socket"))
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel all timers."""
        self._unset(self._head, self._stalled)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse data, as long as requests are complete within the limits."""
        while data and not self._leaving and not self._upgraded and not self.transport.is_closing():
            most = HEAD_BYTES - self._undigested
            piece, data = data[:most], data[most:]
            self._undigested += len(piece)
            super().data_received(piece)
            if self._undigested >= HEAD_BYTES and not self._upgraded:
                self._refuse(431, "headers too long")
        if self._upgraded:
            return  # what a client sends before it may is dropped
        if self._head is None and not self._request and not self.transport.is_closing():
            self._await_head()

    def on_message_begin(self) -> None:
        """Start a request."""
        if len(self.pipeline) >= PIPELINED:
            self._refusal = 429, "too many pipelined requests"
            raise ValueError
        super().on_message_begin()
        self.scope["state"][PEER_USER] = self._peer

    def on_header(self, name: bytes, value: bytes) -> None:
        """Store a header; a trailer is one too."""
        if len(self.headers) >= MAX_HEADERS:
            self._refusal = 431, "too many headers"
            raise ValueError
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Start handling a request."""
        if not self.url.startswith(b"/"):
            raise ValueError  # an absolute URL: toban is not a proxy
        self._unset(self._head)
        self._head = None
        self._undigested = 0
        self._since = self.loop.time()
        super().on_headers_complete()
        if self.parser.should_upgrade() and self._should_upgrade():
            return  # to `handle_websocket_upgrade`
        cycle: RequestResponseCycle = self.cycle
        cycle.transport = cast("asyncio.Transport", _Lingering(self))

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start" and cycle.more_body:
                # `leave` follows: the client may send no further request on this connection.
                message["headers"] = [*message.get("headers", []), (b"connection", b"close")]
            await RequestResponseCycle.send(cycle, message)

        cycle.send = send  # type: ignore[method-assign]  # it runs later

    def handle_websocket_upgrade(self) -> None:
        """Pass the connection on to the protocol of WebSockets."""
        if self._request:
            self._refuse(400, "an upgrade within another request")
            return
        self._upgraded = True
        self._unset(self._head, self._stalled)
        super().handle_websocket_upgrade()

    def on_body(self, body: bytes) -> None:
        """Pass on a chunk of a body."""
        self._undigested = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Complete a request."""
        self._undigested = 0
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Go on to the next request, or close after a rejected body."""
        super().on_response_complete()
        self._since = self.loop.time()
        if self.cycle.response_complete and self.cycle.more_body and not self._leaving:
            # The body was rejected: its rest is discarded.
            self.leave()

    def send_400_response(self, msg: str) -> None:
        """Send an error, and close."""
        self._refuse(*(self._refusal or (400, msg)))

    def pause_writing(self) -> None:
        """Pause until the client has read."""
        super().pause_writing()
        self._since = self.loop.time()
        self._expect_reading()

    def resume_writing(self) -> None:
        """Continue writing."""
        super().resume_writing()
        self._unset(self._stalled)
        self._stalled = None

    def _unsupported_upgrade_warning(self) -> None:
        """Log nothing: any client can request an upgrade."""

    def _await_head(self) -> None:
        self._since = self.loop.time()
        self._head = self.loop.call_later(HEAD_SECONDS, self._head_is_late)

    def _head_is_late(self) -> None:
        self._head = None
        if self._undigested:
            self._refuse(408, "headers arrived too slowly")
        else:
            self.abort("idle")

    def _refuse(self, status: int, message: str) -> None:
        """Send an error about an unreadable request, and close."""
        if self._leaving or self.transport.is_closing():
            return
        self._meters.add(ABORTED, 1, reason=STATUS_LINE[status].split(b" ", 2)[2].strip().decode().lower())
        if self._request:
            self.transport.abort()  # no error can be sent within another response
            return
        body = message.encode()
        head = b"content-type: text/plain; charset=utf-8\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % len(body)
        self.transport.write(STATUS_LINE[status] + head + body)
        self.leave()

    def leave(self) -> None:
        """Read on for a moment, then close."""
        self._leaving = True
        self.flow.resume_reading()
        self._unset(self._head)
        self._head = self.loop.call_later(LINGER_SECONDS, self.transport.close)

    def _expect_reading(self, before: int | None = None) -> None:
        """Abort the connection unless the client has read something meanwhile."""
        left = self.transport.get_write_buffer_size()
        if before is not None and left >= before:
            self.abort("not reading")
            return
        self._stalled = self.loop.call_later(READING_SECONDS, self._expect_reading, left)

    @staticmethod
    def _unset(*timers: asyncio.TimerHandle | None) -> None:
        for timer in timers:
            if timer:
                timer.cancel()
