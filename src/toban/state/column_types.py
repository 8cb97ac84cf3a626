"""The column types of all repositories, and the metadata of their tables."""

from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

from sqlalchemy import JSON, BigInteger, Integer, MetaData, String
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator

from toban.core.input_limits import EARLIEST, LATEST, repair_surrogates
from toban.core.samples import milliseconds, moment

metadata: Final = MetaData()
"""The tables of all repositories; a test compares it with the migrations."""

Id: Final = BigInteger().with_variant(Integer(), "sqlite")
"""An autoincremented id: SQLite has that for INTEGER only."""

EARLIEST_STORED: Final = milliseconds(EARLIEST)
LATEST_STORED: Final = milliseconds(LATEST)


class UnreadableValue:
    """Replaces a stored value that can't be read: any use of it raises the error (`readable_rows`)."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def __getattr__(self, name: str) -> Any:
        raise self.error

    def __getitem__(self, name: object) -> Any:
        raise self.error


class Timestamp(TypeDecorator[datetime]):
    """
    An aware time, stored as milliseconds since the epoch: the same on SQLite and PostgreSQL.

    A time out of the accepted range is read as its nearest end: older versions stored times of the year 9999.
    """

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        """Return the stored value. Raises ``ValueError`` for a naive time: its zone is unknown."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"{value} has no time zone")
        return milliseconds(value)

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        """Return the time of a stored value."""
        if value is None:
            return None
        try:
            return moment(min(max(value, EARLIEST_STORED), LATEST_STORED))
        except TypeError as error:
            return UnreadableValue(error)  # type: ignore[return-value]  # any use of it raises


def storable(text: str) -> str:
    """Return a text as it is stored: with U+FFFD for what no database stores, NUL and lone surrogates."""
    return repair_surrogates(text).replace("\0", "\ufffd")


class SafeString(TypeDecorator[str]):
    """A text of limited length, which is made `storable`."""

    impl = String
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """Return the stored value."""
        return None if value is None else storable(value)


class Json(TypeDecorator[Any]):
    """JSON whose texts are valid Unicode; invalid JSON is read as `UnreadableValue` and does not fail the query."""

    impl = JSON
    cache_ok = True

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], Any]:
        """Return the function that reads a stored value."""
        read = super().result_processor(dialect, coltype)

        def process(value: Any) -> Any:
            try:
                return repair_texts(read(value) if read else value)
            except (ValueError, TypeError, RecursionError) as error:
                return UnreadableValue(error)

        return process


def repair_texts(value: Any) -> Any:
    """Return plain data with all texts repaired: older versions stored lone surrogates."""
    if isinstance(value, str):
        return repair_surrogates(value)
    if isinstance(value, dict):
        return {repair_surrogates(name): repair_texts(it) for name, it in value.items()}
    return [repair_texts(it) for it in value] if isinstance(value, list) else value
