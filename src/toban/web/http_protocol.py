"""HTTP on one connection, with an end to everything: bytes and number of headers, requests ahead, and time."""

import asyncio
from typing import Any, Final, cast

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from toban.core.metric_registry import MetricRegistry
from toban.core.samples import counter

CUT_OFF: Final = counter(
    "toban_http_connections_aborted_total", "HTTP connections that were ended because of their sender, by reason."
)

HEAD_BYTES: Final = 65_536
"""Bytes of a request's line and headers, or of what stands round its body: chunk sizes and trailers."""

HEADERS: Final = 100

AHEAD: Final = 16
"""How many requests may be sent before the first of them is answered."""

HEAD_SECONDS: Final = 10.0
"""Seconds until a connection must have sent a request's headers."""

LINGERING: Final = 2.0
"""Seconds for which is read on after a refusal: closed at once, its sender might never see it."""

READING_SECONDS: Final = 30.0
"""Seconds in which whoever is answered must have read something of it."""


class _Lingering:
    """What a request is answered through: closing waits for a body that still comes, so that the answer is read."""

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
    """uvicorn's protocol, made to give up on senders that are too slow or send too much."""

    def __init__(self, *given: Any, meters: MetricRegistry, **named: Any) -> None:
        super().__init__(*given, **named)
        self._meters = meters
        self._since = self.loop.time()
        self._head: asyncio.TimerHandle | None = None
        self._stalled: asyncio.TimerHandle | None = None
        self._undigested = 0
        """Bytes since the last that were of use."""
        self._refusal: tuple[int, str] | None = None
        self._leaving = False

    @property
    def waits_since(self) -> float | None:
        """Since when toban waits for the other side, in the loop's time; nothing while it works for it."""
        request = self._request
        return None if request and not request.more_body and not self.flow.write_paused else self._since

    @property
    def _request(self) -> RequestResponseCycle | None:
        """The request that is being answered."""
        newest: RequestResponseCycle | None = self.cycle
        return newest if newest and not newest.response_complete else None

    def cut_off(self, reason: str) -> None:
        """End the connection at once."""
        self._meters.add(CUT_OFF, 1, reason=reason)
        self.connections.discard(self)
        self.transport.abort()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn does
        """Begin to wait for a request."""
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Let go of everything."""
        self._unset(self._head, self._stalled)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what came, as long as what came is of use."""
        while data and not self._leaving and not self.transport.is_closing():
            most = HEAD_BYTES - self._undigested
            piece, data = data[:most], data[most:]
            self._undigested += len(piece)
            super().data_received(piece)
            if self._undigested >= HEAD_BYTES:
                self._refuse(431, "The headers are too long.")
        if self._head is None and not self._request and not self.transport.is_closing():
            self._await_head()

    def on_message_begin(self) -> None:
        """Note that a request begins."""
        if len(self.pipeline) >= AHEAD:
            self._refusal = 429, "Too many requests before the first was answered."
            raise ValueError
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep one header; a trailer is one too."""
        if len(self.headers) >= HEADERS:
            self._refusal = 431, "There are too many headers."
            raise ValueError
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Begin to answer."""
        if not self.url.startswith(b"/"):
            raise ValueError  # an address of another host: toban is no proxy
        self._unset(self._head)
        self._head = None
        self._undigested = 0
        self._since = self.loop.time()
        super().on_headers_complete()
        cycle: RequestResponseCycle = self.cycle
        cycle.transport = cast("asyncio.Transport", _Lingering(self))

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start" and cycle.more_body:
                # `leave` follows: whoever sent the body may send no further request after it.
                message["headers"] = [*message.get("headers", []), (b"connection", b"close")]
            await RequestResponseCycle.send(cycle, message)

        cycle.send = send  # type: ignore[method-assign]  # what is run has not begun

    def on_body(self, body: bytes) -> None:
        """Hand on a piece of a body."""
        self._undigested = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Note that a request is whole."""
        self._undigested = 0
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Go on to the next request, or leave with a body that nobody wants."""
        super().on_response_complete()
        self._since = self.loop.time()
        if self.cycle.response_complete and self.cycle.more_body and not self._leaving:
            # The body was refused: its rest is of no use to anybody.
            self.leave()

    def send_400_response(self, msg: str) -> None:
        """Say what is wrong, and go."""
        self._refuse(*(self._refusal or (400, msg)))

    def pause_writing(self) -> None:
        """Wait until what was written is read."""
        super().pause_writing()
        self._since = self.loop.time()
        self._expect_reading()

    def resume_writing(self) -> None:
        """Go on writing."""
        super().resume_writing()
        self._unset(self._stalled)
        self._stalled = None

    def _unsupported_upgrade_warning(self) -> None:
        """Say nothing: what is asked for is not there, and everybody may ask."""

    def _await_head(self) -> None:
        self._since = self.loop.time()
        self._head = self.loop.call_later(HEAD_SECONDS, self._head_is_late)

    def _head_is_late(self) -> None:
        self._head = None
        if self._undigested:
            self._refuse(408, "The headers came too slowly.")
        else:
            self.cut_off("idle")

    def _refuse(self, status: int, message: str) -> None:
        """Say why a request can't be read, and go."""
        if self._leaving or self.transport.is_closing():
            return
        self._meters.add(CUT_OFF, 1, reason=STATUS_LINE[status].split(b" ", 2)[2].strip().decode().lower())
        if self._request:
            self.transport.abort()  # in the middle of another answer nothing can be said
            return
        said = message.encode()
        head = b"content-type: text/plain; charset=utf-8\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % len(said)
        self.transport.write(STATUS_LINE[status] + head + said)
        self.leave()

    def leave(self) -> None:
        """Read on for a moment, and close."""
        self._leaving = True
        self.flow.resume_reading()
        self._unset(self._head)
        self._head = self.loop.call_later(LINGERING, self.transport.close)

    def _expect_reading(self, before: int | None = None) -> None:
        """End the connection unless something of an answer was read meanwhile."""
        left = self.transport.get_write_buffer_size()
        if before is not None and left >= before:
            self.cut_off("not reading")
            return
        self._stalled = self.loop.call_later(READING_SECONDS, self._expect_reading, left)

    @staticmethod
    def _unset(*timers: asyncio.TimerHandle | None) -> None:
        for timer in timers:
            if timer:
                timer.cancel()
