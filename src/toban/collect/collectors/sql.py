"""A shop's own numbers, read by SQL from its database."""

import asyncio
from collections.abc import Container
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Final, Literal

from pydantic import Field, PrivateAttr, field_validator

from toban.collect.collector import Collector, ScrapeResult
from toban.collect.log_once import LogOnce
from toban.collect.sql_metrics import LABEL, column_family, is_due, row_samples
from toban.collect.tools import CollectorTools
from toban.core.config_types import Duration, Section
from toban.core.errors import CollectError
from toban.core.labels import METRIC_NAME
from toban.core.samples import Sample
from toban.shop.connections import ShopConnections
from toban.shop.database import KNOWN_AFTER, DatabaseError, ShopDatabase

ROW_BYTES: Final = 8_192
"""Bytes of a row's text: labels and numbers are short."""

TOO_LONG: Final = f"a row has more than {ROW_BYTES} bytes: labels are short, and numbers shorter"


class Metric(Section):
    """A number of the shop's own: what it is called, what it means, and the query that brings it."""

    name: str
    """What it is called. What ends in `_total` only grows (a counter), all else goes up and down (a gauge)."""

    help: Annotated[str, Field(min_length=1)]
    """One sentence that says what it is."""

    query: Annotated[str, Field(min_length=1)]
    """A SELECT. Columns called `label_…` become labels; `value` is the number itself; any other column is a number
    called by the metric's name and its own."""

    interval: Duration = timedelta(minutes=5)
    """How often to ask."""

    limit: Annotated[int, Field(gt=0, le=10_000)] = 1000
    """The most rows it may bring; more, and it counts as failed."""

    @field_validator("name")
    @classmethod
    def _is_a_name(cls, name: str) -> str:
        if not METRIC_NAME.fullmatch(name):
            raise ValueError(f"{name!r} is no metric name: use letters, digits and _")
        return name

    @property
    def bounded(self) -> str:
        """
        The query, whose parameter is how many rows it may bring; rows longer than numbers need make it fail.

        The brackets keep what is no SELECT out by mistake. With a parameter it is one statement, whoever closes them:
        nothing ends the transaction, which only reads. What guards the shop is the role, which only reads too.
        """
        query = self.query.strip().removesuffix(";").replace("%", "%%")
        # Not a constant: PostgreSQL would work it out, and fail, before it sees a row.
        refused = f"('{TOO_LONG}' || left(metric::text, 0))::int = 0"
        long = f"pg_column_size(metric) > {ROW_BYTES} OR octet_length(metric::text) > {ROW_BYTES}"
        fits = f"CASE WHEN {long} THEN {refused} ELSE true END"
        return f"SELECT * FROM (\n{query}\n) AS metric WHERE {fits} LIMIT %s"  # noqa: S608  # the configuration's own query

    def samples(self, columns: list[str], rows: list[tuple[object, ...]], target: Container[str]) -> tuple[Sample, ...]:
        """
        Return the numbers of an answer. Raises ``CollectError`` when they can't be this metric's.

        ``target`` are the labels that all numbers of this target have already.
        """
        if own := next((it for it in columns if it.startswith(LABEL) and it.removeprefix(LABEL) in target), None):
            raise CollectError(f"column {own!r}: the label {own.removeprefix(LABEL)} is the target's own")
        if len(rows) > self.limit:
            raise CollectError(f"more than {self.limit} rows: group them, or raise `limit` if they are wanted")
        numbers = [column for column in columns if not column.startswith(LABEL)]
        if not numbers:
            raise CollectError("no column holds a number: call it value")
        families = {column: column_family(self.name, column, self.help) for column in numbers}
        for column, family in families.items():
            if not METRIC_NAME.fullmatch(family.name):
                raise CollectError(f"column {column!r} makes no metric name: call it value, or use letters and _")
        return tuple(row_samples(families, columns, rows))


@dataclass(frozen=True, slots=True)
class Answered:
    """What a metric's query brought, when it was asked (monotonic seconds), and what was wrong."""

    at: float
    samples: tuple[Sample, ...] = ()
    trouble: str = ""


class Sql(Collector):
    """
    Read numbers of the shop's own from its database: rebates, campaigns, whatever a SELECT can tell.

    Each query is a read-only transaction of its own that takes at most 5 s; one that fails costs its own numbers only,
    and the target is down while it does.
    """

    kind: Literal["sql"] = "sql"

    metrics: Annotated[list[Metric], Field(min_length=1)]
    """What to read."""

    _answers: dict[str, Answered] = PrivateAttr(default_factory=dict)
    _told: LogOnce = PrivateAttr(default_factory=LogOnce)

    @field_validator("metrics")
    @classmethod
    def _are_told_apart(cls, metrics: list[Metric]) -> list[Metric]:
        names = [metric.name for metric in metrics]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise ValueError(f"{twice} is there twice")
        return metrics

    def address_in(self, shop: ShopConnections) -> str:
        """Return where the database is."""
        return shop.database.address if shop.database else ""

    async def collect(self, tools: CollectorTools) -> ScrapeResult:
        """Ask what is due; return the newest numbers of all metrics."""
        if tools.shop.database is None:
            raise CollectError(f"{self.name}: there is no shop.database to look at")
        patience = max(self.interval.total_seconds() / 2, KNOWN_AFTER)
        try:
            async with asyncio.timeout(patience):
                for metric in self.metrics:
                    if self._is_due(metric, tools.clock.monotonic()):
                        await self._ask(metric, tools.shop.database, tools.clock.monotonic())
        except TimeoutError as error:
            raise CollectError(f"{self.name}: {metric.name}: no end of the look after {patience:g} s") from error
        answers = [self._answers[metric.name] for metric in self.metrics]
        return ScrapeResult(
            [sample for answered in answers for sample in answered.samples],
            error="; ".join(answered.trouble for answered in answers if answered.trouble),
        )

    def _is_due(self, metric: Metric, now: float) -> bool:
        answered = self._answers.get(metric.name)
        return is_due(answered.at if answered else None, metric.interval, self.interval, now)

    async def _ask(self, metric: Metric, database: ShopDatabase, now: float) -> None:
        """Ask for one metric. Raises ``DatabaseError`` when there is no database to ask."""
        try:
            async with database.looking() as cursor:
                await cursor.execute(metric.bounded, (metric.limit + 1,))
                columns, rows = [column.name for column in cursor.description or ()], await cursor.fetchall()
            answered = Answered(now, metric.samples(columns, rows, self.target))
        except CollectError as error:
            if isinstance(error, DatabaseError) and error.lost:
                self._answers.clear()
                raise
            said = TOO_LONG if TOO_LONG in str(error) else str(error)
            answered = Answered(now, trouble=f"{metric.name}: {said}")
        self._answers[metric.name] = answered
        self._told.update(self.name, metric.name, answered.trouble)
