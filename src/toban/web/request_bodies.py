"""Bodies of requests: read as they come, inflated as they come, never more, nor for longer, than is allowed."""

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

ROOM: Final = 16 * 2**20
"""Bytes of bodies that are held at the same time."""

AGAIN: Final = 2
"""Seconds after which to come again when there is no room."""

SECONDS: Final = 10.0
"""How long toban waits for a body in all; each kibibyte that has come adds `SECONDS_A_KIB`."""

SECONDS_A_KIB: Final = 0.1
"""Whoever sends more slowly than 10 KiB a second is given up."""

STALLED: Final = 1.0
"""Seconds of waiting after which a body gives its room up to those that come."""


class BodyError(Exception):
    """A body that is not taken: with this status. Its route says so in its own words (`endpoint.py`)."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status

    @property
    def headers(self) -> dict[str, str]:
        """What is said beside the message."""
        return {"retry-after": str(AGAIN)} if self.status == 503 else {}


class BodyBuffer:
    """
    The memory that bodies may take together.

    Where there is no more, the body that toban has waited for the longest is given up, so that uploads that stall hold
    nobody else up; when all are being worked on, whoever comes is asked to come again.
    """

    def __init__(self, size: int = ROOM) -> None:
        self.size = size
        self.held = 0
        self._bodies: set[RequestBody] = set()

    @contextmanager
    def body(self, receive: Receive, scope: Scope, limit: int) -> Iterator["RequestBody"]:
        """Lend a body that may hold ``limit`` bytes, for as long as its request lasts."""
        body = RequestBody(self, receive, limit, Headers(scope=scope).get("content-length", ""))
        self._bodies.add(body)
        scope.setdefault("state", {})["body"] = body
        try:
            yield body
        finally:
            self._bodies.discard(body)
            body.release()

    def reserve(self, size: int, asking: "RequestBody") -> None:
        """Make room for so many bytes more. Raises ``BodyError`` when there is none."""
        while self.held + size > self.size:
            stalled = [body for body in self._bodies if body.held and body is not asking and body.waited > STALLED]
            if not stalled:
                raise BodyError(503, "toban is busy: come again")
            max(stalled, key=lambda body: body.waited).give_up()


class RequestBody:
    """A request's body as it comes in: an ASGI ``receive`` that keeps to the limits."""

    def __init__(self, room: BodyBuffer, receive: Receive, limit: int, length: str = "") -> None:
        """``length`` is what its sender says of it."""
        self.held = 0
        self.limit = limit
        self._room = room
        self._receive = receive
        self._is_too_long = length.isdecimal() and int(length[:20]) > limit
        self._came = 0
        self._whole = False
        self._spent = 0.0
        self._since: float | None = None
        self._timeout: asyncio.Timeout | None = None
        self._given_up = False

    @property
    def waited(self) -> float:
        """Seconds that toban has waited for its sender, as long as it waits; else nought."""
        return 0.0 if self._since is None else self._spent + asyncio.get_running_loop().time() - self._since

    async def __call__(self) -> Message:
        """
        Return the next piece.

        Raises ``BodyError``: 413 when it is longer than allowed, 408 when it comes too slowly, 503 without room.
        """
        if self._whole:
            return await self._receive()  # who waits for the sender to leave may do so
        if self._is_too_long:
            raise body_too_large(self.limit)
        message = await self._next()
        if message["type"] == "http.request":
            self._came += len(message.get("body", b""))
            self._whole = not message.get("more_body", False)
            if self._came > self.limit:
                raise body_too_large(self.limit)
            self.take(len(message.get("body", b"")))
        return message

    def take(self, size: int) -> None:
        """Hold so many bytes more. Raises ``BodyError`` when there is no room."""
        if self._given_up:
            raise BodyError(503, "the body came slowly, and others needed its room: come again")
        self._room.reserve(size, self)
        self.held += size
        self._room.held += size

    def release(self) -> None:
        """Hold nothing any more."""
        self._room.held -= self.held
        self.held = 0

    def give_up(self) -> None:
        """Leave the room to others."""
        self.release()
        self._given_up = True
        if self._timeout:
            self._timeout.reschedule(asyncio.get_running_loop().time())

    async def _next(self) -> Message:
        now = asyncio.get_running_loop().time
        left = SECONDS + self._came / 1024 * SECONDS_A_KIB - self._spent
        self._since = now()
        try:
            async with asyncio.timeout(max(0.0, left)) as self._timeout:
                return await self._receive()
        except TimeoutError:
            self.take(0)
            raise BodyError(408, f"the body came too slowly: {self._came} bytes so far") from None
        finally:
            self._spent += now() - self._since
            self._since = self._timeout = None


async def read_body(request: Request) -> bytes:
    """
    Read a request's body, with or without Content-Length, in gzip, deflate or as it is.

    Raises ``BodyError``: like `RequestBody`, 413 also when it gets too long by being inflated (no more than
    allowed was held), 415 when it is packed otherwise, 400 when it can't be unpacked or was cut off.
    """
    coding = request.headers.get("content-encoding", "identity").strip().lower() or "identity"
    if coding not in {"identity", "gzip", "x-gzip", "deflate"}:
        raise BodyError(415, f"Content-Encoding {coding!r} is not known here: send gzip, or nothing")
    if coding == "identity":
        return await read_compressed(request)
    limits: RequestBody = request.scope["state"]["body"]
    unpacking = _Unpacking(GZIP if coding.endswith("gzip") else DEFLATE, limits.limit)
    found, before = bytearray(), 0
    try:
        async for piece in request.stream():
            unpacking.feed(piece, found)
            if len(found) > limits.limit:
                raise body_too_large(limits.limit)
            limits.take(len(found) - before)
            before = len(found)
    except ClientDisconnect as error:
        raise BodyError(400, "the body was cut off") from error
    if not unpacking.ended:
        raise BodyError(400, f"the body is no whole {coding}")
    return bytes(found)


async def read_compressed(request: Request) -> bytes:
    """Read a request's body as it is, whatever it is packed with. Otherwise like `read_body`."""
    try:
        return await request.body()
    except ClientDisconnect as error:
        raise BodyError(400, "the body was cut off") from error


class _Unpacking:
    """Inflates pieces; what several streams in a row hold is one body, as gzip has it."""

    def __init__(self, window: int, limit: int) -> None:
        self._window = window
        self._limit = limit
        self._stream = zlib.decompressobj(window)
        self._begun = False

    @property
    def ended(self) -> bool:
        """Whether nothing is missing; no bytes at all are an empty body."""
        return self._stream.eof or not self._begun

    def feed(self, piece: bytes, into: bytearray) -> None:
        """Inflate a piece, no further than the limit."""
        while piece:
            if self._stream.eof:
                self._stream = zlib.decompressobj(self._window)
            self._begun = True
            try:
                into += self._stream.decompress(piece, self._limit + 1 - len(into))
            except zlib.error as error:
                raise BodyError(400, f"the body can't be unpacked: {error}") from error
            if len(into) > self._limit:
                return
            piece = self._stream.unconsumed_tail or self._stream.unused_data


def body_too_large(limit: int) -> BodyError:
    """Return the refusal of a body that is longer than allowed."""
    return BodyError(413, f"more than {limit} bytes: send less at a time")
