"""Advice on a real PostgreSQL: unused, superfluous and missing indexes, and settings; nothing is changed."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest
from pydantic import SecretStr

from tests import servers
from tests.maintenance_tools import tools_for
from toban.core.errors import ActionError
from toban.maintenance import postgres_advice, postgres_indexes
from toban.maintenance.task import Finding, Step, StepContext, TaskTools
from toban.maintenance.tasks.postgres_advice import UNUSED, PostgresAdvice
from toban.shop.connections import ShopConnections
from toban.shop.settings import ShopSettings

TABLES = (
    "CREATE TABLE line (id int PRIMARY KEY, sku text, name text, at timestamp, amount int)",
    "CREATE UNIQUE INDEX line_unique ON line (sku, id)",
    "CREATE INDEX line_name ON line (name)",
    "CREATE INDEX line_name_again ON line (name)",
    "CREATE INDEX line_name_at ON line (name, at)",
    "CREATE INDEX line_name_desc ON line (name DESC)",
    "CREATE INDEX line_name_some ON line (name) WHERE amount > 0",
    "CREATE INDEX line_lower ON line (lower(name))",
    "CREATE INDEX line_amount ON line (amount)",
    "INSERT INTO line SELECT i, md5(i::text), md5(i::text), localtimestamp, i FROM generate_series(1, 40000) i",
)


@pytest.fixture(scope="module")
def server() -> Iterator[servers.Postgres]:
    with servers.postgres(autovacuum="off", max_connections="500", stats_fetch_consistency="none") as started:
        started.execute("CREATE ROLE looking LOGIN", "GRANT pg_monitor TO looking", "CREATE ROLE blind LOGIN")
        started.execute("CREATE DATABASE lines")
        run(started.address("lines"), *TABLES, "CREATE EXTENSION pg_stat_statements")
        run(started.address("lines"), "ANALYZE line")
        yield started


@pytest.fixture
def database(server: servers.Postgres, request: pytest.FixtureRequest) -> Iterator[str]:
    name = f"a{abs(hash(request.node.nodeid)) % 10**9}"
    server.execute(f"CREATE DATABASE {name} TEMPLATE lines")
    yield name
    server.execute(f"DROP DATABASE {name} WITH (FORCE)")


def run(address: str, *statements: str) -> None:
    with psycopg.connect(address, autocommit=True) as connection:
        for it in statements:
            connection.execute(it.encode())


def tools_as(server: servers.Postgres, database: str, role: str, folder: Path) -> TaskTools:
    url = SecretStr(server.address(database, role))
    return tools_for(ShopConnections(settings=ShopSettings(database_admin=url)), folder)


async def findings(task: PostgresAdvice, tools: TaskTools) -> dict[str, Finding]:
    plan = await task.plan(tools)
    assert plan.steps == ()
    return {it.name: it for it in plan.findings}


async def test_an_index_that_another_one_repeats_or_begins_is_superfluous(
    server: servers.Postgres, database: str, tmp_path: Path
):
    found = await findings(PostgresAdvice(), tools_as(server, database, "looking", tmp_path))
    superfluous = {name: it for name, it in found.items() if name.startswith("superfluous")}
    # One of two equal ones, or both where a third begins with them; never what sorts, filters or computes otherwise.
    assert set(superfluous) == {"superfluous line_name", "superfluous line_name_again"}
    first = superfluous["superfluous line_name_again"]
    assert first.remedy == 'DROP INDEX CONCURRENTLY "public"."line_name_again"'
    assert "line_unique" not in str(superfluous)


async def test_of_two_equal_indexes_one_stays_and_a_constraint_is_never_dropped(
    server: servers.Postgres, database: str, tmp_path: Path
):
    address = server.address(database)
    run(address, "DROP INDEX line_name_at", "CREATE INDEX line_id_too ON line (id)")
    found = await findings(PostgresAdvice(), tools_as(server, database, "looking", tmp_path))
    superfluous = [name for name in found if name.startswith("superfluous")]
    assert len([it for it in superfluous if "line_name" in it]) == 1
    assert "superfluous line_id_too" in superfluous
    assert "superfluous line_pkey" not in superfluous


async def test_an_index_is_unused_only_after_a_month_of_statistics(
    server: servers.Postgres, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    tools = tools_as(server, database, "looking", tmp_path)
    found = await findings(PostgresAdvice(), tools)
    assert "which indexes are unused is told after 30 days" in found["statistics"].text
    assert not [name for name in found if name.startswith("unused")]
    monkeypatch.setattr(postgres_indexes, "OBSERVED", timedelta())
    run(server.address(database), "SET enable_seqscan = off; SELECT count(*) FROM line WHERE amount = 7")
    plan = await PostgresAdvice().plan(tools)
    unused = {it.name for it in plan.findings if it.name.startswith("unused")}
    assert "unused line_lower" in unused
    assert unused.isdisjoint({"unused line_pkey", "unused line_unique", "unused line_amount"})
    (finding,) = [it for it in plan.findings if it.name == "unused line_lower"]
    assert "a standby would count by itself" in finding.text
    assert plan.figures[UNUSED.name] > 2**20


async def test_a_large_table_that_is_read_whole_is_named_with_its_statement(
    server: servers.Postgres, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(postgres_advice, "LARGE_ROWS", 10_000)
    address = server.address(database)
    with psycopg.connect(address, autocommit=True) as connection:
        for _ in range(101):
            connection.execute("SELECT count(*) FROM line WHERE at < 'epoch' AND name <> 'ann@example.com'")
    found = await findings(PostgresAdvice(), tools_as(server, database, "looking", tmp_path))
    finding = found["sequential scans of line"]
    assert "SELECT count(*) FROM line WHERE at < $1 AND name <> $2" in finding.text
    assert "ann@" not in finding.text
    assert finding.remedy.startswith("EXPLAIN (GENERIC_PLAN)")


async def test_settings_are_compared_with_the_machine_and_the_data(
    server: servers.Postgres, database: str, tmp_path: Path
):
    tools = tools_as(server, database, "looking", tmp_path)
    found = await findings(PostgresAdvice(memory=2**30), tools)
    assert found["random_page_cost"].remedy == "on an SSD: ALTER SYSTEM SET random_page_cost = 1.1"
    assert found["shared_buffers"].remedy == "ALTER SYSTEM SET shared_buffers = '256MB'"
    assert "16 MiB on a machine with 1 GiB" in found["shared_buffers"].text
    assert "for each of 500 connections and shared_buffers are 1.969 GiB" in found["work_mem"].text
    assert "max_connections is 500" in found["max_connections"].text
    assert "work_mem" not in await findings(PostgresAdvice(memory=2**36), tools)


async def test_a_role_that_sees_little_is_told_what_it_lacks(server: servers.Postgres, database: str, tmp_path: Path):
    tools = tools_as(server, database, "blind", tmp_path)
    assert await PostgresAdvice().missing(tools) == "GRANT pg_read_all_stats TO blind"
    found = await findings(PostgresAdvice(), tools)
    assert found["rights"].remedy == "GRANT pg_read_all_stats TO blind"
    assert await PostgresAdvice().missing(tools_as(server, database, "looking", tmp_path)) == ""


async def test_without_the_extension_statements_are_not_named(server: servers.Postgres, database: str, tmp_path: Path):
    run(server.address(database), "DROP EXTENSION pg_stat_statements")
    found = await findings(PostgresAdvice(), tools_as(server, database, "looking", tmp_path))
    assert "CREATE EXTENSION pg_stat_statements" in found["statements"].remedy


async def test_it_refuses_to_act(server: servers.Postgres, database: str, tmp_path: Path):
    tools = tools_as(server, database, "looking", tmp_path)
    with pytest.raises(ActionError, match="postgres_advice changes nothing"):
        await PostgresAdvice().act(Step("x", "x"), StepContext(1, lambda _: None), tools)


async def test_older_servers_are_looked_at_too(tmp_path: Path):
    with servers.postgres(15, shared_preload_libraries="") as server:
        run(server.address("postgres"), *TABLES[:-1])
        tools = tools_as(server, "postgres", "postgres", tmp_path)
        found = await findings(PostgresAdvice(memory=2**30), tools)
        assert "superfluous line_name" in found
        assert "random_page_cost" in found
