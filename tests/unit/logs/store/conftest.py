"""A store of lines in a temporary folder, with small chunks and blocks, and lines for it."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.fakes import FakeClock
from toban.core.log_line import LogLevel, LogLine
from toban.core.metric_registry import MetricRegistry
from toban.core.samples import milliseconds
from toban.logs.line_store import Direction, LineSelection, SearchSlice, StoredLine
from toban.logs.settings import LogSettings
from toban.logs.store import head as head_module
from toban.logs.store import store as store_module
from toban.logs.store.store import EmbeddedLineStore

Opened = Callable[..., AbstractContextManager[EmbeddedLineStore]]

START = milliseconds(FakeClock().now())
"""The fake clock's first time: the start of a day."""

DAY = 86_400_000
EVER = LineSelection(-(2**53), 2**53)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def meters() -> MetricRegistry:
    return MetricRegistry()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "logs"


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make chunks of 8 lines, and blocks of 4 chunks."""
    make_small(monkeypatch)


def make_small(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(head_module, "CHUNK_LINES", 8)
    patch.setattr(store_module, "MAX_CHUNKS", 4)


@pytest.fixture
def opened(folder: Path, clock: FakeClock, meters: MetricRegistry) -> Opened:
    """Open the store; opening it again is a restart."""

    @contextmanager
    def open_store(**settings: object) -> Iterator[EmbeddedLineStore]:
        with EmbeddedLineStore(folder, LogSettings(**settings), clock, meters) as store:
            yield store

    return open_store


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


def lines_of(slices: Iterable[SearchSlice]) -> list[StoredLine]:
    return [line for part in slices for line in part.lines]


def found(
    store: EmbeddedLineStore,
    selection: LineSelection = EVER,
    limit: int = 10_000,
    direction: Direction = Direction.FORWARD,
) -> list[str]:
    """Return the messages of the lines that are found."""
    return [one.line.message for one in lines_of(store.search(selection, limit, direction))]
