"""Web APIs that are asked with a key, and that may ask for a rest."""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import httpx2
import orjson

from toban.collect.tools import CollectorTools
from toban.core.backoff import retry_after
from toban.core.errors import CollectError, ResponseTooLargeError
from toban.core.http_client import error_reason, read_body, within

PATIENCE: Final = 20.0
"""Seconds that an answer may take in all."""

LONGEST: Final = 16 * 1024 * 1024
"""Bytes that an answer may have."""

REST: Final = 60.0
"""Seconds of rest where one is asked for without saying how long."""


class RestResponse(NamedTuple):
    """An answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class RestClient:
    """
    One service as one collector asks it: nothing is asked while it wants a rest.

    ``remedy`` says what to do where a key may not.
    """

    def __init__(self, service: str, remedy: str, patience: float = PATIENCE) -> None:
        self._service = service
        self._remedy = remedy
        self._patience = patience
        self._rests = 0.0

    async def fetch(
        self, tools: CollectorTools, asked: str, method: str, url: str, headers: Mapping[str, str], body: Any = None
    ) -> RestResponse:
        """Return an answer, whatever its status. Raises ``CollectError``; ``asked`` says who wanted what."""
        now = tools.clock.monotonic()
        if now < self._rests:
            raise CollectError(f"{asked}: {self._service} asked for a rest of {self._rests - now:.0f} s more")
        try:
            async with (
                within(self._patience) as progress,
                tools.http.stream(
                    method,
                    url,
                    headers=dict(headers),
                    json=body,
                    timeout=progress.timeout,
                    extensions={"trace": progress.trace},
                ) as response,
            ):
                said = await read_body(response, LONGEST)
        except (httpx2.HTTPError, OSError, ResponseTooLargeError) as error:
            raise CollectError(f"{asked}: {error_reason(error)}") from error
        rest = retry_after(response.headers.get("retry-after", ""), tools.clock.now())
        if response.status_code == 429 or (response.status_code == 503 and rest is not None):
            self._rests = now + (REST if rest is None else rest)
        return RestResponse(response.status_code, response.headers, said)

    async def call(
        self,
        tools: CollectorTools,
        asked: str,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: Mapping[str, Any] | None = None,
        *,
        missing: Any = None,
    ) -> Any:
        """
        Return an answer's JSON, ``missing`` for what is not there unless that is trouble.

        Raises ``CollectError``; ``asked`` says who wanted what.
        """
        answered = await self.fetch(tools, asked, method, url, headers, body)
        if answered.status in {401, 403}:
            raise CollectError(f"{asked}: answered {answered.status}: the key may not: {self._remedy}")
        if answered.status == 404 and missing is not None:
            return missing
        if not 200 <= answered.status < 300:
            raise CollectError(f"{asked}: answered {answered.status}")
        try:
            return orjson.loads(answered.body)
        except ValueError as error:
            raise CollectError(f"{asked}: the answer is no JSON") from error
