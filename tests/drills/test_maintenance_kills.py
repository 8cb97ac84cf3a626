"""`kill -9` of the whole program in the middle of a maintenance task: what is left is removed, and nothing is lost."""

import asyncio
import json
import random
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import pytest
from pydantic import SecretStr

from tests import servers
from tests.integration.backup_tools import file_names, fill, run, tools_with
from tests.program import Program, eventually, toban
from tests.vendure import Vendure, vendure
from toban.maintenance.backups.archive import archives, read_manifest
from toban.maintenance.backups.contents import ArchiveReader
from toban.maintenance.backups.folder_place import FolderPlace
from toban.maintenance.backups.verification import verify
from toban.maintenance.tasks.backup import Backup
from toban.shop.redis import ShopRedis

ORDERS = 30
ROWS = 60_000
SESSIONS = 10_000
KEYS = 40_000
SEEDS = range(25)


@dataclass
class Shop:
    """A shop whose stores are so full that each task takes a second or more; ``folder`` is open to its servers."""

    database: Vendure
    redis: servers.Server
    folder: Path

    @property
    def address(self) -> str:
        return self.database.server.address(self.database.name)

    def count(self, query: str) -> int:
        return int(self.database.execute(query)[0][0])

    def redis_do(self, *command: str) -> Any:
        async def work() -> Any:
            async with ShopRedis(SecretStr(f"redis://127.0.0.1:{self.redis.port}/0")) as client:
                return await client.execute(*command)

        return asyncio.run(work())


@pytest.fixture
def shop() -> Iterator[Shop]:
    slow_vacuum = {"vacuum_cost_delay": "5", "vacuum_cost_limit": "100"}
    with (
        servers.postgres(autovacuum="off", **slow_vacuum) as server,
        vendure(server) as database,
        servers.valkey() as redis,
        servers.folder() as folder,
    ):
        folder.chmod(0o711)
        fill(database, ORDERS)
        database.execute(
            """INSERT INTO authentication_method (type, "passwordHash", "createdAt", "updatedAt")
               VALUES ('NativeAuthenticationMethod', repeat('h', 60), now(), now())"""
        )
        yield Shop(database, redis, folder)


def add_rows(shop: Shop) -> None:
    shop.database.execute("CREATE TABLE line (id int PRIMARY KEY, sku text NOT NULL)")
    shop.database.execute("CREATE INDEX line_sku ON line (sku)")
    shop.database.execute(f"INSERT INTO line SELECT i, md5(i::text) FROM generate_series(1, {ROWS}) i")


def make_dead(shop: Shop) -> None:
    add_rows(shop)
    shop.database.execute("DELETE FROM line WHERE mod(id, 10) > 0")
    shop.database.execute("ANALYZE line")
    shop.database.execute("SELECT pg_stat_force_next_flush()")


def make_bloated(shop: Shop) -> None:
    make_dead(shop)
    shop.database.execute("VACUUM ANALYZE line")


def make_backup(shop: Shop) -> None:
    add_rows(shop)
    asyncio.run(run(Backup(), tools_with(shop.folder, shop.address)))


def add_sessions(shop: Shop) -> None:
    shop.database.execute(
        """INSERT INTO session (token, expires, invalidated, type)
           SELECT 'old' || n, (now() AT TIME ZONE 'UTC') - interval '9 days', false, 'AnonymousSession'
           FROM generate_series(1, %s) n""",
        [SESSIONS],
    )
    shop.database.execute(
        """INSERT INTO session (token, expires, invalidated, type)
           VALUES ('fresh', (now() AT TIME ZONE 'UTC') + interval '9 days', false, 'AnonymousSession')"""
    )


def add_keys(shop: Shop) -> None:
    script = "for i = 1, tonumber(ARGV[1]) do redis.call('SET', 'expired:' .. i, 'x') end"
    shop.redis_do("EVAL", script, "0", str(KEYS))
    shop.redis_do("SET", "cart", "x")


def drill_databases(shop: Shop) -> list[str]:
    return [name for (name,) in shop.database.execute("SELECT datname FROM pg_database WHERE datname ~ '^toban_drill'")]


def drill_folders(shop: Shop) -> list[str]:
    return [it for it in file_names(shop.folder / "scratch") if it.startswith("toban_drill")]


def no_drill_is_left(shop: Shop) -> None:
    assert drill_folders(shop) == drill_databases(shop) == []


