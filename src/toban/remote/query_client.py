"""Queries of the remote engine over Prometheus' HTTP API."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final

import httpx2
import numpy as np
import orjson

from toban.core.errors import (
    BadQueryError,
    QueryCanceledError,
    QueryError,
    QueryTimeoutError,
    ResponseTooLargeError,
    StoreError,
)
from toban.core.http_client import error_reason, read_body
from toban.core.labels import Labels
from toban.core.query_result import QueryResult, ResultSeries, ResultType
from toban.core.redaction import redact_url
from toban.remote.settings import RemoteSettings

MAX_RESPONSE: Final = 64 * 2**20
"""Bytes of a response; a longer one is an error."""

QUERY_TIMEOUT: Final = timedelta(seconds=30)

ERROR_TYPES: Final = {it.kind: it for it in (BadQueryError, QueryTimeoutError, QueryCanceledError, QueryError)}
"""The exceptions by Prometheus' `errorType`."""


class RemoteQueryClient:
    """
    A ``QueryEngine`` that queries the remote engine.

    Its errors are raised as the embedded engine would raise them. When it is unreachable or its response is invalid,
    that is a ``StoreError``: its samples can't be read at the moment.
    """

    def __init__(self, settings: RemoteSettings, http: httpx2.AsyncClient) -> None:
        self._url = (settings.query_url or "").rstrip("/")
        self._shown = redact_url(self._url)
        self._headers = settings.auth.headers_for_request()
        self._http = http

    async def instant(self, query: str, at: int, *, time_limit: timedelta | None = None) -> QueryResult:
        """Return the query's result at one time (milliseconds). Raises ``QueryError`` or ``StoreError``."""
        return await self._query("query", {"query": query, "time": _seconds(at)}, at, time_limit)

    async def range(
        self, query: str, start: int, end: int, step: int, *, time_limit: timedelta | None = None
    ) -> QueryResult:
        """Return a matrix over start, start + step, … up to end (milliseconds). Raises like ``instant``."""
        form = {"query": query, "start": _seconds(start), "end": _seconds(end), "step": _seconds(step)}
        return await self._query("query_range", form, end, time_limit)

    async def check_connection(self) -> str:
        """Run a query that reads no samples; return the error, or an empty text."""
        try:
            await self.instant("1", 0)
        except (QueryError, StoreError) as error:
            return str(error)
        return ""

    async def _query(self, path: str, form: dict[str, str], at: int, time_limit: timedelta | None) -> QueryResult:
        limit = min(time_limit or QUERY_TIMEOUT, QUERY_TIMEOUT)
        form["timeout"] = f"{limit.total_seconds():g}"
        try:
            async with asyncio.timeout(limit.total_seconds()):
                status, body = await self._post(path, form)
        except TimeoutError as error:
            raise QueryTimeoutError(f"the remote engine did not respond within {limit.total_seconds():g} s") from error
        except ResponseTooLargeError as error:
            raise QueryError(f"the remote engine at {self._shown}: {error}") from error
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise StoreError(f"the remote engine at {self._shown} is unreachable: {error_reason(error)}") from error
        return await asyncio.to_thread(parse_response, status, body, at)

    async def _post(self, path: str, form: dict[str, str]) -> tuple[int, bytes]:
        url = f"{self._url}/api/v1/{path}"
        async with self._http.stream("POST", url, data=form, headers=self._headers, timeout=None) as response:
            return response.status_code, await read_body(response, MAX_RESPONSE)


def parse_response(status: int, body: bytes, at: int) -> QueryResult:
    """Return the result in a response of Prometheus' HTTP API. Raises ``QueryError`` or ``StoreError``."""
    try:
        content = orjson.loads(body)
        if content["status"] != "success":
            raise _query_error(content["errorType"], str(content["error"]))
        result_type, result = ResultType(content["data"]["resultType"]), content["data"]["result"]
        warnings, infos = tuple(content.get("warnings") or ()), tuple(content.get("infos") or ())
        if result_type is ResultType.STRING:
            return QueryResult(result_type, text=str(result[1]), at=at, warnings=warnings, infos=infos)
        return QueryResult(result_type, result_series(result_type, result), at=at, warnings=warnings, infos=infos)
    except (ValueError, KeyError, TypeError, IndexError) as error:
        beginning = " ".join(body[:200].decode(errors="replace").split())
        raise StoreError(f"the remote engine answered {status} with an invalid response: {beginning}") from error


def result_series(result_type: ResultType, result: Any) -> tuple[ResultSeries, ...]:
    """Return the series of a result in JSON of the HTTP API of Prometheus or Loki; times are seconds there."""
    if result_type is ResultType.SCALAR:
        return (_points({}, [result]),)
    if result_type is ResultType.VECTOR:
        return tuple(_points(one["metric"], [one["value"]]) for one in result)
    return tuple(_points(one["metric"], one["values"]) for one in result)


def _points(metric: dict[str, str], pairs: Sequence[tuple[float, str]]) -> ResultSeries:
    times = np.array([round(at * 1000) for at, _ in pairs], np.int64)
    return ResultSeries(Labels(metric), times, np.array([float(value) for _, value in pairs]))


def _query_error(error_type: str, message: str) -> QueryError | StoreError:
    if error_type in ERROR_TYPES:
        return ERROR_TYPES[error_type](message)
    return StoreError(f"the remote engine: {error_type}: {message}")


def _seconds(milliseconds: int) -> str:
    return f"{milliseconds / 1000:.3f}"
