"""A dump of a real Vendure that sells meanwhile, proved by a drill: it holds the books as they were at its snapshot."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import psycopg
import pytest

from tests import servers
from tests.maintenance_tools import tools_for, until
from tests.vendure_shop import SLOW, ShopProcesses, ShopVariant, place_orders, run_vendure
from toban.maintenance.backups.drill_database import DrillDatabase
from toban.maintenance.task import StepContext, StepResult, TaskTools
from toban.maintenance.tasks.backup import Backup
from toban.maintenance.tasks.restore_drill import NEWEST_ORDER, ORDERS, PROVED, RestoreDrill
from toban.shop.connections import ShopConnections
from toban.shop.settings import ShopSettings

pytestmark = SLOW
ZONE = "Asia/Tokyo"
BOOKS = """
SELECT code, "subTotal" + shipping, "subTotalWithTax" + "shippingWithTax" FROM "order" WHERE "orderPlacedAt" IS NOT NULL
"""
SETTLED = "SELECT coalesce(sum(amount), 0)::bigint FROM payment WHERE state = 'Settled'"
WAITS = "SELECT count(*) FROM pg_locks WHERE relation = 'held'::regclass AND NOT granted"


class ReadingDrill(RestoreDrill):
    """Reads orders and payments of the copy before it is thrown away."""

    orders: ClassVar[dict[str, tuple[int, int]]] = {}
    settled: ClassVar[int] = 0

    async def _compare(self, candidate: Any, database: DrillDatabase, *rest: Any) -> str:
        with psycopg.connect(database.address.get_secret_value()) as connection:
            ReadingDrill.orders = {code: (net, gross) for code, net, gross in connection.execute(BOOKS)}
            ((ReadingDrill.settled,),) = connection.execute(SETTLED)
        return await super()._compare(candidate, database, *rest)


@pytest.fixture
def shop() -> Iterator[ShopProcesses]:
    with run_vendure(ShopVariant(zone=ZONE, database_zone="America/New_York")) as started:
        yield started


@pytest.fixture
def scratch() -> Iterator[Path]:
    with servers.folder() as folder:
        folder.chmod(0o711)
        yield folder


async def act(task: Backup | RestoreDrill, tools: TaskTools) -> StepResult:
    (step,) = (await task.plan(tools)).steps
    return await task.act(step, StepContext(1, lambda _: None), tools)


async def test_a_dump_that_is_made_while_orders_are_placed_is_the_books_of_its_snapshot(
    shop: ShopProcesses, tmp_path: Path, scratch: Path
) -> None:
    address = shop.postgres.address(shop.database)
    given = {"database_admin": address, "timezone": ZONE, "backups": {"path": str(tmp_path / "backups")}}
    tools = tools_for(ShopConnections(settings=ShopSettings.model_validate(given)), tmp_path)
    books = await place_orders(shop, seed=21, orders=12)
    newest = max(books.orders, key=lambda it: it.at)
    with psycopg.connect(address, autocommit=True) as holder:
        (settled,) = holder.execute(SETTLED).fetchone() or (0,)
        # pg_dump has its snapshot when it waits for the lock of a table.
        holder.execute("CREATE TABLE held (id int)")
        with holder.transaction():
            holder.execute("LOCK TABLE held")
            dumping = asyncio.ensure_future(act(Backup(), tools))
            await until(lambda: dumping.done() or holder.execute(WAITS).fetchone() == (1,))
            assert not dumping.done(), dumping.exception()
            selling = asyncio.ensure_future(place_orders(shop, seed=22, orders=12))
            placed = 'SELECT count(*) FROM "order" WHERE "orderPlacedAt" IS NOT NULL'
            await until(lambda: selling.done() or shop.query(placed) != [(len(books.orders),)])
        dumped, later = await asyncio.gather(dumping, selling)
    assert ": " in dumped.text
    assert len(later.orders) == 12

    drill = ReadingDrill(scratch=scratch / "scratch")
    result = await act(drill, tools)

    assert ReadingDrill.orders == {it.code: (it.net, it.gross) for it in books.orders}
    assert ReadingDrill.settled == settled > 0
    assert [it.text for it in result.findings] == []
    assert f"; {len(books.orders)} orders; " in result.text
    assert (result.figures[PROVED.name], result.figures[ORDERS.name]) == (1, len(books.orders))
    # The shop notes when an order is placed, the customer hears of it a moment later.
    assert 0 <= newest.at.timestamp() - result.figures[NEWEST_ORDER.name] < 10
    await tools.http.aclose()
