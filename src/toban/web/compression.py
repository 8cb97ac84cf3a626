"""Compression of responses."""

import asyncio
import gzip
from typing import Final

from starlette.requests import Request

LEVEL: Final = 4
"""As small as a response need be, in a few milliseconds."""

SMALLEST: Final = 1_400
"""Bytes from which on it is worth it: less fits into one packet."""

IN_THREAD: Final = 200_000
"""Bytes from which on it is done in a thread."""


def compress(request: Request, body: bytes) -> tuple[bytes, dict[str, str]]:
    """Return a body as it is sent to a client, and the header that says so."""
    if len(body) < SMALLEST or not accepts_gzip(request):
        return body, {}
    return gzip.compress(body, LEVEL, mtime=0), {"content-encoding": "gzip"}


async def compress_any(request: Request, body: bytes) -> tuple[bytes, dict[str, str]]:
    """Return what `compress` does, for a body that may be large."""
    if len(body) < IN_THREAD:
        return compress(request, body)
    return await asyncio.to_thread(compress, request, body)


def accepts_gzip(request: Request) -> bool:
    """Tell whether a client accepts compressed responses."""
    return "gzip" in request.headers.get("accept-encoding", "")
