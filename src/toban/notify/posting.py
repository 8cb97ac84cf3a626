"""Posting to a web service, and what its answer means for the message: delivered, refused, or worth another try."""

import asyncio
import math
import ssl
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Annotated, Any, Final
from urllib.parse import urlsplit

import httpx2
import orjson
from pydantic import AfterValidator, BeforeValidator, SecretStr

from toban.core.errors import DeliveryError
from toban.core.network import reason
from toban.core.redaction import scrubbed
from toban.core.section import from_environment
from toban.notify.plain import one_line, shortened, without

LONGEST: Final = 65_536
"""How many bytes of an answer are read."""


def _secret_address(value: SecretStr) -> SecretStr:
    parts = urlsplit(value.get_secret_value())
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("that is no web address: write it like https://hooks.example/… (it isn't shown: it is secret)")
    _ = parts.port  # raises ValueError when it is out of range
    return value


SecretAddress = Annotated[SecretStr, BeforeValidator(from_environment), AfterValidator(_secret_address)]
"""A web address that is itself the key to what lies there, so it is never shown; ``${NAME}`` is taken as elsewhere."""


@dataclass(frozen=True, slots=True)
class Post:
    """Something to be posted on behalf of a channel: where to, what, and what must never be shown of it."""

    who: str
    """The channel, in messages: ``slack ops``."""
    url: str
    body: bytes
    timeout: timedelta
    headers: Mapping[str, str] = field(default_factory=dict)
    secrets: Collection[str] = ()


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back."""

    status: int
    headers: httpx2.Headers
    body: bytes

    @property
    def text(self) -> str:
        """Its body as text."""
        return self.body.decode(errors="replace").strip()

    @property
    def fields(self) -> Mapping[str, Any]:
        """Its body as a JSON object; empty where it is none."""
        try:
            found = orjson.loads(self.body)
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}


async def post(http: httpx2.AsyncClient, asked: Post) -> Answer:
    """
    Post it and return the answer, whatever its status.

    Raises ``DeliveryError``, worth another try, when no whole answer came in time.
    """
    body = b""
    try:
        async with (
            asyncio.timeout(asked.timeout.total_seconds()),
            http.stream(
                "POST", asked.url, content=asked.body, headers=dict(asked.headers), follow_redirects=False
            ) as response,
        ):
            async for piece in response.aiter_bytes():
                body += piece
                if len(body) > LONGEST:
                    break
    except (httpx2.HTTPError, httpx2.InvalidURL, OSError, UnicodeError) as error:
        # The client's error holds the request, and so the address: it goes no further than this line.
        raise DeliveryError(f"{asked.who}: {without(reason(error), asked.secrets)}") from None
    return Answer(response.status_code, response.headers, body[:LONGEST])


def check(answer: Answer, asked: Post, now: datetime, said: str = "") -> None:
    """
    Accept a 2xx; anything else raises ``DeliveryError``.

    429 and 5xx are worth another try, not before the time that the answer names; what else was refused stays refused.
    ``said`` is the answer's own word on it, where the channel knows how to find it.
    """
    if not 200 <= answer.status < 300:
        raise refused(answer, asked, now, said, permanent=answer.status != 429 and answer.status < 500)


def refused(answer: Answer, asked: Post, now: datetime, said: str = "", *, permanent: bool) -> DeliveryError:
    """Return the error that tells of an answer which is not the one hoped for."""
    words = shortened(one_line(scrubbed(without(said, asked.secrets))), 200)
    message = f"{asked.who}: answered {answer.status}{': ' + words if words else ''}"
    if 300 <= answer.status < 400:
        message += ", which leads elsewhere: give the address that it leads to"
    return DeliveryError(message, permanent=permanent, after=None if permanent else wait(answer.headers, now))


def wait(headers: Mapping[str, str], now: datetime) -> float | None:
    """Return how many seconds an answer asks to wait (Retry-After, as a number or a date); nothing if it doesn't."""
    told = headers.get("retry-after", "").strip()
    if not told:
        return None
    try:
        seconds = float(told)
    except ValueError:
        try:
            until = parsedate_to_datetime(told)
            seconds = (until.replace(tzinfo=until.tzinfo or UTC) - now).total_seconds()
        except (ValueError, OverflowError):
            return None
    return None if math.isnan(seconds) else min(max(seconds, 0.0), 86_400.0)


async def reached(url: str, within: timedelta, context: ssl.SSLContext | None = None) -> str:
    """
    Connect to where an address leads, with TLS where it says https, and return what that proved.

    Sends nothing. Raises ``OSError`` (``TimeoutError`` among them) when it can't be reached.
    """
    parts = urlsplit(url)
    secure = parts.scheme == "https"
    port = parts.port or (443 if secure else 80)
    async with asyncio.timeout(within.total_seconds()):
        _, writer = await asyncio.open_connection(
            parts.hostname, port, ssl=(context or ssl.create_default_context()) if secure else None
        )
    # Not wait_closed: some servers never answer the farewell.
    writer.transport.abort()
    return f"{parts.hostname}:{port} answers{', and its certificate is trusted' if secure else ', without TLS'}"
