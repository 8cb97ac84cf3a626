"""What an answer over HTTP means for a message: delivered, to be tried again, or refused for good."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import httpx2

from toban.core.errors import DeliveryError, LongAnswerError
from toban.core.network import reason, whole
from toban.core.retrying import AGAIN, retry_after
from toban.notify.plain import one_line, shortened, without

LONGEST: Final = 4 * 1024 * 1024
"""Bytes that an answer may have: two hundred messages of a Slack channel do."""


async def post(
    http: httpx2.AsyncClient,
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
    try:
        async with http.stream("POST", url, content=content, headers=dict(headers)) as response:
            body = await whole(response, LONGEST)
    except httpx2.InvalidURL as error:
        raise DeliveryError(f"{name}: its address is none", permanent=True) from error
    except (httpx2.HTTPError, LongAnswerError) as error:
        raise DeliveryError(f"{name}: {without(reason(error), [url, *secrets])}") from None
    told = {key: value for key, value in response.headers.items() if key not in {"content-encoding", "content-length"}}
    return httpx2.Response(response.status_code, headers=told, content=body)


def refused(
    response: httpx2.Response, name: str, secrets: Sequence[str], now: datetime, says: str = ""
) -> DeliveryError:
    """Return the trouble that an answer tells of; ``says`` are its words, its body unless given."""
    status = response.status_code
    words = says or _words(response)
    told = without(shortened(one_line(words), 200), secrets)
    permanent = 300 <= status < 500 and status not in AGAIN
    return DeliveryError(
        f"{name}: answered {status}{f': {told}' if told else ''}", permanent=permanent, after=asked(response, now)
    )


def asked(response: httpx2.Response, now: datetime) -> float | None:
    """Return how many seconds the receiver asks to wait."""
    return retry_after(response.headers.get("retry-after", ""), now)


def as_json(response: httpx2.Response) -> Any:
    """Return a body's JSON; nothing when it is none."""
    try:
        return response.json()
    except ValueError:
        return None


def _words(response: httpx2.Response) -> str:
    """Return what an answer says, when that is for machines or a short line: a page for people says nothing here."""
    return "" if "html" in response.headers.get("content-type", "") else response.text[:1000]
