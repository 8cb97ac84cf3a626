"""
Delivery over HTTP: posts a message and says what the response means for it.

A receiver that answers 2xx has the message, unless its response says otherwise in words that its kind is known for.
408, 425, 429 and 5xx are worth another attempt; all else is a permanent rejection. The receiver may ask for a delay: in
`Retry-After`, in the headers of its rate limit, or in the body.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode, urlsplit

import httpx2
import orjson

from toban.core.backoff import RETRYABLE_STATUSES, retry_after
from toban.core.errors import DeliveryError, ResponseTooLargeError
from toban.core.http_client import error_reason, read_body
from toban.core.ports import Clock
from toban.core.text_limits import safe_text
from toban.core.untyped_json import as_mapping
from toban.notify.delivery_attempt import DeliveryAttempt

MAX_RESPONSE_BYTES: Final = 4 * 1024 * 1024
"""Two hundred messages of a Slack channel fit."""

_ERROR_FIELDS: Final = ("error", "message", "detail", "description", "errors")
"""The fields in which services say in JSON what is wrong."""

_EPOCH: Final = 1e9
"""From here on a number of seconds is a time, not a delay: services write either into `X-RateLimit-Reset`."""


class HttpDelivery:
    """
    Posts the messages of one channel.

    No error contains one of its ``secrets``, nor the URL: it may be one.
    """

    def __init__(
        self, name: str, http: httpx2.AsyncClient, clock: Clock, attempt: DeliveryAttempt, secrets: Iterable[str]
    ) -> None:
        """``attempt`` learns whether the message was sent completely."""
        self.name = name
        self.clock = clock
        self.attempt = attempt
        self.secrets: Sequence[str] = tuple(secrets)
        self._http = http

    async def post(
        self, url: str, body: bytes | Mapping[str, Any], headers: Mapping[str, str] | None = None
    ) -> "DeliveryResponse":
        """
        Post a body, as JSON unless the headers say otherwise; return the response, whatever its status.

        Raises ``DeliveryError`` when no response came, or too large a one.
        """
        return await self.request("POST", url, body, headers)

    async def get(self, url: str, headers: Mapping[str, str] | None = None) -> "DeliveryResponse":
        """
        Get what a receiver says about itself or about a message; return the response, whatever its status.

        Raises ``DeliveryError`` when no response came. What the attempt knows of the message stays.
        """
        unanswered = self.attempt.unanswered
        try:
            return await self.request("GET", url, b"", headers)
        finally:
            self.attempt.unanswered = unanswered

    async def post_form(
        self, url: str, fields: Mapping[str, str], headers: Mapping[str, str] | None = None
    ) -> "DeliveryResponse":
        """Post fields as a form. Raises ``DeliveryError`` as `post` does."""
        form = {"content-type": "application/x-www-form-urlencoded", **(headers or {})}
        return await self.request("POST", url, urlencode(fields).encode(), form)

    async def request(
        self, method: str, url: str, body: bytes | Mapping[str, Any], headers: Mapping[str, str] | None = None
    ) -> "DeliveryResponse":
        """Send a request of any method. Raises ``DeliveryError`` as `post` does."""
        content = body if isinstance(body, bytes) else orjson.dumps(body)
        # On a connection of its own: a kept one may just be closed by the receiver, and whether the message arrived
        # is not known then.
        sent = {"content-type": "application/json", **(headers or {}), "connection": "close"}

        async def progress(event: str, _: Mapping[str, Any]) -> None:
            if event.endswith("send_request_body.complete"):
                self.attempt.unanswered = True

        secrets = [*secret_parts(url), *self.secrets]
        request = self._http.stream(method, url, content=content, headers=sent, extensions={"trace": progress})
        try:
            async with request as response:
                self.attempt.unanswered = response.is_success
                received = await read_body(response, MAX_RESPONSE_BYTES)
        except (httpx2.InvalidURL, httpx2.UnsupportedProtocol) as error:
            raise DeliveryError(f"{self.name}: invalid URL", permanent=True) from error
        except (httpx2.HTTPError, ResponseTooLargeError) as error:
            raise DeliveryError(f"{self.name}: {safe_text(error_reason(error), secrets)}") from None
        self.attempt.unanswered = False
        kept = {name: it for name, it in response.headers.items() if name not in {"content-encoding", "content-length"}}
        return DeliveryResponse(self, secrets, httpx2.Response(response.status_code, headers=kept, content=received))


class DeliveryResponse:
    """The response of a receiver, and the errors that it stands for."""

    def __init__(self, delivery: HttpDelivery, secrets: Sequence[str], response: httpx2.Response) -> None:
        self._delivery = delivery
        self._secrets = secrets
        self._response = response
        self.status = response.status_code
        self.headers = response.headers

    @cached_property
    def json(self) -> Any:
        """The body as JSON; nothing when it isn't."""
        try:
            return self._response.json()
        except ValueError:
            return None

    @property
    def fields(self) -> Mapping[str, Any]:
        """The fields of the body, where it is a JSON object; else empty."""
        return as_mapping(self.json)

    @property
    def text(self) -> str:
        """The body as text, whatever charset it claims."""
        try:
            return self._response.text
        except (LookupError, ValueError):
            return self._response.content.decode("utf-8", "replace")

    @property
    def is_page(self) -> bool:
        """Whether it is a page for people instead of a response: the log-in of a proxy, for example."""
        return self._response.content[:200].lstrip().lower().startswith((b"<!doctype html", b"<html"))

    @property
    def error_text(self) -> str:
        """What the response says, from JSON or a short text; a page for people says nothing here."""
        if self.is_page or "html" in self.headers.get("content-type", ""):
            return ""
        texts = [text for field in _ERROR_FIELDS for text in _texts(self.fields.get(field))]
        return ": ".join(dict.fromkeys(texts)) or self.text[:1000]

    @property
    def requested_delay(self) -> float | None:
        """How many seconds the receiver asks to wait: by the header for it, its rate limit, or its body."""
        now = self._delivery.clock.now()
        if (header := retry_after(self.headers.get("retry-after", ""), now)) is not None or self.status != 429:
            return header
        in_body = [self.fields.get("retry_after"), as_mapping(self.fields.get("parameters")).get("retry_after")]
        resets = [self.headers.get(f"x-ratelimit-reset{part}") for part in ("-after", "")]
        for seconds in map(_seconds, (*in_body, *resets)):
            if seconds is not None:
                return max(0.0, seconds - now.timestamp()) if seconds >= _EPOCH else seconds
        return None

    def error(self, message: str = "", *, permanent: bool | None = None) -> DeliveryError:
        """
        Return the error that the response stands for.

        ``message`` is what it says, by default the text of its body; ``permanent`` follows from its status by default.
        """
        reason = safe_text(message or self.error_text, self._secrets)
        if permanent is None:
            permanent = 300 <= self.status < 500 and self.status not in RETRYABLE_STATUSES
        return DeliveryError(
            f"{self._delivery.name}: answered {self.status}{f': {reason}' if reason else ''}",
            permanent=permanent,
            after=self.requested_delay,
        )

    def raise_for_status(self, message: str = "") -> None:
        """Raise ``DeliveryError`` unless the status is 2xx."""
        if not self._response.is_success:
            raise self.error(message)

    def raise_for_page(self, service: str) -> None:
        """Raise ``DeliveryError`` when a page for people came instead of a response of the service."""
        if self.is_page:
            # Behind it some receiver may have the message all the same.
            self._delivery.attempt.unanswered = True
            raise DeliveryError(
                f"{self._delivery.name}: answered {self.status} with a page for people, which is not {service}'s:"
                " is there a proxy or a log-in between?"
            )


def secret_parts(url: str) -> list[str]:
    """Return what must not be shown of a URL that may be a secret: it, and what servers repeat of it."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return [url]
    path = f"{parts.path}?{parts.query}" if parts.query else parts.path
    values = [value for _, value in parse_qsl(parts.query)]
    found = (path, parts.path, parts.query, *parts.path.split("/"), *values)
    return [url, *(part for part in found if len(part) >= 9)]


def _texts(value: object) -> list[str]:
    """Return the texts of a field that is one, or a list of them."""
    return [part for part in (value if isinstance(value, list) else [value]) if isinstance(part, str) and part]


def _seconds(value: object) -> float | None:
    """Return a number of seconds that a service wrote as a number or a text; None if it is none."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        seconds = float(value)
    except (ValueError, OverflowError):
        return None
    return seconds if 0 <= seconds < 1e11 else None
