"""Actions on the sessions of a real PostgreSQL: only the right ones end."""

import re
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from datetime import UTC, datetime, timedelta

import httpx2
import psycopg
import pytest
from pydantic import SecretStr

from tests import servers
from tests.fakes import FakeClock
from toban.core.alerts import Alert, AlertStatus
from toban.core.errors import ActionError
from toban.core.labels import Labels
from toban.runbooks.action import ActionContext, ActionTools
from toban.runbooks.actions.postgres_cancel_query import PostgresCancelQuery
from toban.runbooks.actions.postgres_end_blocker import PostgresEndBlocker
from toban.runbooks.actions.postgres_end_idle import PostgresEndIdle
from toban.runbooks.postgres_sessions import missing_rights
from toban.shop.connections import ShopConnections
from toban.shop.settings import ShopSettings

NOW = datetime.now(UTC)
ALERT = Alert(Labels(alertname="database_connection_high"), {}, AlertStatus.FIRING, NOW, NOW)
CONTEXT = ActionContext(ALERT, 1, "run-1.0", NOW)


@pytest.fixture(scope="module")
def server() -> Iterator[servers.Postgres]:
    with servers.postgres(max_connections="260", autovacuum_naptime="1s") as started:
        for statement in (
            "CREATE ROLE shop LOGIN REPLICATION PASSWORD 'x'",
            "CREATE ROLE acting LOGIN PASSWORD 'x'",
            "CREATE ROLE blind LOGIN PASSWORD 'x'",
            "GRANT pg_signal_backend, pg_read_all_stats TO acting",
            "GRANT shop TO acting",
            "GRANT pg_signal_backend TO blind",
            "CREATE ROLE watching LOGIN PASSWORD 'x'",
            "GRANT pg_monitor TO watching",
            "CREATE ROLE seeing_both LOGIN PASSWORD 'x'",
            "GRANT pg_monitor, pg_signal_backend TO seeing_both",
            'CREATE TABLE public."order" (id int PRIMARY KEY)',
            'INSERT INTO public."order" VALUES (1), (2)',
            'ALTER TABLE public."order" OWNER TO shop',
            "CREATE TABLE slowly_vacuumed AS SELECT number FROM generate_series(1, 40000) number",
        ):
            started.execute(statement)
        yield started


@pytest.fixture
def sessions(server: servers.Postgres) -> Iterator["Sessions"]:
    with ExitStack() as stack:
        yield Sessions(server, stack)


class Sessions:
    """Opens sessions, and tells which are there."""

    def __init__(self, server: servers.Postgres, stack: ExitStack) -> None:
        self._server = server
        self._stack = stack

    def address(self, user: str) -> str:
        return self._server.address(role=user, password="x")

    def open(
        self, statement: str = "", user: str = "shop", name: str = "", **other: str
    ) -> psycopg.Connection[tuple[object, ...]]:
        found = psycopg.connect(self.address(user), application_name=name, **other)
        self._stack.callback(found.close)
        found.autocommit = not statement
        found.execute(statement or "SELECT 1")
        return found

    def waits(self, statement: str, many: int = 1) -> threading.Thread:
        """Start a statement of the shop that waits for another session; then so many wait."""

        def run() -> None:
            with suppress(psycopg.Error), psycopg.connect(self.address("shop")) as connection:
                connection.execute(statement)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        self.until("cardinality(pg_blocking_pids(pid)) > 0", many)
        return thread

    def autovacuum(self) -> int:
        """Make work for an autovacuum that takes long; return its process when it works."""
        slow = "autovacuum_vacuum_cost_delay = 100, autovacuum_vacuum_cost_limit = 1, autovacuum_vacuum_threshold = 1"
        self._server.execute(f"ALTER TABLE slowly_vacuumed SET ({slow}, autovacuum_vacuum_scale_factor = 0)")
        self._server.execute("DELETE FROM slowly_vacuumed WHERE number % 2 = 0")
        works = "backend_type = 'autovacuum worker' AND query LIKE '%slowly_vacuumed%'"
        self.until(works)
        return self._server.query(f"SELECT pid FROM pg_stat_activity WHERE {works}")[0][0]

    def until(self, condition: str, many: int = 1) -> None:
        """Wait until so many sessions of the server meet a condition."""
        for _ in range(200):
            if self._server.query(f"SELECT count(*) FROM pg_stat_activity WHERE {condition}")[0][0] >= many:
                return
            time.sleep(0.05)
        raise AssertionError(f"no session with {condition}")

    def is_there(self, connection: psycopg.Connection[tuple[object, ...]]) -> bool:
        return self.pid_is_there(connection.info.backend_pid)

    def pid_is_there(self, pid: int) -> bool:
        return bool(self._server.query(f"SELECT count(*) FROM pg_stat_activity WHERE pid = {pid}")[0][0])

    def tools(self, user: str = "acting", later: float = 20) -> ActionTools:
        """Return tools whose clock is some minutes ahead: what is idle now has been idle for so long."""
        clock = FakeClock(datetime.now(UTC) + timedelta(minutes=later))
        settings = ShopSettings(database_admin=SecretStr(self.address(user)))
        shop = ShopConnections(settings=settings)

        async def nothing(*_: object) -> str:
            return ""

        return ActionTools(httpx2.AsyncClient(), clock, shop, None, lambda _: True, nothing, nothing)  # type: ignore[arg-type]  # no queries


