"""Vacuum and reindex on a real PostgreSQL: chosen with a reason, cleaned up after an interruption."""

import asyncio
import random
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest
from pydantic import SecretStr

from tests import servers
from tests.maintenance_tools import act, names, perform, tools_for, until
from toban.core.errors import ActionError
from toban.maintenance.run import StepOutcome
from toban.maintenance.task import Step, StepContext, TaskTools
from toban.maintenance.tasks.postgres_reindex import PostgresReindex
from toban.maintenance.tasks.postgres_vacuum import DEAD, PostgresVacuum
from toban.shop.connections import ShopConnections
from toban.shop.settings import ShopSettings

BLOATED = (
    "CREATE TABLE line (id int PRIMARY KEY, sku text NOT NULL, payload text) WITH (autovacuum_enabled = off)",
    "CREATE INDEX line_sku ON line (sku)",
    "INSERT INTO line SELECT i, md5(i::text), repeat('x', 40) FROM generate_series(1, 60000) i",
)


@pytest.fixture(scope="module")
def server() -> Iterator[servers.Postgres]:
    with servers.postgres(autovacuum="off") as started:
        started.execute("CREATE ROLE shop LOGIN PASSWORD 'x'")
        started.execute("CREATE ROLE acting LOGIN PASSWORD 'x'")
        started.execute("CREATE ROLE stranger LOGIN PASSWORD 'x'")
        started.execute("GRANT shop TO acting")
        started.execute("GRANT pg_read_all_settings, pg_read_all_stats TO acting")
        yield started


@pytest.fixture
def database(server: servers.Postgres, request: pytest.FixtureRequest) -> Iterator[str]:
    """The address of a new database of the shop, as its superuser."""
    name = f"m{abs(hash(request.node.nodeid)) % 10**9}"
    server.execute(f"CREATE DATABASE {name} OWNER shop")
    yield server.address(name)
    server.execute(f"DROP DATABASE {name} WITH (FORCE)")


def run_as(address: str, *statements: str) -> None:
    with psycopg.connect(address, autocommit=True) as connection:
        for it in statements:
            connection.execute(it)
        connection.execute("SELECT pg_stat_force_next_flush()")  # else what was counted is seen a little later


def role_address(address: str, role: str) -> str:
    return psycopg.conninfo.make_conninfo(address, user=role, password="x")


def tools_as(address: str, role: str, folder: Path) -> TaskTools:
    info = psycopg.conninfo.conninfo_to_dict(role_address(address, role))
    url = f"postgresql://{info['user']}:{info['password']}@{info['host']}:{info['port']}/{info['dbname']}"
    return tools_for(ShopConnections(settings=ShopSettings(database_admin=SecretStr(url))), folder)


@pytest.fixture
def bloated(database: str) -> str:
    run_as(role_address(database, "shop"), *BLOATED)
    run_as(database, "ANALYZE line")  # in a session of its own: what was inserted is counted by then
    return database


async def test_tables_with_dead_rows_are_vacuumed_and_the_others_are_not(bloated: str, tmp_path: Path):
    run_as(role_address(bloated, "shop"), "CREATE TABLE calm (id int)", "DELETE FROM line WHERE id % 2 = 0")
    tools = tools_as(bloated, "acting", tmp_path)
    plan, done = await perform(PostgresVacuum(), tools)
    (step,) = plan.steps
    assert step.description.endswith("B): 50% of its rows are dead (30,000 of 60,000)")
    assert plan.figures == {DEAD.name: 30_000}
    assert done == {"public.line": (StepOutcome.DONE, "vacuumed: 30,000 dead rows before, 0 after")}
    assert (await PostgresVacuum().plan(tools)).steps == []


async def test_rows_that_an_open_transaction_needs_are_named_as_kept(bloated: str, tmp_path: Path):
    with psycopg.connect(bloated) as holder:
        holder.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        holder.execute("SELECT count(*) FROM line")
        run_as(bloated, "DELETE FROM line WHERE id % 2 = 0")
        _, done = await perform(PostgresVacuum(), tools_as(bloated, "acting", tmp_path))
    outcome, text = done["public.line"]
    assert outcome is StepOutcome.DONE
    assert text.endswith("30,000 after: an old transaction, a replication slot or a standby still needs them")


@pytest.mark.parametrize("task", [PostgresVacuum(), PostgresReindex(least=1)])
async def test_what_the_role_may_not_do_is_a_finding_with_the_grant(
    bloated: str, tmp_path: Path, task: PostgresVacuum | PostgresReindex
):
    run_as(bloated, "DELETE FROM line WHERE id % 10 > 0", "VACUUM ANALYZE line", "DELETE FROM line WHERE id % 20 > 0")
    run_as(bloated, "GRANT SELECT ON line TO stranger", "UPDATE line SET payload = 'y'", "ANALYZE line")
    stranger = tools_as(bloated, "stranger", tmp_path)
    plan, done = await perform(task, stranger)
    assert done == {}
    (finding,) = plan.findings
    assert (finding.name, finding.remedy) == ("rights", 'GRANT pg_maintain TO "stranger"')
    assert 'GRANT pg_maintain TO "stranger"' in await task.missing(stranger)
    run_as(bloated, "GRANT pg_maintain TO stranger")
    try:
        _, done = await perform(task, stranger)
        assert {outcome for outcome, _ in done.values()} == {StepOutcome.DONE}
        assert await task.missing(stranger) in {"", 'GRANT pg_read_all_stats TO "stranger"'}
    finally:
        run_as(bloated, "REVOKE pg_maintain FROM stranger")


