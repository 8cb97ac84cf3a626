"""Request bodies: read and decompressed as they arrive, with limits on size, memory and time."""

import asyncio
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect, Request
from starlette.types import Message, Receive, Scope

GZIP: Final = 16 + zlib.MAX_WBITS
DEFLATE: Final = zlib.MAX_WBITS

BUFFER_BYTES: Final = 16 * 2**20
"""Bytes of all bodies in memory together."""

RETRY_AFTER: Final = 2
"""Seconds after which to retry when the buffer is full."""

SECONDS: Final = 10.0
"""How long toban waits for a body in all; each kibibyte that has arrived adds `SECONDS_PER_KIB`."""

SECONDS_PER_KIB: Final = 0.1
"""A body that arrives more slowly than 10 KiB a second times out."""

STALLED: Final = 1.0
"""Seconds of waiting after which a body may be dropped for the sake of others."""


class BodyError(Exception):
    """A body that is not accepted: with this status. Its route writes the response (`endpoint.py`)."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status

    @property
    def headers(self) -> dict[str, str]:
        """The headers of the response."""
        return {"retry-after": str(RETRY_AFTER)} if self.status == 503 else {}


class BodyBuffer:
    """
    The memory of all bodies together.

    When it is full, the body that toban has waited for the longest is dropped, so that stalled uploads block nobody;
    when none is stalled, the new request is rejected with 503.
    """

    def __init__(self, size: int = BUFFER_BYTES) -> None:
        self.size = size
        self.held = 0
        self._bodies: set[RequestBody] = set()

    @contextmanager
    def body(self, receive: Receive, scope: Scope, limit: int) -> Iterator["RequestBody"]:
        """Open a body of at most ``limit`` bytes, as long as its request lasts."""
        body = RequestBody(self, receive, limit, Headers(scope=scope).get("content-length", ""))
        self._bodies.add(body)
        scope.setdefault("state", {})["body"] = body
        try:
            yield body
        finally:
            self._bodies.discard(body)
            body.release()

    def reserve(self, size: int, requesting: "RequestBody") -> None:
        """Reserve so many bytes more. Raises ``BodyError`` when the buffer is full."""
        while self.held + size > self.size:
            stalled = [body for body in self._bodies if body.held and body is not requesting and body.waited > STALLED]
            if not stalled:
                raise BodyError(503, "toban is busy: retry")
            max(stalled, key=lambda body: body.waited).give_up()


class RequestBody:
    """A request's body as it arrives: an ASGI ``receive`` that keeps to the limits."""

    def __init__(self, buffer: BodyBuffer, receive: Receive, limit: int, length: str = "") -> None:
        """``length`` is the Content-Length."""
        self.held = 0
        self.limit = limit
        self._buffer = buffer
        self._receive = receive
        self._is_too_long = length.isdecimal() and int(length[:20]) > limit
        self._received = 0
        self._whole = False
        self._spent = 0.0
        self._since: float | None = None
        self._timeout: asyncio.Timeout | None = None
        self._given_up = False

    @property
    def waited(self) -> float:
        """Seconds that toban has waited for its sender, while it waits; else 0."""
        return 0.0 if self._since is None else self._spent + asyncio.get_running_loop().time() - self._since

    async def __call__(self) -> Message:
        """
        Return the next chunk.

        Raises ``BodyError``: 413 when it is too long, 408 when it arrives too slowly, 503 when the buffer is full.
        """
        if self._whole:
            return await self._receive()  # to wait for the disconnect
        if self._is_too_long:
            raise body_too_large(self.limit)
        message = await self._next()
        if message["type"] == "http.request":
            self._received += len(message.get("body", b""))
            self._whole = not message.get("more_body", False)
            if self._received > self.limit:
                raise body_too_large(self.limit)
            self.take(len(message.get("body", b"")))
        return message

    def take(self, size: int) -> None:
        """Hold so many bytes more. Raises ``BodyError`` when the buffer is full."""
        if self._given_up:
            raise BodyError(503, "the body arrived slowly, and others needed its memory: retry")
        self._buffer.reserve(size, self)
        self.held += size
        self._buffer.held += size

    def release(self) -> None:
        """Free its memory."""
        self._buffer.held -= self.held
        self.held = 0

    def give_up(self) -> None:
        """Free its memory for others, and stop waiting."""
        self.release()
        self._given_up = True
        if self._timeout:
            self._timeout.reschedule(asyncio.get_running_loop().time())

    async def _next(self) -> Message:
        now = asyncio.get_running_loop().time
        left = SECONDS + self._received / 1024 * SECONDS_PER_KIB - self._spent
        self._since = now()
        try:
            async with asyncio.timeout(max(0.0, left)) as self._timeout:
                return await self._receive()
        except TimeoutError:
            self.take(0)
            raise BodyError(408, f"the body arrived too slowly: {self._received} bytes so far") from None
        finally:
            self._spent += now() - self._since
            self._since = self._timeout = None


async def read_body(request: Request) -> bytes:
    """
    Read a request's body, with or without Content-Length, in gzip, deflate or as it is.

    Raises ``BodyError``: like `RequestBody`, 413 also when it is too long decompressed (no more than allowed is held),
    415 for another encoding, 400 when it can't be decompressed or was cut off.
    """
    coding = request.headers.get("content-encoding", "identity").strip().lower() or "identity"
    if coding not in {"identity", "gzip", "x-gzip", "deflate"}:
        raise BodyError(415, f"Content-Encoding {coding!r} is not supported: send gzip, or none")
    if coding == "identity":
        return await read_compressed(request)
    limits: RequestBody = request.scope["state"]["body"]
    decompressor = _Decompressor(GZIP if coding.endswith("gzip") else DEFLATE, limits.limit)
    found, before = bytearray(), 0
    try:
        async for chunk in request.stream():
            decompressor.feed(chunk, found)
            if len(found) > limits.limit:
                raise body_too_large(limits.limit)
            limits.take(len(found) - before)
            before = len(found)
    except ClientDisconnect as error:
        raise BodyError(400, "the body was cut off") from error
    if not decompressor.ended:
        raise BodyError(400, f"the body is incomplete {coding}")
    return bytes(found)


async def read_compressed(request: Request) -> bytes:
    """Read a request's body without decompressing it. Otherwise like `read_body`."""
    try:
        return await request.body()
    except ClientDisconnect as error:
        raise BodyError(400, "the body was cut off") from error


class _Decompressor:
    """Decompresses chunks; several streams in a row are one body, as in gzip."""

    def __init__(self, window: int, limit: int) -> None:
        self._window = window
        self._limit = limit
        self._stream = zlib.decompressobj(window)
        self._begun = False

    @property
    def ended(self) -> bool:
        """Whether the body is complete; no bytes at all are an empty body."""
        return self._stream.eof or not self._begun

    def feed(self, chunk: bytes, into: bytearray) -> None:
        """Decompress a chunk, no further than the limit."""
        while chunk:
            if self._stream.eof:
                self._stream = zlib.decompressobj(self._window)
            self._begun = True
            try:
                into += self._stream.decompress(chunk, self._limit + 1 - len(into))
            except zlib.error as error:
                raise BodyError(400, f"the body can't be decompressed: {error}") from error
            if len(into) > self._limit:
                return
            chunk = self._stream.unconsumed_tail or self._stream.unused_data


def body_too_large(limit: int) -> BodyError:
    """Return the error for a body that is longer than allowed."""
    return BodyError(413, f"more than {limit} bytes: send less at a time")
