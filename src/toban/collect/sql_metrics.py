"""Metrics by SQL: files of queries, and the samples of their results."""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, time, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from toban.core.config_types import parse_duration
from toban.core.errors import CollectError
from toban.core.labels import LABEL_NAME, Labels
from toban.core.samples import MetricFamily, MetricType, Sample

if TYPE_CHECKING:
    from psycopg import AsyncCursor
    from psycopg.rows import TupleRow

LABEL: Final = "label_"
"""Prefix of the columns that are labels."""

VALUE: Final = "value"
"""The column whose metric has the name of the query itself."""

UNITS: Final = ("seconds", "bytes")

PRESENT: Final = r"$|(while|once) \w"
"""The form of `present`."""


@dataclass(frozen=True, slots=True)
class SqlQuery:
    """
    One query, and the metrics in its result.

    Columns called ``label_…`` become labels; none is ever NULL. Every other column is a metric: its name is the query's
    name and the column's, except that ``value`` has the query's own. NULL is no sample. ``columns`` has the help text
    of each metric; ``present`` says when metrics exist that don't always. ``since`` and ``until`` are PostgreSQL's
    major versions, both included; ``needs`` names what a server must have.
    """

    name: str
    sql: str
    columns: Mapping[str, str]
    interval: timedelta = timedelta(0)
    since: int = 0
    until: int = 10_000
    needs: frozenset[str] = frozenset()
    present: Mapping[str, str] = field(default_factory=dict)

    @property
    def families(self) -> Iterator[MetricFamily]:
        """The metrics that this query may return."""
        for column, help_text in self.columns.items():
            family = column_family(self.name, column, help_text)
            yield replace(family, present=self.present.get(column, ""), labels=self.labels)

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels of its series, by the names of its columns."""
        return tuple(dict.fromkeys(re.findall(rf"\bAS {LABEL}(\w+)", self.sql)))

    def suits(self, version: int, has: Collection[str]) -> bool:
        """Return whether a server of this major version that has these things can run it."""
        return self.since <= version <= self.until and self.needs.issubset(has)


def column_family(name: str, column: str, help: str) -> MetricFamily:
    """
    Return the metric of one column, a gauge without a unit unless its name ends otherwise.

    As Prometheus names them: a counter ends in ``_total``, and the unit is last but for that.
    """
    full = name if column == VALUE else f"{name}_{column}"
    unit = next((unit for unit in UNITS if full.removesuffix("_total").endswith(f"_{unit}")), "")
    return MetricFamily(full, MetricType.COUNTER if full.endswith("_total") else MetricType.GAUGE, help, unit)


def parse_queries(text: str) -> tuple[SqlQuery, ...]:
    """
    Parse a file of queries.

    Each begins with ``-- query: its_name``; then come, in lines of the same form, ``interval`` (a duration),
    ``versions`` (``14-16``, ``17-``), ``needs`` (words) and the help text of each column with values; then the SQL.
    ``present: while somebody waits`` says that its metrics come and go, ``present: once somebody has waited`` that they
    stay; ``present oldest: …`` says so of the column ``oldest`` alone. The text above the first query is a comment.
    Raises ``ValueError`` naming the invalid query.
    """
    _, *paragraphs = re.split(r"^-- query: *(?=\w)", text, flags=re.MULTILINE)
    return tuple(_query(paragraph) for paragraph in paragraphs)


def _query(paragraph: str) -> SqlQuery:
    name, _, rest = paragraph.partition("\n")
    heading, sql = re.fullmatch(r"((?:--[^\n]*\n)*)(.*)", rest, re.DOTALL).groups()  # type: ignore[union-attr]  # it matches any text
    headers: dict[str, str] = dict(re.findall(r"^-- (\w+): (.+)$", heading, re.MULTILINE))
    of_all = headers.pop("present", "")
    present: dict[str, str] = dict(re.findall(r"^-- present (\w+): (.+)$", heading, re.MULTILINE))
    interval, versions, needs = (headers.pop(key, "") for key in ("interval", "versions", "needs"))
    since, dash, until = versions.partition("-")
    if not headers or not sql.strip():
        raise ValueError(f"{name}: a query needs a help text for each of its metrics, and SQL")
    if present.keys() - headers.keys() or any(not re.match(PRESENT, text) for text in (*present.values(), of_all)):
        raise ValueError(
            f"{name}: write `present: while …` or `present: once …`, for all its metrics or for one of them"
        )
    if versions and not dash:
        raise ValueError(f"{name}: write versions like 14-16 or 17-")
    return SqlQuery(
        name=name.strip(),
        sql=sql.strip().removesuffix(";"),
        columns=headers,
        interval=parse_duration(interval) if interval else timedelta(0),
        since=int(since or 0),
        until=int(until or 10_000),
        needs=frozenset(needs.split()),
        present={**(dict.fromkeys(headers, of_all) if of_all else {}), **present},
    )


def suitable_queries(queries: Iterable[SqlQuery], version: int, has: Collection[str]) -> list[SqlQuery]:
    """Return the queries that a server can run."""
    return [query for query in queries if query.suits(version, has)]


async def run_query(cursor: "AsyncCursor[TupleRow]", query: SqlQuery) -> tuple[Sample, ...]:
    """Run one query and return its samples."""
    await cursor.execute(query.sql)
    columns = [column.name for column in cursor.description or ()]
    families = dict(zip(query.columns, query.families, strict=True))
    return tuple(row_samples(families, columns, await cursor.fetchall()))


def row_samples(
    families: Mapping[str, MetricFamily], columns: Sequence[str], rows: Iterable[Sequence[object]]
) -> list[Sample]:
    """
    Return the samples in a result: one for each row and each column that has a family.

    Raises ``CollectError`` naming the column that can't be a label or has no number, or the labels that two rows
    share, or two columns of one name.
    """
    for column in columns:
        if columns.count(column) > 1:
            raise CollectError(f"two columns are called {column!r}: rename one")
        label = column.removeprefix(LABEL)
        if column.startswith(LABEL) and (not LABEL_NAME.fullmatch(label) or label.startswith("__")):
            raise CollectError(f"column {column!r} makes no label name")
    found: dict[tuple[MetricFamily, Labels], Sample] = {}
    for row in rows:
        fields = dict(zip(columns, row, strict=True))
        labels = Labels(
            (column.removeprefix(LABEL), str(value).lower() if isinstance(value, bool) else str(value))
            for column, value in fields.items()
            if column.startswith(LABEL) and value is not None
        )
        for column, family in families.items():
            value = fields.get(column)
            if value is None:
                continue
            if not isinstance(value, int | float | Decimal):
                raise CollectError(f"column {column!r} has {_described(value)}")
            if (family, labels) in found:
                raise CollectError(f"two rows are labelled {labels or 'nothing'}: group them, or add a {LABEL}… column")
            found[family, labels] = Sample(family, float(value), labels)
    # In one order, whatever order the rows have: a layout is used again while nothing changes.
    return sorted(found.values(), key=lambda sample: (sample.family.name, *sample.labels.values()))


def _described(value: object) -> str:
    """Return what a value is that is not a number, and how to make it one."""
    if isinstance(value, date | time | timedelta):
        return "a time, not a number: write extract(epoch FROM …)"
    if isinstance(value, str):
        return "text, not a number: cast it, like ::float8 (money: ::numeric)"
    return f"{type(value).__name__}, not a number"
