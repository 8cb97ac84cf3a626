"""Restore drills on real servers: a good backup is proved, and everything that can be wrong has its own name."""

import asyncio
import os
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest
from pydantic import SecretStr

from tests import servers
from tests.fakes import FakeClock
from tests.integration.backup_tools import failure, file_names, fill, run, tools_with
from tests.needs import need
from tests.vendure import Vendure, vendure
from toban.core.errors import ActionError
from toban.maintenance.backups import drill_database, drill_server
from toban.maintenance.backups.drill_database import DrillDatabase, drop_database
from toban.maintenance.backups.errors import Problem
from toban.maintenance.task import StepContext, StepFailedError, TaskTools
from toban.maintenance.tasks.backup import Backup
from toban.maintenance.tasks.restore_drill import NEWEST_ORDER, ORDERS, PROVED, RPO, RTO, SUCCESS, RestoreDrill
from toban.shop.admin_database import AdminDatabase


@pytest.fixture(scope="module")
def server() -> Iterator[servers.Postgres]:
    with servers.postgres() as started:
        yield started


@pytest.fixture(scope="module")
def other() -> Iterator[servers.Postgres]:
    """A server for drills, with a role that may create databases and nothing else."""
    with servers.postgres() as started:
        started.execute("CREATE ROLE driller LOGIN CREATEDB")
        yield started


@pytest.fixture(scope="module")
def shop(server: servers.Postgres) -> Iterator[Vendure]:
    with vendure(server) as it:
        fill(it)
        it.execute(
            'INSERT INTO authentication_method (type, "passwordHash", "createdAt", "updatedAt") '
            "VALUES ('NativeAuthenticationMethod', repeat('h', 60), now(), now())"
        )
        it.execute("CREATE EXTENSION pg_stat_statements")
        yield it


