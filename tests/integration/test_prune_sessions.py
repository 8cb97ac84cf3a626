"""Sessions are pruned by SQL where the Admin API is not configured: in batches, with few rights, and after any cut."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from pydantic import SecretStr

from tests import servers
from tests.maintenance_tools import act, cancel_at_first_progress, names, perform, tools_for
from tests.vendure import Vendure, vendure
from toban.core.errors import ActionError
from toban.maintenance.run import StepOutcome
from toban.maintenance.task import TaskTools
from toban.maintenance.tasks import prune_sessions
from toban.maintenance.tasks.prune_sessions import DUE, SESSIONS, PruneSessions
from toban.shop.connections import ShopConnections
from toban.shop.settings import ShopSettings

SESSION = """
INSERT INTO session (token, expires, invalidated, type, "userId", "activeOrderId", "updatedAt")
SELECT %s || n, (now() AT TIME ZONE %s) + %s::interval, false, 'AnonymousSession', NULL, %s,
       localtimestamp - %s::interval FROM generate_series(1, %s) n
"""


@pytest.fixture
def shop(postgres: servers.Postgres) -> Iterator[Vendure]:
    with vendure(postgres, zone="Asia/Tokyo", database_zone="America/New_York") as found:
        role = f"pruner_{found.name}"
        postgres.execute(f"CREATE ROLE {role} LOGIN")
        found.execute(f"GRANT SELECT, UPDATE, DELETE ON session TO {role}")
        try:
            yield found
        finally:
            found.execute(f"DROP OWNED BY {role}")
            postgres.execute(f"DROP ROLE {role}")


def tools_of(shop: Vendure, folder: Path, role: str = "") -> TaskTools:
    url = shop.server.address(shop.name, role or f"pruner_{shop.name}")
    settings = ShopSettings(database_admin=SecretStr(url), timezone=shop.zone)
    return tools_for(ShopConnections(settings=settings), folder)


def add(shop: Vendure, kind: str, expires: str, idle: str = "0 days", many: int = 1, order: int | None = None) -> None:
    shop.execute(SESSION, [kind, shop.zone, expires, order, idle, many])


def left(shop: Vendure) -> dict[str, int]:
    rows = shop.execute("SELECT rtrim(token, '0123456789'), count(*) FROM session GROUP BY 1")
    return {kind: int(count) for kind, count in rows}


async def test_only_what_is_over_for_a_week_goes(shop: Vendure, tmp_path: Path):
    order = shop.order("A1")
    add(shop, "expired", "-8 days", many=30)
    add(shop, "just", "-6 days 12 hours", many=2)
    add(shop, "idle", "300 days", idle="9 days", many=3)
    add(shop, "cart", "300 days", idle="90 days", many=4, order=order)
    add(shop, "fresh", "300 days", idle="1 day", many=5)
    tools = tools_of(shop, tmp_path)
    plan, done = await perform(PruneSessions(), tools)
    (step,) = plan.steps
    assert step.description == "remove 33 sessions that are over for more than 7d, by SQL, 1,000 at a time"
    assert names(plan.findings) == ["cache"]
    assert plan.figures == {DUE.name: 33, SESSIONS.name: 44}
    assert done == {"sessions": (StepOutcome.DONE, "removed 33 sessions: 44 before, 11 after")}
    assert left(shop) == {"just": 2, "cart": 4, "fresh": 5}


async def test_many_go_in_batches_and_a_run_has_a_limit(shop: Vendure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(prune_sessions, "BATCH", 100)
    monkeypatch.setattr(prune_sessions, "PAUSE_SECONDS", 0)
    add(shop, "expired", "-8 days", many=950)
    tools = tools_of(shop, tmp_path)
    told: list[str] = []
    plan = await PruneSessions(most=500).plan(tools)
    done = await act(PruneSessions(most=500), plan, tools, told)
    text = "removed 500 sessions: 950 before, 450 after; the next run removes 450 others"
    assert done == {"sessions": (StepOutcome.DONE, text)}
    assert told[:2] == ["0 removed, 950 left", "100 removed, 850 left"]
    await perform(PruneSessions(), tools)
    assert left(shop) == {}


async def test_a_cut_in_the_middle_leaves_whole_batches_and_the_next_run_ends_it(
    shop: Vendure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(prune_sessions, "BATCH", 50)
    add(shop, "expired", "-8 days", many=400)
    add(shop, "fresh", "300 days", many=3)
    tools, task = tools_of(shop, tmp_path), PruneSessions()
    plan = await task.plan(tools)
    await cancel_at_first_progress(task, plan.steps[0], tools)
    assert left(shop)["fresh"] == 3

    # Then the server ends the connection of a batch that waits for a lock.
    ending = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s AND wait_event_type = 'Lock'"
    with psycopg.connect(shop.server.address(shop.name)) as holder:
        holder.execute("LOCK TABLE session IN SHARE MODE")  # it may be read, and not written
        acting = asyncio.ensure_future(act(task, plan, tools))
        while not acting.done() and not shop.execute(ending, [f"pruner_{shop.name}"]):
            await asyncio.wait([acting], timeout=0.01)
        with pytest.raises(ActionError, match="terminating connection due to administrator command"):
            await acting
    _, done = await perform(task, tools)
    assert done["sessions"][0] is StepOutcome.DONE
    assert left(shop) == {"fresh": 3}


async def test_a_table_that_somebody_has_locked_is_left_for_the_next_run(shop: Vendure, tmp_path: Path):
    add(shop, "expired", "-8 days", many=5)
    tools, task = tools_of(shop, tmp_path), PruneSessions()
    plan = await task.plan(tools)
    with psycopg.connect(shop.server.address(shop.name)) as holder:
        holder.execute("LOCK TABLE session IN SHARE MODE")
        done = await act(task, plan, tools)
    assert done == {"sessions": (StepOutcome.SKIPPED, "another session holds a lock that it needs; 0 removed")}


async def test_sessions_that_the_shop_has_locked_are_named(shop: Vendure, tmp_path: Path):
    add(shop, "expired", "-8 days", many=5)
    tools, task = tools_of(shop, tmp_path), PruneSessions()
    plan = await task.plan(tools)
    with psycopg.connect(shop.server.address(shop.name)) as holder:
        holder.execute("SELECT FROM session FOR UPDATE")
        with pytest.raises(ActionError, match="0 removed, 5 left: they are locked"):
            await act(task, plan, tools)
    assert left(shop) == {"expired": 5}


async def test_what_its_role_lacks_is_named(shop: Vendure, tmp_path: Path):
    shop.execute(f"REVOKE ALL ON session FROM pruner_{shop.name}")
    tools = tools_of(shop, tmp_path)
    assert "GRANT SELECT, UPDATE, DELETE ON session TO" in await PruneSessions().missing(tools)
    with pytest.raises(ActionError, match="permission denied for table session"):
        await PruneSessions().plan(tools)
    shop.execute(f"GRANT SELECT, UPDATE, DELETE ON session TO pruner_{shop.name}")
    assert await PruneSessions().missing(tools) == ""


async def test_a_database_without_vendure_is_told_from_one_without_sessions(postgres: servers.Postgres, tmp_path: Path):
    settings = ShopSettings(database_admin=SecretStr(postgres.address()))
    tools = tools_for(ShopConnections(settings=settings), tmp_path)
    with pytest.raises(ActionError, match="no table session of Vendure's"):
        await PruneSessions().plan(tools)


async def test_the_statement_of_the_first_design_would_not_have_run(shop: Vendure):
    """There is no table with a prefix and no column `expires_at`, and `NOW()` is not the clock of `expires`."""
    wrong = "DELETE FROM vendure_session WHERE expires_at < NOW() - INTERVAL '7 days'"
    with pytest.raises(psycopg.errors.UndefinedTable):
        shop.execute(wrong)
    with pytest.raises(psycopg.errors.UndefinedColumn):
        shop.execute(wrong.replace("vendure_session", "session"))


async def test_the_database_own_clock_would_remove_sessions_too_late_or_too_early(shop: Vendure, tmp_path: Path):
    """The shop writes Tokyo's time, and the database's sessions are in New York: they are 13 or 14 hours apart."""
    add(shop, "expired", "-7 days -6 hours")
    naive = "SELECT count(*) FROM session WHERE expires < NOW() - INTERVAL '7 days'"
    assert shop.execute(naive) == [(0,)]
    assert (await PruneSessions().plan(tools_of(shop, tmp_path))).figures[DUE.name] == 1
