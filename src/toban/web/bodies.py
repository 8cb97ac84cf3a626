"""Bodies of requests: read as they come, inflated as they come, never more than is allowed."""

import zlib
from collections.abc import Callable
from typing import Final

from starlette.requests import ClientDisconnect, Request

from toban.core.errors import TobanError

GZIP: Final = 16 + zlib.MAX_WBITS
DEFLATE: Final = zlib.MAX_WBITS


class BodyError(TobanError):
    """A body that is not taken: with this status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


async def body_of(request: Request, limit: int, take: Callable[[int], None] = lambda size: None) -> bytes:
    """
    Read a request's body, with or without Content-Length, in gzip, deflate or as it is.

    ``take`` is told of the bytes that are held, before the next are read; what it raises goes through.
    Raises ``BodyError``: 413 as soon as it is, or says that it is, longer than ``limit`` bytes inflated (so far no more
    than that was held), 415 when it is packed otherwise, 400 when it can't be unpacked or was cut off.
    """
    coding = request.headers.get("content-encoding", "identity").strip().lower() or "identity"
    if coding not in {"identity", "gzip", "x-gzip", "deflate"}:
        raise BodyError(415, f"Content-Encoding {coding!r} is not known here: send gzip, or nothing")
    return await _read(request, limit, take, coding)


async def packed(request: Request, limit: int, take: Callable[[int], None] = lambda size: None) -> bytes:
    """Read a request's body as it is, whatever it is packed with. Otherwise like `body_of`."""
    return await _read(request, limit, take, "identity")


async def _read(request: Request, limit: int, take: Callable[[int], None], coding: str) -> bytes:
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length[:20]) > limit:
        raise _too_long(limit)
    unpacking = None if coding == "identity" else _Unpacking(GZIP if coding.endswith("gzip") else DEFLATE, limit)
    found, before = bytearray(), 0
    try:
        async for piece in request.stream():
            if unpacking:
                unpacking.feed(piece, found)
            else:
                found += piece
            if len(found) > limit:
                raise _too_long(limit)
            take(len(found) - before)
            before = len(found)
    except ClientDisconnect as error:
        raise BodyError(400, "the body was cut off") from error
    if unpacking and not unpacking.ended:
        raise BodyError(400, f"the body is no whole {coding}")
    return bytes(found)


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


def _too_long(limit: int) -> BodyError:
    return BodyError(413, f"more than {limit} bytes: send less at a time")