def whole_backups(shop: Shop) -> int:
    """Read all that counts as a backup from begin to end; return how many there are."""
    program = servers.postgres_programs()[18] / "pg_restore"

    async def work() -> int:
        place = FolderPlace(shop.folder / "backups")
        files = await place.files() if (shop.folder / "backups").exists() else []
        found = archives(files, "shop")
        for it in found:
            reader = ArchiveReader(place, it, await read_manifest(place, it, files), None)
            assert await verify(it, reader, program) == "pg_restore has read all of it"
        return len(found)

    return asyncio.run(work())


def no_half_backup_is_left(shop: Shop) -> None:
    whole_backups(shop)
    assert [it for it in file_names(shop.folder / "backups") if it.startswith(".")] == []


def hold_snapshot(shop: Shop) -> AbstractContextManager[object]:
    """Hold an old snapshot: a rebuild waits for it, after it has built the new index."""
    stack = ExitStack()
    holder = stack.enter_context(psycopg.connect(shop.address))
    holder.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
    holder.execute("SELECT 1")
    return stack


def half_built(shop: Shop) -> int:
    return shop.count("SELECT count(*) FROM pg_class WHERE relname ~ '_ccnew'")


def index_is_sound(shop: Shop) -> None:
    assert half_built(shop) == 0
    sound = "SELECT count(*) FROM pg_index WHERE indrelid = 'line'::regclass AND indisvalid AND indisready"
    assert shop.count(sound) == 2
    shop.database.execute("SET enable_seqscan = off")
    assert shop.count("SELECT count(*) FROM line WHERE sku >= ''") == ROWS // 10


def end_statements(shop: Shop) -> None:
    """End what the killed program has begun in the database, as a restart of it would."""
    shop.database.execute(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = 'toban'"
    )


def wait_for_statements(shop: Shop) -> None:
    """PostgreSQL ends what it has begun, also where nobody waits for it any more."""
    active = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'toban' AND state = 'active'"
    eventually(lambda: shop.count(active), lambda it: it == 0)


def nothing(shop: Shop) -> None:
    pass


@dataclass(frozen=True)
class Case:
    """
    A task, and how it is killed.

    ``midway`` is true while it works, for about ``seconds``. ``restarted`` is what must be so after the next start and
    ``ended`` after the next run.
    """

    task: str
    settings: dict[str, Any]
    prepare: Callable[[Shop], None]
    midway: Callable[[Shop], object]
    ended: Callable[[Shop], None]
    restarted: Callable[[Shop], None] = nothing
    named: Callable[[Shop], list[str]] = field(default=lambda shop: [])
    """The names of what is left, which the run's report must say."""
    holding: Callable[[Shop], AbstractContextManager[object]] = lambda shop: nullcontext()
    afterwards: Callable[[Shop], None] = wait_for_statements
    seconds: float = 2.0


def backup_is_made(shop: Shop) -> None:
    assert whole_backups(shop) >= 1
    no_half_backup_is_left(shop)


def only_dead_rows_went(shop: Shop) -> None:
    assert shop.count("SELECT count(*) FROM line") == ROWS // 10


def only_old_sessions_went(shop: Shop) -> None:
    assert shop.database.execute("SELECT token FROM session") == [("fresh",)]


def nothing_goes_on_by_itself(shop: Shop) -> None:
    assert shop.count("SELECT count(*) FROM session") > 1


def only_expired_keys_went(shop: Shop) -> None:
    assert (shop.redis_do("DBSIZE"), shop.redis_do("EXISTS", "cart")) == (1, 1)


CASES = [
    Case(
        "backup",
        {},
        add_rows,
        lambda shop: [it for it in (shop.folder / "backups").glob(".shop-*.unfinished") if it.stat().st_size],
        backup_is_made,
        no_half_backup_is_left,
    ),
    Case(
        "restore_drill",
        {},
        make_backup,
        lambda shop: list((shop.folder / "scratch").glob("toban_drill_*/server/data/postmaster.pid")),
        no_drill_is_left,
        no_drill_is_left,
        drill_folders,
        seconds=4.0,
    ),
    Case(
        "drill_elsewhere",
        {"kind": "restore_drill", "server": True},
        make_backup,
        drill_databases,
        no_drill_is_left,
        no_drill_is_left,
        lambda shop: [*drill_folders(shop), *drill_databases(shop)],
    ),
    Case(
        "postgres_vacuum",
        {},
        make_dead,
        lambda shop: shop.count("SELECT count(*) FROM pg_stat_progress_vacuum"),
        only_dead_rows_went,
    ),
    Case(
        "postgres_reindex",
        {"least": 100_000},
        make_bloated,
        half_built,
        index_is_sound,
        holding=hold_snapshot,
        afterwards=end_statements,
    ),
    Case(
        "prune_sessions",
        {},
        add_sessions,
        lambda shop: shop.count("SELECT count(*) FROM session") < SESSIONS - 1_000,
        only_old_sessions_went,
        nothing_goes_on_by_itself,
    ),
    Case("redis_tidy", {}, add_keys, lambda shop: shop.redis_do("DBSIZE") < KEYS - 1_000, only_expired_keys_went),
]


