"""What the repositories of all packages share: one set of tables, and how times and JSON are stored."""

from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

from sqlalchemy import JSON, BigInteger, Integer, MetaData, String
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator

from toban.core.input_limits import EARLIEST, LATEST, repair_surrogates
from toban.core.samples import milliseconds, moment

metadata: Final = MetaData()
"""The tables of every book; the migrations are held against it by a test."""

Id: Final = BigInteger().with_variant(Integer(), "sqlite")
"""A number that counts up by itself: SQLite does that for INTEGER alone."""


EARLIEST_STORED: Final = milliseconds(EARLIEST)
LATEST_STORED: Final = milliseconds(LATEST)


class UnreadableValue:
    """What stands for a stored value that can't be read: whoever uses it meets the reason (`readable_rows`)."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def __getattr__(self, name: str) -> Any:
        raise self.error

    def __getitem__(self, name: object) -> Any:
        raise self.error


class Timestamp(TypeDecorator[datetime]):
    """
    An aware time, stored as milliseconds since the epoch: the same on SQLite and PostgreSQL.

    It is read within the range that is accepted today: an older toban stored times of the year 9999.
    """

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
        if value is None:
            return None
        try:
            return moment(min(max(value, EARLIEST_STORED), LATEST_STORED))
        except TypeError as error:
            return UnreadableValue(error)  # type: ignore[return-value]  # it raises whatever is done with it


class SafeString(TypeDecorator[str]):
    """A text of limited length, with U+FFFD in place of what no database stores: NUL, halves of surrogate pairs."""

    impl = String
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """Write it."""
        return None if value is None else repair_surrogates(value).replace("\0", "\ufffd")


class Json(TypeDecorator[Any]):
    """JSON whose texts are valid Unicode; what is none is read as `UnreadableValue`, not the end of the query."""

    impl = JSON
    cache_ok = True

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], Any]:
        """Return what reads a value."""
        read = super().result_processor(dialect, coltype)

        def process(value: Any) -> Any:
            try:
                return repair_texts(read(value) if read else value)
            except (ValueError, TypeError, RecursionError) as error:
                return UnreadableValue(error)

        return process


def repair_texts(value: Any) -> Any:
    """Return plain data with each text repaired: an older toban stored halves of surrogate pairs."""
    if isinstance(value, str):
        return repair_surrogates(value)
    if isinstance(value, dict):
        return {repair_surrogates(name): repair_texts(it) for name, it in value.items()}
    return [repair_texts(it) for it in value] if isinstance(value, list) else value
