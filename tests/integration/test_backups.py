"""Backups of a real PostgreSQL: made, encrypted, kept, checked, and told apart when they are broken."""

import asyncio
import errno
import gzip
import hashlib
import json
import os
import shutil
import stat
import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest

from tests import servers
from tests.fakes import FakeClock
from tests.integration.backup_tools import failure, fill, run, tools_with
from tests.needs import need
from tests.program import TOBAN
from tests.program import run as run_command
from tests.vendure import Vendure, vendure
from toban.maintenance.backups import folder_place
from toban.maintenance.backups.archive import archive_name
from toban.maintenance.backups.errors import BackupError, Problem
from toban.maintenance.task import Mode, StepContext
from toban.maintenance.tasks.backup import KEPT, SIZE, Backup
from toban.maintenance.tasks.backup_check import LEAST, NEWEST, PROBLEMS, UNREADABLE, BackupCheck
from toban.maintenance.tasks.backup_check import SIZE as CHECKED_SIZE
from toban.preflight import check_programs
from toban.settings import build_settings

PASSPHRASE = "correct horse battery staple"


@pytest.fixture(scope="module")
def server() -> Iterator[servers.Postgres]:
    with servers.postgres() as started:
        yield started


@pytest.fixture(scope="module")
def shop(server: servers.Postgres) -> Iterator[Vendure]:
    with vendure(server) as it:
        fill(it)
        yield it


@pytest.fixture(scope="module")
def address(server: servers.Postgres, shop: Vendure) -> str:
    return server.address(shop.name)


