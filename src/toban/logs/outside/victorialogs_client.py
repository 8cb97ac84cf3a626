"""A client of VictoriaLogs: https://docs.victoriametrics.com/victorialogs/querying/#http-api."""

import asyncio
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from functools import lru_cache
from typing import Any, Final

import orjson

from toban.core.errors import BadQueryError
from toban.core.labels import Labels
from toban.core.log_line import LogStream
from toban.core.matchers import Matcher
from toban.core.query_result import QueryResult, ResultType
from toban.logs.line_store import Direction, LineSelection, StreamCount
from toban.logs.logql.engine import result_of
from toban.logs.logql.evaluation import Evaluation, labels_of_stream, needs_metadata
from toban.logs.logql.lexer import ParseError
from toban.logs.logql.parser import parse_matchers
from toban.logs.logql.plan import Plan, plan
from toban.logs.logql.printer import print_stage
from toban.logs.logql.query_limits import LogqlLimits
from toban.logs.logql.stages import compile_stages
from toban.logs.logql.syntax_tree import (
    LabelFilter,
    LabelSelection,
    LogQuery,
    MetricQuery,
    RangeAggregation,
    range_aggregations,
)
from toban.logs.logql.windows import Times
from toban.logs.outside.client import OutsideClient, check_count
from toban.logs.outside.line_mapping import MILLISECOND, OutsideLine, restored_stream
from toban.logs.outside.logsql import parse_time, print_filters
from toban.logs.outside.selection import OutsideSelection, outside_selection, selectable
from toban.promql.query_limits import QueryBudget, QueryLimits

QUERY: Final = "/select/logsql/query"


