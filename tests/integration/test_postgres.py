"""The postgres collector against real PostgreSQL."""

import subprocess
from collections.abc import Iterator

import psycopg
import pytest
from psycopg import AsyncConnection
from structlog.testing import capture_logs

from tests import servers
from tests.fakes import FakeClock, ListSink
from tests.integration.scraping import collector_tools, poll_until, scrape
from toban.collect.collectors.postgres import FAMILIES, QUERIES, Postgres
from toban.collect.service import ScrapeLoop
from toban.collect.sql_metrics import suitable_queries
from toban.collect.tools import CollectorTools
from toban.core.labels import NAME
from toban.core.samples import is_stale

NOT_EVERYWHERE = {family.name for family in FAMILIES if family.present} | {"postgres_database_checksum_failures_total"}
"""What a server has only when something happens on it, or when it was set up so."""


def advance(tools: CollectorTools, seconds: float) -> None:
    assert isinstance(tools.clock, FakeClock)
    tools.clock.advance(seconds)


@pytest.fixture(scope="module", params=sorted(servers.postgres_programs()) or [18])
def each(request: pytest.FixtureRequest) -> Iterator[servers.Postgres]:
    """Each version that this machine has."""
    with servers.postgres(request.param, track_io_timing="on") as server:
        server.execute("CREATE EXTENSION pg_stat_statements")
        yield server


