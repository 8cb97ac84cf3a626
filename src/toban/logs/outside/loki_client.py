"""A client of Loki's HTTP API: https://grafana.com/docs/loki/latest/reference/loki-http-api/#query-endpoints."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Final

import numpy as np
import orjson

from toban.core.log_line import LogStream
from toban.core.matchers import Matcher
from toban.core.query_result import QueryResult, ResultSeries, ResultType
from toban.logs.line_store import Direction, StreamCount
from toban.logs.logql.printer import print_query, print_selector
from toban.logs.logql.syntax_tree import (
    BinaryExpression,
    Grouping,
    LogQuery,
    MetricQuery,
    RangeAggregation,
    VectorAggregation,
)
from toban.logs.logql.windows import Times
from toban.logs.outside.client import OutsideClient, check_count
from toban.logs.outside.line_mapping import MILLISECOND, OutsideLine, restored_stream
from toban.logs.outside.selection import OutsideSelection, outside_matchers
from toban.remote.query_client import result_series

PATH: Final = "/loki/api/v1"

CATEGORIZED: Final = {"x-loki-response-encoding-flags": "categorize-labels"}
"""Asks for structured metadata apart from the labels of streams."""


class LokiClient(OutsideClient):
    """Queries Loki, or what answers as Loki does."""

    async def lines(
        self, selection: OutsideSelection, start: int, end: int, limit: int, direction: Direction
    ) -> Sequence[OutsideLine]:
        """Return the first lines of a direction, with their structured metadata apart from the labels of streams."""
        form = {
            "query": print_query(selection.query),
            "start": str(start),
            "end": str(end),
            "limit": str(limit),
            "direction": direction.value,
        }
        body = await self._requests.post(f"{PATH}/query_range", form, headers=CATEGORIZED)
        return await asyncio.to_thread(self._lines, body)

    async def streams(self, matchers: tuple[Matcher, ...], start: int, end: int) -> Sequence[LogStream]:
        """Return the streams that have lines in a range of time."""
        selector = print_selector(outside_matchers(matchers, self.labels))
        form = {"match[]": selector, "start": str(start * MILLISECOND), "end": str(end * MILLISECOND)}
        body = await self._requests.post(f"{PATH}/series", form)
        return await asyncio.to_thread(self._streams, body)

    def _streams(self, body: bytes) -> list[LogStream]:
        try:
            content = orjson.loads(body)
            if content["status"] != "success":
                raise self.invalid(body)
            return sorted({restored_stream(labels) for labels in content.get("data") or ()})
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise self.invalid(body) from error

    async def counts(self, query: LogQuery, start: int, end: int, step: int) -> Sequence[StreamCount]:
        """Count lines and bytes by stream and step of time: a point counts the step before it."""
        span = min(step, end - start)
        last = (end - 1) // step * step + step if span == step else end
        check_count((last - start) // step, self.limits.steps, self.shown)
        times = np.arange(last, start, -step, dtype=np.int64)[::-1]
        lines, sizes = [
            await self.evaluate(
                VectorAggregation("sum", RangeAggregation(function, query, span), Grouping(LogStream._fields)),
                times,
                ResultType.MATRIX,
                None,
            )
            for function in ("count_over_time", "bytes_over_time")
        ]
        return await asyncio.to_thread(_counts, lines, sizes, span)

    async def evaluate(
        self, root: MetricQuery, times: Times, shape: ResultType, time_limit: timedelta | None
    ) -> QueryResult:
        """Evaluate a query there as a whole."""
        form = {"query": print_query(self._outside(root))}
        first, last = int(times[0]), int(times[-1])
        if shape is ResultType.VECTOR:
            body = await self._requests.post(f"{PATH}/query", {**form, "time": str(last * MILLISECOND)}, time_limit)
        else:
            step = int(times[1] - times[0]) if len(times) > 1 else 1_000
            form |= {"start": str(first * MILLISECOND), "end": str(last * MILLISECOND), "step": f"{step / 1000:.3f}"}
            body = await self._requests.post(f"{PATH}/query_range", form, time_limit)
        series = await asyncio.to_thread(self._series, body, shape)
        self.limits.check_series(len(series))
        return QueryResult(shape, series, at=last)

    async def try_connection(self) -> None:
        """Ask for the names of labels, with the credentials."""
        body = await self._requests.post(f"{PATH}/labels", {})
        try:
            if orjson.loads(body)["status"] != "success":
                raise self.invalid(body)
        except (ValueError, KeyError, TypeError) as error:
            raise self.invalid(body) from error

    def _outside(self, query: MetricQuery) -> MetricQuery:
        """Return a query with the names of labels that are sent, over the streams that may be read."""
        match query:
            case RangeAggregation(query=LogQuery(matchers=matchers, stages=stages)):
                return replace(query, query=LogQuery(outside_matchers(matchers, self.labels), stages))
            case VectorAggregation(inner=inner):
                return replace(query, inner=self._outside(inner))
            case BinaryExpression(left=left, right=right):
                return replace(query, left=self._outside(left), right=self._outside(right))
            case _:
                return query

    def _lines(self, body: bytes) -> list[OutsideLine]:
        try:
            content = orjson.loads(body)
            data = content["data"]
            if content["status"] != "success" or data["resultType"] != "streams":
                raise self.invalid(body)
            return [_line(stream["stream"], *entry) for stream in data["result"] or () for entry in stream["values"]]
        except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
            raise self.invalid(body) from error

    def _series(self, body: bytes, shape: ResultType) -> tuple[ResultSeries, ...]:
        try:
            content = orjson.loads(body)
            data = content["data"]
            if content["status"] != "success" or data["resultType"] != shape.value:
                raise self.invalid(body)
            return tuple(
                ResultSeries(it.labels.drop(*self.settings.labels), it.times, it.values)
                for it in result_series(shape, data["result"] or [])
            )
        except (ValueError, KeyError, TypeError, IndexError) as error:
            raise self.invalid(body) from error


def _counts(lines: QueryResult, sizes: QueryResult, span: int) -> list[StreamCount]:
    """Return the lines and bytes of each stream and step; a point stands at the end of its step."""
    found: dict[tuple[LogStream, int], list[float]] = {}
    for place, result in enumerate((lines, sizes)):
        for series in result.series:
            stream = restored_stream(series.labels)
            for at, value in zip(series.times.tolist(), series.values.tolist(), strict=True):
                found.setdefault((stream, at - span), [0, 0])[place] = value
    return [StreamCount(stream, at, round(count), round(size)) for (stream, at), (count, size) in found.items()]


def _line(
    labels: Mapping[str, str], at: str, text: str, categories: Mapping[str, Mapping[str, str]] | None = None
) -> OutsideLine:
    """Return a line; an old Loki does not tell metadata from labels."""
    if categories is not None:
        return OutsideLine(int(at), labels, text, categories.get("structuredMetadata") or {})
    stream = {name: value for name, value in labels.items() if name in LogStream._fields}
    return OutsideLine(int(at), stream, text, {name: value for name, value in labels.items() if name not in stream})
