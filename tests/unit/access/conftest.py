"""Access with a state in a file, and passwords that are hashed with the least that argon2 takes."""

import shutil
from contextlib import AsyncExitStack

import pytest

from tests.fakes import FakeClock
from toban.access import passwords
from toban.access.assembly import open_access
from toban.core.actor import Actor
from toban.core.metric_registry import MetricRegistry
from toban.state.backends import SqliteBackend
from toban.state.database import State

ROOT = Actor("root", "local socket")
PASSWORD = "correct horse battery"


@pytest.fixture(autouse=True)
def quick_hashes(monkeypatch):
    monkeypatch.setattr(passwords, "MEMORY_KIB", 8)
    monkeypatch.setattr(passwords, "TIME_COST", 1)
    hasher = passwords._hasher
    hasher.cache_clear()
    yield
    hasher.cache_clear()


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def meters():
    return MetricRegistry()


@pytest.fixture(scope="session")
def migrated(tmp_path_factory):
    """A database with all tables: creating it takes longer than a test."""
    file = tmp_path_factory.mktemp("migrated") / "toban.db"
    backend = SqliteBackend(file)
    with backend.begin():
        pass
    backend.close()
    return file


@pytest.fixture
async def state(tmp_path, migrated, clock, meters):
    shutil.copy(migrated, tmp_path / "toban.db")
    async with State(SqliteBackend(tmp_path / "toban.db"), clock, meters) as state:
        yield state


@pytest.fixture
async def access(state, tmp_path, clock, meters):
    async with AsyncExitStack() as stack:
        yield await open_access(stack, state, tmp_path, clock, meters)