@pytest.fixture
def load(each: servers.Postgres) -> Iterator[servers.Postgres]:
    """Four clients of pgbench, at work."""
    each.run("pgbench", "--initialize", "--quiet", "--scale=1", "postgres")
    command = [each.programs / "pgbench", "-h", "127.0.0.1", "-p", str(each.port), "-U", "postgres"]
    with subprocess.Popen(
        [*command, "--client=4", "--time=60", "--no-vacuum", "postgres"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as bench:
        try:
            yield each
        finally:
            bench.kill()


async def test_every_metric_is_present_and_correct_under_load(load: servers.Postgres) -> None:
    """
    With four clients of pgbench at work, every metric that a single server can have is there and tells of them.
    """
    collector = Postgres()
    async with collector_tools(database=load.address()) as tools:
        first = await poll_until(
            lambda: scrape(collector, tools), lambda seen: seen.one("postgres_connection_pool_size", state="total") == 4
        )
        advance(tools, 600)
        # Each client's numbers come when its session hands them in, not all with the same scrape.
        seen = await poll_until(
            lambda: scrape(collector, tools),
            lambda seen: (
                seen.one("postgres_database_transactions_committed_total")
                > first.one("postgres_database_transactions_committed_total") + 20
                and seen.one("postgres_database_rows_updated_total") > 60
            ),
        )

    assert not seen.error
    assert {family.name for family in FAMILIES} - set(seen) <= NOT_EVERYWHERE
    by_application = [
        value for labels, value in seen["postgres_connections"].items() if ("application", "pgbench") in labels
    ]
    assert sum(by_application) == 4
    assert seen.one("postgres_connections_used") == 5, "toban's own counts for how full the server is"
    assert seen.one("postgres_connections_limit") == 97
    assert 0 <= seen.one("postgres_active_connections") <= 4
    assert 0.5 < seen.one("postgres_database_cache_hit_ratio") <= 1
    assert seen.one("postgres_database_blocks_hit_total") > first.one("postgres_database_blocks_hit_total")
    assert seen.one("postgres_table_live_rows", schema="public", table="pgbench_accounts") == pytest.approx(1e5, 0.1)
    assert seen.one("postgres_table_size_bytes", schema="public", table="pgbench_accounts") > 10_000_000
    assert seen.one("postgres_database_size_bytes") > 10_000_000
    assert len(seen["postgres_statement_calls_total"]) == 20
    assert seen.one("postgres_setting_shared_buffers_bytes") == 16 * 2**20
    assert seen.one("postgres_checkpoints_requested_total") >= 0
    assert seen.one("postgres_log_bytes_total") > 1_000_000
    assert 0 < seen.one("postgres_wraparound_transactions") < seen.one("postgres_wraparound_transactions_limit")
    assert seen.reason == ""


async def test_blocked_sessions_and_their_blockers_are_reported(postgres: servers.Postgres) -> None:
    """
    A session that waits is counted, the application in its way is named; no look waits for the lock itself.
    """
    postgres.execute("CREATE DATABASE locked", "CREATE ROLE keeper LOGIN SUPERUSER")
    postgres.execute("CREATE TABLE stock (id int)", "INSERT INTO stock VALUES (1)", database="locked")
    keeper = await AsyncConnection.connect(
        postgres.address("locked", "keeper"), application_name="importer", autocommit=False
    )
    waiter = psycopg.connect(postgres.address("locked"), application_name="shop")
    async with keeper, collector_tools(database=postgres.address("locked")) as tools:
        await keeper.execute("LOCK TABLE stock IN ACCESS EXCLUSIVE MODE")
        waiter.pgconn.send_query(b"SELECT * FROM stock")
        seen = await poll_until(
            lambda: scrape(Postgres(), tools), lambda seen: seen.one("postgres_blocked_sessions") == 1
        )

        assert not seen.error
        assert seen.one("postgres_locks_waiting", mode="AccessShareLock") == 1
        assert seen.one("postgres_locks_held", mode="AccessExclusiveLock") == 1
        assert seen.one("postgres_blocking_sessions", user="keeper", application="importer") == 1
        assert seen.one("postgres_blocking_longest_seconds", user="keeper", application="importer") >= 0
        assert "postgres_table_size_bytes" not in seen, "its size could only be had by waiting"
        assert seen.one("postgres_table_live_rows", schema="public", table="stock") == 1

        await keeper.rollback()
        await poll_until(lambda: scrape(Postgres(), tools), lambda seen: "postgres_blocking_sessions" not in seen)
    waiter.close()


async def test_an_idle_transaction_is_reported(postgres: servers.Postgres) -> None:
    """
    It is counted, and its age is known; it ends when the session does.
    """
    postgres.execute("CREATE DATABASE forgotten")
    async with collector_tools(database=postgres.address("forgotten")) as tools:
        with psycopg.connect(postgres.address("forgotten"), application_name="forgetful") as session:
            session.execute("SELECT 1")
            seen = await scrape(Postgres(), tools)
            labels = {"state": "idle in transaction", "application": "forgetful"}
            assert seen.one("postgres_connections", **labels) == 1
            assert seen.one("postgres_idle_in_transaction_sessions") >= 1
            assert seen.one("postgres_longest_transaction_seconds") > 0
            assert seen.one("postgres_longest_idle_in_transaction_seconds") >= 0


async def test_expensive_queries_run_less_often_and_keep_their_samples(postgres: servers.Postgres) -> None:
    """
    The size of the database is asked for every five minutes, and is among the numbers of every look in between.
    """
    postgres.execute("CREATE DATABASE growing")
    collector = Postgres()
    async with collector_tools(database=postgres.address("growing")) as tools:
        before = (await scrape(collector, tools)).one("postgres_database_size_bytes")
        postgres.execute("CREATE TABLE big AS SELECT generate_series(1, 100000)", database="growing")
        advance(tools, 270)
        assert (await scrape(collector, tools)).one("postgres_database_size_bytes") == before
        advance(tools, 30)
        assert (await scrape(collector, tools)).one("postgres_database_size_bytes") > before


async def test_a_server_without_free_connections_is_down_with_its_reason() -> None:
    """
    Where no connection is left the look says so; one that toban already has still measures how full it is.
    """
    settings = {"max_connections": "8", "superuser_reserved_connections": "2"}
    with servers.postgres(**settings) as server:
        server.execute("CREATE ROLE toban LOGIN IN ROLE pg_monitor", "CREATE ROLE shop LOGIN")
        collector = Postgres()
        async with (
            collector_tools(database=server.address(role="toban")) as early,
            collector_tools(database=server.address(role="toban")) as late,
        ):
            assert (await scrape(collector, early)).one("postgres_connections_used") == 1
            shop = [psycopg.connect(server.address(role="shop")) for _ in range(5)]

            seen = await scrape(collector, early)
            assert seen.one("postgres_connections_used") == seen.one("postgres_connections_limit") == 6
            assert seen.one("postgres_connections_reserved") == 2
            refused = await scrape(Postgres(), late)
            assert refused.reason == "too_many_connections"
            assert "the server has no free connection" in refused.error
            assert refused.one("postgres_connection_failed", reason="unreachable") == 0

            for session in shop:
                session.close()
            await poll_until(lambda: scrape(Postgres(), late), lambda seen: not seen.error)


async def test_missing_pg_monitor_is_logged_once(postgres: servers.Postgres) -> None:
    """
    What can't be known is absent rather than nought, the log says what would show it, and the rest is there.
    """
    postgres.execute("CREATE ROLE plain LOGIN", "CREATE DATABASE strangers")
    postgres.execute("CREATE TABLE goods (id int)", database="strangers")
    collector = Postgres()
    with psycopg.connect(postgres.address("strangers"), application_name="shop"), capture_logs() as logs:
        async with collector_tools(database=postgres.address("strangers", "plain")) as tools:
            seen = await scrape(collector, tools)
            await scrape(collector, tools)

    assert not seen.error
    assert "postgres_active_connections" not in seen
    assert seen.one("postgres_connections", state="hidden", application="shop") == 1
    assert seen.one("postgres_connection_pool_size", state="total") == 1
    assert ("state", "idle") not in {label for labels in seen["postgres_connection_pool_size"] for label in labels}
    assert seen.one("postgres_hidden_sessions") >= 1
    assert seen.one("postgres_table_live_rows", schema="public", table="goods") == 0
    assert seen.one("postgres_database_size_bytes") > 0
    errors = [line["error"] for line in logs if line["event"] == "partial data"]
    assert errors == [
        "other roles' sessions are hidden: GRANT pg_monitor TO plain shows them",
        "the costliest statements can't be read: CREATE EXTENSION pg_stat_statements shows them",
    ]


NEEDS = {
    'REVOKE ALL ON SCHEMA "Extra Things" FROM PUBLIC': 'GRANT USAGE ON SCHEMA "Extra Things" TO "re-ader"',
    'REVOKE EXECUTE ON FUNCTION "Extra Things".pg_stat_statements FROM PUBLIC': (
        'GRANT EXECUTE ON FUNCTION "Extra Things".pg_stat_statements TO "re-ader"'
    ),
    "UPDATE pg_extension SET extversion = '1.7' WHERE extname = 'pg_stat_statements'": (
        "ALTER EXTENSION pg_stat_statements UPDATE"
    ),
}


@pytest.mark.parametrize("taken", NEEDS, ids=["schema", "function", "version"])
async def test_unreadable_pg_stat_statements_has_a_remedy(postgres: servers.Postgres, taken: str) -> None:
    """
    Where the extension stands in a schema of its own, and this role may not use it, or it is too old.

    What is told can be done as it stands, and shows them.
    """
    name = f"apart_{list(NEEDS).index(taken)}"
    postgres.execute(f"CREATE DATABASE {name}", 'DROP ROLE IF EXISTS "re-ader"', 'CREATE ROLE "re-ader" LOGIN')
    postgres.execute(
        'CREATE SCHEMA "Extra Things"',
        'CREATE EXTENSION pg_stat_statements SCHEMA "Extra Things"',
        'GRANT USAGE ON SCHEMA "Extra Things" TO PUBLIC',
        taken,
        database=name,
    )
    collector = Postgres()
    with capture_logs() as logs:
        async with collector_tools(database=postgres.address(name, "re-ader")) as tools:
            without = await scrape(collector, tools)
            if not NEEDS[taken].startswith("ALTER"):
                postgres.execute(NEEDS[taken], database=name)
                advance(tools, 60)
                seen = await scrape(collector, tools)
                assert "postgres_statement_calls_total" in seen
    assert not without.error
    assert "postgres_statement_calls_total" not in without
    errors = [line["error"] for line in logs if line.get("part") == "statements" and line["event"] == "partial data"]
    assert errors == [f"the costliest statements can't be read: {NEEDS[taken]} shows them"]
    postgres.execute(f"DROP DATABASE {name} (FORCE)", 'DROP ROLE "re-ader"')


async def test_the_shops_own_role_sees_its_sessions(postgres: servers.Postgres) -> None:
    """
    A role sees what its own sessions do: where toban looks as the shop itself, they are counted by state.
    """
    postgres.execute("CREATE ROLE itself LOGIN", "CREATE DATABASE itself OWNER itself")
    with psycopg.connect(postgres.address("itself", "itself"), application_name="vendure", autocommit=True):
        async with collector_tools(database=postgres.address("itself", "itself")) as tools:
            seen = await scrape(Postgres(), tools)
    assert seen.one("postgres_connections", state="idle", application="vendure") == 1
    assert seen.one("postgres_connection_pool_size", state="idle") == 1
    assert seen.one("postgres_active_connections") == 0


async def test_a_query_without_permission_loses_its_own_samples_only(postgres: servers.Postgres) -> None:
    """
    It is left out and told once; queries before and after it are there; it comes back when it may be asked again.
    """
    postgres.execute("CREATE ROLE curbed LOGIN IN ROLE pg_monitor", "CREATE DATABASE curbed")
    postgres.execute(
        "REVOKE SELECT ON pg_stat_wal FROM PUBLIC", "REVOKE pg_read_all_data FROM curbed", database="curbed"
    )
    collector = Postgres()
    with capture_logs() as logs:
        async with collector_tools(database=postgres.address("curbed", "curbed")) as tools:
            seen = await scrape(collector, tools)
            advance(tools, 60)
            await scrape(collector, tools)
            postgres.execute("GRANT SELECT ON pg_stat_wal TO PUBLIC", database="curbed")
            advance(tools, 60)
            again = await scrape(collector, tools)

    assert not seen.error
    assert "postgres_log_bytes_total" not in seen
    assert {"postgres_background_writer_blocks_written_total", "postgres_archiver_failed_total"} <= set(seen)
    assert "postgres_log_bytes_total" in again
    about = [(line["event"], line["part"]) for line in logs if line["part"] == "postgres_log"]
    assert about == [("partial data", "postgres_log"), ("recovered", "postgres_log")]


async def test_connection_failures_have_their_reasons(postgres: servers.Postgres) -> None:
    """
    A wrong password, a missing database and a closed port each have a reason of their own; no message has a password.
    """
    postgres.execute("CREATE ROLE guarded LOGIN PASSWORD 'right'")
    addresses = {
        "wrong_password": postgres.address(role="guarded", password="hunter2"),
        "no_database": postgres.address("nowhere"),
        "unreachable": f"postgresql://toban:hunter2@127.0.0.1:{servers.free_port()}/shop",
    }
    for reason, address in addresses.items():
        async with collector_tools(database=address) as tools:
            seen = await scrape(Postgres(), tools)
        assert seen.reason == reason
        assert "hunter2" not in seen.error
        assert sum(seen["postgres_connection_failed"].values()) == 1

    async with collector_tools(database=postgres.address(role="guarded", password="right")) as tools:
        assert not (await scrape(Postgres(), tools)).error


async def test_a_server_that_is_killed_is_down_and_up_again() -> None:
    """
    After kill -9 the target is down and its numbers end; when the server is back, so are they.
    """
    with servers.postgres() as server, capture_logs() as logs:
        sink = ListSink()
        async with collector_tools(database=server.address()) as tools:
            loop = ScrapeLoop(Postgres(), sink, tools)
            await loop.collect()
            assert loop.status.up
            assert loop.status.labels == {"job": "postgres", "instance": f"127.0.0.1:{server.port}/postgres"}
            server.kill()
            await loop.collect()
            assert not loop.status.up
            ended = {
                labels[NAME]
                for batch in sink.batches
                for labels, stale in zip(batch.layout.series, is_stale(batch.values), strict=True)
                if stale
            }
            assert {"postgres_active_connections", "postgres_database_size_bytes"} <= ended
            assert "postgres_connection_failed" not in ended
            server.start()
            await loop.collect()
            assert loop.status.up, loop.status.error
    assert [line["event"] for line in logs if "part" not in line] == ["run failed", "run recovered"]


async def test_replication_is_reported_by_primary_and_standby(tmp_path: object) -> None:
    """
    The primary names who follows and how far behind; the standby says that it is one, and that it receives.
    """
    with servers.postgres(wal_level="replica") as primary, servers.folder() as place:
        primary.execute("SELECT pg_create_physical_replication_slot('spare', true)")
        primary.run("pg_basebackup", "-D", place / "data", "-R", "--checkpoint=fast", cwd=place)
        port = servers.free_port()
        command = [word.replace(str(primary.folder), str(place)) for word in primary.command]
        command[command.index(f"port={primary.port}")] = f"port={port}"
        command[command.index(f"hba_file={place}/pg_hba.conf")] = f"hba_file={primary.folder}/pg_hba.conf"
        standby = servers.Postgres(port, place, command, primary.stop_with, primary.programs)
        with servers.running(standby):
            async with (
                collector_tools(database=primary.address()) as at_primary,
                collector_tools(database=standby.address()) as at_standby,
            ):
                seen = await poll_until(
                    lambda: scrape(Postgres(), at_primary),
                    lambda seen: (
                        "postgres_replication_lag_bytes" in seen
                        and seen.one("postgres_replication_lag_bytes", application="walreceiver") == 0
                    ),
                )
                followed = await scrape(Postgres(), at_standby)
                primary.kill()
                cut_off = await poll_until(
                    lambda: scrape(Postgres(), at_standby), lambda seen: seen.one("postgres_standby_receiving") == 0
                )

    assert seen.one("postgres_replication_standbys", application="walreceiver") == 1
    assert seen.one("postgres_standby") == 0
    assert seen.one("postgres_replication_slot_active", slot="spare") == 0
    assert seen.one("postgres_replication_slot_retained_bytes", slot="spare") >= 0
    assert not followed.error
    assert followed.one("postgres_standby") == 1
    assert followed.one("postgres_standby_receiving") == 1
    assert followed.one("postgres_standby_lag_seconds") >= 0
    assert "postgres_replication_standbys" not in followed
    assert cut_off.get("postgres_standby_lag_seconds") != {(): 0}


async def test_scrapes_through_pgbouncer_leave_the_session_unchanged(postgres: servers.Postgres) -> None:
    """
    Through PgBouncer in transaction mode, over one and the same server connection: looks leave nothing behind, and
    the shop goes on writing with its own settings.
    """
    postgres.execute("CREATE DATABASE pooled")
    postgres.execute("CREATE TABLE orders (id int)", database="pooled")
    with servers.pgbouncer(postgres, default_pool_size="1") as bouncer:
        address = postgres.address("pooled").replace(f":{postgres.port}/", f":{bouncer.port}/")
        with psycopg.connect(address, autocommit=True, prepare_threshold=None) as shop:
            before = shop.execute("SHOW statement_timeout").fetchone(), shop.execute("SHOW lock_timeout").fetchone()
            pid = shop.execute("SELECT pg_backend_pid()").fetchone()
            async with collector_tools(database=address) as tools:
                for round_ in range(5):
                    seen = await scrape(Postgres(), tools)
                    assert not seen.error
                    shop.execute("INSERT INTO orders VALUES (%s)", [round_])
                    assert (
                        shop.execute("SHOW statement_timeout").fetchone(),
                        shop.execute("SHOW lock_timeout").fetchone(),
                    ) == before
                    assert shop.execute("SHOW default_transaction_read_only").fetchone() == ("off",)
                    assert shop.execute("SELECT current_setting('application_name')").fetchone() != ("toban",)
                    assert shop.execute("SELECT pg_backend_pid()").fetchone() == pid, "it is one server connection"
            assert shop.execute("SELECT count(*) FROM orders").fetchone() == (5,)
    assert seen.one("postgres_connection_pool_size", state="total") == 0, "toban's own session is left out"


async def test_a_scrape_is_one_short_transaction() -> None:
    """
    A look is one read-only transaction over one connection: two statements to learn about the server and begin, one
    for each query that is due, and one to end. Most looks ask no more than eight queries.
    """
    with servers.postgres(log_statement="all", log_line_prefix="%a|") as server:
        collector = Postgres()
        async with collector_tools(database=server.address()) as tools:
            costs = []
            for _ in range(3):
                before = server.log.read_text().count("toban|LOG:  statement:")
                assert not (await scrape(collector, tools)).error
                costs.append(server.log.read_text().count("toban|LOG:  statement:") - before)
                advance(tools, 30)
            assert server.log.read_text().count("toban|LOG:  statement: BEGIN READ ONLY") == 3
    due = [query for query in suitable_queries(QUERIES, 18, {"primary"}) if not query.interval]
    assert len(due) <= 8
    assert costs[1] == len(due) + 3
    assert costs[0] == len(suitable_queries(QUERIES, 18, {"primary"})) + 3