async def test_idle_sessions_of_the_shop_end_oldest_first_and_no_others(sessions: Sessions) -> None:
    idle = [sessions.open() for _ in range(200)]
    in_transaction = [sessions.open("SELECT 1") for _ in range(20)]
    backup = sessions.open(name="pg_dump")
    migration = sessions.open("SELECT pg_advisory_lock(7)")
    migration.commit()
    other = sessions.open(user="blind")
    tools = sessions.tools()
    action = PostgresEndIdle()
    plan = await action.plan(CONTEXT, tools)
    assert len(plan.facts["sessions"]) == 10
    assert await action.run(plan, CONTEXT, tools) == (await ended_text(tools, 10))
    assert [sessions.is_there(it) for it in idle[:10]] == [False] * 10
    kept = [*idle[10:], *in_transaction, backup, migration, other]
    assert all(sessions.is_there(it) for it in kept)
    assert await action.look(plan, CONTEXT, tools) == "10 of 10 sessions are gone"


async def ended_text(tools: ActionTools, many: int) -> str:
    from toban.runbooks.postgres_sessions import connections

    used, allowed = await connections(tools)
    return f"ended {many} of {many} sessions: {used} of {allowed} are used now"


async def test_maintenance_is_never_ended_though_others_wait_for_it(sessions: Sessions) -> None:
    """
    A migration in the middle of its transaction, a backup that copies, replication, and a real autovacuum.
    """
    migration = sessions.open('ALTER TABLE public."order" ADD COLUMN note text')
    waiting = sessions.waits('SELECT FROM public."order"')
    backup = sessions.open("SELECT 1")
    with backup.cursor().copy("COPY (SELECT 1) TO STDOUT") as rows:
        assert [bytes(row) for row in rows] == [b"1\n"]
    replication = sessions.open("IDENTIFY_SYSTEM", replication="database")
    vacuum = sessions.autovacuum()
    tools = sessions.tools(later=600)

    for action in (PostgresEndBlocker(), PostgresCancelQuery(), PostgresEndIdle(below=0.01)):
        with pytest.raises(ActionError, match=r"none of|no session") as caught:
            await action.plan(CONTEXT, tools)
        if not isinstance(action, PostgresEndIdle):  # whom to ask, or to wait for
            assert f"is left alone: {migration.info.backend_pid} (idle in transaction" in str(caught.value)

    assert all(sessions.is_there(it) for it in (migration, backup, replication))
    assert sessions.pid_is_there(vacuum)
    migration.rollback()
    waiting.join(5)


async def test_a_session_that_woke_up_meanwhile_is_spared(sessions: Sessions) -> None:
    first, second, *_ = [sessions.open() for _ in range(6)]
    tools = sessions.tools()
    action = PostgresEndIdle(below=0.01)
    plan = await action.plan(CONTEXT, tools)
    first.execute("SELECT 2")
    await action.run(plan, CONTEXT, tools)
    assert sessions.is_there(first)
    assert not sessions.is_there(second)


async def test_idle_in_a_transaction_ends_only_where_others_wait(sessions: Sessions) -> None:
    harmless = sessions.open("SELECT 1")
    blocker = sessions.open('UPDATE public."order" SET id = id WHERE id = 1')
    waiting = sessions.waits('UPDATE public."order" SET id = id WHERE id = 1')
    tools = sessions.tools()
    action = PostgresEndIdle()
    plan = await action.plan(CONTEXT, tools)
    assert plan.state == "idle in transaction"
    await action.run(plan, CONTEXT, tools)
    assert sessions.is_there(harmless)
    assert not sessions.is_there(blocker)
    waiting.join(5)
    assert not waiting.is_alive()


async def test_nothing_that_is_young_or_busy_ends(sessions: Sessions) -> None:
    young = sessions.open()
    with pytest.raises(ActionError, match=r"none of the 1 sessions of the shop may be ended: \d+ of 260"):
        await PostgresEndIdle().plan(CONTEXT, sessions.tools(later=5))
    assert sessions.is_there(young)


