"""Real servers for tests: shared ones are only read from; a test starts those that it breaks."""

from collections.abc import Iterator

import pytest

from tests import servers


@pytest.fixture(scope="session")
def postgres() -> Iterator[servers.Postgres]:
    """A PostgreSQL 18 with pg_stat_statements: make a database of your own in it."""
    with servers.postgres() as server:
        server.execute("CREATE EXTENSION pg_stat_statements")
        yield server


@pytest.fixture(scope="session")
def valkey() -> Iterator[servers.Server]:
    """A Valkey 9."""
    with servers.valkey() as server:
        yield server


@pytest.fixture(scope="session")
def redis() -> Iterator[servers.Server]:
    """A Redis 7."""
    with servers.redis() as server:
        yield server
