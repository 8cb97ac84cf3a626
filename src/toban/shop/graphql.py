"""Vendure's GraphQL, asked as toban asks: Vendure answers 200 to nearly everything, so the status says little."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import httpx2
import orjson

from toban.core.errors import CollectError, ResponseTooLargeError
from toban.core.http_client import error_reason, read_body, within

LONGEST: Final = 1_000_000
"""How many bytes an answer may have."""

SECONDS: Final = 10.0
"""How long an answer may take, unless said otherwise."""

SESSION: Final = "vendure-auth-token"
"""The header in which Vendure hands out a session."""


class GraphqlError(CollectError):
    """An API could not be asked, or answered with an error; ``code`` is Vendure's, where it gave one."""

    def __init__(self, message: str, code: str = "") -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class GraphqlResponse:
    """An answer without errors: its data, and the session it was given in."""

    data: Mapping[str, Any]
    session: str = ""


async def execute(
    client: httpx2.AsyncClient,
    url: str,
    query: str,
    variables: Mapping[str, object] | None = None,
    *,
    headers: Mapping[str, str] | None = None,
    seconds: float = SECONDS,
) -> GraphqlResponse:
    """
    Ask one question, which may take so many seconds.

    Raises ``GraphqlError`` when there is no answer, when it is no GraphQL, or when it holds `errors`; what these say
    may be about customers, so the message tells their code and the field alone.
    """
    asked = {"query": query, "variables": dict(variables or {})}
    try:
        async with (
            within(seconds) as progress,
            client.stream(
                "POST",
                url,
                json=asked,
                headers=dict(headers or {}),
                timeout=progress.timeout,
                extensions={"trace": progress.trace},
            ) as response,
        ):
            body = await read_body(response, LONGEST)
            status, session = response.status_code, response.headers.get(SESSION, "")
    except (httpx2.HTTPError, httpx2.InvalidURL, OSError, UnicodeError, ResponseTooLargeError) as error:
        raise GraphqlError(error_reason(error)) from error
    return GraphqlResponse(data_of(status, body), session)


def data_of(status: int, body: bytes) -> Mapping[str, Any]:
    """Return the data of an answer that is well. Raises ``GraphqlError`` like `execute`."""
    try:
        answer = orjson.loads(body)
    except ValueError:
        answer = None
    if not isinstance(answer, dict) or not ("data" in answer or "errors" in answer):
        raise GraphqlError(f"answered {status}, but that is no GraphQL")
    if answer.get("errors"):
        raise _error(status, answer["errors"])
    if not 200 <= status < 300 or not isinstance(answer.get("data"), dict):
        raise GraphqlError(f"answered {status} without data")
    found: Mapping[str, Any] = answer["data"]
    return found


def _error(status: int, errors: object) -> GraphqlError:
    first = errors[0] if isinstance(errors, list) and errors and isinstance(errors[0], dict) else {}
    extensions, path, message = first.get("extensions"), first.get("path"), str(first.get("message", ""))
    code = str(extensions.get("code", "")) if isinstance(extensions, dict) else ""
    # An address and a code of the system are nobody's secret, and tell the most.
    known = next((word for word in message.split() if word.startswith(("ECONN", "ETIME", "ENOTFOUND", "EAI_"))), "")
    field = ".".join(map(str, path)) if isinstance(path, list) else ""
    said = " ".join(filter(None, (f"with the error {known or code or 'of no code'}", field and f"at {field}")))
    return GraphqlError(f"answered {status}, but {said}", code)