async def test_bloated_and_invalid_indexes_are_rebuilt_and_sound_ones_are_not(bloated: str, tmp_path: Path):
    task, tools = PostgresReindex(least=100_000), tools_as(bloated, "acting", tmp_path)
    assert (await task.plan(tools)).steps == []
    run_as(bloated, "DELETE FROM line WHERE id % 10 > 0", "VACUUM ANALYZE line")
    run_as(bloated, "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'line_pkey'::regclass")
    plan, done = await perform(task, tools)
    reasons = {it.name: it.description.split(": ", 1)[1] for it in plan.steps}
    assert reasons["public.line_pkey"] == "it is invalid: it is written and never read"
    assert reasons["public.line_sku"].startswith("about 8") or reasons["public.line_sku"].startswith("about 9")
    assert {outcome for outcome, _ in done.values()} == {StepOutcome.DONE}
    assert (await task.plan(tools)).steps == []


async def test_the_estimate_of_bloat_is_near_to_what_a_rebuild_gains(bloated: str, tmp_path: Path):
    run_as(bloated, "DELETE FROM line WHERE id % 5 > 0", "VACUUM ANALYZE line")
    task, tools = PostgresReindex(least=1, bloat=0.3), tools_as(bloated, "acting", tmp_path)
    for step in (await task.plan(tools)).steps:
        estimated = int(step.description.split("about ")[1].split("%")[0]) / 100
        before = step.facts["bytes"]
        await task.act(step, StepContext(1, lambda _: None), tools)
        with psycopg.connect(bloated) as connection:
            (after,) = connection.execute("SELECT pg_relation_size(%s)", [step.name]).fetchone() or (0,)
        assert abs(estimated - (1 - after / before)) < 0.12


async def test_an_interrupted_rebuild_leaves_nothing_after_the_next_run(bloated: str, tmp_path: Path):
    task, tools = PostgresReindex(), tools_as(bloated, "acting", tmp_path)
    with psycopg.connect(bloated, autocommit=True) as connection:
        (oid,) = connection.execute("SELECT 'line'::regclass::oid").fetchone() or (0,)
        (size,) = connection.execute("SELECT pg_relation_size('line_sku')").fetchone() or (0,)
        step = Step("public.line_sku", "", {"schema": "public", "name": "line_sku", "table_oid": oid, "bytes": size})
        # A rebuild waits for old snapshots, after it has built the new index: there it is interrupted.
        with psycopg.connect(bloated) as holder:
            holder.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            holder.execute("SELECT 1")
            acting = asyncio.ensure_future(task.act(step, StepContext(1, lambda _: None), tools))
            left = "SELECT count(*) FROM pg_class WHERE relname = 'line_sku_ccnew'"
            await until(lambda: acting.done() or connection.execute(left).fetchone() == (1,))
            assert not acting.done(), acting.exception()
            acting.cancel()
            await asyncio.wait([acting])
        assert connection.execute(left).fetchone() == (1,)
        active = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'REINDEX%' AND state = 'active'"
        await until(lambda: connection.execute(active).fetchone() == (0,))
        assert await task.clean(tools) == "dropped what an interrupted rebuild has left: public.line_sku_ccnew"
        assert connection.execute(left).fetchone() == (0,)


async def test_a_table_in_an_old_transaction_is_left_for_the_next_run(bloated: str, tmp_path: Path):
    run_as(bloated, "DELETE FROM line WHERE id % 10 > 0", "VACUUM ANALYZE line")
    task, tools = PostgresReindex(least=100_000), tools_as(bloated, "acting", tmp_path)
    plan = await task.plan(tools)
    busy = PostgresReindex(old_transaction=timedelta(milliseconds=1))
    with psycopg.connect(bloated, application_name="report") as holder:
        holder.execute("SELECT count(*) FROM line")
        done = await act(busy, plan, tools)
    assert {outcome for outcome, _ in done.values()} == {StepOutcome.SKIPPED}
    assert all("a transaction of report has used its table for" in text for _, text in done.values())


async def test_a_table_that_somebody_has_locked_is_left_for_the_next_run(bloated: str, tmp_path: Path):
    run_as(bloated, "DELETE FROM line WHERE id % 10 > 0", "VACUUM ANALYZE line", "DELETE FROM line WHERE id % 20 > 0")
    tools = tools_as(bloated, "acting", tmp_path)
    task = PostgresVacuum()
    plan = await task.plan(tools)
    with psycopg.connect(bloated) as holder:
        holder.execute("LOCK TABLE line")
        done = await act(task, plan, tools)
    assert done == {"public.line": (StepOutcome.SKIPPED, "another session holds a lock that it needs")}


