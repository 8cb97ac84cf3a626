"""Lines for tests, and a store with small chunks; imported by the process that is killed, so it imports little."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from toban.core.log_line import LogLevel, LogLine
from toban.logs.store import head, store


def make_small(setattr: Callable[[Any, str, Any], None]) -> None:
    """Make chunks of 8 lines, and blocks of 4 chunks."""
    setattr(head, "CHUNK_LINES", 8)
    setattr(store, "MAX_CHUNKS", 4)


def log_line(message: str = "", seconds: float = 0, level: LogLevel = LogLevel.INFO, **more: object) -> LogLine:
    """Return a line some seconds after the start."""
    return LogLine(datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds), level, message, **more)


def some_lines(count: int, first: int = 0) -> list[LogLine]:
    """Return lines that tell their numbers, a second apart; each fifth is an error."""
    return [
        log_line(
            f"order {number} placed", number, LogLevel.INFO if number % 5 else LogLevel.ERROR, trace_id=f"{number:032x}"
        )
        for number in range(first, first + count)
    ]
