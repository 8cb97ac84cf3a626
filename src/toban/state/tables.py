"""What the books of all packages share: one set of tables, and how a moment is stored."""

from datetime import datetime
from typing import Any, Final

from sqlalchemy import BigInteger, Integer, MetaData
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator

from toban.core.samples import milliseconds, moment

metadata: Final = MetaData()
"""The tables of every book; the migrations are held against it by a test."""

Id: Final = BigInteger().with_variant(Integer(), "sqlite")
"""A number that counts up by itself: SQLite does that for INTEGER alone."""


class Moment(TypeDecorator[datetime]):
    """An aware time, stored as milliseconds since the epoch: the same on SQLite and PostgreSQL."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        """Write it; a naive time raises ``ValueError``, for it could be any zone's."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"{value} has no time zone")
        return milliseconds(value)

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        """Read it."""
        return None if value is None else moment(value)