async def test_an_index_that_needs_more_disk_than_there_is_is_left(bloated: str, tmp_path: Path):
    run_as(bloated, "DELETE FROM line WHERE id % 10 > 0", "VACUUM ANALYZE line")
    tools = tools_as(bloated, "acting", tmp_path)
    plan = await PostgresReindex(least=100_000).plan(tools)

    class Full(PostgresReindex):
        async def _free_disk(self, tools: TaskTools) -> float | None:
            return 2**20

    done = await act(Full(), plan, tools)
    assert {outcome for outcome, _ in done.values()} == {StepOutcome.SKIPPED}
    assert all("there are 1 MiB" in text for _, text in done.values())


async def test_large_indexes_wait_where_the_free_disk_is_not_known(bloated: str, tmp_path: Path):
    run_as(bloated, "DELETE FROM line WHERE id % 10 > 0", "VACUUM ANALYZE line")
    tools = tools_as(bloated, "acting", tmp_path)

    class Elsewhere(PostgresReindex):
        async def _free_disk(self, tools: TaskTools) -> float | None:
            return None

    plan = await Elsewhere(least=100_000, unmeasured=100_000).plan(tools)
    assert plan.steps == []
    assert names(plan.findings) == ["free disk"]


async def test_a_role_that_can_not_connect_fails_in_the_words_of_postgresql(database: str, tmp_path: Path):
    tools = tools_as(database, "nobody_known", tmp_path)
    with pytest.raises(ActionError, match=r"PostgreSQL: .*(password authentication failed|does not exist)"):
        await PostgresVacuum().plan(tools)


SEEDS = [*range(4), *(pytest.param(it, marks=pytest.mark.soak) for it in range(4, 120))]


@pytest.mark.parametrize("seed", SEEDS)
async def test_a_run_that_is_cut_off_anywhere_is_clean_after_the_next_one(database: str, tmp_path: Path, seed: int):
    dice = random.Random(seed)
    run_as(role_address(database, "shop"), *BLOATED)
    run_as(database, "DELETE FROM line WHERE id % 10 > 0", "ANALYZE line")
    tools = tools_as(database, "acting", tmp_path)
    for task in (PostgresVacuum(), PostgresReindex(least=1)):
        running = asyncio.ensure_future(perform(task, tools))
        await asyncio.wait([running], timeout=dice.uniform(0, 0.4))
        if dice.random() < 0.5:
            running.cancel()
        else:  # its connections are cut, as by a failover
            run_as(database, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'toban'")
        await asyncio.wait([running])
        if not running.cancelled():
            running.exception()
    with psycopg.connect(database) as connection:
        await until(lambda: not connection.execute(ACTING).fetchall())
    _, done = await perform(PostgresReindex(least=1), tools)
    assert {outcome for outcome, _ in done.values()} <= {StepOutcome.DONE}
    with psycopg.connect(database) as connection:
        indexes = connection.execute(
            "SELECT c.relname, i.indisvalid FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid "
            "WHERE i.indrelid = 'line'::regclass ORDER BY 1"
        ).fetchall()
        assert indexes == [("line_pkey", True), ("line_sku", True)]
        assert connection.execute("SELECT count(*) FROM line").fetchone() == (6000,)


ACTING = "SELECT pid FROM pg_stat_activity WHERE application_name = 'toban' AND state = 'active'"


async def test_the_reindex_of_the_first_design_would_lock_the_shop_out(bloated: str, tmp_path: Path):
    """`REINDEX DATABASE` rebuilds table by table, each as here: meanwhile nobody writes to it."""
    write = "SET lock_timeout = '200ms'; UPDATE line SET payload = 'y' WHERE id = 1"
    with psycopg.connect(bloated) as plain:
        plain.execute("REINDEX TABLE line")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            run_as(bloated, write)
    task, tools = PostgresReindex(least=100_000), tools_as(bloated, "acting", tmp_path)
    run_as(bloated, "DELETE FROM line WHERE id % 10 > 0", "VACUUM ANALYZE line")
    step = (await task.plan(tools)).steps[0]
    with psycopg.connect(bloated) as holder:
        holder.execute("SELECT count(*) FROM line")
        acting = asyncio.ensure_future(PostgresReindex(least=1).act(step, StepContext(1, lambda _: None), tools))
        waits = "SELECT count(*) FROM pg_stat_progress_create_index WHERE phase LIKE 'waiting%'"
        with psycopg.connect(bloated, autocommit=True) as connection:
            await until(lambda: acting.done() or connection.execute(waits).fetchone() == (1,))
        run_as(bloated, write)  # what rebuilds concurrently waits, and lets the shop write
    await acting
