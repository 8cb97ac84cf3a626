"""A store of lines in a temporary folder, with small chunks and blocks, and lines for it."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from tests.fakes import FakeClock
from tests.unit.logs.store.lines import make_small
from toban.core.metric_registry import MetricRegistry
from toban.core.samples import milliseconds
from toban.logs.line_store import Direction, LineSelection, SearchSlice, StoredLine
from toban.logs.settings import LogSettings
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
    make_small(monkeypatch.setattr)


@pytest.fixture
def opened(folder: Path, clock: FakeClock, meters: MetricRegistry) -> Opened:
    """Open the store; opening it again is a restart."""

    @contextmanager
    def open_store(**settings: object) -> Iterator[EmbeddedLineStore]:
        with EmbeddedLineStore(folder, LogSettings(**settings), clock, meters) as store:
            yield store

    return open_store


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