@pytest.fixture(scope="module")
def good(server: servers.Postgres, shop: Vendure, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a good backup: a test changes a copy of it."""
    folder = tmp_path_factory.mktemp("good")
    asyncio.run(run(Backup(), tools_with(folder, server.address(shop.name))))
    return folder / "backups"


@pytest.fixture
def archive(good: Path, tmp_path: Path) -> Path:
    """The archive in a copy of that folder."""
    folder = tmp_path / "backups"
    folder.mkdir()
    for it in good.iterdir():
        (folder / it.name).write_bytes(it.read_bytes())
    return next(folder.glob("*.dump"))


@pytest.fixture
def tools(server: servers.Postgres, shop: Vendure, archive: Path, tmp_path: Path) -> TaskTools:
    return tools_with(tmp_path, server.address(shop.name))


def drill(folder: Path, **fields: object) -> RestoreDrill:
    return RestoreDrill.model_validate({"kind": "restore_drill", "scratch": folder / "scratch", **fields})


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    """A folder that the user of the servers can pass through."""
    with servers.folder() as path:
        path.chmod(0o711)
        yield path


async def test_a_good_backup_is_proved_on_a_server_that_leaves_nothing(tools: TaskTools, shop: Vendure, scratch: Path):
    plan, result = await run(drill(scratch), tools)
    assert plan.steps[0].description.endswith("s old) into a PostgreSQL on this machine")
    assert list(result.findings) == []
    said = r"restored in [\d.]+ seconds; relations are intact; 60 orders; payments of [\d-]+ agree; "
    assert re.fullmatch(said + r"its schema is the live one \(Initial1\); RPO .+, RTO .+", result.text)
    figures = result.figures
    assert (figures[PROVED.name], figures[ORDERS.name]) == (1, 60)
    assert 0 < figures[RPO.name] < 600
    assert 0 < figures[RTO.name] < 60
    assert abs(figures[SUCCESS.name] - datetime.now(UTC).timestamp()) < 60
    newest = (datetime.now(UTC) - timedelta(minutes=10)).timestamp()
    assert abs(figures[NEWEST_ORDER.name] - newest) < 600
    assert file_names(scratch / "scratch") == []


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-2_000])


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def without_manifest(path: Path) -> None:
    path.with_name(path.name + ".json").unlink()


def make_folder(path: Path) -> None:
    path.mkdir(parents=True)


def lone(change: Callable[[Path], None]) -> Callable[[Path], None]:
    """Change an archive that has no manifest, like one of another tool."""

    def work(path: Path) -> None:
        without_manifest(path)
        change(path)

    return work


def as_sql(path: Path) -> None:
    path.write_bytes(b"--\n-- PostgreSQL database dump\n--\n" * 100)


@pytest.mark.parametrize(
    ("change", "problem", "said"),
    [
        (cut, Problem.CUT_OFF, "is cut off: "),
        (flip, Problem.DAMAGED, "is damaged: its checksum is not the one that was written with it"),
        (lone(cut), Problem.CUT_OFF, "is cut off: could not read from input file: end of file"),
        (
            lone(as_sql),
            Problem.NOT_A_DUMP,
            "is SQL, which pg_restore can't restore: write it with `pg_dump --format=cust",
        ),
    ],
)
async def test_a_broken_archive_is_never_restored_and_has_its_own_name(
    tools: TaskTools, archive: Path, scratch: Path, change: Callable[[Path], None], problem: Problem, said: str
):
    change(archive)
    name, sentence = await failure(drill(scratch), tools)
    assert name == problem
    assert said in sentence
    assert file_names(scratch / "scratch") == []


async def test_an_old_backup_is_restored_and_named_as_too_old(
    server: servers.Postgres, shop: Vendure, archive: Path, tmp_path: Path, scratch: Path
):
    later = FakeClock(datetime.now(UTC) + timedelta(days=3))
    tools = tools_with(tmp_path, server.address(shop.name), later)
    name, sentence = await failure(drill(scratch), tools)
    assert name == Problem.TOO_OLD
    assert "is 3 d old: at most 1 d 2 h may be lost" in sentence


async def test_a_dump_of_something_else_is_named_as_another_database(
    server: servers.Postgres, shop: Vendure, tmp_path: Path, scratch: Path
):
    server.execute("CREATE DATABASE blog", "CREATE TABLE IF NOT EXISTS x (id int)")
    await run(Backup(), tools_with(tmp_path, server.address("blog")))
    name, sentence = await failure(drill(scratch), tools_with(tmp_path, server.address(shop.name)))
    server.execute("DROP DATABASE blog")
    assert name == Problem.OTHER_DATABASE
    assert "holds another database (blog): it has no orders of Vendure" in sentence


async def test_a_dump_of_another_shop_is_named_as_another_database(
    server: servers.Postgres, shop: Vendure, tmp_path: Path, scratch: Path
):
    with vendure(server) as staging:
        staging.order("STAGING-1", at=datetime.now(UTC) - timedelta(hours=1))
        await run(Backup(), tools_with(tmp_path, server.address(staging.name)))
    name, sentence = await failure(drill(scratch), tools_with(tmp_path, server.address(shop.name)))
    assert name == Problem.OTHER_DATABASE
    assert "holds another shop: the live one knows none of its last 1 orders" in sentence


async def test_a_disk_that_is_too_small_is_said_before_anything_is_fetched(tools: TaskTools, scratch: Path):
    class Small(RestoreDrill):
        async def _free_disk(self, scratch: Path) -> int:
            return 2**20

    name, sentence = await failure(Small(scratch=scratch / "scratch"), tools)
    assert name == Problem.NO_DISK
    assert "has 1 MiB free, a drill needs " in sentence
    assert file_names(scratch) == []


async def test_an_older_client_is_said_by_manifest_and_by_header(
    server: servers.Postgres, shop: Vendure, archive: Path, tmp_path: Path, scratch: Path
):
    old = need("PostgreSQL 15", servers.postgres_programs().get(15))
    tools = tools_with(tmp_path, server.address(shop.name), pg_bin=old)
    name, sentence = await failure(drill(scratch), tools)
    assert name == Problem.OLD_CLIENT
    said = (
        "pg_restore has version 15, which is older than the pg_dump that has written the archive (18): install postgres"
    )
    assert sentence.startswith(said)
    without_manifest(archive)
    name, sentence = await failure(drill(scratch), tools)
    assert name == Problem.OLD_CLIENT
    assert "pg_restore is too old for it: unsupported version (1.16) in file header" in sentence


async def test_an_encrypted_backup_needs_its_key(
    server: servers.Postgres, shop: Vendure, tmp_path: Path, scratch: Path
):
    address = server.address(shop.name)
    await run(Backup(), tools_with(tmp_path, address, passphrase="a passphrase"))
    name, _ = await failure(drill(scratch), tools_with(tmp_path, address))
    assert name == Problem.NO_KEY
    _, result = await run(drill(scratch), tools_with(tmp_path, address, passphrase="a passphrase"))
    assert result.figures[PROVED.name] == 1


async def test_orders_and_payments_that_are_missing_in_a_backup_are_counted(
    tools: TaskTools, shop: Vendure, scratch: Path
):
    at = datetime.now(UTC) - timedelta(hours=30)
    yesterday = datetime.now(UTC).replace(hour=0, minute=0, second=0) - timedelta(hours=5)
    order = shop.order("LOST-1", at=at)
    payment = shop.payment(order, yesterday, "Settled")
    shop.execute('UPDATE payment SET "updatedAt" = "createdAt" WHERE id = %s', [payment])
    try:
        with pytest.raises(StepFailedError) as raised:
            plan = await drill(scratch).plan(tools)
            await drill(scratch).act(plan.steps[0], StepContext(1, lambda _: None), tools)
    finally:
        shop.execute("DELETE FROM payment WHERE id = %s", [payment])
        shop.execute('DELETE FROM order_channels_channel WHERE "orderId" = %s', [order])
        shop.execute('DELETE FROM "order" WHERE id = %s', [order])
    found = [(it.name, it.text) for it in raised.value.result.findings]
    assert found[0] == (Problem.DATA, "1 of 61 orders that were placed before it are missing")
    assert raised.value.result.figures[PROVED.name] == 0
    assert raised.value.result.figures[ORDERS.name] == 60
    assert str(raised.value).endswith(" is no good: 1 of 61 orders that were placed before it are missing")


async def test_broken_relations_and_missing_passwords_are_found(
    server: servers.Postgres, tmp_path: Path, scratch: Path
):
    with vendure(server) as broken:
        fill(broken, 3)
        broken.execute("SET session_replication_role = replica")
        broken.execute('DELETE FROM "order" WHERE code = %s', ["A001"])
        rows = broken.execute(
            "SELECT conname FROM pg_constraint WHERE conrelid = 'payment'::regclass AND contype = 'f'"
        )
        for (name,) in rows:
            broken.execute(f'ALTER TABLE payment DROP CONSTRAINT "{name}"')
        rows = broken.execute(
            "SELECT conrelid::regclass::text, conname FROM pg_constraint "
            "WHERE confrelid = '\"order\"'::regclass AND contype = 'f'"
        )
        for table, name in rows:
            broken.execute(f'ALTER TABLE {table} DROP CONSTRAINT "{name}"')
        tools = tools_with(tmp_path, server.address(broken.name))
        await run(Backup(), tools)
        plan = await drill(scratch).plan(tools)
        with pytest.raises(StepFailedError) as raised:
            await drill(scratch).act(plan.steps[0], StepContext(1, lambda _: None), tools)
    assert [it.text for it in raised.value.result.findings] == [
        "1 rows of payment belong to no order: the backup is not consistent",
        "there is no password in it: nobody could sign in",
    ]


async def test_tables_that_a_deploy_has_added_since_are_a_warning(tools: TaskTools, shop: Vendure, scratch: Path):
    shop.execute("CREATE TABLE loyalty (id int)")
    try:
        _, result = await run(drill(scratch), tools)
    finally:
        shop.execute("DROP TABLE loyalty")
    assert [(it.name, it.text) for it in result.findings] == [
        ("schema", "tables of the live database are not in it: loyalty")
    ]
    assert result.figures[PROVED.name] == 1


async def test_a_drill_works_while_the_live_database_is_down(tmp_path: Path, archive: Path, scratch: Path):
    _, result = await run(drill(scratch), tools_with(tmp_path))
    assert [it.text for it in result.findings] == ["no live database is configured: nothing was compared with it"]
    _, result = await run(drill(scratch), tools_with(tmp_path, "postgresql://x@127.0.0.1:1/x"))
    (finding,) = result.findings
    assert finding.text.startswith("the live database could not be compared: PostgreSQL: connection failed")
    assert result.figures[PROVED.name] == 1


async def test_a_database_of_its_own_on_another_server_is_dropped_again(
    tools: TaskTools, other: servers.Postgres, shop: Vendure, scratch: Path
):
    # Extensions that want a superuser are the server's owner's to make: the backup has one.
    task = drill(scratch, server=SecretStr(other.address("postgres", "driller")))
    name, sentence = await failure(task, tools)
    assert name == Problem.RESTORE
    assert 'permission denied to create extension "pg_stat_statements"' in sentence
    other.execute("ALTER ROLE driller SUPERUSER")
    try:
        _, result = await run(task, tools)
        assert result.figures[PROVED.name] == 1
    finally:
        other.execute("ALTER ROLE driller NOSUPERUSER")
    assert other.query("SELECT count(*) FROM pg_database WHERE datname LIKE 'toban_drill%'") == [(0,)]


async def test_the_shops_own_database_is_refused_by_any_name(
    server: servers.Postgres, shop: Vendure, tools: TaskTools, scratch: Path
):
    address = server.address(shop.name)
    for named in (address, address.replace("127.0.0.1", "localhost")):
        plan = await drill(scratch, server=SecretStr(named)).plan(tools)
        with pytest.raises(StepFailedError, match="the server of the drill is the shop's own database"):
            await drill(scratch, server=SecretStr(named)).act(plan.steps[0], StepContext(1, print), tools)
    assert server.query("SELECT count(*) FROM pg_database WHERE datname LIKE 'toban_drill%'") == [(0,)]


async def test_nothing_but_a_database_of_a_drill_can_be_dropped(server: servers.Postgres, shop: Vendure):
    address = SecretStr(server.address())
    for name in (shop.name, "postgres", "toban_drill", "toban_drill_x", "x_toban_drill_20260101_000000"):
        with pytest.raises(ActionError, match="is no database of a drill: it is not touched"):
            await drop_database(AdminDatabase(address), name)
        with pytest.raises(ActionError, match="is no database of a drill: it is not touched"):
            DrillDatabase(address, name, is_ours=True)
    assert server.query(f"SELECT count(*) FROM pg_database WHERE datname = '{shop.name}'") == [(1,)]


async def test_what_killed_drills_have_left_is_swept(other: servers.Postgres, tools: TaskTools, scratch: Path):
    now = datetime.now(UTC)
    old, foreign, ours = (drill_database.drill_name(now - timedelta(hours=it)) for it in (30, 2, 2))
    for name in (old, foreign, ours, "toban_drill_notes"):
        other.execute(f"CREATE DATABASE {name}")
    for name in (ours, "toban_drill_notes"):
        make_folder(scratch / "scratch" / name)
    task = drill(scratch, server=SecretStr(other.address()))
    try:
        async with drill_server.drill_folder(scratch / "scratch", drill_database.drill_name(now)) as running:
            left = f"folder {ours}, database {ours}, database {old}"
            said = await task.clean(tools)
            assert sorted(said.split(": ")[1].split(", ")) == sorted(left.split(", "))
            assert file_names(scratch / "scratch") == sorted([running.name, "toban_drill_notes"])
        found = {it for (it,) in other.query("SELECT datname FROM pg_database WHERE datname LIKE 'toban_drill%'")}
        # What another machine's toban has made within a day may be its running drill.
        assert found == {foreign, "toban_drill_notes"}
        assert await task.clean(tools) == ""
    finally:
        other.execute(f"DROP DATABASE {foreign}", "DROP DATABASE toban_drill_notes")


async def test_the_folder_of_a_socket_is_swept_too(tools: TaskTools, scratch: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(drill_server, "socket_parent", lambda: scratch)
    name = drill_database.drill_name(datetime.now(UTC))
    make_folder(scratch / name)
    assert await drill(scratch).clean(tools) == f"removed what interrupted drills have left: folder {name}"
    assert file_names(scratch) == []


async def test_a_drill_that_is_cancelled_leaves_no_server_and_no_folder(tools: TaskTools, scratch: Path):
    task, started = drill(scratch), asyncio.Event()
    plan = await task.plan(tools)

    def told(text: str) -> None:
        if text == "restoring":
            started.set()

    acting = asyncio.ensure_future(task.act(plan.steps[0], StepContext(1, told), tools))
    await asyncio.wait([asyncio.ensure_future(started.wait()), acting], return_when=asyncio.FIRST_COMPLETED)
    (folder,) = file_names(scratch / "scratch")
    pid = int((scratch / "scratch" / folder / "server" / "data" / "postmaster.pid").read_text().split()[0])
    acting.cancel()
    await asyncio.wait([acting])
    assert acting.cancelled()
    assert file_names(scratch / "scratch") == []
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_without_a_backup_there_is_nothing_to_prove(tmp_path: Path, scratch: Path):
    make_folder(tmp_path / "backups")
    with pytest.raises(ActionError, match="there is no backup shop-"):
        await drill(scratch).plan(tools_with(tmp_path))
    assert "there is no backup" in await drill(scratch).missing(tools_with(tmp_path))


async def test_the_copy_is_reached_by_no_network_and_its_dump_runs_without_a_superusers_rights(
    tools: TaskTools, scratch: Path
):
    programs = drill_server.server_programs(None)
    name = drill_database.drill_name(datetime.now(UTC))
    async with (
        drill_server.drill_folder(scratch, name) as folder,
        drill_server.throw_away_server(programs, folder, name) as database,
    ):
        with psycopg.connect(database.address.get_secret_value()) as connection:
            assert connection.execute("SHOW listen_addresses").fetchone() == ("",)
            superuser = "SELECT rolsuper, current_database() FROM pg_roles WHERE rolname = current_user"
            assert connection.execute(superuser).fetchone() == (False, name)
