"""The collector `sql`: a shop's own metrics, by queries to its database."""

import asyncio
from collections.abc import Container
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, ClassVar, Final, Literal, Protocol

from pydantic import Field, field_validator

from toban.collect.collector import Collector, Scraper, ScrapeResult
from toban.collect.intervals import is_due
from toban.collect.log_once import LogOnce
from toban.collect.sql_metrics import LABEL, column_family, row_samples
from toban.collect.tools import HasClock, HasShopDatabase
from toban.core.config_types import Duration, Section
from toban.core.errors import CollectError
from toban.core.labels import METRIC_NAME
from toban.core.samples import Sample
from toban.shop.database import KNOWN_AFTER

ROW_BYTES: Final = 8_192
"""Bytes that a row may have as text: labels and numbers are short."""

ROW_TOO_LONG: Final = f"a row has more than {ROW_BYTES} bytes: labels are short, and numbers shorter"


class Metric(Section):
    """One metric: its name, its help text, and the query that returns it."""

    name: str
    """Name of the metric. What ends in `_total` is a counter, everything else a gauge."""

    help: Annotated[str, Field(min_length=1)]
    """Help text: one sentence."""

    query: Annotated[str, Field(min_length=1)]
    """A SELECT. Columns called `label_…` become labels; `value` is the metric itself; any other column is a metric
    called by the metric's name and its own."""

    interval: Duration = timedelta(minutes=5)
    """Interval of the query."""

    limit: Annotated[int, Field(gt=0, le=10_000)] = 1000
    """The most rows that the query may return; with more it counts as failed."""

    @field_validator("name")
    @classmethod
    def _valid_name(cls, name: str) -> str:
        if not METRIC_NAME.fullmatch(name):
            raise ValueError(f"invalid metric name {name!r}: use letters, digits and _")
        return name

    @property
    def bounded(self) -> str:
        """
        The query with the number of rows as its parameter; rows that are too long make it fail.

        The brackets refuse what is no SELECT by mistake. With a parameter it is one statement, whoever closes them:
        nothing ends the transaction, which is read-only. What protects the shop is the role, which is read-only too.
        """
        query = self.query.strip().removesuffix(";").replace("%", "%%")
        # Not a constant: PostgreSQL would evaluate it, and fail, before it reads a row.
        refused = f"('{ROW_TOO_LONG}' || left(metric::text, 0))::int = 0"
        long = f"pg_column_size(metric) > {ROW_BYTES} OR octet_length(metric::text) > {ROW_BYTES}"
        fits = f"CASE WHEN {long} THEN {refused} ELSE true END"
        return f"SELECT * FROM (\n{query}\n) AS metric WHERE {fits} LIMIT %s"  # noqa: S608  # the configuration's own query

    def samples(self, columns: list[str], rows: list[tuple[object, ...]], target: Container[str]) -> tuple[Sample, ...]:
        """
        Return the samples of a result. Raises ``CollectError`` when they can't be this metric's.

        ``target`` are the labels that all samples of this target have already.
        """
        if own := next((it for it in columns if it.startswith(LABEL) and it.removeprefix(LABEL) in target), None):
            raise CollectError(f"column {own!r}: the label {own.removeprefix(LABEL)} is set by the target")
        if len(rows) > self.limit:
            raise CollectError(f"more than {self.limit} rows: group them, or raise `limit` if they are wanted")
        values = [column for column in columns if not column.startswith(LABEL)]
        if not values:
            raise CollectError("no column has a value: name one `value`")
        families = {column: column_family(self.name, column, self.help) for column in values}
        for column, family in families.items():
            if not METRIC_NAME.fullmatch(family.name):
                raise CollectError(f"column {column!r} makes no metric name: name it `value`, or use letters and _")
        return tuple(row_samples(families, columns, rows))


@dataclass(frozen=True, slots=True)
class QueryResult:
    """The samples of a metric's query, when it ran (monotonic seconds), and its error."""

    at: float
    samples: tuple[Sample, ...] = ()
    error: str = ""


class Tools(HasClock, HasShopDatabase, Protocol):
    """What the collector uses."""


class Sql(Collector):
    """
    Read the shop's own metrics from its database: rebates, campaigns, whatever a SELECT returns.

    Each query is a read-only transaction of its own that takes at most 5 s; one that fails loses only its own samples,
    and the target is down meanwhile.
    """

    kind: Literal["sql"] = "sql"

    shop_part: ClassVar[Literal["database"]] = "database"

    metrics: Annotated[list[Metric], Field(min_length=1)]
    """The metrics."""

    @field_validator("metrics")
    @classmethod
    def _unique(cls, metrics: list[Metric]) -> list[Metric]:
        names = [metric.name for metric in metrics]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise ValueError(f"{twice} is defined twice")
        return metrics

    def open(self, tools: Tools) -> Scraper:
        """Keep the last result of each query."""
        return SqlScraper(self, tools)


class SqlScraper(Scraper):
    """Runs the queries that are due."""

    def __init__(self, collector: Sql, tools: Tools) -> None:
        self._collector = collector
        self._clock = tools.clock
        self._database = tools.shop_database
        self._results: dict[str, QueryResult] = {}
        self._log = LogOnce(collector.name)

    async def collect(self) -> ScrapeResult:
        """Run the queries that are due; return the newest samples of all."""
        collector = self._collector
        timeout = max(collector.interval.total_seconds() / 2, KNOWN_AFTER)
        try:
            async with asyncio.timeout(timeout):
                for metric in collector.metrics:
                    now = self._clock.monotonic()
                    last = self._results.get(metric.name)
                    if is_due(last.at if last else None, metric.interval, collector.interval, now):
                        await self._run(metric, now)
        except TimeoutError as error:
            raise CollectError(f"{collector.name}: {metric.name}: collection timed out after {timeout:g} s") from error
        results = [self._results[metric.name] for metric in collector.metrics]
        return ScrapeResult(
            [sample for result in results for sample in result.samples],
            error="; ".join(result.error for result in results if result.error),
        )

    async def _run(self, metric: Metric, now: float) -> None:
        """Run one metric's query. Raises ``DatabaseError`` when the database can't be reached."""
        try:
            async with self._database.transaction() as cursor:
                await cursor.execute(metric.bounded, (metric.limit + 1,))
                columns, rows = [column.name for column in cursor.description or ()], await cursor.fetchall()
            result = QueryResult(now, metric.samples(columns, rows, self._collector.target))
        except CollectError as error:
            if error.connection_lost:
                self._results.clear()
                raise
            message = ROW_TOO_LONG if ROW_TOO_LONG in str(error) else str(error)
            result = QueryResult(now, error=f"{metric.name}: {message}")
        self._results[metric.name] = result
        self._log.update(metric.name, result.error)