class VictoriaLogsClient(OutsideClient):
    """Queries VictoriaLogs: it selects and counts lines, and what a query makes of the counts is computed here."""

    async def lines(
        self, selection: OutsideSelection, start: int, end: int, limit: int, direction: Direction
    ) -> Sequence[OutsideLine]:
        """Return the first lines of a direction."""
        order = "_time desc" if direction is Direction.BACKWARD else "_time"
        rows = await self._rows(f"{print_filters(selection, start, end)} | sort by ({order}) limit {limit}")
        return await asyncio.to_thread(self._read, _line, rows)

    async def streams(self, matchers: tuple[Matcher, ...], start: int, end: int) -> Sequence[LogStream]:
        """Return the streams that have lines in a range of time."""
        filters = self._filters(LogQuery(matchers), start, end)
        rows = await self._rows(f"{filters} | stats by (_stream) count() lines")
        found = await asyncio.to_thread(self._read, lambda row: restored_stream(_stream(row)), rows)
        return sorted(set(found))

    async def counts(self, query: LogQuery, start: int, end: int, step: int) -> Sequence[StreamCount]:
        """Count lines and bytes by stream and step of time."""
        check_count((end - start) // step, self.limits.steps * 10, self.shown)
        by = f"stats by (_time:{step}ms, _stream) count() lines, sum_len(_msg) bytes"
        rows = await self._rows(f"{self._filters(query, start, end)} | {by}")
        return await asyncio.to_thread(self._read, _count, rows)

    async def evaluate(
        self, root: MetricQuery, times: Times, shape: ResultType, time_limit: timedelta | None
    ) -> QueryResult:
        """Count the lines there, and evaluate the query over the counts."""
        budget = _budget(self.limits, time_limit)
        evaluation = CountsEvaluation(times, self.limits, budget)
        for query in range_aggregations(root):
            check_countable(query, self.shown)
            if query not in evaluation.counts:
                ends = times - query.offset
                start, end, step = int(ends[0]) - query.span, int(ends[-1]), evaluation.step(query)
                evaluation.counts[query] = await self.counts(query.query, start, end, step)

        def result() -> QueryResult:
            return result_of(evaluation.vector(root), times, shape, self.limits, budget)

        return await asyncio.to_thread(result)

    async def try_connection(self) -> None:
        """Ask for a line of the first second of 1970."""
        await self._rows("_time:[1970-01-01T00:00:00Z, 1970-01-01T00:00:01Z) | limit 1")

    def _filters(self, query: LogQuery, start: int, end: int) -> str:
        return print_filters(outside_selection(query, self.labels), start * MILLISECOND, end * MILLISECOND)

    async def _rows(self, query: str) -> list[dict[str, Any]]:
        body = await self._requests.post(QUERY, {"query": query})
        return await asyncio.to_thread(self._parsed, body)

    def _parsed(self, body: bytes) -> list[dict[str, Any]]:
        try:
            rows = [orjson.loads(row) for row in body.split(b"\n") if row.strip()]
        except ValueError as error:
            raise self.invalid(body) from error
        if not all(isinstance(row, dict) for row in rows):
            raise self.invalid(body)
        return rows

    def _read(self, read: Any, rows: Sequence[Mapping[str, str]]) -> list[Any]:
        try:
            return [read(row) for row in rows]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise self.invalid(orjson.dumps(rows[:1])) from error


class CountsEvaluation(Evaluation):
    """An evaluation over lines that were counted elsewhere; ``counts`` are those of each range aggregation."""

    def __init__(self, times: Times, limits: LogqlLimits, budget: QueryBudget) -> None:
        super().__init__(None, times, limits, budget)  # type: ignore[arg-type]  # it reads no lines
        self.counts: dict[RangeAggregation, Sequence[StreamCount]] = {}

    def _counted(
        self, query: RangeAggregation, found: Plan, selection: LineSelection, step: int, wanted: frozenset[str]
    ) -> Iterator[tuple[Labels, int, int, int]]:
        if needs_metadata(wanted):
            raise BadQueryError(
                f"VictoriaLogs: lines can't be counted by {', '.join(sorted(wanted))}: only by labels of streams"
            )
        stages = compile_stages(it for it in found.stages if isinstance(it, LabelSelection))
        for count in self.counts[query]:
            yield Labels(labels_of_stream(count.stream, stages)), count.at, count.lines, count.bytes


def check_countable(query: RangeAggregation, shown: str) -> None:
    """Raise ``BadQueryError`` for a range aggregation that is more than a count of lines, and name what is."""
    if query.unwrap is not None:
        raise BadQueryError(f"{shown}: | unwrap {query.unwrap.name} is not supported there: only lines are counted")
    are_labels_original = True
    for stage in plan(query.query).stages:
        match stage:
            case LabelSelection():
                are_labels_original = False
            case LabelFilter(condition=condition) if are_labels_original and selectable(condition) == condition:
                pass
            case _:
                raise BadQueryError(f"{shown}: {print_stage(stage)} is not supported there where lines are counted")


def _budget(limits: LogqlLimits, time_limit: timedelta | None) -> QueryBudget:
    limit = limits.time if time_limit is None else min(time_limit, limits.time)
    deadline = time.monotonic() + limit.total_seconds()
    return QueryBudget(QueryLimits(limits.samples, limits.steps, limit), deadline, threading.Event(), time.monotonic)


def _line(row: Mapping[str, str]) -> OutsideLine:
    """Return a line; its fields are labels of its stream and metadata."""
    stream = _stream(row)
    metadata = {name: value for name, value in row.items() if name not in stream and name[:1] != "_"}
    return OutsideLine(parse_time(row["_time"]), stream, row.get("_msg", ""), metadata)


def _stream(row: Mapping[str, str]) -> Mapping[str, str]:
    labels = _parsed_stream(row["_stream"])
    return labels if labels is not None else {name: row[name] for name in LogStream._fields if name in row}


@lru_cache(maxsize=1_000)
def _parsed_stream(text: str) -> Mapping[str, str] | None:
    """Return the labels in a text like ``{level="info"}``; None where another program's have names that are none."""
    try:
        return {it.name: it.value for it in parse_matchers(text)}
    except ParseError:
        return None


def _count(row: Mapping[str, str]) -> StreamCount:
    at = parse_time(row["_time"]) // MILLISECOND
    return StreamCount(restored_stream(_stream(row)), at, int(row["lines"]), int(row["bytes"]))