def configuration(case: Case, shop: Shop, folder: Path) -> Path:
    settings = {"mode": "off", **case.settings}
    if "drill" in case.task:
        settings["scratch"] = str(shop.folder / "scratch")
    if "server" in settings:
        settings["server"] = shop.database.server.address()
    path = folder / "toban.yaml"
    path.write_text(
        json.dumps(
            {
                "shop": {
                    "database_admin": shop.address,
                    "redis": f"redis://127.0.0.1:{shop.redis.port}/0",
                    "backups": {"path": str(shop.folder / "backups")},
                },
                "collect": [{"kind": "toban", "interval": "1s"}],
                "alerting": {"shipped": False},
                "maintenance": {case.task: settings},
            }
        )
    )
    return path


def state_of(program: Program, run: int) -> dict[str, Any]:
    found: dict[str, Any] = program.json("/api/maintenance/run", id=str(run))
    return found


def kill_midway(case: Case, shop: Shop, data: Path, *options: str, after: float | None) -> list[str]:
    """Begin the task, kill toban while it runs, or after some seconds; return the names of what is left."""
    with case.holding(shop), ThreadPoolExecutor(1) as pool, toban(data, *options) as program:
        assert program.url
        following = pool.submit(program.run, "maintenance", "run", case.task)
        eventually(lambda: state_of(program, 1), lambda it: "state" in it)
        if after is None:
            eventually(lambda: case.midway(shop) or following.done())
            assert not following.done(), following.result()
        else:
            time.sleep(after)  # a moment that no condition tells: where it is in its work then, is the test
        program.kill()
        following.result()
        left = case.named(shop)
        case.afterwards(shop)
    wait_for_statements(shop)
    return left


def check_next_life(case: Case, shop: Shop, data: Path, *options: str, left: list[str]) -> str:
    """Start toban again, and run the task again; return the state of the killed run."""
    with toban(data, *options) as program:
        assert program.url
        killed = eventually(lambda: state_of(program, 1), lambda it: it["state"] != "running")
        case.restarted(shop)
        if killed["state"] == "interrupted":
            assert "toban ended while it ran: " in killed["text"]
            assert [it for it in left if it not in killed["text"]] == []
        said = run_task(program, case.task)
        while "then Redis became slow" in said:  # a busy machine: it has left the others to the next run
            said = run_task(program, case.task)
        case.ended(shop)
    # Whatever happened, the live database is there, with all that was sold.
    assert shop.count('SELECT count(*) FROM "order"') == shop.count("SELECT count(*) FROM payment") == ORDERS
    return str(killed["state"])


def run_task(program: Program, task: str) -> str:
    """Run it to its end, which is a success; return what it says."""
    done = program.run("maintenance", "run", task, "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    ended = json.loads(done.stdout)
    assert ended["state"] == "succeeded"
    return str(ended["text"])


@pytest.mark.parametrize("case", CASES, ids=lambda it: it.task)
def test_a_task_that_was_killed_midway_is_interrupted_and_the_next_run_ends_its_work(
    case: Case, shop: Shop, tmp_path: Path
) -> None:
    case.prepare(shop)
    options = ("--config", str(configuration(case, shop, tmp_path)))
    left = kill_midway(case, shop, tmp_path / "data", *options, after=None)
    assert bool(left) == ("drill" in case.task)
    assert check_next_life(case, shop, tmp_path / "data", *options, left=left) == "interrupted"


@pytest.mark.soak
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("case", CASES, ids=lambda it: it.task)
def test_a_task_may_be_killed_at_any_moment(case: Case, shop: Shop, tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    case.prepare(shop)
    options = ("--config", str(configuration(case, shop, tmp_path)))
    after = chance.uniform(0, case.seconds)
    left = kill_midway(case, shop, tmp_path / "data", *options, after=after)
    check_next_life(case, shop, tmp_path / "data", *options, left=left)
