"""State on both databases."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from tests.fakes import FakeClock
from tests.integration.conftest import postgres
from toban.core.metric_registry import MetricRegistry
from toban.state.backends import PostgresBackend, SqliteBackend, StateBackend
from toban.state.database import State

__all__ = ["postgres"]

Opening = Callable[[], StateBackend]


@pytest.fixture(params=["sqlite", "postgresql"])
def opening(request: pytest.FixtureRequest, tmp_path: Path) -> Opening:
    """Return what opens one new database, as often as there are copies of toban."""
    if request.param == "sqlite":
        return lambda: SqliteBackend(tmp_path / "toban.db")
    server = request.getfixturevalue("postgres")
    name = f"state_{abs(hash(str(tmp_path)))}"
    server.execute(f"CREATE DATABASE {name}")
    return lambda: PostgresBackend(server.address(name))


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def state(opening: Opening, clock: FakeClock) -> AsyncIterator[State]:
    async with State(opening(), clock, MetricRegistry()) as state:
        yield state