@pytest.fixture(scope="module")
def good(address: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a good backup of the shop, not encrypted: a test breaks a copy of it."""
    folder = tmp_path_factory.mktemp("good")
    asyncio.run(run(Backup(), tools_with(folder, address)))
    return folder / "backups"


@pytest.fixture
def broken(good: Path, tmp_path: Path) -> Path:
    """The archive in a copy of that folder."""
    folder = tmp_path / "backups"
    folder.mkdir()
    for it in good.iterdir():
        (folder / it.name).write_bytes(it.read_bytes())
    return next(folder.glob("*.dump"))


def output(*command: str | Path) -> bytes:
    return subprocess.run(command, capture_output=True, check=True).stdout


def new_key(keygen: Path, folder: Path) -> Path:
    output(keygen, "-o", folder / "key")
    return folder / "key"


def archives(folder: Path) -> list[str]:
    return sorted(it.name for it in (folder / "backups").iterdir())


async def test_a_backup_is_one_private_file_with_a_manifest_that_fits(address: str, tmp_path: Path):
    tools = tools_with(tmp_path, address)
    plan, result = await run(Backup(), tools)
    assert plan.steps[0].description.endswith(f"to {tmp_path}/backups")
    assert [it.name for it in plan.findings] == ["not encrypted"]
    dump, manifest = (tmp_path / "backups" / it for it in archives(tmp_path))
    assert stat.S_IMODE(dump.stat().st_mode) == 0o600
    told = json.loads(manifest.read_text())
    assert told["sha256"] == told["dump_sha256"] == hashlib.sha256(dump.read_bytes()).hexdigest()
    assert (told["size"], told["server_version"]) == (dump.stat().st_size, 18)
    assert (result.figures[SIZE.name], result.figures[KEPT.name]) == (told["size"], 1)
    assert result.text.startswith(f"{dump.name}: ")


async def test_the_program_age_opens_what_is_encrypted_to_a_public_key(address: str, tmp_path: Path):
    keygen, age = (need(it, shutil.which(it)) for it in ("age-keygen", "age"))
    recipient = output(keygen, "-y", new_key(keygen, tmp_path)).decode().strip()
    tools = tools_with(tmp_path, address, recipients=[recipient])
    await run(Backup(), tools)
    encrypted, manifest = (tmp_path / "backups" / it for it in archives(tmp_path))
    assert encrypted.name.endswith(".dump.age")
    plain = output(age, "-d", "-i", tmp_path / "key", encrypted)
    assert plain.startswith(b"PGDMP")
    assert hashlib.sha256(plain).hexdigest() == json.loads(manifest.read_text())["dump_sha256"]
    # Without its key, a check compares the checksum; with it, it looks inside.
    _, result = await run(BackupCheck(), tools)
    assert result.text == "it is encrypted, and its key is not here: nobody has looked inside; its checksum is right"
    with_key = tools_with(tmp_path, recipients=[recipient], identity_file=tmp_path / "key")
    _, result = await run(BackupCheck(), with_key)
    assert result.text == "pg_restore has read all of it; its checksum is right"


async def test_a_backup_encrypted_by_a_passphrase_needs_the_same_one(address: str, tmp_path: Path):
    await run(Backup(), tools_with(tmp_path, address, passphrase=PASSPHRASE))
    _, result = await run(BackupCheck(), tools_with(tmp_path, passphrase=PASSPHRASE))
    assert result.text == "pg_restore has read all of it; its checksum is right"
    name, text = await failure(BackupCheck(), tools_with(tmp_path, passphrase="another"))
    assert name == Problem.NO_KEY
    assert "the passphrase is wrong: set shop.backups.identity_file" in text


async def test_the_password_is_in_no_argument_of_pg_dump(server: servers.Postgres, address: str, tmp_path: Path):
    folder = tmp_path / "bin"
    folder.mkdir()
    script = folder / "pg_dump"
    script.write_text('#!/bin/sh\n[ "$1" = --version ] && { echo "pg_dump (PostgreSQL) 18.1"; exit; }\n'
                      'echo "args: $*" >&2; env | grep -c "^PGPASSWORD=hunter2$" >&2; exit 1\n')  # fmt: skip
    script.chmod(0o755)
    with_password = address.replace("postgres@", "postgres:hunter2@")
    _, text = await failure(Backup(), tools_with(tmp_path, with_password, pg_bin=folder))
    assert text == "pg_dump has failed: args: --format=custom --no-password --lock-wait-timeout=60s"


async def test_an_older_client_is_refused_with_the_remedy(address: str, tmp_path: Path):
    old = need("PostgreSQL 15", servers.postgres_programs().get(15))
    tools = tools_with(tmp_path, address, pg_bin=old)
    with pytest.raises(BackupError) as raised:
        await Backup().plan(tools)
    assert raised.value.problem is Problem.OLD_CLIENT
    said = (
        "pg_dump has version 15, which is older than the server (18): install postgresql-client-18 and set shop.pg_bin"
    )
    assert str(raised.value).startswith(said)
    assert await Backup().missing(tools) == str(raised.value)


async def test_a_role_that_may_not_read_everything_is_told_the_grant(
    server: servers.Postgres, shop: Vendure, tmp_path: Path
):
    server.execute("DROP ROLE IF EXISTS poor", "CREATE ROLE poor LOGIN")
    tools = tools_with(tmp_path, server.address(shop.name, "poor"))
    assert "GRANT pg_read_all_data TO poor" in await Backup().missing(tools)
    name, text = await failure(Backup(), tools)
    assert name == Problem.DUMP
    assert "permission denied" in text
    assert list((tmp_path / "backups").iterdir()) == []
    server.execute("GRANT pg_read_all_data TO poor")
    assert await Backup().missing(tools) == ""
    await run(Backup(), tools)


async def test_a_backup_that_is_interrupted_leaves_nothing(address: str, shop: Vendure, tmp_path: Path):
    tools = tools_with(tmp_path, address)
    plan = await Backup().plan(tools)
    # pg_dump waits for a lock on a table, after it was started and its file was opened.
    shop.execute("CREATE TABLE held (id int)")
    with psycopg.connect(address, autocommit=True) as holder:
        holder.execute("BEGIN")
        holder.execute("LOCK TABLE held")
        acting = asyncio.ensure_future(Backup().act(plan.steps[0], StepContext(1, lambda _: None), tools))
        waiting = "SELECT count(*) FROM pg_locks WHERE relation = 'held'::regclass AND NOT granted"
        for _ in range(1000):
            if acting.done() or holder.execute(waiting).fetchone() == (1,):
                break
            await asyncio.sleep(0.01)
        assert [it.name[0] for it in (tmp_path / "backups").iterdir()] == ["."]
        acting.cancel()
        await asyncio.wait([acting])
        assert acting.cancelled()
    shop.execute("DROP TABLE held")
    assert list((tmp_path / "backups").iterdir()) == []


async def test_what_a_killed_backup_has_left_is_removed_and_nothing_else(tmp_path: Path):
    folder = tmp_path / "backups"
    folder.mkdir()
    for name in (".shop-20260101T000000Z.dump.unfinished", ".other-1.unfinished", "shop-notes.txt"):
        (folder / name).write_text("x")
    tools = tools_with(tmp_path)
    assert await Backup().clean(tools) == "removed 1 unfinished backup"
    assert archives(tmp_path) == [".other-1.unfinished", "shop-notes.txt"]
    assert await Backup().clean(tools) == ""


async def test_a_full_disk_is_said_and_leaves_nothing(address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def full(self: object, data: bytes) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(folder_place._FolderWriter, "_write", full)
    name, text = await failure(Backup(), tools_with(tmp_path, address))
    assert (name, text.split(": ", 1)[1]) == (Problem.DISK_FULL, "the disk is full: make room, or keep fewer backups")
    assert archives(tmp_path) == []


async def test_a_disk_that_has_less_room_than_the_last_backup_is_not_written_to(address: str, broken: Path):
    async def small(self: object) -> int:
        return 10

    class Small(folder_place.FolderPlace):
        free = small

    tools = tools_with(broken.parent.parent, address)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("toban.maintenance.backups.places.FolderPlace", Small)
        name, text = await failure(Backup(), tools)
    assert name == Problem.NO_DISK
    assert "has 10 B free, less than the last backup needed: make room" in text


async def test_old_backups_are_deleted_after_a_success_and_only_in_mode_auto(address: str, tmp_path: Path):
    folder = tmp_path / "backups"
    folder.mkdir()
    now = datetime(2026, 11, 20, 2, tzinfo=UTC)
    names = [archive_name("shop", now - timedelta(days=age), encrypted=False) for age in range(1, 60)]
    for name in [*names, "shop-notes.txt", "other-20200101T000000Z.dump"]:
        (folder / name).write_bytes(b"x")
    clock = FakeClock(now)
    await run(Backup(mode=Mode.OFF), tools_with(tmp_path, address, clock))
    assert set(names) <= set(archives(tmp_path))
    clock.advance(60)
    _, result = await run(Backup(daily=3, weekly=2, monthly=2), tools_with(tmp_path, address, clock))
    left = [it for it in archives(tmp_path) if it.endswith(".dump")]
    assert left == [
        "other-20200101T000000Z.dump",
        "shop-20261031T020000Z.dump",
        "shop-20261115T020000Z.dump",
        "shop-20261118T020000Z.dump",
        "shop-20261119T020000Z.dump",
        "shop-20261120T020100Z.dump",
    ]
    assert "shop-notes.txt" in archives(tmp_path)
    assert result.text.endswith("; 56 older backups deleted")


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-500])


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def text(path: Path) -> None:
    path.write_bytes(b"hello, this is no dump" * 10)


def without_manifest(change: Callable[[Path], None]) -> Callable[[Path], None]:
    def work(path: Path) -> None:
        path.with_name(path.name + ".json").unlink()
        change(path)

    return work


@pytest.mark.parametrize(
    ("change", "problem", "said"),
    [
        (cut, Problem.CUT_OFF, "is cut off: "),
        (flip, Problem.DAMAGED, "is damaged: its checksum is not the one that was written with it"),
        (empty, Problem.EMPTY, " is empty"),
        (without_manifest(cut), Problem.CUT_OFF, "is cut off: could not read from input file: end of file"),
        (without_manifest(text), Problem.NOT_A_DUMP, "is no dump that toban knows: it begins with b'hello, this '"),
        (without_manifest(empty), Problem.EMPTY, " is empty"),
    ],
)
async def test_each_kind_of_broken_archive_has_its_own_name(
    broken: Path, change: Callable[[Path], None], problem: Problem, said: str
):
    change(broken)
    name, sentence = await failure(BackupCheck(), tools_with(broken.parent.parent))
    assert name == problem
    assert said in sentence


async def test_encrypted_archives_that_are_cut_off_or_changed_are_told_apart(address: str, tmp_path: Path):
    tools = tools_with(tmp_path, address, passphrase=PASSPHRASE)
    await run(Backup(), tools)
    archive = next((tmp_path / "backups").glob("*.age"))
    archive.with_name(archive.name + ".json").unlink()
    whole = archive.read_bytes()
    for change, problem in ((cut, Problem.CUT_OFF), (flip, Problem.DAMAGED)):
        archive.write_bytes(whole)
        change(archive)
        name, _ = await failure(BackupCheck(), tools)
        assert name == problem


async def test_an_older_pg_restore_says_that_it_is_too_old(broken: Path):
    old = need("PostgreSQL 15", servers.postgres_programs().get(15))
    name, said = await failure(BackupCheck(), tools_with(broken.parent.parent, pg_bin=old))
    assert name == Problem.OLD_CLIENT
    assert "unsupported version" in said


async def test_dumps_as_sql_and_gzip_are_read_to_their_ends(server: servers.Postgres, shop: Vendure, tmp_path: Path):
    folder = tmp_path / "backups"
    folder.mkdir()
    sql = output(servers.postgres_programs()[18] / "pg_dump", "-d", server.address(shop.name))
    task, tools = BackupCheck(files="*.sql*"), tools_with(tmp_path)
    (folder / "a.sql").write_bytes(sql)
    _, result = await run(task, tools)
    assert result.text == "all of it can be read; it has no checksum of toban's"
    (folder / "a.sql").write_bytes(sql[:-300])
    assert (await failure(task, tools))[0] == Problem.CUT_OFF
    (folder / "a.sql").unlink()
    (folder / "a.sql.gz").write_bytes(gzip.compress(sql))
    _, result = await run(task, tools)
    assert result.text.startswith("all of it can be read")
    (folder / "a.sql.gz").write_bytes(gzip.compress(sql)[:-20])
    assert (await failure(task, tools))[1].endswith("is cut off: its gzip does not end")


async def test_a_newest_backup_that_is_too_old_or_too_small_is_a_finding(tmp_path: Path):
    folder, now = tmp_path / "backups", datetime(2026, 11, 20, 6, tzinfo=UTC)
    folder.mkdir()
    task, tools = BackupCheck(archives=0), tools_with(tmp_path, clock=FakeClock(now))
    for age in range(2, 14):
        (folder / archive_name("shop", now - timedelta(days=age), encrypted=False)).write_bytes(b"x" * (1000 + age))
    plan = await task.plan(tools)
    (finding,) = plan.findings
    assert finding.name == Problem.TOO_OLD
    assert "is 2 d old, at most 1 d 2 h are allowed" in finding.text
    (folder / archive_name("shop", now - timedelta(hours=1), encrypted=False)).write_bytes(b"x" * 100)
    plan = await task.plan(tools)
    (finding,) = plan.findings
    assert finding.name == "size"
    assert finding.text.endswith("has 100 B, the median of the 10 before it has 1,006 B")
    assert (plan.figures[CHECKED_SIZE.name], plan.figures[LEAST.name]) == (100, 503.25)
    assert plan.figures[NEWEST.name] == (now - timedelta(hours=1)).timestamp()
    assert plan.figures[UNREADABLE.name] == plan.figures[PROBLEMS.name] == 0


async def test_only_as_much_is_read_as_the_limit_allows_newest_first(tmp_path: Path):
    folder, now = tmp_path / "backups", datetime(2026, 11, 20, 6, tzinfo=UTC)
    folder.mkdir()
    names = [archive_name("shop", now - timedelta(days=age), encrypted=False) for age in range(4)]
    for name in names:
        (folder / name).write_bytes(b"x" * 1000)
    plan = await BackupCheck(archives=10, read_limit=2500).plan(tools_with(tmp_path, clock=FakeClock(now)))
    assert [it.name for it in plan.steps] == names[:2]
    plan = await BackupCheck(read_limit=999).plan(tools_with(tmp_path, clock=FakeClock(now)))
    assert list(plan.steps) == []
    assert [it.text for it in plan.findings] == [f"{names[0]} was not read: 1,000 B are more than `read_limit` allows"]


async def test_a_place_that_can_not_be_read_is_a_finding_with_its_address(tmp_path: Path):
    plan = await BackupCheck().plan(tools_with(tmp_path, path=tmp_path / "nowhere"))
    assert [(it.name, it.text) for it in plan.findings] == [
        (Problem.PLACE, f"{tmp_path}/nowhere: no such file or directory")
    ]
    assert plan.figures[PROBLEMS.name] == 1


async def test_a_backup_is_not_configured_without_a_place(tmp_path: Path):
    settings = tools_with(tmp_path).shop.settings
    assert Backup().not_configured(settings) == "shop.database is not set: there is no database to back up"
    bare = settings.model_copy(update={"backups": None})
    assert Backup().not_configured(bare) == "shop.backups is not set: there is no place for backups"
    assert BackupCheck().not_configured(bare) == "shop.backups is not set: there is no place for backups"


@pytest.mark.parametrize("kind", ["backup", "restore_drill", "backup_check"])
async def test_check_compares_programs_with_the_server_in_the_words_of_the_task(
    server: servers.Postgres, shop: Vendure, tmp_path: Path, kind: str
):
    old = need("PostgreSQL 15", servers.postgres_programs().get(15))
    url = server.address(shop.name)
    program = "pg_dump" if kind == "backup" else "pg_restore"
    said = {}
    for pg_bin in (None, old, tmp_path):
        given = {"database": url, "backups": {"path": str(tmp_path / "backups")}}
        content = {"shop": {**given, **({"pg_bin": str(pg_bin)} if pg_bin else {})}}
        said[pg_bin] = dict(await check_programs(build_settings(content, {}, "a test")))
        assert set(said[pg_bin]) == {"backup", "restore_drill", "backup_check"}
    assert said[None][kind] == ""
    assert said[old][kind] == (
        f"{program} has version 15, which is older than the server (18): "
        "install postgresql-client-18 and set shop.pg_bin to its folder, like /usr/lib/postgresql/18/bin"
    )
    assert said[tmp_path][kind].startswith(f"there is no {program} in {tmp_path}: install postgresql-client")
    tools = tools_with(tmp_path, url, pg_bin=old)
    if kind == "backup":
        assert await Backup().missing(tools) == said[old][kind]


async def test_check_says_nothing_of_programs_that_no_task_needs_and_names_a_database_that_is_down(tmp_path: Path):
    assert (
        await check_programs(build_settings({"shop": {"database": "postgresql://x@127.0.0.1:1/x"}}, {}, "a test")) == []
    )
    content = {"shop": {"database": "postgresql://x@127.0.0.1:1/x", "backups": {"path": str(tmp_path)}}}
    found = dict(await check_programs(build_settings(content, {}, "a test")))
    assert found["backup"].startswith("PostgreSQL: connection failed")


def test_the_command_check_shows_what_is_wrong_with_programs(server: servers.Postgres, shop: Vendure, tmp_path: Path):
    backups = {"path": str(tmp_path / "backups")}
    content = {"shop": {"database": server.address(shop.name), "pg_bin": str(tmp_path), "backups": backups}}
    (tmp_path / "toban.yaml").write_text(json.dumps(content))
    environment = {"TOBAN_DATA": str(tmp_path / "data"), "PATH": os.environ["PATH"]}
    done = run_command([*TOBAN, "check", "--config", str(tmp_path / "toban.yaml")], environment, tmp_path)
    assert done.returncode == 1
    shown = done.stdout.split("Programs of maintenance tasks:\n")[1]
    assert f"backup         there is no pg_dump in {tmp_path}: install postgresql-client" in shown
