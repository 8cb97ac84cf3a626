"""
Exact counters: rows that are raised in the same transaction as the position of the source that was read.

A restart neither loses nor repeats what they count. They are stored as integers and decimals, so that their values are
the same before and after they were stored.
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
    "durable_counter",
    metadata,
    Column("owner", String(50), primary_key=True),
    Column("family", String(200), primary_key=True),
    Column("labels", String(1000), primary_key=True),
    Column("sample_values", String(1000), nullable=False),
)


def load(connection: Connection, owner: str, families: Iterable[MetricFamily]) -> MetricRegistry:
    """Return an owner's counters of these families."""
    known = {family.name: family for family in families}
    meters = MetricRegistry(exact=True)
    rows = connection.execute(select(COUNTERS).where(COUNTERS.c.owner == owner, COUNTERS.c.family.in_(known)))
    for family, labels, values in readable_rows(connection, COUNTERS, rows, _parse):
        meters.restore(known[family], values, **labels)
    return meters


def save(connection: Connection, owner: str, meters: MetricRegistry) -> None:
    """Store the counters of an owner that have changed since they were loaded."""
    stored = {
        (row.family, row.labels): row.sample_values
        for row in connection.execute(select(COUNTERS).where(COUNTERS.c.owner == owner))
    }
    for family, labels, values in meters.series():
        key = family.name, orjson.dumps(labels, option=orjson.OPT_SORT_KEYS).decode()
        text = f"[{','.join(map(_format_amount, values))}]"
        if stored.get(key) == text:
            continue
        row = {"owner": owner, "family": key[0], "labels": key[1]}
        if key in stored:
            conditions = [COUNTERS.c[name] == value for name, value in row.items()]
            connection.execute(update(COUNTERS).where(*conditions).values(sample_values=text))
        else:
            connection.execute(insert(COUNTERS).values(**row, sample_values=text))


def _parse(row: Any) -> tuple[str, dict[str, str], list[Decimal]]:
    values = json.loads(row.sample_values, parse_float=Decimal, parse_int=Decimal)
    return row.family, orjson.loads(row.labels), values


def _format_amount(value: Amount) -> str:
    """Format a number as JSON, exactly."""
    return format(value, "f") if isinstance(value, Decimal) else repr(value)
