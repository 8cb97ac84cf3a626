"""
What an answer over HTTP means for a message: delivered, to be tried again, or refused for good.

Whoever answers 2xx has the message, unless the answer says otherwise in words that its kind of receiver is known for.
408, 425, 429 and 5xx may end otherwise at another try; all else is refused for good.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final
from urllib.parse import urlsplit

import httpx2

from toban.core.backoff import AGAIN, retry_after
from toban.core.errors import DeliveryError, ResponseTooLargeError
from toban.core.http_client import error_reason, read_body
from toban.core.untyped_json import as_mapping
from toban.notify.channel import ChannelTools
from toban.notify.text_limits import safe_text

LONGEST: Final = 4 * 1024 * 1024
"""Bytes that an answer may have: two hundred messages of a Slack channel do."""

PAGE: Final = (
    "answered {status} with a page for people, which is not {service}'s: is there a proxy or a log-in between?"
)

_SAYING: Final = ("error", "message", "detail", "description", "errors")
"""The fields in which services say in JSON what is wrong."""


async def post(
    tools: ChannelTools,
    url: str,
    content: bytes,
    headers: Mapping[str, str],
    *,
    name: str,
    secrets: Sequence[str],
) -> httpx2.Response:
    """
    Post a body and return the answer, whatever its status.

    Raises ``DeliveryError`` when none came, or more than `LONGEST` bytes. Neither that nor anything else holds the
    address: it may be a secret.
    """
    # On a line of its own: one that is kept may just be closed over there, and whether the post arrived is not known.
    headers = {**headers, "connection": "close"}

    async def progress(event: str, _: Mapping[str, Any]) -> None:
        if event.endswith("send_request_body.complete"):
            tools.attempt.unanswered = True

    asking = tools.http.stream("POST", url, content=content, headers=headers, extensions={"trace": progress})
    try:
        async with asking as response:
            tools.attempt.unanswered = response.is_success
            body = await read_body(response, LONGEST)
    except (httpx2.InvalidURL, httpx2.UnsupportedProtocol) as error:
        raise DeliveryError(f"{name}: its address is none", permanent=True) from error
    except (httpx2.HTTPError, ResponseTooLargeError) as error:
        raise DeliveryError(f"{name}: {safe_text(error_reason(error), [*secret_parts(url), *secrets])}") from None
    tools.attempt.unanswered = False
    said = {key: value for key, value in response.headers.items() if key not in {"content-encoding", "content-length"}}
    return httpx2.Response(response.status_code, headers=said, content=body)


def secret_parts(url: str) -> list[str]:
    """Return what must not be shown of an address that may be a secret: it, and what servers repeat of it."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return [url]
    path = f"{parts.path}?{parts.query}" if parts.query else parts.path
    return [url, *(part for part in (path, parts.path, parts.query, *parts.path.split("/")) if len(part) >= 9)]


def delivery_error(
    response: httpx2.Response,
    name: str,
    secrets: Sequence[str],
    now: datetime,
    says: str = "",
    *,
    permanent: bool | None = None,
) -> DeliveryError:
    """
    Return the trouble that an answer tells of.

    ``says`` are its words, those of its body unless given; ``permanent`` is what its status says unless given.
    """
    status = response.status_code
    words = safe_text(says or error_text(response), secrets)
    if permanent is None:
        permanent = 300 <= status < 500 and status not in AGAIN
    return DeliveryError(
        f"{name}: answered {status}{f': {words}' if words else ''}",
        permanent=permanent,
        after=requested_delay(response, now),
    )


def requested_delay(response: httpx2.Response, now: datetime) -> float | None:
    """Return how many seconds the receiver asks to wait."""
    return retry_after(response.headers.get("retry-after", ""), now)


def as_json(response: httpx2.Response) -> Any:
    """Return a body's JSON; nothing when it is none."""
    try:
        return response.json()
    except ValueError:
        return None


def is_page(response: httpx2.Response) -> bool:
    """Tell whether a page for people came instead of an answer: the log-in of a proxy, say."""
    return response.content[:200].lstrip().lower().startswith((b"<!doctype html", b"<html"))


def text(response: httpx2.Response) -> str:
    """Return a body as text, whatever it says that it is written in."""
    try:
        return response.text
    except (LookupError, ValueError):
        return response.content.decode("utf-8", "replace")


def error_text(response: httpx2.Response) -> str:
    """Return what an answer says, from JSON or a short text; a page for people says nothing here."""
    if is_page(response) or "html" in response.headers.get("content-type", ""):
        return ""
    fields = as_mapping(as_json(response))
    words = [str(part) for field in _SAYING for part in _parts(fields.get(field))]
    return ": ".join(dict.fromkeys(words)) or text(response)[:1000]


def _parts(value: object) -> list[object]:
    """Return the texts of a field that is one, or a list of them."""
    return [part for part in (value if isinstance(value, list) else [value]) if isinstance(part, str) and part]
