"""What the network brings: an answer that is not longer than it may be, or why there is none in words that help."""

import os
import ssl

import httpx2

from toban.core.errors import LongAnswerError


async def whole(response: httpx2.Response, most: int) -> bytes:
    """
    Return the body of an answer that is streamed.

    Raises ``LongAnswerError`` as soon as it has more than ``most`` bytes, inflated, and ``httpx2.HTTPError``.
    """
    body = bytearray()
    async for piece in response.aiter_bytes():
        body += piece
        if len(body) > most:
            raise LongAnswerError(f"the answer has more than {most} bytes")
    return bytes(body)


def reason(error: BaseException) -> str:
    """
    Return what lies at the bottom of an error of the network.

    The client says "All connection attempts failed"; the system below it knows that the connection was refused.
    """
    if isinstance(error, TimeoutError | httpx2.TimeoutException):
        return "no answer in time"
    found, deepest = error, _words(error)
    while cause := found.__cause__ or found.__context__:
        found = cause
        if isinstance(found, OSError):
            deepest = _words(found) or deepest
    return deepest or type(error).__name__


def _words(error: BaseException) -> str:
    """Return what one error says, without numbers and places in somebody's source."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message
    if isinstance(error, ssl.SSLError) and error.reason:
        return f"TLS: {error.reason.replace('_', ' ').lower()}"
    if isinstance(error, OSError) and error.errno and error.errno > 0:
        # asyncio puts the address there instead of the reason.
        return os.strerror(error.errno).lower()
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return str(error)
