"""What an answer over HTTP means for a message: delivered, to be tried again, or refused for good."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import httpx2

from toban.core.errors import DeliveryError
from toban.core.network import reason
from toban.core.retrying import AGAIN, retry_after
from toban.notify.plain import one_line, shortened, without


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

    Raises ``DeliveryError`` when none came. Neither that nor anything else holds the address: it may be a secret.
    """
    try:
        return await http.post(url, content=content, headers=dict(headers))
    except httpx2.InvalidURL as error:
        raise DeliveryError(f"{name}: its address is none", permanent=True) from error
    except httpx2.HTTPError as error:
        raise DeliveryError(f"{name}: {without(reason(error), [url, *secrets])}") from None


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
