"""Client of Vendure's GraphQL APIs, which return 200 for nearly everything: the status says little."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import httpx2
import orjson

from toban.core.errors import CollectError, ResponseTooLargeError
from toban.core.http_client import error_reason, read_body, request_timeout

MAX_BODY: Final = 1_000_000
"""Bytes that a response may have."""

TIMEOUT: Final = 10.0
"""Default timeout of a request, in seconds."""

SESSION_HEADER: Final = "vendure-auth-token"
"""The header in which Vendure returns a session."""


class GraphqlError(CollectError):
    """A query failed, or its response has errors; ``code`` is Vendure's, where there is one."""

    def __init__(self, message: str, code: str = "") -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class GraphqlResponse:
    """A response without errors: its data, and its session."""

    data: Mapping[str, Any]
    session: str = ""


async def execute(
    client: httpx2.AsyncClient,
    url: str,
    query: str,
    variables: Mapping[str, object] | None = None,
    *,
    headers: Mapping[str, str] | None = None,
    seconds: float = TIMEOUT,
) -> GraphqlResponse:
    """
    Send one query, which may take so many seconds.

    Raises ``GraphqlError`` when there is no response, when it is not GraphQL, or when it has `errors`; these may
    contain personal data, so the message has only their code and the field.
    """
    request = {"query": query, "variables": dict(variables or {})}
    try:
        async with (
            request_timeout(seconds) as progress,
            client.stream(
                "POST",
                url,
                json=request,
                headers=dict(headers or {}),
                timeout=progress.timeout,
                extensions={"trace": progress.trace},
            ) as response,
        ):
            body = await read_body(response, MAX_BODY)
            status, session = response.status_code, response.headers.get(SESSION_HEADER, "")
    except (httpx2.HTTPError, httpx2.InvalidURL, OSError, UnicodeError, ResponseTooLargeError) as error:
        raise GraphqlError(error_reason(error)) from error
    return GraphqlResponse(parse_data(status, body), session)


def parse_data(status: int, body: bytes) -> Mapping[str, Any]:
    """Return the data of a response. Raises ``GraphqlError`` like `execute`."""
    try:
        response = orjson.loads(body)
    except ValueError:
        response = None
    if not isinstance(response, dict) or not ("data" in response or "errors" in response):
        raise GraphqlError(f"answered {status}, but the response is not GraphQL")
    if response.get("errors"):
        raise _error(status, response["errors"])
    if not 200 <= status < 300 or not isinstance(response.get("data"), dict):
        raise GraphqlError(f"answered {status} without data")
    found: Mapping[str, Any] = response["data"]
    return found


def _error(status: int, errors: object) -> GraphqlError:
    first = errors[0] if isinstance(errors, list) and errors and isinstance(errors[0], dict) else {}
    extensions, path, message = first.get("extensions"), first.get("path"), str(first.get("message", ""))
    code = str(extensions.get("code", "")) if isinstance(extensions, dict) else ""
    # Error codes of the operating system contain no personal data, and say the most.
    system_code = next(
        (word for word in message.split() if word.startswith(("ECONN", "ETIME", "ENOTFOUND", "EAI_"))), ""
    )
    field = ".".join(map(str, path)) if isinstance(path, list) else ""
    details = " ".join(
        filter(None, (f"with the error {system_code or code or 'without a code'}", field and f"at {field}"))
    )
    return GraphqlError(f"answered {status}, but {details}", code)