async def test_the_root_of_a_lock_chain_is_ended_and_its_victims_go_on(sessions: Sessions) -> None:
    root = sessions.open('UPDATE public."order" SET id = id WHERE id = 1')
    waiting = sessions.waits('UPDATE public."order" SET id = id WHERE id = 1')
    tools = sessions.tools()
    action = PostgresEndBlocker()
    plan = await action.plan(CONTEXT, tools)
    assert "blocks 1)" in plan.description
    assert "UPDATE" in plan.description
    cancel = await PostgresCancelQuery().plan(CONTEXT, tools)
    assert cancel.description.endswith("runs no statement: cancelling changes nothing")
    assert not cancel.needed
    assert await action.run(plan, CONTEXT, tools) == f"ended session {root.info.backend_pid}"
    waiting.join(5)
    assert not waiting.is_alive()
    assert await action.look(plan, CONTEXT, tools) == f"session {root.info.backend_pid} has ended"


async def test_of_a_longer_chain_the_root_alone_is_ended(sessions: Sessions) -> None:
    root = sessions.open('UPDATE public."order" SET id = id WHERE id = 1')
    change = 'UPDATE public."order" SET id = id WHERE id = {}'
    middle = sessions.waits(f"{change.format(2)}; {change.format(1)}")
    last = sessions.waits('SELECT FROM public."order" WHERE id = 2 FOR UPDATE', many=2)
    tools = sessions.tools()
    plan = await PostgresEndBlocker().plan(CONTEXT, tools)
    assert plan.facts["session"]["pid"] == root.info.backend_pid
    shown = (
        r"blocks 1\); its .* is rolled back; waiting for it: \d+ \(active .*UPDATE, blocks 1\), \d+ \(active .*SELECT\)"
    )
    assert re.search(shown, plan.description)
    await PostgresEndBlocker().run(plan, CONTEXT, tools)
    for thread in (middle, last):  # each of them did what it waited for
        thread.join(5)
        assert not thread.is_alive()


async def test_the_statement_for_which_others_wait_is_cancelled(sessions: Sessions) -> None:
    holder = 'UPDATE public."order" SET id = id WHERE id = 2 RETURNING pg_sleep(60)'

    def run() -> None:
        with suppress(psycopg.Error), psycopg.connect(sessions.address("shop")) as connection:
            connection.execute(holder)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    sessions.until("wait_event = 'PgSleep'")
    waiting = sessions.waits('UPDATE public."order" SET id = id WHERE id = 2')
    tools = sessions.tools()
    action = PostgresCancelQuery()
    plan = await action.plan(CONTEXT, tools)
    assert (await action.run(plan, CONTEXT, tools)).startswith("cancelled the statement of session")
    thread.join(5)
    waiting.join(5)
    assert not thread.is_alive()
    assert not waiting.is_alive()


async def test_without_a_chain_nothing_is_ended(sessions: Sessions) -> None:
    sessions.open('UPDATE public."order" SET id = id WHERE id = 1')
    for action in (PostgresEndBlocker(), PostgresCancelQuery()):
        plan = await action.plan(CONTEXT, sessions.tools())
        assert (plan.description, plan.needed) == ("nobody has waited for a lock for 30s", False)


async def test_who_waits_for_a_moment_ends_nobody(sessions: Sessions) -> None:
    sessions.open('UPDATE public."order" SET id = id WHERE id = 1')
    sessions.waits('UPDATE public."order" SET id = id WHERE id = 1')
    plan = await PostgresEndBlocker().plan(CONTEXT, sessions.tools(later=0.2))
    assert not plan.needed
    assert (await PostgresEndBlocker(waited=timedelta(seconds=5)).plan(CONTEXT, sessions.tools(later=0.2))).needed


async def test_a_migration_for_which_the_shop_waits_is_neither_cancelled_nor_ended(sessions: Sessions) -> None:
    migration = sessions.open('LOCK TABLE public."order" IN ACCESS EXCLUSIVE MODE')
    sessions.waits('UPDATE public."order" SET id = id WHERE id = 1')
    for action in (PostgresEndBlocker(), PostgresCancelQuery()):
        with pytest.raises(ActionError, match="no session of the shop that may be ended blocks others"):
            await action.plan(CONTEXT, sessions.tools())
    assert sessions.is_there(migration)


async def test_a_role_without_rights_gets_the_grant_to_give(sessions: Sessions) -> None:
    sessions.open()
    with pytest.raises(ActionError, match="GRANT pg_read_all_stats TO blind;"):
        await PostgresEndIdle().plan(CONTEXT, sessions.tools("blind"))
    assert await missing_rights(sessions.tools("shop")) == (
        "shop.database_admin lacks a right: GRANT pg_signal_backend, pg_read_all_stats TO shop;"
    )
    with pytest.raises(ActionError, match="lacks a right: GRANT pg_signal_backend TO watching;"):
        await PostgresEndBlocker().plan(CONTEXT, sessions.tools("watching"))
    assert await missing_rights(sessions.tools("acting")) == ""
    assert await missing_rights(sessions.tools("seeing_both")) == ""
    assert "does not exist" in await missing_rights(sessions.tools("nobody"))
