"""Client of REST APIs with a key: it bounds answers and respects Retry-After."""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import httpx2
import orjson

from toban.collect.tools import HasHttp
from toban.core.backoff import retry_after
from toban.core.errors import CollectError, ResponseTooLargeError
from toban.core.http_client import error_reason, read_body, request_timeout

TIMEOUT: Final = 20.0
"""Seconds that a request may take in all."""

MAX_BODY: Final = 16 * 1024 * 1024
"""Bytes that a response may have."""

BACKOFF: Final = 60.0
"""Seconds without requests after a 429 that names no time."""


class RestResponse(NamedTuple):
    """A response."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class RestClient:
    """
    One service's API as one collector uses it: it sends nothing while the service asks for a pause.

    ``remedy`` says what to do when the key lacks a permission.
    """

    def __init__(self, tools: HasHttp, service: str, remedy: str, timeout: float = TIMEOUT) -> None:
        self._http = tools.http
        self._clock = tools.clock
        self._service = service
        self._remedy = remedy
        self._timeout = timeout
        self._paused_until = 0.0

    async def fetch(
        self, context: str, method: str, url: str, headers: Mapping[str, str], body: Any = None
    ) -> RestResponse:
        """Return a response, whatever its status. Raises ``CollectError``, whose message begins with ``context``."""
        now = self._clock.monotonic()
        if now < self._paused_until:
            raise CollectError(f"{context}: {self._service} asked for a pause of {self._paused_until - now:.0f} s more")
        try:
            async with (
                request_timeout(self._timeout) as progress,
                self._http.stream(
                    method,
                    url,
                    headers=dict(headers),
                    json=body,
                    timeout=progress.timeout,
                    extensions={"trace": progress.trace},
                ) as response,
            ):
                content = await read_body(response, MAX_BODY)
        except (httpx2.HTTPError, OSError, ResponseTooLargeError) as error:
            raise CollectError(f"{context}: {error_reason(error)}") from error
        pause = retry_after(response.headers.get("retry-after", ""), self._clock.now())
        if response.status_code == 429 or (response.status_code == 503 and pause is not None):
            self._paused_until = now + (BACKOFF if pause is None else pause)
        return RestResponse(response.status_code, response.headers, content)

    async def call(
        self,
        context: str,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: Mapping[str, Any] | None = None,
        *,
        missing: Any = None,
    ) -> Any:
        """
        Return a response's JSON; ``missing`` for a 404, which is an error where that is None.

        Raises ``CollectError``, whose message begins with ``context``.
        """
        return self.content(context, await self.fetch(context, method, url, headers, body), missing=missing)

    def content(self, context: str, response: RestResponse, *, missing: Any = None) -> Any:
        """Return a response's JSON, like `call`."""
        if response.status in {401, 403}:
            raise CollectError(f"{context}: answered {response.status}: the key lacks the permission: {self._remedy}")
        if response.status == 404 and missing is not None:
            return missing
        if not 200 <= response.status < 300:
            raise CollectError(f"{context}: answered {response.status}")
        try:
            return orjson.loads(response.body)
        except ValueError as error:
            raise CollectError(f"{context}: the response is not JSON") from error
