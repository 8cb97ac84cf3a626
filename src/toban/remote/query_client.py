"""Questions to the outside engine, over Prometheus' HTTP API."""

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

LARGEST: Final = 64 * 2**20
"""Bytes: what is longer is given up."""

PATIENCE: Final = timedelta(seconds=30)

KINDS: Final = {it.kind: it for it in (BadQueryError, QueryTimeoutError, QueryCanceledError, QueryError)}
"""Prometheus' words for trouble, and ours."""


class RemoteQueryClient:
    """
    A ``QueryEngine`` somewhere else.

    What it refuses is raised as the embedded engine would; when it can't be reached, or answers nonsense, that is a
    ``StoreError``: its numbers can't be read just now.
    """

    def __init__(self, settings: RemoteSettings, http: httpx2.AsyncClient) -> None:
        self._url = (settings.query_url or "").rstrip("/")
        self._shown = redact_url(self._url)
        self._headers = settings.auth.headers_for_request()
        self._http = http

    async def instant(self, query: str, at: int, *, patience: timedelta | None = None) -> QueryResult:
        """Return what the query comes to at one time (milliseconds). Raises ``QueryError`` or ``StoreError``."""
        return await self._asked("query", {"query": query, "time": _seconds(at)}, at, patience)

    async def range(
        self, query: str, start: int, end: int, step: int, *, patience: timedelta | None = None
    ) -> QueryResult:
        """Return a matrix over start, start + step, … up to end (milliseconds). Raises like ``instant``."""
        form = {"query": query, "start": _seconds(start), "end": _seconds(end), "step": _seconds(step)}
        return await self._asked("query_range", form, end, patience)

    async def check_connection(self) -> str:
        """Ask something that needs no numbers; return what is wrong, or nothing."""
        try:
            await self.instant("1", 0)
        except (QueryError, StoreError) as error:
            return str(error)
        return ""

    async def _asked(self, path: str, form: dict[str, str], at: int, patience: timedelta | None) -> QueryResult:
        limit = min(patience or PATIENCE, PATIENCE)
        form["timeout"] = f"{limit.total_seconds():g}"
        try:
            async with asyncio.timeout(limit.total_seconds()):
                status, body = await self._posted(path, form)
        except TimeoutError as error:
            raise QueryTimeoutError(f"the outside engine did not answer within {limit.total_seconds():g} s") from error
        except ResponseTooLargeError as error:
            raise QueryError(f"the outside engine at {self._shown}: {error}") from error
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise StoreError(f"the outside engine at {self._shown} can't be reached: {error_reason(error)}") from error
        return await asyncio.to_thread(parse_response, status, body, at)

    async def _posted(self, path: str, form: dict[str, str]) -> tuple[int, bytes]:
        url = f"{self._url}/api/v1/{path}"
        async with self._http.stream("POST", url, data=form, headers=self._headers, timeout=None) as response:
            return response.status_code, await read_body(response, LARGEST)


def parse_response(status: int, body: bytes, at: int) -> QueryResult:
    """Return what an answer of Prometheus' HTTP API says. Raises ``QueryError`` or ``StoreError``."""
    try:
        told = orjson.loads(body)
        if told["status"] != "success":
            raise _refused(told["errorType"], str(told["error"]))
        shape, result = ResultType(told["data"]["resultType"]), told["data"]["result"]
        notes = tuple(told.get("warnings") or ()), tuple(told.get("infos") or ())
        if shape is ResultType.STRING:
            return QueryResult(shape, text=str(result[1]), at=at, warnings=notes[0], infos=notes[1])
        return QueryResult(shape, _series(shape, result), at=at, warnings=notes[0], infos=notes[1])
    except (ValueError, KeyError, TypeError, IndexError) as error:
        words = " ".join(body[:200].decode(errors="replace").split())
        raise StoreError(f"the outside engine answered {status}, and not as Prometheus does: {words}") from error


def _series(shape: ResultType, result: Any) -> tuple[ResultSeries, ...]:
    if shape is ResultType.SCALAR:
        return (_points({}, [result]),)
    if shape is ResultType.VECTOR:
        return tuple(_points(one["metric"], [one["value"]]) for one in result)
    return tuple(_points(one["metric"], one["values"]) for one in result)


def _points(metric: dict[str, str], pairs: Sequence[tuple[float, str]]) -> ResultSeries:
    times = np.array([round(at * 1000) for at, _ in pairs], np.int64)
    return ResultSeries(Labels(metric), times, np.array([float(value) for _, value in pairs]))


def _refused(kind: str, said: str) -> QueryError | StoreError:
    if kind in KINDS:
        return KINDS[kind](said)
    return StoreError(f"the outside engine: {kind}: {said}")


def _seconds(milliseconds: int) -> str:
    return f"{milliseconds / 1000:.3f}"
