"""Send an HTTP request."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Final, Literal

import httpx2
from pydantic import Field

from toban.core.config_types import Duration, Secret, SecretAddress
from toban.core.errors import ActionError, ResponseTooLargeError
from toban.core.http_client import error_reason, read_body, request_timeout
from toban.core.redaction import redact_url
from toban.runbooks.action import Action, ActionContext, ActionTools, Plan

MAX_BODY: Final = 100_000


class HttpCall(Action):
    """
    Send an HTTP request, like one that tells another system to act.

    It carries an `Idempotency-Key`, follows no redirects, and has succeeded when the status is expected.
    """

    kind: Literal["http_call"] = "http_call"

    url: SecretAddress
    """The URL."""

    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"] = "POST"
    """The method."""

    headers: Mapping[str, Secret] = Field(default_factory=dict)
    """Headers, like `Authorization`."""

    body: Annotated[str, Field(max_length=10_000)] = ""
    """The body; with one, `Content-Type` is JSON unless a header says otherwise."""

    expected: tuple[Annotated[int, Field(ge=100, le=599)], ...] = (200, 201, 202, 204)
    """The statuses that mean success."""

    timeout: Duration = timedelta(seconds=30)

    async def plan(self, context: ActionContext, tools: ActionTools) -> Plan:
        """Return what it sends, without what is secret in the URL."""
        address = redact_url(self.url.get_secret_value())
        return Plan(f"send {self.method} {address}", targets=(address,))

    async def run(self, plan: Plan, context: ActionContext, tools: ActionTools) -> str:
        """Send it. Raises ``ActionError`` for another status than those that are expected."""
        headers = {"content-type": "application/json"} if self.body else {}
        headers |= {name.lower(): value.get_secret_value() for name, value in self.headers.items()}
        headers["idempotency-key"] = context.key
        try:
            async with (
                request_timeout(self.timeout.total_seconds()) as progress,
                tools.http.stream(
                    self.method,
                    self.url.get_secret_value(),
                    headers=headers,
                    content=self.body.encode() or None,
                    timeout=progress.timeout,
                    extensions={"trace": progress.trace},
                ) as response,
            ):
                await read_body(response, MAX_BODY)
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError, ResponseTooLargeError) as error:
            raise ActionError(f"{plan.description}: {error_reason(error)}") from error
        if response.status_code not in self.expected:
            raise ActionError(f"{plan.description}: answered {response.status_code}")
        return f"{plan.description}: answered {response.status_code}"
