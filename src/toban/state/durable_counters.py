"""
Counters that must be exact: rows, raised in the transaction that moves the cursor that was read.

A restart neither loses nor repeats what they count. They are kept as they are counted, in whole numbers and decimals:
what is told of them is the same before it was kept and after.
"""

import json
from collections.abc import Iterable
from decimal import Decimal
from typing import Any, Final

import orjson
from sqlalchemy import Column, Connection, String, Table, insert, select, update

from toban.core.metric_registry import MetricRegistry
from toban.core.samples import Amount, MetricFamily
from toban.state.column_types import metadata
from toban.state.quarantine import readable_rows

COUNTERS: Final = Table(
    "tally",
    metadata,
    Column("book", String(50), primary_key=True),
    Column("family", String(200), primary_key=True),
    Column("labels", String(1000), primary_key=True),
    Column("numbers", String(1000), nullable=False),
)


def load(connection: Connection, book: str, families: Iterable[MetricFamily]) -> MetricRegistry:
    """Return a book's numbers; those of a family that is not among these are left where they are."""
    known = {family.name: family for family in families}
    meters = MetricRegistry(exact=True)
    rows = connection.execute(select(COUNTERS).where(COUNTERS.c.book == book, COUNTERS.c.family.in_(known)))
    for family, labels, numbers in readable_rows(connection, COUNTERS, rows, _read):
        meters.restore(known[family], numbers, **labels)
    return meters


def save(connection: Connection, book: str, meters: MetricRegistry) -> None:
    """Keep what has changed in a book's numbers since they were loaded."""
    stored = {
        (row.family, row.labels): row.numbers
        for row in connection.execute(select(COUNTERS).where(COUNTERS.c.book == book))
    }
    for family, labels, values in meters.series():
        key = family.name, orjson.dumps(labels, option=orjson.OPT_SORT_KEYS).decode()
        numbers = f"[{','.join(map(_text, values))}]"
        if stored.get(key) == numbers:
            continue
        row = {"book": book, "family": key[0], "labels": key[1]}
        if key in stored:
            conditions = [COUNTERS.c[name] == value for name, value in row.items()]
            connection.execute(update(COUNTERS).where(*conditions).values(numbers=numbers))
        else:
            connection.execute(insert(COUNTERS).values(**row, numbers=numbers))


def _read(row: Any) -> tuple[str, dict[str, str], list[Decimal]]:
    numbers = json.loads(row.numbers, parse_float=Decimal, parse_int=Decimal)
    return row.family, orjson.loads(row.labels), numbers


def _text(value: Amount) -> str:
    """Write a number as JSON, exactly."""
    return format(value, "f") if isinstance(value, Decimal) else repr(value)
